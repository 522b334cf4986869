"""The size of an image from its head: of most JPEGs without Pillow, which takes five times as long."""

from sainet.data.check.picture import upright_size
from sainet.geometry import Shape

__all__ = ["size_of"]

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers behind which the size is."""
_APP1, _SCAN, _STANDALONE = 0xE1, 0xDA, frozenset({0x01, *range(0xD0, 0xDA)})


def size_of(data: bytes) -> Shape | None:
    """Height and width as the training reads it; None where it is no image."""
    return _plain_jpeg_size(data) or upright_size(data)


def _plain_jpeg_size(data: bytes) -> Shape | None:
    """Of a JPEG without an EXIF block, which may turn it."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while data[at : at + 1] == b"\xff" and at + 9 <= len(data):
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return (height, width) if height and width else None
        if marker in _STANDALONE or marker in {_APP1, _SCAN, 0xFF}:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
