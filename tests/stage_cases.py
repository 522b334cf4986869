"""What the tests of staging share: staging in this process, and telling whether a copy is the set it was made from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from sainet.data.check.paths import label_path
from sainet.data.source import images_in, read_source
from sainet.data.stage.form import AS_IS, Form
from sainet.data.stage.record import RECORD
from sainet.data.stage.staging import Staged, stage_data
from sainet.data.stage.survey import take_survey


def stage(source: Path, place: Path, form: Form = AS_IS, **options: Any) -> Staged:
    """Stage a data YAML; whatever it takes is there."""
    options.setdefault("admit", lambda _need: None)
    return stage_data(take_survey(read_source(str(source))), place, form, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the record, whose times differ, by its name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != RECORD]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def seen(data_yaml: Path, split: str) -> list[tuple[str, bytes, bytes | None]]:
    """What a training sees of a split, in its order: name and contents of each image, and those of its label file."""
    paths = getattr(read_source(str(data_yaml)), split)
    images = sorted(image for path in paths for image in images_in(path))
    return [(Path(image).name, Path(image).read_bytes(), _bytes(label_path(image))) for image in images]


def tree_of_yaml(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree


def leftovers(place: Path) -> list[str]:
    """What lies beside a staged set that staging has made."""
    return [path.name for path in place.parent.iterdir() if path.name.startswith(f"{place.name}.")]


def _bytes(path: str) -> bytes | None:
    return Path(path).read_bytes() if Path(path).is_file() else None


Spoil = Callable[[Path], object]
