"""Where a run is, for the batch script that started it: status.json without torch, by any Python from 3.6 on.

python run_state.py RESULTS                prints which run the status there is of
python run_state.py RESULTS --checkpoints  prints where the run there keeps its checkpoints, if that is elsewhere
python run_state.py RESULTS BEFORE CODE    prints what became of the run that ended with CODE; BEFORE is what this
                                           printed before

finished, stopped, killed, failed, nan, or refused: it never began.
"""

import json
import os
import sys

_STOPPED = 85
_BY_SIGNAL = 128
# By these words a rank says that another one is gone, whose own end is the cause.
_LOST = ("lost the other ranks while", "(--dist-timeout) for rank")
_UNREAD = "BrokenPipeError"  # the launcher, which reads what the trainer prints, is gone


def read(folder: str) -> dict:
    """status.json of a results folder; {} if there is none that can be read."""
    try:
        with open(os.path.join(folder, "status.json"), encoding="utf-8") as stream:
            status = json.load(stream)
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def identity(status: dict) -> str:
    """Which run, or resumption of it, has written the status: a line."""
    return json.dumps([status.get("since"), status.get("process")], sort_keys=True)


def state(status: dict, before: str, code: int) -> str:
    """What became of a run whose processes are all gone.

    A status that is as it was before is an earlier run's: this one was refused, unless a signal ended it first.
    """
    if identity(status) == before:
        if code == _STOPPED:
            return "stopped"
        return "killed" if code >= _BY_SIGNAL else "refused"
    found = status.get("state")
    if found in ("starting", "running"):
        return "killed"
    if found == "failed" and any(words in str(status.get("error")) for words in (*_LOST, _UNREAD)):
        return "killed"
    return found if found in ("finished", "stopped", "failed", "nan") else "refused"


def checkpoints(folder: str) -> str:
    """The checkpoint folder of the run in a results folder; "": it lies in there, or there is no run.

    Takes the trainer's own Python, for PyYAML.
    """
    import yaml

    try:
        with open(os.path.join(folder, "config.yaml"), encoding="utf-8") as stream:
            found = yaml.safe_load(stream)["output"]["checkpoint_dir"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""
    return found if isinstance(found, str) else ""


if __name__ == "__main__" and sys.argv[2:] == ["--checkpoints"]:
    print(checkpoints(sys.argv[1]))
elif __name__ == "__main__":
    now = read(sys.argv[1])
    print(identity(now) if len(sys.argv) == 2 else state(now, sys.argv[2], int(sys.argv[3])))
