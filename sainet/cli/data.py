"""`sainet data`: the data sets that training reads."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sainet.cli import data_check, data_clean, data_prepare, data_stage
from sainet.cli.progress import progress
from sainet.errors import UsageError

if TYPE_CHECKING:
    from sainet.data.demo import DemoSummary

app = typer.Typer(help="Make and look after the data sets that training reads.", no_args_is_help=True)

app.add_typer(data_prepare.app, name="prepare")
app.command("check")(data_check.check)
app.command("clean")(data_clean.clean)
app.command("stage")(data_stage.stage)
app.command("unstage")(data_stage.unstage)


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)],
    train: Annotated[int, typer.Option("--train", help="Training images per stage.")] = 160,
    val: Annotated[int, typer.Option("--val", help="Validation images per stage.")] = 40,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Size of the images in pixels.")] = "384x216",
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files, byte by byte.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Render a small fire/smoke set for both stages, to try everything out without downloading data.

    The pictures are drawn, not taken: what is trained on them finds no real fire.
    """
    width, height = _size(size)

    from sainet.cli.output import note
    from sainet.data.demo import write_demo

    with progress("rendering", "rendered") as on_image:
        summary = write_demo(directory, train=train, val=val, width=width, height=height, seed=seed, on_image=on_image)
    if not summary.created:
        note(f"{directory} holds this demo set already; it was left as it is.")
    _print_summary(summary, as_json=json)
    note(f"next: sainet full-workflow --profile cpu --config {_quoted(summary.config)} --weights yolov8n.yaml")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is not a size", where="--size", hint="give width x height, as in 384x216")
    return int(match[1]), int(match[2])


def _quoted(path: Path) -> str:
    from shlex import quote

    return quote(str(path))


def _print_summary(summary: "DemoSummary", *, as_json: bool) -> None:
    from sainet.cli.output import print_json, stdout

    if as_json:
        from dataclasses import asdict

        print_json(asdict(summary))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("stage", "train", "val", "negatives", "boxes", "data"):
        table.add_column(column, overflow="fold")
    for stage in summary.stages:
        boxes = ", ".join(f"{count} {name}" for name, count in stage.boxes.items())
        figures = (stage.stage, stage.train, stage.val, stage.negatives)
        # Text, not markup: a path may hold square brackets.
        table.add_row(*map(str, figures), boxes, Text(str(stage.data_yaml)))
    stdout().print(table)
