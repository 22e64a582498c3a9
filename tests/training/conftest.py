"""The rank server that all tests of several processes share."""

from collections.abc import Iterator

import pytest

from tests.training.rank_server import RankServer


@pytest.fixture(scope="session")
def rank_server() -> Iterator[RankServer]:
    server = RankServer()
    yield server
    server.close()
