"""The tables of `sainet profile-memory`: plain columns, since building them with rich takes longer than the answer."""

from collections.abc import Iterator
from typing import Any

from sainet.cli.output import print_columns
from sainet.report.memory import TITLES, gib

_VERDICTS = {"does not fit": "DOES NOT FIT"}
_MARKS = {"fits": "", "tight": " tight", "does not fit": " NO", "unknown": " ?"}


def print_outlook(described: dict[str, Any], *, title: str) -> None:
    """The four budgets, what would fit, and what else was asked for."""
    print(title)
    for resource in described["resources"]:
        if resource["rows"] or resource["not_counted"]:
            print(f"\n{_heading(resource)}")
            print_columns(_rows(resource["rows"]), right=(1,))
    print("")
    for line in _lines(described):
        print(line)
    for name, show in (("what_if", _what_if), ("gpus_table", _gpus), ("measured", _measured)):
        if described.get(name):
            print("")
            show(described[name])


def _heading(resource: dict[str, Any]) -> str:
    parts = [f"{TITLES[resource['name']]}: {gib(resource['need_bytes'])} needed", f"planned for {_verdict(resource)}"]
    if resource["machine"]:
        parts.append(f"here {_verdict(resource['machine'])}")
    if resource["not_counted"]:
        parts.append(f"not counted: {resource['not_counted']}")
    return "; ".join(parts)


def _verdict(side: dict[str, Any]) -> str:
    limit, verdict = side["limit_bytes"], _VERDICTS.get(side["verdict"], side["verdict"])
    if limit is None:
        return f"an unknown size ({side['limit_source']})"
    used = side.get("in_use_bytes", 0)
    size = f"{gib(max(0, limit - used))} free of {gib(limit)}" if used else gib(limit)
    return f"{size} ({side['limit_source']}): {verdict}"


def _rows(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    yield ["component", "size", "where", "from"]
    for row in sorted(rows, key=lambda row: -row["bytes"]):
        yield [row["component"], gib(row["bytes"]), row["where"], row["formula"]]


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


def _what_if(cells: list[dict[str, Any]]) -> None:
    """Batches down, shapes across: the VRAM planned for each GPU (the RAM on a CPU), and the worst verdict."""
    shapes = list(dict.fromkeys(tuple(cell["shape"]) for cell in cells))
    what = "VRAM planned for each GPU" if any(cell["vram_bytes"] for cell in cells) else "RAM"
    print(f"{what} (NO, tight: of all resources whose size is stated)")
    table = [["batch", *(f"{height}x{width}" for height, width in shapes)]]
    for batch in dict.fromkeys(cell["batch"] for cell in cells):
        table.append([str(batch), *(_cell(cell) for cell in cells if cell["batch"] == batch)])
    print_columns(table, right=range(len(shapes) + 1))


def _cell(cell: dict[str, Any]) -> str:
    return f"{gib(cell['vram_bytes'] or cell['ram_bytes'])}{_MARKS[cell['verdict']]}"


def _gpus(rows: list[dict[str, Any]]) -> None:
    print("The same share on each of several GPUs (RAM and /dev/shm of the one machine)")
    table = [["GPUs", "total batch", "workers", "RAM", "/dev/shm", "lr0", "lr0, linear", ""]]
    for row in rows:
        rates = ["-" if row[key] is None else f"{row[key]:g}" for key in ("learning_rate", "linear_rate")]
        sizes = gib(row["ram_bytes"]), gib(row["shm_bytes"])
        counts = str(row["gpus"]), str(row["batch"]), str(row["workers"])
        table.append([*counts, *sizes, *rates, row["verdict"]])
    print_columns(table, right=range(7))


def _measured(measured: dict[str, Any]) -> None:
    table = [["measured here", "predicted", "measured", "error"]]
    for row in measured["rows"]:
        table.append([row["what"], gib(row["predicted_bytes"]), gib(row["measured_bytes"]), f"{row['error']:+.1%}"])
    print_columns(table, right=(1, 2, 3))
