"""In which form images are staged: as they are, or decoded once and written at the size that is trained."""

from dataclasses import dataclass
from typing import Literal

from sainet.config.schema import check_format
from sainet.errors import UsageError

__all__ = ["AS_IS", "JPEG_QUALITY", "Form", "parse_form"]

JPEG_QUALITY = 92
"""With the colours at full resolution, which is more than most cameras write."""


@dataclass(frozen=True)
class Form:
    """`side`: pixels of the long side at most; 0 where images are left as they are."""

    kind: Literal["as-is", "jpeg", "raw"]
    side: int = 0

    def __str__(self) -> str:
        return f"{self.kind}-{self.side}" if self.side else self.kind


AS_IS = Form("as-is")


def parse_form(text: str, where: str = "--format") -> Form:
    """`as-is`, `jpeg-1440`, `raw-896`. Raises `UsageError` for anything else."""
    try:
        kind, _, side = check_format(text).rpartition("-")
    except ValueError as error:
        raise UsageError(f"{text!r} is no format to stage in", where=where, hint=str(error)) from None
    if text == "as-is":
        return AS_IS
    return Form("jpeg" if kind == "jpeg" else "raw", int(side))
