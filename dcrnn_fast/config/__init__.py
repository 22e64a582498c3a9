"""The configuration and its two spellings: YAML and the command line. A leaf: everything may import it."""
