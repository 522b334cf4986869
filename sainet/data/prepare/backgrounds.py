"""Which of the images without a box stay in the new set."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from typing import Literal

from sainet.data.prepare.splits import SPLITS
from sainet.errors import UsageError

__all__ = ["Backgrounds", "read_backgrounds"]


@dataclass(frozen=True)
class Backgrounds:
    """`share`: the largest that images without a box may have of a split; None for no limit.

    `within`: only of the training, so that what is measured with stays as it was, or of every split.
    """

    text: str
    share: Fraction | None
    within: Literal["train", "all"] = "train"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that may lose some."""
        if self.share is None:
            return ()
        return ("train",) if self.within == "train" else SPLITS

    def dropped(self, backgrounds: Sequence[int], others: int, name: Callable[[int], str]) -> set[int]:
        """Those of a split's images without a box that are left out, beside `others` with boxes.

        They are chosen by their names, so that they stay the same however the images are found.
        """
        if self.share is None:
            return set()
        most = int(others * self.share / (1 - self.share))
        ordered = sorted(backgrounds, key=lambda index: (_number(name(index)), index))
        return set(ordered[most:])


def read_backgrounds(text: str, within: Literal["train", "all"]) -> Backgrounds:
    """`keep`, `drop` or `ratio=0.1`. Raises `UsageError` for anything else."""
    if text == "keep":
        return Backgrounds(text, None, within)
    if text == "drop":
        return Backgrounds(text, Fraction(0), within)
    match = re.fullmatch(r"ratio=(\d*\.?\d+)", text)
    share = Fraction(match[1]) if match else Fraction(-1)
    if not 0 <= share < 1:
        raise UsageError(
            f"{text!r} is not keep, drop or ratio=SHARE",
            where="--backgrounds",
            hint="ratio=0.1 keeps so many that they are a tenth of the training images at most",
        )
    return Backgrounds(text, share, within)


def _number(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
