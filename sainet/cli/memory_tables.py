"""The tables of `sainet profile-memory`."""

from typing import TYPE_CHECKING, Any

from sainet.report.memory import TITLES, gib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

_STYLES = {"fits": "green", "tight": "yellow", "does not fit": "bold red", "unknown": "yellow"}
_MARKS = {"fits": "", "tight": " tight", "does not fit": " NO", "unknown": " ?"}


def print_outlook(described: dict[str, Any], *, title: str) -> None:
    """A table of the four budgets, what would fit, and what else was asked for."""
    from rich.text import Text

    from sainet.cli.output import stdout

    out = stdout()
    out.print(Text(title), soft_wrap=True)
    for resource in described["resources"]:
        if resource["rows"] or resource["not_counted"]:
            out.print()
            out.print(_heading(resource))
            out.print(_rows(resource["rows"]))
    out.print()
    for line in _lines(described):
        out.print(Text(line), soft_wrap=True)
    for name, make in (("what_if", _what_if), ("gpus_table", _gpus), ("measured", _measured)):
        if described.get(name):
            out.print()
            out.print(make(described[name]))


def _heading(resource: dict[str, Any]) -> Any:
    from rich.text import Text

    name = TITLES[resource["name"]]
    text = Text.assemble((name, "bold"), f": {gib(resource['need_bytes'])} needed")
    sides = [("planned for", resource), *([("here", resource["machine"])] if resource["machine"] else [])]
    for label, side in sides:
        text.append(f"; {label} ")
        text.append_text(_verdict(side))
    if resource["not_counted"]:
        text.append(f"; not counted: {resource['not_counted']}", style="yellow")
    return text


def _verdict(side: dict[str, Any]) -> Any:
    from rich.text import Text

    limit = side["limit_bytes"]
    free = f"{gib(max(0, limit - side.get('in_use_bytes', 0)))} free of " if side.get("in_use_bytes") else ""
    size = "an unknown size" if limit is None else f"{free}{gib(limit)}"
    return Text.assemble(f"{size} ({side['limit_source']}): ", (side["verdict"], _STYLES[side["verdict"]]))


def _table(*columns: str, right: "Iterable[int]" = ()) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if number in right else "left")
    return table


def _rows(rows: list[dict[str, Any]]) -> "Table":
    from rich.text import Text

    table = _table("", "", "where", "from", right=(1,))
    for row in rows:
        table.add_row(
            *(Text(str(cell)) for cell in (row["component"], gib(row["bytes"]), row["where"], row["formula"]))
        )
    return table


def _lines(described: dict[str, Any]) -> list[str]:
    lines = [f"images: {described['images'] or 'unknown: name them with --data DATA.yaml'}"]
    if described["largest_batch"] is not None:
        pieces = f" in {described['micro_batch']} pieces" if described["micro_batch"] > 1 else ""
        lines.append(f"largest batch for this GPU memory: {described['largest_batch']}{pieces}")
    if described["nearest"]:
        lines.append(f"nearest settings that fit: {' '.join(described['nearest'])}")
    elif described["nearest"] is None:
        lines.append("no batch, workers, prefetch or cache setting fits")
    return [*lines, *described["notes"]]


def _what_if(cells: list[dict[str, Any]]) -> "Table":
    """Batches down, shapes across: the VRAM planned for each GPU, and whether all resources hold it."""
    shapes = list(dict.fromkeys(tuple(cell["shape"]) for cell in cells))
    table = _table("batch", *(f"{height}x{width}" for height, width in shapes), right=range(len(shapes) + 1))
    for batch in dict.fromkeys(cell["batch"] for cell in cells):
        row = [cell for cell in cells if cell["batch"] == batch]
        table.add_row(str(batch), *(_cell(cell) for cell in row))
    table.title = "VRAM planned for each GPU (NO, tight: by the tightest resource whose size is stated)"
    table.title_justify = "left"
    return table


def _cell(cell: dict[str, Any]) -> Any:
    from rich.text import Text

    return Text(
        f"{gib(cell['vram_bytes'] or cell['ram_bytes'])}{_MARKS[cell['verdict']]}", style=_STYLES[cell["verdict"]]
    )


def _gpus(rows: list[dict[str, Any]]) -> "Table":
    table = _table("GPUs", "total batch", "workers", "RAM", "/dev/shm", "lr0", "lr0, linear", "", right=range(7))
    for row in rows:
        rates = ["-" if row[key] is None else f"{row[key]:g}" for key in ("learning_rate", "linear_rate")]
        sizes = gib(row["ram_bytes"]), gib(row["shm_bytes"])
        table.add_row(str(row["gpus"]), str(row["batch"]), str(row["workers"]), *sizes, *rates, row["verdict"])
    table.title = "The same share on each of several GPUs (RAM and /dev/shm of the one machine)"
    table.title_justify = "left"
    return table


def _measured(measured: dict[str, Any]) -> "Table":
    table = _table("measured here", "predicted", "measured", "error", right=(1, 2, 3))
    for row in measured["rows"]:
        table.add_row(row["what"], gib(row["predicted_bytes"]), gib(row["measured_bytes"]), f"{row['error']:+.1%}")
    return table
