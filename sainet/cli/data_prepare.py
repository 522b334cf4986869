"""`sainet data prepare`: from the files as they are published to a set that can be trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sainet.cli.options import Json
from sainet.cli.progress import progress
from sainet.errors import Interrupted

if TYPE_CHECKING:
    from sainet.data.prepare.entries import Release
    from sainet.data.prepare.find import Form

app = typer.Typer(
    help="Lay out a published data set as Ultralytics reads it: images, labels, data.yaml and a manifest.",
    no_args_is_help=True,
)

_Folder = Annotated[Path, typer.Argument(metavar="DST", help="A new folder, or one to go on with.", show_default=False)]
_Link = Annotated[
    bool,
    typer.Option(
        "--link/--copy", help="Link images where that can be done (one file under two names), or copy all of them."
    ),
]
_Backgrounds = Annotated[
    str,
    typer.Option(
        "--backgrounds",
        metavar="keep|drop|ratio=R",
        help="Images without a box: all, none, or at most this share of a split.",
    ),
]
_BackgroundsIn = Annotated[
    Literal["train", "all"],
    typer.Option("--backgrounds-in", help="Which splits may lose backgrounds: the training only, or all of them."),
]
_Splits = Annotated[
    Literal["published", "regroup"],
    typer.Option("--splits", help="As published, or new ones in which no scene is in two; decodes every image first."),
]


@app.command()
def fasdd(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help="The folder with images and annotations, or an archive.", show_default=False
        ),
    ],
    folder: _Folder,
    annotations: Annotated[
        Literal["coco", "yolo", "voc"] | None,
        typer.Option("--annotations", help="Which to take; by default the first that is there.", show_default=False),
    ] = None,
    link: _Link = True,
    backgrounds: _Backgrounds = "keep",
    backgrounds_in: _BackgroundsIn = "train",
    splits: _Splits = "published",
    json: Json = False,
) -> None:
    """FASDD, from its COCO, YOLO or VOC annotations; fire is class 0, smoke is class 1.

    Annotations are found by what is in them, in any folder below SRC and in zip archives, which are read in place.
    Images keep their bytes. Run it again after any interruption: it goes on where it was.
    """
    from sainet.data.prepare.fasdd import FASDD

    _prepare(FASDD, source, folder, annotations, link, backgrounds, backgrounds_in, splits, json)


@app.command()
def pyrosdis(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="The folder with the parquet shards.", show_default=False)
    ],
    folder: _Folder,
    link: _Link = True,
    backgrounds: _Backgrounds = "keep",
    backgrounds_in: _BackgroundsIn = "train",
    splits: _Splits = "published",
    json: Json = False,
) -> None:
    """PyroSDIS, from its parquet shards; smoke, published as class 1, is class 0.

    Images keep their bytes and their names; camera and date go into the manifest. Nothing can be linked here: images
    in shards are always written. Run it again after any interruption: it goes on where it was.
    """
    from sainet.data.prepare.pyrosdis import PYROSDIS

    _prepare(PYROSDIS, source, folder, None, link, backgrounds, backgrounds_in, splits, json)


def _prepare(
    release: "Release",
    source: Path,
    folder: Path,
    annotations: "Form | None",
    link: bool,
    backgrounds: str,
    backgrounds_in: Literal["train", "all"],
    splits: str,
    as_json: bool,
) -> None:
    from sainet.cli.output import note
    from sainet.data.prepare.backgrounds import read_backgrounds
    from sainet.data.prepare.preparing import Options, prepare

    kept = read_backgrounds(backgrounds, backgrounds_in)
    options = Options(release, "link" if link else "copy", kept, splits == "regroup", annotations)
    try:
        with progress("preparing", "prepared") as on_progress:
            prepared = prepare(source, folder, options, on_progress)
    except KeyboardInterrupt:
        raise Interrupted("preparing was interrupted", hint="run the same command again: it goes on") from None
    if not prepared.created:
        note(f"{folder} holds this set already; it was left as it is.")
    _print({"data": str(folder / "data.yaml"), **prepared.summary}, as_json=as_json)
    note(f"next: sainet data check {_quoted(folder / 'data.yaml')}")


def _quoted(path: Path) -> str:
    from shlex import quote

    return quote(str(path))


def _print(summary: dict[str, Any], *, as_json: bool) -> None:
    from sainet.cli.output import print_json, stdout

    if as_json:
        print_json(summary)
        return
    console = stdout()
    console.print(*_about(summary), sep="\n", end="\n\n", soft_wrap=True, markup=False)
    _print_splits(summary["splits"])
    lines = list(_notes(summary["notes"]))
    if lines:
        console.print("", *lines, sep="\n", soft_wrap=True, markup=False)


def _about(summary: dict[str, Any]) -> list[str]:
    form, others = summary["annotations"], summary["other_annotations"]
    there = f" (also there: {', '.join(other.upper() for other in others)}; --annotations takes another)"
    lines = [
        f"{summary['data']}: {summary['release']} from {form if form == 'parquet' else form.upper()}"
        + (there if others else ""),
        f"images: {summary['linked']} linked, {summary['written']} written",
    ]
    return lines + [f"licence, as the source says: {line}" for line in summary["licence"]]


def _print_splits(splits: dict[str, Any]) -> None:
    from rich.table import Table

    from sainet.cli.output import stdout

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("split", "images", "of these backgrounds", "backgrounds left out", "boxes"):
        table.add_column(column, overflow="fold")
    for split, counts in splits.items():
        boxes = ", ".join(f"{count} {name}" for name, count in counts["boxes"].items())
        figures = (counts["images"], counts["backgrounds"], counts["backgrounds_left_out"])
        table.add_row(split, *map(str, figures), boxes)
    stdout().print(table)


def _notes(notes: dict[str, Any]) -> list[str]:
    from sainet.data.prepare.notes import KINDS

    lines: list[str] = []
    for kind, told in notes.items():
        lines.append(f"{told['count']} {KINDS[kind]}")
        lines += [f"  {example}" for example in told["examples"]]
        if told["count"] > len(told["examples"]) > 0:
            lines.append(f"  and {told['count'] - len(told['examples'])} more")
    return lines
