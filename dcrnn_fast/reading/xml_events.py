"""XML as a stream of elements, so that a file of gigabytes never lies in memory; plain or compressed by gzip.

A document type and entities are refused, so that no file can name another one or grow while it is read.
"""

import gzip
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from xml.parsers import expat

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line

_BLOCK = 1 << 20
_LONGEST = 32
"""blocks in which an element must begin or end: road networks have some thousand bytes, a bomb has gigabytes"""
_GZIP = b"\x1f\x8b"


class ElementHandler(Protocol):
    """What is told about each element; names come without a prefix."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, name: str, text: str) -> None:
        """An element ends; ``text`` is its own text since its last child, as it stands."""


def read_xml(path: Path, handler: ElementHandler) -> None:
    """Tells ``handler`` about each element of a file, in order.

    Raises:
        UserError: no XML, truncated, an element of tens of MiB, or it declares a document type or entities. ``OSError``
            passes.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    texts: list[str] = []
    silent = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal silent
        silent = 0
        texts.clear()
        handler.start(name.rpartition(":")[2], attributes)

    def end(name: str) -> None:
        nonlocal silent
        silent = 0
        text = "".join(texts)
        texts.clear()
        handler.end(name.rpartition(":")[2], text)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = cast(Callable[..., int], _refuse)
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == _GZIP
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if is_gzip else raw
        try:
            while block := stream.read(_BLOCK):
                silent += 1
                if silent > _LONGEST:
                    raise UserError(f"no road network: no element begins or ends within {_LONGEST} MiB")
                parser.Parse(block, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise UserError(f"no readable XML: {one_line(error)}; is the file truncated?") from error
        except (LookupError, UnicodeError) as error:  # of the encoding that it declares
            raise UserError(f"no readable XML: {one_line(error)}; save it in UTF-8") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"damaged gzip file: {one_line(error)}; is it truncated?") from error


def _refuse(*_: object) -> None:
    raise UserError("declares a document type or entities, which no road network needs: remove the declaration")
