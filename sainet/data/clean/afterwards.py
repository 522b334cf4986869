"""Looking once more at a copy in which images were mended: they may be copies of others now, or of no use after all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sainet.data.check.checking import check_data
from sainet.data.check.paths import label_path
from sainet.data.check.rows import read_labels
from sainet.data.clean.picture import AS_PNG
from sainet.data.clean.plan import Change, left_out
from sainet.data.clean.yaml_text import yaml_text
from sainet.data.journal import Journal
from sainet.files import replace_text

__all__ = ["look_again", "results"]

_MENDED = AS_PNG.keys() | {"image-no-end", "image-suffix"}
_YAML = ".check.yaml"


@dataclass(frozen=True)
class _Gone:
    """An image that is taken out of the copy again, and what a part would have said of it, with the counts below 0."""

    image: str
    result: dict[str, Any]


def results(journal: Journal) -> list[dict[str, Any]]:
    """What all parts came to, and behind them what was taken out again."""
    return [result for line in journal.results() for result in line.get("after", [line])]


def look_again(out: Path, names: Mapping[int, str], also: frozenset[str], journal: Journal) -> None:
    """Check the copy, and take out of it what cleaning does not leave in one. Twice comes to the same as once."""
    done = results(journal)
    if not any(change[0] in _MENDED for result in done for change in result["changes"]):
        return
    if not any("gone" in result for result in done):
        journal.add({"after": [_entry(gone) for gone in _found(out, names, also, done)] or [_nothing()]})
    for result in results(journal):
        for path in result.get("gone", []):
            Path(path).unlink(missing_ok=True)


def _found(out: Path, names: Mapping[int, str], also: frozenset[str], done: Sequence[Mapping[str, Any]]) -> list[_Gone]:
    splits = dict.fromkeys(result["split"] for result in done if result["images"])
    yaml = out / _YAML
    replace_text(yaml, yaml_text(splits, names, str(yaml)))
    try:
        checked = check_data(str(yaml))
    finally:
        yaml.unlink()
    return [_gone(out, image, change, len(names)) for image, change in left_out(checked.findings, also).items()]


def _gone(out: Path, image: str, change: Change, classes: int) -> _Gone:
    label = Path(label_path(image))
    rows = read_labels(label.read_bytes(), classes).rows if label.is_file() else []
    boxes = [-sum(row.label == number for row in rows) for number in range(classes)]
    split = Path(image).relative_to(out / "images").parts[0]
    did = f"{change.did}: as it is now, {change.kind}"
    changes = [Change(change.kind, image, None, did)]
    return _Gone(
        image,
        {"split": split, "images": -1, "backgrounds": -int(not rows), "boxes": boxes, "changes": changes},
    )


def _entry(gone: _Gone) -> dict[str, Any]:
    return {**gone.result, "gone": [gone.image, label_path(gone.image)]}


def _nothing() -> dict[str, Any]:
    """That it was looked at, too."""
    return {"split": "train", "images": 0, "backgrounds": 0, "boxes": [], "changes": [], "gone": []}
