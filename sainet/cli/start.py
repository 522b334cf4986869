"""What `train` and `full-workflow` have in common: from options to a workflow that is printed or run."""

from collections.abc import Sequence
from pathlib import Path

from sainet.cli.options import request_of
from sainet.config.keys import expand, split_stage
from sainet.errors import UsageError
from sainet.hardware.machine import read_machine
from sainet.protocol import Stage
from sainet.state import Command, Request, RunFolder
from sainet.workflow import Workflow

_LONGEST_NAME = 100


def start(
    *,
    command: Command,
    stages: Sequence[Stage],
    profile: str,
    tier: str | None,
    settings: list[tuple[str, str, str]],
    sets: Sequence[str],
    config_files: Sequence[Path],
    run: str | None,
    runs_dir: Path,
    resume: bool,
    dry: bool,
    json: bool,
    force: bool,
) -> None:
    """Run (or only print) what the options ask for."""
    request = request_of(profile, tier, config_files, sets)
    request.sets, request.force, request.folder = settings + request.sets, force, str(Path.cwd())
    name = default_name(command, stages, profile, tier) if run is None else run
    folder = RunFolder(runs_dir.expanduser() / _checked(name))
    if resume and profile == "auto" and folder.exists:
        stored = folder.read_state()
        if set(stages) <= stored.stages.keys():  # what was asked for another stage says nothing about this one
            request = _over(stored.request, request)
    workflow = Workflow(command, stages, request, folder, read_machine())
    if dry:
        from sainet.cli.dry_run import dry_run

        dry_run(workflow, resume=resume, json=json)
    else:  # only here is a live view needed, which takes as long to import as all the rest
        from sainet.cli.live import run_live

        run_live(workflow, resume=resume, json=json)


def default_name(command: Command, stages: Sequence[Stage], profile: str, tier: str | None) -> str:
    """The same command finds the same run again."""
    what = "two-stage" if command == "full-workflow" else f"stage{stages[0]}"
    return "-".join(part for part in (what, Path(profile).stem, tier) if part)


def _over(stored: Request, typed: Request) -> Request:
    """What was asked for when the run began, and over it what is typed now: `--resume --run NAME` needs no more."""
    replaced = {_full(key) for key, _, _ in typed.sets}
    moved = [(key, _from_here(key, value), flag) for key, value, flag in typed.sets]
    return Request(
        profile=stored.profile,
        tier=typed.tier or stored.tier,
        config_files=[*stored.config_files, *(f for f in typed.config_files if f not in stored.config_files)],
        sets=[entry for entry in stored.sets if _full(entry[0]) not in replaced] + moved,
        force=stored.force or typed.force,
        folder=stored.folder,
    )


def _from_here(key: str, value: str) -> str:
    """A path typed now, absolute: the stored request's paths start where that one was typed."""
    is_path = _full(key).rpartition(".")[2] in {"data", "weights"}
    return str(Path(value).absolute()) if is_path and ("/" in value or Path(value).exists()) else value


def _full(name: str) -> str:
    """A key without short names, so that two ways to write it compare equal."""
    limit, key = split_stage(name)
    return f"{limit}.{expand(key) or key}"


def _checked(name: str) -> str:
    if not name.strip() or name.startswith(".") or "/" in name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UsageError(f"{name!r} cannot be a run's name", where="--run", hint="a plain folder name; see --runs-dir")
    return name
