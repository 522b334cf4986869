"""The surroundings in which Ultralytics is imported: no network, no installs, no settings but our own.

`seal` must run before the first import of `ultralytics`, which reads all of this at import time.
"""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from sainet.files import replace_text, replacing

_SETTINGS = {
    "settings_version": "0.0.8",
    "datasets_dir": "",
    "weights_dir": "",
    "runs_dir": "",
    "uuid": "",
    "sync": False,
    "api_key": "",
    "openai_api_key": "",
    **dict.fromkeys(
        ["clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "vscode_msg", "openvino_msg"], False
    ),
}
"""Ultralytics' settings of schema 0.0.8 with everything off that would talk to somebody.

Written whole, or Ultralytics would complete it with its own defaults and a warning.
"""


def seal(folder: Path) -> None:
    """Give Ultralytics a private configuration folder below `folder` and shut every way to the network.

    The user's own Ultralytics settings are neither read nor written.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        # Clusters set these for every container; Ultralytics would believe to be one of several processes.
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)
    os.environ.update(
        YOLO_OFFLINE="1",  # no version check, no connectivity probe, no telemetry
        YOLO_AUTOINSTALL="False",  # never pip install while somebody pays for the machine
        YOLO_CONFIG_DIR=str(folder),
        MPLCONFIGDIR=str(folder / "matplotlib"),
        YOLO_VERBOSE="True",
    )
    # Ultralytics appends its own name to a YOLO_CONFIG_DIR, as it does to any configuration folder.
    private = folder / "Ultralytics"
    private.mkdir(parents=True, exist_ok=True)
    settings = dict(_SETTINGS)
    for key in ("datasets_dir", "weights_dir", "runs_dir"):
        settings[key] = str(private / key.removesuffix("_dir"))
    replace_text(private / "settings.json", json.dumps(settings))
    _stand_in_font(private)


def _stand_in_font(private: Path) -> None:
    """Plots ask for Arial, which Ultralytics would download; matplotlib ships a free font that can stand in."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return
    font = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if font.exists() and not (private / name).exists():
            with replacing(private / name) as temporary:  # half a font would spoil the plots of every later attempt
                shutil.copyfile(font, temporary)
