"""Reading a data YAML (Ultralytics' format): where the images are and what the label files' classes are called."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yaml import MappingNode, SafeLoader, ScalarNode, SequenceNode, compose

from sainet.config.document import Entry, read_entries
from sainet.errors import ConfigError, DataError
from sainet.protocol import DataPlan

IMAGE_FORMATS = frozenset(
    ["avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"]
)
"""What Ultralytics 8.4 reads as an image; other files in an image folder are not looked at."""

MOST_NAMED = 20_000
"""Of a larger split only an even part of the paths is kept: the supervisor holds them for as long as it runs."""


@dataclass(frozen=True)
class Paths:
    """The paths of a split's images: all of them (`count`), or an even part of at most `MOST_NAMED`."""

    count: int
    named: tuple[str, ...]


@dataclass(frozen=True)
class DataSource:
    """A data YAML that was read and whose images are there.

    `train`, `val`: the folders and list files. `train_paths`, `val_paths`: what was found in them.
    `test`: the same of `test:`, as far as they are there; no training reads them.
    `lines`: the line of each key of the YAML.
    """

    yaml: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    names: dict[int, str]
    train_paths: Paths = field(repr=False)
    val_paths: Paths = field(repr=False)
    test: tuple[Path, ...] = ()
    lines: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def train_images(self) -> int:
        return self.train_paths.count

    @property
    def val_images(self) -> int:
        return self.val_paths.count

    @property
    def named_images(self) -> tuple[str, ...]:
        """The paths that are kept, of both splits."""
        return self.train_paths.named + self.val_paths.named


def read_source(path: str) -> DataSource:
    """Read and check a data YAML.

    A relative `path:` is relative to the YAML, and `train:` / `val:` to that. A `download:` key is never run.
    Raises `DataError` when the file, a folder or the images are missing, or when the YAML asks for something that
    would be left out in silence.
    """
    yaml = Path(path).expanduser().absolute()
    if not yaml.is_file():
        raise DataError(f"no such data YAML: {path}", hint="name it with --data, or set `data` in sainet.yaml")
    tree, lines = _tree(yaml)
    names = _names(tree, yaml)
    _check_promises(tree, names, yaml, lines)
    root = (yaml.parent / Path(str(tree.get("path") or ".")).expanduser()).resolve()
    splits = {split: _split(split, tree, root, yaml, lines) for split in ("train", "val")}
    found = {split: _find_images(paths, split, yaml, lines.get(split)) for split, paths in splits.items()}
    test = tuple(path for path in _places("test", tree, root) if path.exists())
    return DataSource(yaml, splits["train"], splits["val"], names, found["train"], found["val"], test, lines)


def data_plan(source: DataSource, classes: Sequence[str] | None, *, skip_bad_images: bool) -> DataPlan:
    """The classes asked for, found by name in any case; all of the data's where `classes` is None.

    Raises `DataError` when the data do not have one of them.
    """
    ids = {name.strip().lower(): index for index, name in source.names.items()}
    wanted = list(classes) if classes is not None else list(source.names.values())
    if len({name.strip().lower() for name in wanted}) != len(wanted):
        raise DataError(
            f"the same class is asked for twice: {', '.join(wanted)}", hint="name each once in schedule.classes"
        )
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
    if isinstance(tree.get("names"), list):
        tree["names"] = _listed_names(yaml) or tree["names"]
    return tree, lines


def _text(entry: Entry) -> str:
    """A class name as it is written: a class called `no` or `1` stays text."""
    return str(entry.text if entry.text is not None else entry.value)


def _listed_names(yaml: Path) -> list[str]:
    """As `_text`, for `names` as a list; empty where it is not a plain list of names."""
    root = compose(yaml.read_text(encoding="utf-8"), Loader=SafeLoader)
    assert isinstance(root, MappingNode)  # it was read as one before
    node = next((value for key, value in root.value if key.value == "names"), None)
    if not isinstance(node, SequenceNode) or not all(isinstance(item, ScalarNode) for item in node.value):
        return []
    return [str(item.value) for item in node.value]


