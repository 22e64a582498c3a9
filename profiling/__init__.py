"""How to look at what runs: machine code here, timelines and memory beside it."""
