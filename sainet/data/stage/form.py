"""In which form images are staged: as they are, or decoded once and written at the size that is trained."""

import re
from dataclasses import dataclass
from typing import Literal

from sainet.errors import UsageError

__all__ = ["AS_IS", "JPEG_QUALITY", "Form", "parse_form"]

JPEG_QUALITY = 92
"""With the colours at full resolution, which is more than most cameras write."""
_SMALLEST, _LARGEST = 64, 8192
_FORMS = re.compile(r"(jpeg|raw)-(\d{1,5})")


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
    if text == "as-is":
        return AS_IS
    match = _FORMS.fullmatch(text)
    if match is None or not _SMALLEST <= int(match[2]) <= _LARGEST:
        raise UsageError(
            f"{text!r} is no format to stage in",
            where=where,
            hint=f"as-is, jpeg-N or raw-N with a long side of N pixels, {_SMALLEST} to {_LARGEST}, as in jpeg-1440",
        )
    return Form("jpeg" if match[1] == "jpeg" else "raw", int(match[2]))
