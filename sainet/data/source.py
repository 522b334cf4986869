"""Reading a data YAML (Ultralytics' format): where the images are and what the label files' classes are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sainet.config.document import Entry, read_entries
from sainet.errors import ConfigError, DataError
from sainet.protocol import DataPlan

_IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .dng .heic .heif .jp2 .jpeg .jpeg2000 .jpg .mpo .png .tif .tiff .webp".split()
)
"""What Ultralytics 8.4 reads as an image; other files in an image folder are not looked at."""


@dataclass(frozen=True)
class DataSource:
    """A data YAML that was read and whose images are there."""

    yaml: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    names: dict[int, str]
    train_images: int
    val_images: int


def read_source(path: str) -> DataSource:
    """Read and check a data YAML.

    A relative `path:` is relative to the YAML, and `train:` / `val:` to that. A `download:` key is never run.
    Raises `DataError` when the file, a folder or the images are missing.
    """
    yaml = Path(path).expanduser().absolute()
    if not yaml.is_file():
        raise DataError(f"no such data YAML: {path}", hint="name it with --data, or set `data` in sainet.yaml")
    tree, lines = _tree(yaml)
    names = _names(tree, yaml)
    root = (yaml.parent / str(tree.get("path", "."))).resolve()
    splits = {split: _split(split, tree, root, yaml, lines) for split in ("train", "val")}
    counts = {split: _count_images(paths, split, yaml, lines.get(split)) for split, paths in splits.items()}
    return DataSource(yaml, splits["train"], splits["val"], names, counts["train"], counts["val"])


def data_plan(source: DataSource, classes: Sequence[str] | None, *, skip_bad_images: bool) -> DataPlan:
    """The classes asked for, found by name in any case; all of the data's where `classes` is None.

    Raises `DataError` when the data do not have one of them.
    """
    ids = {name.strip().lower(): index for index, name in source.names.items()}
    wanted = list(classes) if classes is not None else list(source.names.values())
    missing = [name for name in wanted if name.strip().lower() not in ids]
    if missing:
        raise DataError(
            f"the data have no class {' and no class '.join(repr(name) for name in missing)}",
            where=str(source.yaml),
            hint=f"its classes are {', '.join(source.names.values())}; choose others with --set schedule.classes=[...]",
        )
    return DataPlan(
        yaml=str(source.yaml),
        train=[str(path) for path in source.train],
        val=[str(path) for path in source.val],
        source_names=source.names,
        target_names=dict(enumerate(wanted)),
        class_map={ids[name.strip().lower()]: target for target, name in enumerate(wanted)},
        skip_bad_images=skip_bad_images,
    )


def _tree(yaml: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The top-level keys (`names` keeps its mapping) and the line of each."""
    try:
        entries = read_entries(yaml, str(yaml))
    except ConfigError as error:
        problem = error.problems[0]
        raise DataError(problem.message, where=problem.where, hint=problem.hint) from error
    tree: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for entry in entries:
        top, _, rest = entry.key.partition(".")
        lines.setdefault(top, entry.line)
        if rest:
            tree.setdefault(top, {})[rest] = _text(entry)
        else:
            tree[top] = entry.value
    return tree, lines


def _text(entry: Entry) -> str:
    """A class name as it is written: a class called `no` or `1` stays text."""
    return str(entry.text if entry.text is not None else entry.value)


def _names(tree: dict[str, Any], yaml: Path) -> dict[int, str]:
    names = tree.get("names")
    hint = "for example `names: {0: fire, 1: smoke}`"
    if isinstance(names, list) and names:
        table = {index: str(name) for index, name in enumerate(names)}
    elif isinstance(names, dict) and all(str(key).isdigit() for key in names):
        table = {int(key): str(name) for key, name in names.items()}
    else:
        raise DataError("no class names", where=str(yaml), hint=hint)
    if sorted(table) != list(range(len(table))):
        raise DataError(f"class ids {sorted(table)} are not 0 to {len(table) - 1}", where=f"{yaml}: names", hint=hint)
    folded = [name.strip().lower() for name in table.values()]
    if len(set(folded)) != len(folded):
        raise DataError(f"two classes have the same name: {', '.join(table.values())}", where=f"{yaml}: names")
    return dict(sorted(table.items()))


def _split(split: str, tree: dict[str, Any], root: Path, yaml: Path, lines: dict[str, int]) -> tuple[Path, ...]:
    value = tree.get(split)
    if not value:
        raise DataError(f"no `{split}:` images", where=str(yaml), hint=f"add `{split}: images/{split}`")
    paths = tuple((root / str(item)).resolve() for item in (value if isinstance(value, list) else [value]))
    for path in paths:
        if not path.exists():
            raise DataError(
                f"`{split}` is not there: {path}",
                where=f"{yaml}:{lines[split]}",
                hint="a relative `path:` starts at the YAML's own folder, and `train:` and `val:` start at `path:`",
            )
    return paths


def _count_images(paths: Sequence[Path], split: str, yaml: Path, line: int | None) -> int:
    count = sum(_images_in(path) for path in paths)
    if count == 0:
        shown = ", ".join(str(path) for path in paths)
        raise DataError(f"`{split}` has no images: {shown}", where=f"{yaml}:{line}")
    return count


def _images_in(path: Path) -> int:
    """Images below a folder, lines of a list file, or one for an image."""
    if path.is_dir():
        return sum(1 for item in path.rglob("*") if item.suffix.lower() in _IMAGE_SUFFIXES)
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return 1
    return sum(1 for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip())