def _check_promises(tree: dict[str, Any], names: dict[int, str], yaml: Path, lines: dict[str, int]) -> None:
    """What the YAML says about the data beyond their place."""
    if tree.get("nc") not in (None, len(names), str(len(names))):
        raise DataError(
            f"`nc: {tree['nc']}` does not fit the {len(names)} names",
            where=f"{yaml}:{lines['nc']}",
            hint="mend `names`, or leave `nc` out",
        )
    if tree.get("channels") not in (None, 3):
        raise DataError(
            f"`channels: {tree['channels']}`: images are trained in colour, with 3 channels",
            where=f"{yaml}:{lines['channels']}",
            hint="leave `channels` out: grey images are read as colour",
        )


def _names(tree: dict[str, Any], yaml: Path) -> dict[int, str]:
    names = tree.get("names")
    hint = "for example `names: {0: fire, 1: smoke}`"
    if isinstance(names, list) and names:
        table = {index: str(name) for index, name in enumerate(names)}
    elif isinstance(names, dict) and all(str(key).isdecimal() for key in names):
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
    paths = _places(split, tree, root)
    if not paths:
        raise DataError(f"no `{split}:` images", where=str(yaml), hint=f"add `{split}: images/{split}`")
    for path in paths:
        if not path.exists():
            raise DataError(
                f"`{split}` is not there: {path}",
                where=f"{yaml}:{lines[split]}",
                hint="a relative `path:` starts at the YAML's own folder, and `train:` and `val:` start at `path:`",
            )
        if _is_image(str(path)) and path.is_file():
            raise DataError(
                f"`{split}` is one image: {path}",
                where=f"{yaml}:{lines[split]}",
                hint="name a folder of images, or a text file with one image a line",
            )
    return paths


def _places(split: str, tree: dict[str, Any], root: Path) -> tuple[Path, ...]:
    """The folders and list files that a split names; they may not exist."""
    value = tree.get(split) or []
    return tuple((root / str(item)).resolve() for item in (value if isinstance(value, list) else [value]))


def _find_images(paths: Sequence[Path], split: str, yaml: Path, line: int | None) -> Paths:
    try:
        found = _evenly(image for path in paths for image in images_in(path))
    except OSError as error:
        raise DataError(f"`{split}` cannot be read: {error}", where=f"{yaml}:{line}") from error
    if found.count == 0:
        shown = ", ".join(str(path) for path in paths)
        raise DataError(f"`{split}` has no images: {shown}", where=f"{yaml}:{line}")
    return found


def _evenly(images: Iterable[str]) -> Paths:
    """All paths counted, and every one, every second, every fourth, ... of them kept, sorted."""
    count, step, kept = 0, 1, list[str]()
    for count, image in enumerate(images, start=1):
        if (count - 1) % step == 0:
            kept.append(image)
        if len(kept) > MOST_NAMED:
            kept, step = kept[::2], 2 * step
    return Paths(count, tuple(sorted(kept)))


def images_in(path: Path) -> Iterator[str]:
    """Images below a folder, or in a list file, as Ultralytics finds them: links are followed, hidden files are not."""
    if path.is_dir():
        pattern = f"{glob.escape(str(path))}/**/*.*"
        found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - rglob follows no links and finds hidden files
    else:
        # Its other relative lines start at the working directory.
        beside = f"{path.parent}{os.sep}"
        found = (f"{beside}{line[2:]}" if line.startswith("./") else line for line in _listed(path))
    return filter(_is_image, found)


def _listed(path: Path) -> list[str]:
    """The lines of a list file. Raises `DataError` for what Ultralytics would leave out or cannot read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError("a list of images must be UTF-8", where=str(path), hint="save it as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if line != line.strip() and _is_image(line):
            raise DataError(
                f"blanks around the name of an image, which Ultralytics would leave out: {line!r}",
                where=f"{path}:{number}",
                hint="remove the blanks",
            )
    return lines


def _is_image(name: str) -> bool:
    return name.strip().rpartition(".")[2].lower() in IMAGE_FORMATS
