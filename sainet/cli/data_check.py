"""`sainet data check`: what a training would drop, change or learn wrongly, before it does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sainet.cli.options import Json
from sainet.cli.progress import progress
from sainet.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from sainet.data.check.kinds import Finding
    from sainet.data.check.summary import Checked

_SHOWN = 3


def check(
    data: Annotated[str, typer.Argument(metavar="DATA.yaml", help="The data YAML.", show_default=False)],
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Open no image: seconds instead of minutes, and no copies found.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="Write the findings with pictures.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Look for everything in a data set that a training would drop, change or learn wrongly.

    Decodes every image once, with all cores, and writes nothing into the set. Each finding has a file, a line, and
    what cleaning the set would do about it. Ends with 5 when there are errors: what Ultralytics would silently
    drop, change or mis-train. Warnings alone end with 0.
    """
    if report is not None and not report.absolute().parent.is_dir():
        raise UsageError(f"no such folder: {report.absolute().parent}", where="--report", hint="make it first")

    from sainet.data.check.checking import check_data

    with progress("checking", "checked") as on_progress:
        checked = check_data(data, labels_only=labels_only, on_progress=on_progress)
    if report is not None:
        _write_report(checked, report)
    _print(checked, as_json=json)
    if errors := checked.count("error"):
        raise DataError(
            f"{errors} {'finding' if errors == 1 else 'findings'} that Ultralytics would silently drop, change or "
            "mis-train",
            where=checked.yaml,
            hint="mend them; --json lists all, --report FILE.html shows them" if report is None else f"see {report}",
        )


def _write_report(checked: "Checked", report: Path) -> None:
    from sainet.cli.output import note
    from sainet.data.check.page import page_of
    from sainet.files import replace_text

    replace_text(report, page_of(checked))
    note(f"report: {report}")


def _print(checked: "Checked", *, as_json: bool) -> None:
    from sainet.cli.output import print_json, stdout

    if as_json:
        print_json(checked.as_dict())
        return
    console = stdout()
    for kind, found in checked.by_kind().items():
        _print_kind(kind, found)
    if checked.findings:
        console.print(_kinds_table(checked))
        console.print()
    if checked.seen:
        console.print(_splits_table(checked))
    if not checked.findings:
        console.print("nothing found")


def _print_kind(kind: str, found: "list[Finding]") -> None:
    """The heading, the first few, and what `clean` would do."""
    from rich.text import Text

    from sainet.cli.output import stdout
    from sainet.data.check.kinds import KINDS

    severity = KINDS[kind].severity
    style = "bold red" if severity == "error" else "yellow"
    # Text, not markup: a path may hold square brackets.
    lines = [Text.assemble((severity, style), f" {kind}: {KINDS[kind].title}")]
    lines += [Text(f"  {finding.where}: {finding.message}") for finding in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(Text(f"  and {len(found) - _SHOWN} more"))
    lines.append(Text.assemble("  ", ("clean:", "cyan"), f" {KINDS[kind].fix}"))
    stdout().print(*lines, sep="\n", end="\n\n", soft_wrap=True)


def _kinds_table(checked: "Checked") -> "Table":
    from sainet.data.check.kinds import KINDS

    table = _table("kind", "severity", "found", "what")
    for kind, found in checked.by_kind().items():
        table.add_row(kind, KINDS[kind].severity, str(len(found)), KINDS[kind].title)
    return table


def _splits_table(checked: "Checked") -> "Table":
    from rich.text import Text

    table = _table("split", "images", "label files", "of these empty", "without label file", "boxes")
    for split, seen in checked.seen.items():
        boxes = ", ".join(f"{count} {name}" for name, count in checked.boxes(split).items())
        table.add_row(split, *map(str, (seen.images, seen.labelled, seen.empty, seen.missing)), Text(boxes))
    return table


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "kind")
    return table
