"""Finding the initial weights before anything starts, without a download and without torch."""

import re
from importlib.util import find_spec
from pathlib import Path

from sainet.errors import WeightsError

_SCRATCH = "or start from scratch with --weights yolov8s.yaml"
_OTHER_TASKS = ("-cls", "-seg", "-sem", "-pose", "-obb", "-world", "-depth")


def find_weights(name: str, folder: Path) -> str:
    """The absolute path of a checkpoint, or a model YAML that Ultralytics knows or that lies on disk.

    Looked for as given from `folder`, then in `folder`/weights. Nothing is ever downloaded.
    Raises `WeightsError` when there is none, or when the file is no checkpoint.
    """
    suffix = Path(name).suffix.lower()
    if suffix in {".yaml", ".yml"}:
        return _model_yaml(name, folder)
    if suffix != ".pt":
        raise WeightsError(f"weights are a .pt checkpoint or a model .yaml, not {name!r}", where="weights")
    candidates = [folder / Path(name).expanduser()]
    if not Path(name).is_absolute():
        candidates.append(folder / "weights" / name)
    for path in candidates:
        if path.is_file():
            if is_checkpoint(path):
                return str(path.resolve())
            raise WeightsError(
                f"{path} is not a checkpoint (empty, cut short, or not written by torch.save)",
                hint=f"copy it again, name another with --weights, {_SCRATCH}",
            )
    looked = " and ".join(str(path.parent) for path in candidates)
    raise WeightsError(
        f"there are no weights {Path(name).name} (looked in {looked})",
        hint=f"put the file into one of these folders (sainet never downloads), name it with --weights, {_SCRATCH}",
    )


def is_checkpoint(path: Path) -> bool:
    """True for what torch.save writes, a whole zip with a pickle in it; False for anything else, or nothing."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _model_yaml(name: str, folder: Path) -> str:
    path = folder / Path(name).expanduser()
    if path.is_file():
        return str(path.resolve())
    if name in _known_models():
        return name
    detection = [model for model in sorted(_known_models()) if re.fullmatch(r"yolo(v8|11|12|26)s\.yaml", model)]
    raise WeightsError(
        f"there is no model {name}", hint=f"a file of your own, or one that Ultralytics has: {', '.join(detection)}"
    )


def _known_models() -> set[str]:
    """Names of the detection models in the installed Ultralytics, one for each scale (yolov8n.yaml, ...)."""
    spec = find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        return set()
    names = set()
    for path in (Path(spec.submodule_search_locations[0]) / "cfg" / "models").rglob("yolo*.yaml"):
        if any(task in path.stem for task in _OTHER_TASKS):
            continue
        # Ultralytics reads the scale from the letter behind the version: yolov8n-p2.yaml is yolov8-p2.yaml at n.
        names |= {re.sub(r"^(yolov?\d+)", rf"\g<1>{scale}", path.name) for scale in "nsmlx"}
    return names
