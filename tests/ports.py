"""Ports that nobody else takes between their choice and their use."""

import random
import socket

_BELOW_THE_SYSTEMS_OWN = range(20_000, 32_000)
"""The system gives connections ports from 32768 on: one of those that is free now may be a connection's in a moment."""


def free_port() -> int:
    """A port on which this machine listens nowhere, another one each time, whatever the random seed."""
    choose = random.SystemRandom()
    while True:
        port = choose.choice(_BELOW_THE_SYSTEMS_OWN)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
