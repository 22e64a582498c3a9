"""Of a run's page: what happened, and what the run said."""

from collections.abc import Mapping, Sequence
from typing import Any

from dcrnn_fast.drawing.html import Markup, tag
from dcrnn_fast.messages import counted, some
from dcrnn_fast.runs.record import RunRecord

_MOST = 100
_LOOK = "look:"
_SHOWN_NOTES = 12


def events_section(run: RunRecord, looks: Sequence[str]) -> Markup | None:
    """Doubts, notes, and the events of note; saves are counted, epochs are in the curves.

    Args:
        looks: lines about files that could not be read.
    """
    said = [str(event.get("line", "")) for event in run.events if event["event"] == "note"]
    lines = list(dict.fromkeys([*looks, *said]))
    doubts = [line for line in lines if line.startswith(_LOOK)]
    notes = [line for line in lines if not line.startswith(_LOOK)]
    told = [event for event in run.events if event["event"] not in ("epoch", "save", "note")]
    rows = [
        tag("tr", tag("td", _time(event["time"]), class_="t"), tag("td", event["event"]), tag("td", _words(event)))
        for event in told[-_MOST:]
    ]
    parts: list[object] = []
    if doubts:
        items = [tag("li", line.removeprefix(_LOOK).strip()) for line in doubts]
        parts += [tag("h3", "To look at", class_="warn"), tag("ul", items, class_="notes")]
    if rows:
        head = tag("tr", [tag("th", name, scope="col") for name in ("time (UTC)", "event", "")])
        parts.append(tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll"))
        if len(told) > _MOST:
            parts.append(tag("p", f"the last {_MOST} of {len(told)}; all are in events.jsonl", class_="faint"))
    if saves := [event for event in run.events if event["event"] == "save"]:
        last = saves[-1]
        words = (
            f"{counted(len(saves), 'save')}, the last at {_time(last['time'])}: step {last.get('step')}, {_of(last)}"
        )
        parts.append(tag("p", words))
    if notes:
        items = [tag("li", line) for line in notes]
        shown = tag("ul", items, class_="notes")
        many = tag("details", tag("summary", f"{len(notes)} lines that the run said"), shown)
        parts.append(many if len(notes) > _SHOWN_NOTES else [tag("h3", "What the run said"), shown])
    return tag("section", tag("h2", "What happened"), parts) if parts else None


def _of(event: Mapping[str, Any]) -> str:
    files = event.get("files")
    return some(list(map(str, files))) if isinstance(files, list) else ""


def _words(event: Mapping[str, Any]) -> str:
    """The facts of an event, of any version."""
    facts = {name: value for name, value in event.items() if name not in ("time", "event")}
    return ", ".join(f"{name} {_value(value)}" for name, value in facts.items())


def _value(value: object) -> str:
    return some(list(map(str, value)), 8) if isinstance(value, list) else str(value)


def _time(time: str) -> str:
    return time.replace("T", " ")[:19]
