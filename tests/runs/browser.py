"""Pages as a parser and as a real browser see them."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

EVIL = '<script>alert("1")</script>&amp;\x1b[31m'


class Page(HTMLParser):
    """Tags, attributes, and text by heading of a page; an element that is not closed in its order is a mistake."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def in_chromium(page: Path, width: int, picture: Path, tmp_path: Path) -> tuple[int, int]:
    """A picture of the page in a window of this width; (width of its content, of the window) as the browser has them.

    A frame of that width shows it, since a window of the browser itself cannot be so narrow.
    """
    text = page.read_text(encoding="utf-8")
    policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    probe = "<script>document.title='W'+document.documentElement.scrollWidth+'/'+innerWidth+'W'</script></body>"
    (tmp_path / "inner.html").write_text(policy.replace("</body>", probe), encoding="utf-8")
    frame = '<body style="margin:0"><iframe src="inner.html" onload="document.title=this.contentDocument.title" '
    frame += f'style="border:0;width:{width}px;height:3000px"></iframe></body>'
    (tmp_path / "outer.html").write_text(frame, encoding="utf-8")
    options = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    size = f"--window-size={max(width, 600)},3000"
    found = subprocess.run(
        [*options, size, "--dump-dom", f"file://{tmp_path}/outer.html"], capture_output=True, text=True, check=True
    ).stdout
    (widths,) = re.findall(r"<title>W(\d+)/(\d+)W</title>", found)
    outer = f"file://{tmp_path}/outer.html"
    subprocess.run([*options, size, f"--screenshot={picture}", outer], capture_output=True, check=True)
    return int(widths[0]), int(widths[1])
