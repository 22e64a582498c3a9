"""README and the pages of docs/ agree with each other and with the code."""

import re
from pathlib import Path

from dcrnn_fast.config.page import page
from tests.checkout import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCREEN = 40
FOLDERS = ("bench", "csrc", "dcrnn_fast", "docs", "kernels", "profiling", "tests")


def anchors(page: str) -> set[str]:
    """What a link into a page may name: its headings in lower case, without marks, dashes for spaces."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    """The links of a page to files, and to headings of files, that do not exist."""
    broken = []
    for target in re.findall(r"\]\(([^):]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        other = path.parent / name if name else path
        if not other.exists() or (anchor and anchor not in anchors(other.read_text(encoding="utf-8"))):
            broken.append(f"{path.name}: {target}")
    return broken


def missing_paths(page: str) -> list[str]:
    """The files and folders of this repository that a page names in backticks (NAME: any), and that do not exist."""
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*{{}}, -]*)`", page)
    return [
        name for name in named if not all(list(ROOT.glob(re.sub(r"[A-Z]{3,}", "*", one))) for one in alternatives(name))
    ]


def alternatives(name: str) -> list[str]:
    """``a/{b, c}.py`` -> ``a/b.py`` and ``a/c.py``."""
    before, brace, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    return [f"{before}{one.strip()}{after}" for one in inside.split(",")] if brace else [name.rstrip("/")]


def test_links_lead_somewhere() -> None:
    assert [link for path in PAGES for link in broken_links(path)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One: two\n[a](page.md) [b](#one-two) [c](page.md#three) [d](gone.md) [e](https://example.org)\n")
    assert broken_links(page) == ["page.md: page.md#three", "page.md: gone.md"]


def test_paths_lead_somewhere() -> None:
    assert {path.name: gone for path in PAGES if (gone := missing_paths(path.read_text(encoding="utf-8")))} == {}


def test_a_path_that_leads_nowhere_is_found() -> None:
    page = "`csrc/cpu/{tile.h, gone.h}` `tests/gone.py` `kernels/*.py` `kernels/gpu/table_NAME.py` `bench/`"
    assert missing_paths(page) == ["csrc/cpu/{tile.h, gone.h}", "tests/gone.py"]


def test_the_glossary_is_in_order() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| ([\w -]+) \| .* \|$", page, re.MULTILINE)[1:]
    assert len(words) > 40
    assert words == sorted(set(words))


def test_the_architecture_names_files_and_what_is_in_them() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 11))
    for _, path, function in rows:
        assert re.search(rf"(def|void) {function}\(", (ROOT / path).read_text(encoding="utf-8")), f"{path}: {function}"
    for function, path in re.findall(r"`(\w+)` \(`([^`]+)`\)", page):
        assert re.search(rf"\b{function}\b", (ROOT / path).read_text(encoding="utf-8")), f"{path}: {function}"


def test_a_fresh_machine_is_set_up_from_the_first_screen() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:SCREEN]
    (apt_line,) = re.findall(r"^APT_LINE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in (apt_line, "make train", "make test"):
        assert any(line.startswith(f"    {command} ") for line in first), command


def test_the_page_of_settings_is_made_from_the_sections() -> None:
    again = "python -m dcrnn_fast.config.page > docs/configuration.md"
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), (
        f"outdated; make it again: {again}"
    )
    assert again in page()
