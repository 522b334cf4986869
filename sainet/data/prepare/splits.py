"""The splits, and which of them a path speaks of."""

import re
from typing import Final

__all__ = ["KEPT_IN", "SPLITS", "split_of"]

SPLITS: Final = ("train", "val", "test")
KEPT_IN: Final = ("test", "val", "train")
"""Where an image is published in two splits, it stays in the first of these: what is measured with stays as it was."""

_WORD = re.compile(r"(?:^|[^a-z])(train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?)(?![a-z])", re.IGNORECASE)


def split_of(path: str, *, folders_only: bool = False) -> str | None:
    """By the name of the file (not with `folders_only`), or else the nearest of its folders; None where none says it.

    `instances_train2017.json`, `annotations/valid.json` and `test/labels/a.txt` are of train, val and test.
    """
    *folders, name = path.split("/")
    parts = folders if folders_only else [*folders, name.rpartition(".")[0] or name]
    for part in reversed(parts):
        if found := _WORD.findall(part):
            word = found[-1].lower()
            return next(split for split in SPLITS if word.startswith(split))
    return None
