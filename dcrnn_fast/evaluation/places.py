"""Where wanted names are among those that there are."""

from collections.abc import Sequence

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few


def places(wanted: Sequence[str], there: Sequence[str], flag: str) -> list[int]:
    """Where the wanted names are, in the order of ``there``; all if none is wanted.

    Raises:
        UserError: a name that is not there; those that are there are listed.
    """
    if unknown := [name for name in wanted if name not in set(there)]:
        raise UserError(f"{flag}: the model has no {first_few(unknown)}; it has {first_few(there)}")
    return [index for index, name in enumerate(there) if not wanted or name in set(wanted)]
