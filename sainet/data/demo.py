"""Makes the demo set: two small Ultralytics data sets, rendered, so that both stages can be tried at once.

    DIR/demo.yaml             a configuration for `--config`: where the data of each stage are
    DIR/stage-1/              fire and smoke, near and far; every image shows a place of its own
    DIR/stage-2/              smoke only, far and thin, seen by a few fixed cameras
        data.yaml  images/{train,val}/*.jpg  labels/{train,val}/*.txt
    DIR/demo.json             with which settings it was made; written last

The same settings give the same bytes, and an image does not depend on how many others there are. No place and
no camera is in both splits. An image without fire or smoke has an empty label file.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sainet.data.demo_files import (
    CLASSES,
    CONFIG_TEXT,
    DemoSettings,
    count_labels,
    data_yaml_of,
    data_yaml_text,
    paths_of,
    write_image,
)
from sainet.data.render import render
from sainet.errors import StorageError, UsageError
from sainet.files import replace_text, replacing

MANIFEST, UNFINISHED, CONFIG = "demo.json", "demo-unfinished.json", "demo.yaml"
SMALLEST, LARGEST = 64, 4096
"""Sides of an image, in pixels."""

OnImage = Callable[[int, int], None]
"""Called with (done, total) after each image."""


@dataclass(frozen=True)
class StageSummary:
    """One stage's data set; `negatives` are images without a box, `boxes` are counted by class name."""

    stage: int
    data_yaml: Path
    train: int
    val: int
    negatives: int
    boxes: Mapping[str, int]

    @property
    def images(self) -> int:
        return self.train + self.val


@dataclass(frozen=True)
class DemoSummary:
    """What is in a demo set; `created` is False when it was there already and was left as it is."""

    folder: Path
    config: Path
    stages: tuple[StageSummary, ...]
    created: bool


def write_demo(
    folder: Path,
    *,
    train: int,
    val: int,
    width: int,
    height: int,
    seed: int,
    on_image: OnImage | None = None,
) -> DemoSummary:
    """Make the demo set in `folder`: `train` and `val` images of `width` x `height` pixels for each stage.

    A finished set of the same settings is left as it is; an unfinished one is made again. Raises `UsageError`
    for settings that cannot be and for a folder that holds anything else, `StorageError` when the disk is
    full or the folder cannot be written.
    """
    settings = DemoSettings(train, val, width, height, seed)
    _check(settings)
    finished = _is_finished(folder, settings)
    if not finished:
        _make(folder, settings, on_image)
    return _summary(folder, settings, created=not finished)


def _check(settings: DemoSettings) -> None:
    if settings.train < 1 or settings.val < 1:
        raise UsageError("a demo set needs images in both splits", hint="give --train and --val 1 or more")
    if not all(SMALLEST <= side <= LARGEST for side in (settings.width, settings.height)):
        raise UsageError(
            f"cannot render images of {settings.width}x{settings.height} pixels",
            hint=f"give each side of --size {SMALLEST} to {LARGEST} pixels",
        )
    if settings.seed < 0:
        raise UsageError(f"the seed {settings.seed} is negative", hint="give --seed 0 or more")


def _is_finished(folder: Path, settings: DemoSettings) -> bool:
    """Whether `folder` holds this very set; False when it can be made there. Raises `UsageError` otherwise."""
    names = _names_in(folder)
    if not names:
        return False
    made = _made_with(folder / MANIFEST) or _made_with(folder / UNFINISHED)
    if made is None or names - {MANIFEST, UNFINISHED, CONFIG, *(f"stage-{stage}" for stage in CLASSES)}:
        hint = "name a new or an empty folder: nothing is overwritten"
        raise UsageError(f"{folder} is not empty, and is not a demo set only", hint=hint)
    if made != asdict(settings):
        settings_made = ", ".join(f"{name} {value}" for name, value in made.items())
        hint = "name another folder, or delete this one"
        raise UsageError(f"{folder} holds a demo set of other settings: {settings_made}", hint=hint)
    if MANIFEST not in names:
        return False
    _refuse_gaps(folder, settings)
    return True


def _names_in(folder: Path) -> set[str]:
    """What lies in `folder`, without what a kill left of one of our files being written."""
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="name a new folder")
    names = {entry.name for entry in folder.iterdir()}
    return {name for name in names if not (name.startswith(".demo") and name.endswith(".tmp"))}


def _made_with(manifest: Path) -> dict[str, object] | None:
    """The settings that a manifest names; None when there is none, or it is not ours."""
    try:
        settings = json.loads(manifest.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return settings if isinstance(settings, dict) else None


def _refuse_gaps(folder: Path, settings: DemoSettings) -> None:
    images = [path for stage in CLASSES for shot in settings.shots(stage) for path in paths_of(folder, shot)]
    wanted = [*images, folder / CONFIG, *(data_yaml_of(folder, stage) for stage in CLASSES)]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise UsageError(
            f"the demo set in {folder} has lost files: {len(missing)}, among them {missing[0]}",
            hint="delete the folder and run the same command again",
        )


def _make(folder: Path, settings: DemoSettings, on_image: OnImage | None) -> None:
    text = json.dumps({"settings": asdict(settings)}, indent=2) + "\n"
    try:
        # Marks the folder as ours, so that what a kill leaves behind can be taken up again.
        replace_text(folder / UNFINISHED, text)
        # The manifest gets its name when everything else is written: without it, no set is finished.
        with replacing(folder / MANIFEST) as manifest:
            _write_files(folder, settings, on_image)
            manifest.write_text(text, encoding="utf-8")
    except StorageError as error:
        hint = "make room or choose another folder, then run the same command again: it starts afresh"
        raise StorageError(error.message, hint=hint) from error
    (folder / UNFINISHED).unlink()


def _write_files(folder: Path, settings: DemoSettings, on_image: OnImage | None) -> None:
    shots = [shot for stage in CLASSES for shot in settings.shots(stage)]
    for done, shot in enumerate(shots, start=1):
        write_image(folder, shot, render(shot))
        if on_image:
            on_image(done, len(shots))
    for stage in CLASSES:
        replace_text(data_yaml_of(folder, stage), data_yaml_text(stage))
    replace_text(folder / CONFIG, CONFIG_TEXT)


def _summary(folder: Path, settings: DemoSettings, *, created: bool) -> DemoSummary:
    stages = []
    for stage in CLASSES:
        negatives, boxes = count_labels(folder, settings, stage)
        stages.append(StageSummary(stage, data_yaml_of(folder, stage), settings.train, settings.val, negatives, boxes))
    return DemoSummary(folder, folder / CONFIG, tuple(stages), created)
