"""The `sainet` command: puts the commands together and turns errors into exit codes.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

import sys
from typing import Annotated

import typer

from sainet import __version__
from sainet.cli import config, data, doctor, full_workflow, guard, profile_memory, profiles, runs, train
from sainet.cli.output import forgive, print_error
from sainet.errors import SainetError

app = typer.Typer(
    name="sainet",
    help="Train the two-stage YOLO fire/smoke detector on a rented GPU, and do not die of memory.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # the boxed help imports a Markdown parser and a highlighter first
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

app.command("train")(train.train)
app.command("full-workflow")(full_workflow.full_workflow)
app.command("profile-memory")(profile_memory.profile_memory)
app.command("doctor")(doctor.doctor)
app.add_typer(profiles.app, name="profiles")
app.add_typer(config.app, name="config")
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.add_typer(guard.app, name="guard")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sainet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a `SainetError` becomes its message on stderr and its exit code."""
    forgive()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # a full disk is told by now, and not by an interpreter that is on its way out
    except SainetError as error:
        print_error(error)
        sys.exit(error.code)
