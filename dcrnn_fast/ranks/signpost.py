"""How ranks find rank 0 if nobody has named its machine or a free port of it.

Rank 0 takes the first free port of the job, and tells everybody who connects there the job's name and the port of its
store. The others ask at all places where rank 0 may be. Another job that has one of the ports, and any other program,
is told apart by what it answers, so that two jobs on one machine never mix.
"""

import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress

from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.ports import holder_of, listen

_ANSWERS_WITHIN = 2.0
_LONGEST = 128


class Signpost:
    """Tells where the store is, from a thread, until it is closed."""

    def __init__(self, job: str, ports: Iterable[int], store_port: int) -> None:
        """Raises UserError if none of the ports is free."""
        self._line = f"{_name(job)} {store_port}\n".encode()
        self._socket, self.port = _first_free(tuple(ports))
        self._thread = threading.Thread(target=self._serve, name="dcrnn_fast signpost", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Gives the port back."""
        with suppress(OSError):  # of systems that cannot do so to a listening socket; there close() wakes the thread up
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_ANSWERS_WITHIN)

    def _serve(self) -> None:
        while True:
            try:
                guest, _ = self._socket.accept()
            except OSError as error:
                if error.errno in (errno.ECONNABORTED, errno.EMFILE, errno.ENFILE):
                    continue
                return
            with guest:
                try:
                    guest.sendall(self._line)
                except OSError:  # it went away
                    continue


def ask(host: str, port: int, job: str) -> int | None:
    """The port of the job's store, if the job's rank 0 answers there; None: it does not."""
    try:
        with socket.create_connection((host, port), timeout=_ANSWERS_WITHIN) as connection:
            connection.settimeout(_ANSWERS_WITHIN)
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < _LONGEST and (more := connection.recv(_LONGEST)):
                answer += more
    except (OSError, UnicodeError):  # nobody there, or a name that no machine has
        return None
    name, _, store_port = answer.decode(errors="replace").partition(" ")
    return int(store_port) if name == _name(job) and store_port.strip().isdecimal() else None


def _first_free(ports: tuple[int, ...]) -> tuple[socket.socket, int]:
    for port in ports:
        try:
            return listen(port), port
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise UserError(f"rank 0 cannot listen at port {port}: {error.strerror or error}") from error
            reason = os.strerror(error.errno)
    raise UserError(
        f"rank 0 cannot use any of the ports {ports[0]} to {ports[-1]} of this job ({reason}; {ports[0]}: "
        f"{holder_of(ports[0]) or 'nobody listens there'}): give another one, MASTER_PORT, to all tasks"
    )


def _name(job: str) -> str:
    return f"dcrnn_fast/{hashlib.sha256(job.encode()).hexdigest()[:32]}"
