"""Ultralytics' dataset, kept from writing into the user's data and from dropping images in silence."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ultralytics.data.utils as upstream
from PIL import Image
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.patches import imread

from sainet.engine.giving_back import trim_malloc
from sainet.errors import DataError, RefusedError, StorageError
from sainet.files import storage_error
from sainet.geometry import Shape, fit_inside
from sainet.protocol import DataPlan

_SHOWN = 10
_LEFT_OUT = "ignoring corrupt image/label: "
_DUPLICATES = "labels removed"
_REWRITTEN = "restored and saved"
"""What upstream's messages about one image say of it."""


def scan_one(args: tuple[Any, ...]) -> Any:
    """Ultralytics' check of one image and its label file, except that a JPEG is never rewritten.

    Upstream re-encodes a JPEG that does not end in its end marker, in the user's folder. Here one that is cut counts
    as corrupt, in upstream's own result format (nothing, then missing, found, empty, corrupt, message), and one
    that only has something behind its end is read as it is.
    """
    image, prefix = args[0], args[2]
    if _is_cut_jpeg(Path(image)):
        message = f"{prefix}{image}: {_LEFT_OUT}JPEG without its end: the file is cut"
        return [None, None, None, None, None, 0, 0, 0, 1, message]
    *found, message = upstream.verify_image_label(args)
    return [*found, "" if message.endswith(_REWRITTEN) else message]


def _leave_as_it_is(_image: str, _save: Any) -> None:
    """Stands in for upstream's writing into the user's data."""


def _is_cut_jpeg(path: Path) -> bool:
    """True when a JPEG without its end marker does not decode; a file that is not there is left to upstream to tell."""
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"\xff\xd8":
                return False
            stream.seek(-2, 2)
            if stream.read(2) == b"\xff\xd9":
                return False
    except OSError:
        return False
    try:
        with Image.open(path) as image:
            image.load()
    except Exception:  # Pillow's decoders raise all kinds
        return True
    return False


