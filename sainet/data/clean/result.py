"""What a cleaning comes to: the log of every change, the data YAML of the copy, and the counts."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sainet import __version__
from sainet.data.check.summary import Checked
from sainet.data.clean.afterwards import results
from sainet.data.clean.plan import ON_REQUEST, Change
from sainet.data.clean.yaml_text import yaml_text
from sainet.data.journal import Journal
from sainet.errors import DataError
from sainet.files import replace_text, replacing

__all__ = ["LOG", "Cleaned", "Split", "has_finished", "write_result"]

LOG = "changes.jsonl"
_YAML = "data.yaml"


@dataclass(frozen=True)
class Split:
    """`images` of `images_before` are in the copy, `backgrounds` of them without a box; `boxes` by the class's name."""

    images: int
    images_before: int
    backgrounds: int
    boxes: dict[str, int]


@dataclass(frozen=True)
class Cleaned:
    """The copy: its data YAML and its splits; how often each thing was done about each kind; what was left as it is.

    `already`: it had been made before, and nothing was done.
    """

    yaml: str
    splits: dict[str, Split]
    changes: list[tuple[str, str, int]]
    left: dict[str, int]
    already: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        changes = [{"kind": kind, "did": did, "count": count} for kind, did, count in self.changes]
        splits = {split: asdict(counts) for split, counts in self.splits.items()}
        log = str(Path(self.yaml).with_name(LOG))
        return {"data": self.yaml, "log": log, "splits": splits, "changes": changes, "left": self.left}


def has_finished(out: Path, request: Mapping[str, Any]) -> Cleaned | None:
    """The clean copy that was made in `out` for the same request, if there is one."""
    try:
        with (out / LOG).open(encoding="utf-8") as lines:
            head = json.loads(lines.readline())
        (out / _YAML).stat()
    except (OSError, ValueError):
        return None
    if not isinstance(head, dict) or head.get("request") != request:
        return None
    splits = {split: Split(**counts) for split, counts in head["splits"].items()}
    changes = [(kind, did, count) for kind, did, count in head["changes"]]
    return Cleaned(str(out / _YAML), splits, changes, head["left"], already=True)


def write_result(
    out: Path,
    request: Mapping[str, Any],
    names: Mapping[int, str],
    planned: Sequence[Change],
    journal: Journal,
    checked: Checked,
) -> Cleaned:
    """Write the log, and when both splits have something in them the data YAML, without which there is no set.

    Raises `DataError` when nothing is left of a split, `StorageError` when the disk is full.
    """
    planned = [*planned, *_swapped(checked, names)]
    splits = _splits(journal, names, checked)
    did = Counter((change.kind, change.did) for change in _changes(planned, journal))
    left = {kind: len(found) for kind, found in checked.by_kind().items() if kind not in {kind for kind, _ in did}}
    cleaned = Cleaned(str(out / _YAML), splits, [(*what, count) for what, count in did.items()], left)
    head = {"sainet": __version__, "request": request, **cleaned.as_dict(), "changes": cleaned.changes}
    with replacing(out / LOG) as temporary, temporary.open("w", encoding="utf-8") as log:
        for line in (head, *(change._asdict() for change in _changes(planned, journal))):
            log.write(f"{json.dumps(line)}\n")
    _refuse_nothing(splits, checked.yaml, out)
    said = f"The clean copy of {checked.yaml}; {LOG} has every change."
    replace_text(out / _YAML, yaml_text([split for split, counts in splits.items() if counts.images], names, said))
    return cleaned


def _changes(planned: Sequence[Change], journal: Journal) -> Iterator[Change]:
    yield from planned
    for result in results(journal):
        yield from (Change(*change) for change in result["changes"])


def _swapped(checked: Checked, names: Mapping[int, str]) -> Iterator[Change]:
    if checked.names != names:
        yield Change("classes-swapped", checked.yaml, None, ON_REQUEST["classes-swapped"])


def _splits(journal: Journal, names: Mapping[int, str], checked: Checked) -> dict[str, Split]:
    totals: dict[str, Counter[str]] = {split: Counter() for split in checked.seen}
    boxes: dict[str, Counter[int]] = {split: Counter() for split in checked.seen}
    for result in results(journal):
        totals[result["split"]].update({"images": result["images"], "backgrounds": result["backgrounds"]})
        boxes[result["split"]].update(dict(enumerate(result["boxes"])))
    return {
        split: Split(
            total["images"],
            checked.seen[split].images,
            total["backgrounds"],
            {name: boxes[split][label] for label, name in names.items()},
        )
        for split, total in totals.items()
    }


def _refuse_nothing(splits: Mapping[str, Split], source: str, out: Path) -> None:
    for split in splits:
        if not any(splits[split].boxes.values()):
            raise DataError(
                f"of {splits[split].images_before} {split} images none is left with a box",
                where=source,
                hint=f"see {out / LOG} for what each was left out for; then remove {out}",
            )
