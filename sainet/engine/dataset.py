"""Ultralytics' dataset, kept from writing into the user's data and from dropping images in silence."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data.dataset import YOLODataset

from sainet.errors import DataError, RefusedError, StorageError
from sainet.protocol import DataPlan

_SHOWN = 10


def scan_one(args: tuple[Any, ...]) -> Any:
    """Ultralytics' check of one image and its label file, except that a JPEG is never rewritten.

    Upstream re-encodes a JPEG without its end marker in place, in the user's folder; here it counts as corrupt,
    in upstream's own result format (nothing, then missing, found, empty, corrupt, message).
    """
    from ultralytics.data.utils import verify_image_label

    image, prefix = args[0], args[2]
    if _is_cut_jpeg(Path(image)):
        return [None, None, None, None, None, 0, 0, 0, 1, f"{prefix}{image}: JPEG without its end: the file is cut"]
    return verify_image_label(args)


def _is_cut_jpeg(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.read(2) != b"\xff\xd8":
            return False
        stream.seek(-2, 2)
        return stream.read(2) != b"\xff\xd9"


class StageDataset(YOLODataset):  # type: ignore[misc]  # ultralytics has no types
    """One split of one stage. Classes of the label files become classes of the detector by `plan.class_map`.

    Caches (labels, decoded images) go to `cache_dir`. What upstream would drop or ignore is refused:
    unreadable images or labels (`DataError`), a RAM cache that does not fit (`RefusedError`), a disk cache
    that does not fit (`StorageError`).
    """

    def __init__(self, *args: Any, plan: DataPlan, cache_dir: Path, split: str, **kwargs: Any) -> None:
        self.plan = plan
        self.cache_dir = cache_dir
        self.split = split
        self.scan_notes: list[str] = []
        super().__init__(*args, data={"names": plan.source_names, "channels": 3}, task="detect", **kwargs)

    def verify_args(self) -> tuple[Any, Iterable[Any]]:
        _, arguments = super().verify_args()
        return scan_one, arguments

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        del cache_path  # upstream's lies beside the user's labels
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        cache, known = super()._load_or_scan_cache(self.cache_dir / f"{self.split}.labels.cache", cache_hash)
        self._judge(cache["results"], cache["msgs"])
        return cache, known

    def _judge(self, results: tuple[int, int, int, int, int], messages: list[str]) -> None:
        """Refuse what upstream drops; remember what the user should know."""
        _, missing, _, corrupt, total = results
        bad = [m.replace("ignoring corrupt image/label: ", "") for m in messages if not m.endswith("labels removed")]
        if corrupt and not self.plan.skip_bad_images:
            listed = "\n  ".join(_plain(message) for message in bad[:_SHOWN])
            more = f"\n  and {corrupt - _SHOWN} more" if corrupt > _SHOWN else ""
            raise DataError(
                f"{corrupt} of {total} {self.split} images cannot be used:\n  {listed}{more}",
                where=self.plan.yaml,
                hint="mend or remove them; --force trains without them",
            )
        if corrupt:
            self.scan_notes.append(f"{corrupt} of {total} {self.split} images cannot be used: left out (--force)")
        if missing:
            self.scan_notes.append(
                f"{missing} of {total} {self.split} images have no label file and count as negatives"
            )
        self.scan_notes += [_plain(message) for message in messages if message.endswith("labels removed")][:_SHOWN]

    def update_labels(self, include_class: list[int] | None) -> None:
        """Translate class ids, leaving out the boxes of classes that the detector does not have."""
        super().update_labels(include_class)
        for label in self.labels:
            _translate(label, self.plan.class_map)
        # Upstream takes the shapes away when it builds rectangular batches, before it asks about a disk cache.
        self.decoded_bytes = sum(3 * height * width for height, width in (label["shape"] for label in self.labels))
        self._check_boxes()

    def _check_boxes(self) -> None:
        present = {int(index) for label in self.labels for index in np.unique(label["cls"])}
        absent = [name for index, name in self.plan.target_names.items() if index not in present]
        if len(absent) == len(self.plan.target_names):
            raise DataError(
                f"no {self.split} image has a box of {' or '.join(self.plan.target_names.values())}",
                where=self.plan.yaml,
                hint="check the label files, and that the names in the YAML are in the order of their class ids",
            )
        self.scan_notes += [f"no {self.split} image has a box of {name}" for name in absent]

    def check_cache_disk(self, safety_margin: float = 0.1) -> bool:
        """Point the .npy files to the cache folder; upstream would write them beside the images."""
        folder = self.cache_dir / "images"
        folder.mkdir(parents=True, exist_ok=True)
        self.npy_files = [folder / f"{_digest(path)}.npy" for path in self.im_files]
        needed = int(self.decoded_bytes * (1 + safety_margin))
        have = sum(path.stat().st_size for path in self.npy_files if path.exists())
        free = shutil.disk_usage(folder).free
        if needed - have > free:
            raise StorageError(
                f"loader.cache: disk needs {needed / 2**30:.1f} GiB for the {self.split} images, "
                f"{folder} has {free / 2**30:.1f} GiB free",
                hint="--cache false, or a --runs-dir on a larger disk",
            )
        return True

    def check_cache_ram(self, safety_margin: float = 1.0) -> bool:
        """Upstream's estimate, but a cache that does not fit is refused rather than silently left out."""
        if super().check_cache_ram(safety_margin):
            return True
        raise RefusedError(
            f"loader.cache: ram does not fit for the {self.split} images", hint="--cache false, or --cache disk"
        )


def _translate(label: dict[str, Any], class_map: Mapping[int, int]) -> None:
    ids = label["cls"][:, 0].astype(int)
    kept = np.isin(ids, list(class_map))
    label["cls"] = np.array([[class_map[i]] for i in ids[kept]], dtype=label["cls"].dtype).reshape(-1, 1)
    label["bboxes"] = label["bboxes"][kept]
    if label["segments"]:
        label["segments"] = [s for s, keep in zip(label["segments"], kept, strict=True) if keep]


def _plain(message: str) -> str:
    """Without the coloured split name that upstream puts in front."""
    return message.partition(": ")[2] if "\x1b" in message else message.removeprefix("train: ").removeprefix("val: ")


def _digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:32]
