"""A web server on this machine for the download tests."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.data.made_series import TOY_CSV


@pytest.fixture
def toy_server(tmp_path: Path) -> Iterator[str]:
    """The address of a server that holds toy.csv."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "toy.csv").write_text(TOY_CSV)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
