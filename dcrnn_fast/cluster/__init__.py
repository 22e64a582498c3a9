"""Starting a run on a cluster: job scripts, the site's settings, hosts reached by ssh. A room of leaves only."""
