"""What `train` and `full-workflow` have in common: from options to a workflow that is printed or run."""

from collections.abc import Sequence
from pathlib import Path

from sainet.cli.options import request_of
from sainet.cli.output import note
from sainet.config.keys import expand, split_stage
from sainet.config.layers import anchored_path
from sainet.errors import UsageError
from sainet.hardware.machine import read_machine
from sainet.protocol import Stage
from sainet.state import Command, Request, RunFolder, RunState
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
        stored = _stored_request(folder.read_state(), command, stages)
        if stored is not None:
            request = over(stored, request, stages)
    workflow = Workflow(command, stages, request, folder, read_machine(), tell=note)
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


def _stored_request(state: RunState, command: Command, stages: Sequence[Stage]) -> Request | None:
    """What this command asked for before; what was asked for another stage says nothing about this one."""
    if command == "full-workflow":
        return state.request if state.command == command else None
    record = state.stages.get(stages[0])
    return None if record is None else record.request or state.request


def over(stored: Request, typed: Request, stages: Sequence[Stage]) -> Request:
    """What was asked for when the run began, and over it what is typed now: `--resume --run NAME` needs no more.

    Of what was asked for, only what reaches one of `stages` counts.
    """
    now = [_limit_and_key(key) for key, _, _ in typed.sets]

    def stands(key: str) -> bool:
        limit, full = _limit_and_key(key)
        reaches = limit is None or any(limit == str(stage) for stage in stages)
        return reaches and (limit, full) not in now and (None, full) not in now

    moved = [(key, _from_here(key, value), flag) for key, value, flag in typed.sets]
    return Request(
        profile=stored.profile,
        tier=typed.tier or stored.tier,
        config_files=[*stored.config_files, *(f for f in typed.config_files if f not in stored.config_files)],
        sets=[entry for entry in stored.sets if stands(entry[0])] + moved,
        force=stored.force or typed.force,
        folder=stored.folder,
        retyped=[full for _, full in now],
    )


def _from_here(key: str, value: str) -> str:
    """A path typed now, absolute: the stored request's paths start where that one was typed."""
    return anchored_path(_limit_and_key(key)[1], value, Path.cwd())


def _limit_and_key(name: str) -> tuple[str | None, str]:
    """The stage that a key is limited to, and the key without short names: two ways to write it compare equal."""
    limit, key = split_stage(name)
    return limit, expand(key) or key


def _checked(name: str) -> str:
    if not name.strip() or name.startswith(".") or "/" in name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UsageError(f"{name!r} cannot be a run's name", where="--run", hint="a plain folder name; see --runs-dir")
    return name
