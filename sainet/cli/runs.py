"""`sainet runs`: the runs there are, what happened to one, and how to go on with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from sainet.report.history import AttemptHistory
    from sainet.report.runs import RunSummary
    from sainet.state import RunFolder

app = typer.Typer(help="List runs, and see what happened to one.", no_args_is_help=True)

RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Folder of the runs.")]


@app.command("ls")
def list_runs(
    runs_dir: RunsDir = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="A list of objects; times are Unix seconds.")] = False,
) -> None:
    """List the runs, where each one stands, and the best mAP50 of its stages so far."""
    import time

    from sainet.cli.output import note, print_json, stdout, warn
    from sainet.report.runs import UnreadableRun, summarise
    from sainet.report.tables import run_dict, runs_table
    from sainet.state import find_runs

    runs = [summarise(folder) for folder in find_runs(runs_dir)]
    if json:
        print_json([run_dict(run) for run in runs])
    elif runs:
        stdout().print(runs_table(runs, now_s=time.time(), width=stdout().width))
    else:
        note(f"no runs in {runs_dir}")
    for run in runs:
        if isinstance(run, UnreadableRun) and not json:
            warn(run.problem)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a run, or the path of its folder.")],
    runs_dir: RunsDir = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object; times are Unix seconds.")] = False,
) -> None:
    """Show what happened to a run, where its files are, and how to go on with it."""
    from rich.console import Group

    from sainet.cli.output import print_json, stdout
    from sainet.errors import StorageError
    from sainet.report.attempts import attempt_dict
    from sainet.report.history import read_history
    from sainet.report.runs import UnreadableRun, summarise
    from sainet.report.tables import run_dict

    folder = _find(name, runs_dir)
    run = summarise(folder)
    if isinstance(run, UnreadableRun):
        raise StorageError(run.problem, hint=run.hint)
    history = read_history(folder)
    if json:
        attempts = [attempt_dict(attempt) for attempt in history]
        print_json({**run_dict(run), "attempts": attempts})
    else:
        for text in _page(folder, run, history):
            # Paths and commands are copied: a line is the terminal's to wrap.
            stdout().print(text, soft_wrap=not isinstance(text, Group))


def _find(name: str, runs_dir: Path) -> "RunFolder":
    """The folder of the run that `name` names, or whose path it is. Raises `UsageError` with the nearest names."""
    import difflib

    from sainet.errors import UsageError
    from sainet.state import RunFolder, find_runs

    for root in ((runs_dir / name).absolute(), Path(name).resolve()):
        folder = RunFolder(root)
        if folder.exists:
            return folder
    names = [folder.name for folder in find_runs(runs_dir)]
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = (
        f"did you mean {' or '.join(nearest)}?" if nearest else "sainet runs ls lists them; --runs-dir looks elsewhere"
    )
    raise UsageError(f"there is no run {name} in {runs_dir}", hint=hint)


def _page(folder: "RunFolder", run: "RunSummary", history: "list[AttemptHistory]") -> "Iterator[RenderableType]":
    """All that `show` prints of a run: what happened, where things are, how to go on."""
    import time

    from rich.text import Text

    from sainet.report.attempts import attempt_text
    from sainet.report.tables import ago, moment, near, profile_text, stage_table, status_text

    here = Path.cwd()
    yield Text.assemble((run.name, "bold"), f"  {run.command}  {profile_text(run)}  ", status_text(run))
    yield f"created {moment(run.created_s)}, updated {ago(time.time() - run.updated_s)}\n"
    yield stage_table(run.stages, here=here)
    for attempt in history:
        running = run.status == "running" and attempt is history[-1]
        yield Text("\n").append(attempt_text(attempt, running=running, here=here))
    yield f"\nsettings  {near(folder.settings, here)}\nevents    {near(folder.events, here)}"
    if run.resume:
        yield Text.assemble("\ngo on with  ", (run.resume, "bold"))
