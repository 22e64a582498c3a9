"""``python -m dcrnn_fast.graph``: the command ``dcrnn-fast graph``."""

from dcrnn_fast.graph_command import main

if __name__ == "__main__":
    raise SystemExit(main())
