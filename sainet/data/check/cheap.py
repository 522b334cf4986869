"""The cheap part of the check, before every start: labels and names, and only again when something changed."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from sainet.data.check.checking import check_data, find_splits
from sainet.data.check.kinds import KINDS
from sainet.data.check.state import state_of
from sainet.data.check.summary import Checked
from sainet.data.source import DataSource
from sainet.errors import SainetError
from sainet.files import replace_text

__all__ = ["Count", "check_labels"]

_MANY = 20_000
"""Images from which on it takes a moment that is worth a word."""


@dataclass(frozen=True)
class Count:
    """How often a kind was found, and where first: a file, with its line where there is one."""

    kind: str
    count: int
    where: str
    message: str

    @property
    def drops(self) -> bool:
        """Whether Ultralytics would go on without these images."""
        return KINDS[self.kind].drops


def check_labels(source: DataSource, folder: Path, tell: Callable[[str], None]) -> list[Count]:
    """What `sainet data check --labels-only` finds, errors first.

    What was found is kept in `folder`, where it can be written, and believed for as long as the YAML, the names of the
    images and the sizes and times of images and label files are the same.
    """
    splits = find_splits(source)
    state = state_of(source, splits)
    kept = folder / f"{blake2b(os.fsencode(source.yaml), digest_size=12).hexdigest()}.json"
    if (known := _read(kept, state)) is not None:
        return known
    if (images := sum(len(one.paths) for one in splits)) >= _MANY:
        tell(f"checking the labels of {images:,} images")
    counts = _counts(check_data(str(source.yaml), labels_only=True))
    with suppress(SainetError, OSError):  # it is only looked at again then
        replace_text(kept, json.dumps({"state": state, "counts": [asdict(count) for count in counts]}))
    return counts


def _counts(checked: Checked) -> list[Count]:
    found = checked.by_kind().items()
    return [Count(kind, len(them), them[0].where, them[0].message) for kind, them in found]


def _read(kept: Path, state: str) -> list[Count] | None:
    try:
        tree = json.loads(kept.read_text(encoding="utf-8"))
        return [Count(**count) for count in tree["counts"]] if tree["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
