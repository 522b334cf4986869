"""`sainet data stage --status`: what is staged in /dev/shm."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sainet.data.stage.status import Entry


def show_status(*, as_json: bool) -> None:
    """What is staged in the default place, how it stands to its source, and what is free there."""
    from sainet.cli.output import note, print_json, stdout
    from sainet.data.stage.layout import default_root
    from sainet.data.stage.status import staged_below
    from sainet.hardware.storage import read_shm
    from sainet.report.memory import gib

    entries, shm = list(staged_below(default_root())), read_shm()
    if as_json:
        sets = [_entry_dict(entry) for entry in entries]
        print_json({"sets": sets, "shm": {"size_bytes": shm.size_bytes, "free_bytes": shm.free_bytes}})
        return
    if entries:
        _print_entries(entries)
    else:
        note(f"nothing is staged in {default_root()}")
    stdout().print(f"/dev/shm: {gib(shm.free_bytes)} free of {gib(shm.size_bytes)}")


def _entry_dict(entry: "Entry") -> dict[str, Any]:
    from dataclasses import asdict

    record = asdict(entry.record) if entry.record else None
    return {
        "place": str(entry.place),
        "state": entry.state,
        "bytes": entry.bytes,
        "source": entry.source,
        "used_by": list(entry.used_by),
        "record": record,
    }


def _print_entries(entries: "list[Entry]") -> None:
    import time

    from rich.table import Table
    from rich.text import Text

    from sainet.cli.output import stdout
    from sainet.report.memory import gib

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("where", "state", "format", "images", "takes", "staged", "used by", "from"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        known = entry.record
        # Text, not markup: a path may hold square brackets.
        table.add_row(
            Text(str(entry.place)),
            entry.state,
            known.format if known else "",
            str(known.images) if known else "",
            gib(entry.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(known.staged_s)) if known else "",
            ", ".join(map(str, entry.used_by)),
            Text(entry.source or ""),
        )
    stdout().print(table)
