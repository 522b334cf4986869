"""What a source says of its licence: printed as it is, nothing is concluded from it."""

import re
from collections.abc import Iterator

from sainet.data.prepare.match import base_of
from sainet.data.prepare.tree import Tree

__all__ = ["licence_of"]

_FILES = re.compile(r"(licen[cs]e|copying|readme)(\.(md|txt|rst))?", re.IGNORECASE)
_SAYS = re.compile(r"licen[cs]e|\bCC[ -](BY|0)\b", re.IGNORECASE)
_LONGEST = 200
_HEAD_BYTES = 1 << 16


def licence_of(tree: Tree) -> list[str]:
    """The first line about it in each licence file and readme, behind the name of the file."""
    said: list[str] = []
    for index in range(len(tree)):
        name = tree.name(index)
        if _FILES.fullmatch(base_of(name)):
            with tree.open(index) as stream:
                text = stream.read(_HEAD_BYTES).decode("utf-8", errors="replace")
            said += [f"{name}: {line[:_LONGEST]}" for line in _lines(text, base_of(name))][:1]
    return said


def _lines(text: str, name: str) -> Iterator[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    yield from (line for line in lines if _SAYS.search(line))
    if not name.lower().startswith("readme"):
        yield from lines  # a licence need not call itself one
