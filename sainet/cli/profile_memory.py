"""`sainet profile-memory`: what a profile needs, against the machine it is for and against this one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sainet.cli.options import ConfigFiles, Json, Profile, Sets, Tier, stage_number
from sainet.cli.train_options import Batch, Cache, Data, Engine, Flags, Imgsz, RunsDir, Workers

if TYPE_CHECKING:
    from sainet.run.planning import Outlook

_Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="Another model than the weights': yolov8m, yolo11s.yaml or a .pt file."
    ),
]
_Gpu = Annotated[
    str | None, typer.Option("--gpu", metavar="NAME|GIB", help="Another GPU to plan for: A10G, H200, or its GiB.")
]
_Gpus = Annotated[int | None, typer.Option("--gpus", min=1, max=64, help="Another number of GPUs.")]
_Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the budget against the limits.")]
_WhatIf = Annotated[bool, typer.Option("--what-if", help="Tables: batches at image sizes, and numbers of GPUs.")]
_Measure = Annotated[
    bool,
    typer.Option("--measure", help="Run a few real batches here, and print predicted beside measured. Needs data."),
]
_Check = Annotated[
    bool, typer.Option("--check", help="Exit with 3 when it does not fit (here, where the profile states no size).")
]


def profile_memory(
    profile: Profile = "auto",
    stage: Annotated[int, typer.Option("--stage", min=1, max=2, metavar="1|2", help="1 or 2.")] = 1,
    tier: Tier = None,
    data: Data = None,
    model: _Model = None,
    imgsz: Imgsz = None,
    batch: Batch = None,
    workers: Workers = None,
    cache: Cache = None,
    gpu: _Gpu = None,
    gpus: _Gpus = None,
    engine: Engine = None,
    set_: Sets = None,
    config: ConfigFiles = None,
    runs_dir: RunsDir = Path("runs"),
    plot: _Plot = None,
    what_if: _WhatIf = False,
    measure: _Measure = False,
    check: _Check = False,
    json: Json = False,
) -> None:
    """Say what a training will need of RAM, /dev/shm, disk and VRAM, and whether it fits. Needs no GPU.

    Compares with the profile's own machine and, where it has such a device, with this one. The first time for a model
    and an image size it traces a step, which takes some seconds; after that it answers at once.
    """
    from sainet.cli.options import request_of
    from sainet.cli.output import note
    from sainet.hardware.machine import read_machine
    from sainet.run.planning import outlook

    device = None if gpus is None else ",".join(map(str, range(gpus)))
    flags = Flags(data=data, batch=batch, workers=workers, cache=cache, imgsz=imgsz, device=device, engine=engine)
    request = request_of(profile, tier, config or [], set_ or [])
    request.sets, request.folder = flags.settings() + request.sets, str(Path.cwd())
    found = outlook(stage_number(stage), request, read_machine(), runs_dir, model=model, card=gpu, tell=note)
    described = _described(found, what_if=what_if)
    if measure:
        described["measured"] = _measured(found, runs_dir)
        described["notes"] += described["measured"]["notes"]
    if plot is not None:
        from sainet.report.memory_plot import draw

        draw(found.planned.forecast, found.planned.limits, found.here, plot, title=_title(found))
        note(f"drawn: {plot}")
    if json:
        from sainet.cli.output import print_json

        print_json(described)
    else:
        from sainet.cli.memory_tables import print_outlook

        print_outlook(described, title=_title(found))
    if check:
        _check(found)


def _described(found: "Outlook", *, what_if: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from sainet.report.memory import resource_dicts

    planned, resolved = found.planned, found.resolved
    forecast = planned.forecast
    too_large = forecast.too_large(planned.limits)
    described: dict[str, Any] = {
        "profile": resolved.profile,
        "tier": resolved.tier,
        "stage": resolved.stage,
        "engine": planned.workload.engine,
        "model": found.trace.model,
        "classes": found.trace.classes,
        "shape": list(planned.workload.shape),
        "batch": planned.workload.batch,
        "gpus": planned.workload.gpus,
        "micro_batch": planned.workload.micro_batch,
        "images": found.images.source if found.images else None,
        "resources": resource_dicts(forecast, planned.limits, found.here),
        "largest_batch": found.largest_batch,
        "nearest": planned.nearest() if too_large else [],
        "notes": found.notes,
    }
    if what_if:
        from sainet.run.what_if import batches_by_shape, by_gpus

        described["what_if"] = [asdict(cell) for cell in batches_by_shape(found)]
        described["gpus_table"] = [asdict(row) for row in by_gpus(found)] if planned.workload.gpus else []
    return described


def _measured(found: "Outlook", runs_dir: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from sainet.cli.output import note
    from sainet.run.measured import measure_here

    result = measure_here(found, runs_dir, title=_title(found), tell=note)
    rows = [{**asdict(row), "error": row.error} for row in result.rows]
    return {"rows": rows, "notes": list(result.notes), "figures": asdict(result.measured)}


def _title(found: "Outlook") -> str:
    resolved, workload = found.resolved, found.planned.workload
    tier = f", tier {resolved.tier}" if resolved.tier else ""
    height, width = workload.shape
    on = f"{workload.gpus} GPU{'s' * (workload.gpus > 1)}" if workload.gpus else "a CPU"
    pieces = f" in {workload.micro_batch} pieces" if workload.micro_batch > 1 else ""
    return (
        f"profile {resolved.profile}{tier}, stage {resolved.stage}: {Path(found.trace.model).stem}, "
        f"{found.trace.classes} class{'es' * (found.trace.classes > 1)}, {height}x{width} (H x W), "
        f"batch {workload.batch}{pieces} on {on}, engine {workload.engine}"
    )


def _check(found: "Outlook") -> None:
    """Raises `RefusedError` with what does not fit: into the planned machine, or here where nobody states its size."""
    from dataclasses import replace

    from sainet.errors import RefusedError, combined

    stated = found.planned.limits
    limits = {
        name: limit if limit.bytes is not None or not found.here else found.here[name] for name, limit in stated.items()
    }
    problems = list(replace(found.planned, limits=limits).refusals(dict))
    if problems:
        raise combined([RefusedError(p.message, where=p.where, hint=p.hint) for p in problems])
