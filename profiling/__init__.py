"""Tools to look at running code: machine code here, timelines and memory beside it."""
