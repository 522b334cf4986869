"""`sainet train`: one stage."""

from pathlib import Path

from sainet.cli.options import ConfigFiles, Json, Profile, Sets, Stage, Tier, stage_number
from sainet.cli.train_options import (
    Batch,
    Cache,
    Data,
    Device,
    DryRun,
    Engine,
    Epochs,
    Flags,
    Force,
    Imgsz,
    OnVram,
    Resume,
    RunName,
    RunsDir,
    Weights,
    Workers,
)


def train(
    stage: Stage,
    profile: Profile = "auto",
    tier: Tier = None,
    data: Data = None,
    weights: Weights = None,
    run: RunName = None,
    runs_dir: RunsDir = Path("runs"),
    resume: Resume = False,
    dry_run: DryRun = False,
    json: Json = False,
    force: Force = False,
    set_: Sets = None,
    config: ConfigFiles = None,
    epochs: Epochs = None,
    batch: Batch = None,
    workers: Workers = None,
    cache: Cache = None,
    imgsz: Imgsz = None,
    device: Device = None,
    engine: Engine = None,
    on_vram: OnVram = None,
) -> None:
    """Train one stage of the detector."""
    from sainet.cli.start import start

    flags = Flags(data, weights, epochs, batch, workers, cache, imgsz, device, engine, on_vram)
    start(
        command="train",
        stages=[stage_number(stage)],
        profile=profile,
        tier=tier,
        settings=flags.settings(),
        sets=set_ or [],
        config_files=config or [],
        run=run,
        runs_dir=runs_dir,
        resume=resume,
        dry=dry_run,
        json=json,
        force=force,
    )
