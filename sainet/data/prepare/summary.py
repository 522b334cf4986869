"""What preparing came to: counts by split, what was left out, what was changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from sainet.data.prepare.choosing import Selection
from sainet.data.prepare.entries import Facts, Release
from sainet.data.prepare.notes import Notes
from sainet.data.prepare.splits import SPLITS

__all__ = ["Tally"]

_FIRST_COUNT = 8
"""The place of the first class in a row of the manifest."""


class Tally:
    """Counts what the parts came to, one after the other."""

    def __init__(self, release: Release, notes: Notes) -> None:
        self._release, self._notes = release, notes
        self._splits: dict[str, list[int]] = {}
        self._linked = 0

    def add(self, result: Mapping[str, Any]) -> None:
        """Count in what `writing.write_part` gave."""
        for row in result["rows"]:
            boxes = row[_FIRST_COUNT:]
            counts = self._splits.setdefault(row[1], [0] * (2 + len(boxes)))
            for place, count in enumerate((1, not any(boxes), *boxes)):
                counts[place] += count
        self._notes.merge(result["notes"])
        self._linked += result["linked"]

    def as_dict(self, selection: Selection, facts: Facts) -> dict[str, Any]:
        """What `--json` prints."""
        images = sum(counts[0] for counts in self._splits.values())
        none = [0] * (2 + len(self._release.classes))
        counts = {split: self._splits.get(split, none) for split in SPLITS}
        splits = [split for split in SPLITS if split in self._splits or selection.dropped[split]]
        return {
            "release": self._release.name,
            "annotations": facts.form,
            "other_annotations": list(facts.others),
            "splits": {split: self._split(counts[split], selection.dropped[split]) for split in splits},
            "linked": self._linked,
            "written": images - self._linked,
            "notes": self._notes.as_dict(),
            "licence": list(facts.licence),
        }

    def _split(self, counts: Sequence[int], dropped: int) -> dict[str, Any]:
        return {
            "images": counts[0],
            "backgrounds": counts[1],
            "backgrounds_left_out": dropped,
            "boxes": dict(zip(self._release.classes, counts[2:], strict=True)),
        }
