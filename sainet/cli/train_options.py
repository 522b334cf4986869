"""The options that `train` and `full-workflow` share, and what they make of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

RunsDir = Annotated[Path, typer.Option(help="Folder of all runs.")]
RunName = Annotated[str | None, typer.Option("--run", help="Name of the run; by default made from the profile.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that exists.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print everything that would happen, and start nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Start in spite of what can be overridden; recorded in the run.")]
Data = Annotated[str | None, typer.Option(help="The data YAML.")]
Weights = Annotated[
    str | None, typer.Option(help="Initial weights: a .pt file, or a model .yaml (yolov8s.yaml) to start from scratch.")
]
Epochs = Annotated[int | None, typer.Option(help="schedule.epochs")]
Batch = Annotated[int | None, typer.Option(help="train.batch")]
Workers = Annotated[str | None, typer.Option(help="loader.workers: a number or auto", metavar="N")]
Cache = Annotated[str | None, typer.Option(help="loader.cache: false, ram or disk")]
Imgsz = Annotated[str | None, typer.Option(help="train.imgsz: 1440, or 1440x808 (width x height)", metavar="N|WxH")]
Device = Annotated[str | None, typer.Option(help="train.device: cpu, 0, or 0,1")]

Engine = Annotated[
    str | None,
    typer.Option(
        help="train.engine: sainet, or stock for Ultralytics' own loader and augmentation, as yolo train has them",
        metavar="sainet|stock",
    ),
]
OnVram = Annotated[
    str | None,
    typer.Option(
        "--on-vram",
        help="guard.on_vram, when VRAM runs short: the batch in pieces, the stage anew with a smaller batch, or stop",
        metavar="microbatch|restart|stop",
    ),
]


@dataclass(frozen=True)
class Flags:
    """The named flags, each standing for one key of the configuration."""

    data: str | None = None
    weights: str | None = None
    epochs: int | None = None
    batch: int | None = None
    workers: str | None = None
    cache: str | None = None
    imgsz: str | None = None
    device: str | None = None
    engine: str | None = None
    on_vram: str | None = None

    def settings(self, *, weights_key: str = "weights") -> list[tuple[str, str, str]]:
        """(key, value as text, flag) of each flag that was given."""
        keys = {
            "data": "data",
            "weights": weights_key,
            "epochs": "schedule.epochs",
            "batch": "train.batch",
            "workers": "loader.workers",
            "cache": "loader.cache",
            "imgsz": "train.imgsz",
            "device": "train.device",
            "engine": "train.engine",
            "on_vram": "guard.on_vram",
        }
        given = [(name, getattr(self, name)) for name in keys]
        return [
            (keys[name], _shape(str(value)) if name == "imgsz" else str(value), f"--{name.replace('_', '-')} {value}")
            for name, value in given
            if value is not None
        ]


def _shape(text: str) -> str:
    """`1440x808` and `1440,808` are [1440, 808]."""
    sides = text.replace("x", ",").strip("[] ").split(",")
    return text if len(sides) == 1 else f"[{', '.join(side.strip() for side in sides)}]"