class StageDataset(YOLODataset):  # type: ignore[misc]  # ultralytics has no types
    """One split of one stage. Classes of the label files become classes of the detector by `plan.class_map`.

    Caches (labels, decoded images) go to `cache_dir`. What upstream would drop or ignore is refused:
    unreadable images or labels (`DataError`), a RAM cache that does not fit (`RefusedError`), a disk cache
    that does not fit (`StorageError`).
    """

    augment: bool
    cache: str | None
    ims: Any
    """What is decoded already, by image, or None."""

    def __init__(
        self,
        *args: Any,
        plan: DataPlan,
        cache_dir: Path,
        split: str,
        cache_name: str,
        ram_cache_bytes: int | None,
        **kwargs: Any,
    ) -> None:
        self.plan = plan
        self.ram_cache_bytes = ram_cache_bytes
        self.cache_dir = cache_dir
        self.split = split
        self.cache_name = cache_name
        self.scan_notes: list[str] = []
        super().__init__(*args, data={"names": plan.source_names, "channels": 3}, task="detect", **kwargs)
        self._use_own_npy_files()

    @property
    def canvas(self) -> Shape:
        """What images are resized to fit into, (height, width)."""
        return self.imgsz, self.imgsz

    def verify_args(self) -> tuple[Any, Iterable[Any]]:
        upstream._replace_image = _leave_as_it_is
        _, arguments = super().verify_args()
        return scan_one, arguments

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        del cache_path  # upstream's lies beside the user's labels
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        cache, known = super()._load_or_scan_cache(self.cache_dir / f"{self.cache_name}.labels.cache", cache_hash)
        self._judge(cache["results"], cache["msgs"])
        return cache, known

    def cache_labels(self, path: Path = Path("./labels.cache")) -> dict[str, Any]:
        """Upstream's scan, except that a split without any label file is ours to judge.

        Upstream ends that with a `ValueError` that names the cache file, when it is augmenting.
        """
        augment, self.augment = self.augment, False
        try:
            cache: dict[str, Any] = super().cache_labels(path)
        finally:
            self.augment = augment
        return cache

    def _judge(self, results: tuple[int, int, int, int, int], messages: list[str]) -> None:
        """Refuse what upstream drops; remember what the user should know."""
        _, missing, _, corrupt, total = results
        if corrupt:
            self._judge_corrupt(corrupt, total, [_plain(m) for m in messages if _LEFT_OUT in m])
        if missing == total - corrupt:
            raise DataError(
                f"none of the {missing} {self.split} images has a label file",
                where=self.plan.yaml,
                hint=f"the labels of {self.im_files[0]} are looked for in {self.label_files[0]}",
            )
        if missing:
            self.scan_notes.append(
                f"{missing} of {total} {self.split} images have no label file and count as negatives"
            )
        self.scan_notes += [_plain(message) for message in messages if message.endswith(_DUPLICATES)][:_SHOWN]

    def _judge_corrupt(self, corrupt: int, total: int, reasons: list[str]) -> None:
        more = [f"and {corrupt - _SHOWN} more"] if corrupt > _SHOWN else []
        listed = "\n  ".join([*reasons[:_SHOWN], *more])
        if self.plan.skip_bad_images and corrupt < total:
            self.scan_notes.append(
                f"{corrupt} of {total} {self.split} images cannot be used and are left out:\n  {listed}"
            )
            return
        raise DataError(
            f"{corrupt} of {total} {self.split} images cannot be used:\n  {listed}",
            where=self.plan.yaml,
            hint="mend or remove them" + ("" if corrupt == total else "; --force trains without them"),
        )

    def verify_labels(self, labels: list[dict[str, Any]], cache_path: Path) -> None:
        """Upstream's choice between boxes and polygons, told to the user where it takes the polygons away."""
        polygons = sum(bool(label["segments"]) for label in labels)
        super().verify_labels(labels, cache_path)
        if polygons and not any(label["segments"] for label in labels):
            self.scan_notes.append(
                f"{polygons} label files of {self.split} hold polygons and others boxes: the polygons count as boxes"
            )

    def update_labels(self, include_class: list[int] | None) -> None:
        """Translate class ids, leaving out the boxes of classes that the detector does not have."""
        super().update_labels(include_class)
        for label in self.labels:
            _translate(label, self.plan.class_map)
        # Upstream takes the shapes away when it builds rectangular batches, before it asks about a disk cache.
        sizes = [label["shape"] for label in self.labels]
        self.decoded_bytes = sum(3 * height * width for height, width in sizes)
        fitted = [fit_inside(height, width, self.canvas) for height, width in sizes]
        self.fitted_bytes = sum(3 * height * width for height, width in fitted)
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
        """Upstream's estimate, of the cache folder, and from the sizes that the label scan knows."""
        self._use_own_npy_files()
        folder = self.cache_dir / "images"
        folder.mkdir(parents=True, exist_ok=True)
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

    def cache_images_to_disk(self, i: int) -> None:
        """Write image number `i` decoded, unless it is there; upstream would only log what cannot be written.

        Raises `DataError` for an image that does not decode, `StorageError` when the disk is full.
        """
        path = self.npy_files[i]  # named after the image's size and time: never stale
        if path.exists():
            return
        image = imread(self.im_files[i], flags=self.cv2_flag)
        if image is None:
            raise undecodable(self.im_files[i])
        unfinished = path.with_suffix(".tmp")  # a file of the real name is always whole
        try:
            with unfinished.open("wb") as stream:
                np.save(stream, image, allow_pickle=False)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise storage_error(error, path) from error

    def cache_images(self) -> None:
        """Upstream's; then what the images lay in before they were packed is given back, which glibc would keep."""
        super().cache_images()
        if self.cache == "ram":
            trim_malloc()

    def drop_cache(self) -> bool:
        """Forget the decoded images of `cache: ram`, which are read from their files from now on; True if it had any.

        What workers share with this process is given back once they have ended too.
        """
        if self.cache != "ram":
            return False
        self.cache = None
        for name in ("ims", "im_hw0", "im_hw"):
            setattr(self, name, [None] * self.ni)
        return True

    def check_cache_ram(self, safety_margin: float = 1.0) -> bool:
        """Against what the supervisor has left for it, from the sizes that the label scan knows.

        Upstream asks psutil, which sees the host and no container, about a few images, and leaves the cache out.
        """
        del safety_margin
        self._use_own_npy_files()
        left = self.ram_cache_bytes
        if left is not None and self.fitted_bytes > left:
            raise RefusedError(
                f"loader.cache: ram needs {self.fitted_bytes / 2**30:.1f} GiB for the {self.split} images, "
                f"{max(0, left) / 2**30:.1f} GiB are left beside the rest of the training",
                hint="--cache disk, or --cache false; --force starts all the same",
            )
        return True

    def _use_own_npy_files(self) -> None:
        """Decoded images lie in the cache folder. Upstream would write, renew and remove them beside the images."""
        self.npy_files = [self.cache_dir / "images" / f"{_digest(Path(path))}.npy" for path in self.im_files]


def undecodable(image: str) -> DataError:
    """For an image that passed the scan, which reads no more than the head of most formats."""
    return DataError(f"{image} is gone or does not decode", hint="mend or remove it, and its label file")


def _translate(label: dict[str, Any], class_map: Mapping[int, int]) -> None:
    ids = label["cls"][:, 0].astype(int)
    kept = np.isin(ids, list(class_map))
    label["cls"] = np.array([[class_map[i]] for i in ids[kept]], dtype=label["cls"].dtype).reshape(-1, 1)
    label["bboxes"] = label["bboxes"][kept]
    if label["segments"]:
        label["segments"] = [s for s, keep in zip(label["segments"], kept, strict=True) if keep]


def _plain(message: str) -> str:
    """The image and what is wrong with it, without the coloured split name that upstream puts in front."""
    uncoloured = re.sub(r"\x1b\[[0-9;]*m", "", message)
    image, mark, reason = uncoloured.removeprefix("train: ").removeprefix("val: ").partition(_LEFT_OUT)
    if "inhomogeneous" in reason:
        reason = "the rows of its label file have different numbers of columns"
    return image + reason if mark else image


def _digest(path: Path) -> str:
    """A name for the decoded image: another one when the file changes, whatever its new time says."""
    stat = path.stat()
    return hashlib.sha256(os.fsencode(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}")).hexdigest()[:32]
