"""`sainet full-workflow`: stage 1, then stage 2 from its best weights."""

from pathlib import Path

from sainet.cli.options import ConfigFiles, Json, Profile, Sets, Tier
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


def full_workflow(
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
    """Train both stages. Run it again after any interruption: it goes on where it was.

    Flags and --set reach both stages, except --weights, which are stage 1's. `stage1.` or `stage2.` in front
    of a key limits it: --set stage1.data=fasdd.yaml --set stage2.data=pyrosdis.yaml --set stage2.epochs=40.
    """
    from sainet.cli.start import start

    flags = Flags(data, weights, epochs, batch, workers, cache, imgsz, device, engine, on_vram)
    start(
        command="full-workflow",
        stages=[1, 2],
        profile=profile,
        tier=tier,
        settings=flags.settings(weights_key="stage1.weights"),
        sets=set_ or [],
        config_files=config or [],
        run=run,
        runs_dir=runs_dir,
        resume=resume,
        dry=dry_run,
        json=json,
        force=force,
    )
