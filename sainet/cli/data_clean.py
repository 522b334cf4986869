"""`sainet data clean`: a copy of a data set in which what `check` finds is mended or left out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sainet.cli.options import Json
from sainet.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from sainet.data.clean.result import Cleaned


def clean(
    data: Annotated[str, typer.Argument(metavar="DATA.yaml", help="The data YAML.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the copy.", show_default=False)],
    link: Annotated[
        bool,
        typer.Option("--link/--copy", help="Link unchanged images where the file system can, or copy all of them."),
    ] = True,
    missing: Annotated[
        Literal["negative", "drop"],
        typer.Option("--missing", help="Images without a label file: declared negatives, or left out."),
    ] = "negative",
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="KIND",
            help="Also act on findings of this kind, which are left as they are otherwise (repeatable); "
            "docs/data.md has the list.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a clean copy of a data set: what `check` finds is mended or left out, and OUT/changes.jsonl says what.

    The source is only read. Interrupted or killed, the same command goes on where it was.
    """
    kinds = _kinds(also or [])

    from sainet.cli.output import note, print_json
    from sainet.cli.progress import progress
    from sainet.data.clean.cleaning import Options, Survey, survey
    from sainet.data.clean.cleaning import clean as write_clean

    options = Options("link" if link else "copy", kinds, missing)
    with progress("checking", "checked") as on_progress:
        found = survey(data, out, options, on_progress)
    if isinstance(found, Survey):
        with progress("writing", "wrote") as on_progress:
            cleaned = write_clean(found, on_progress)
    else:
        cleaned = found
        note(f"{out} holds this clean copy already; it was left as it is.")
    if json:
        print_json(cleaned.as_dict())
    else:
        _print(cleaned)
    note(f"next: sainet data check {cleaned.yaml}")


def _kinds(also: list[str]) -> frozenset[str]:
    from sainet.data.clean.plan import ON_REQUEST

    if unknown := sorted(set(also) - ON_REQUEST.keys()):
        raise UsageError(
            f"{unknown[0]!r} is none of these kinds", where="--also", hint=f"one of {', '.join(ON_REQUEST)}"
        )
    return frozenset(also)


def _print(cleaned: "Cleaned") -> None:
    from rich.text import Text

    from sainet.cli.output import stdout
    from sainet.data.clean.plan import ON_REQUEST

    if cleaned.changes:
        done = _table("kind", "times", "done")
        for kind, did, count in cleaned.changes:
            done.add_row(kind, str(count), Text(did))
        stdout().print(done)
        stdout().print()
    splits = _table("split", "images", "of", "without a box", "boxes")
    for split, counts in cleaned.splits.items():
        boxes = ", ".join(f"{count} {name}" for name, count in counts.boxes.items())
        splits.add_row(split, *map(str, (counts.images, counts.images_before, counts.backgrounds)), Text(boxes))
    stdout().print(splits)
    for kind, count in cleaned.left.items():
        hint = f" (--also {kind})" if kind in ON_REQUEST else ""
        stdout().print(f"left as they are: {count} {kind}{hint}")


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "kind")
    return table
