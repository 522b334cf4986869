"""`sainet data stage` and `unstage`: a verified copy of a data set on faster storage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sainet.cli.options import Json
from sainet.errors import UsageError

if TYPE_CHECKING:
    from sainet.data.stage.estimate import Estimate
    from sainet.data.stage.form import Form
    from sainet.data.stage.need import Need
    from sainet.data.stage.staging import Staged
    from sainet.data.stage.status import Entry
    from sainet.data.stage.survey import Survey

_REPORTS = 4
"""How many lines of progress a log gets."""


def stage(
    data: Annotated[str | None, typer.Argument(metavar="DATA.yaml", help="The data YAML.", show_default=False)] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where to; by default a folder in /dev/shm.", show_default=False),
    ] = None,
    format_: Annotated[
        str,
        typer.Option("--format", metavar="as-is|jpeg-N|raw-N", help="Re-encoded or decoded with a long side of N."),
    ] = "as-is",
    status: Annotated[bool, typer.Option("--status", help="Show what is staged in /dev/shm.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Copy in spite of what can be overridden; leave out what cannot be read.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy a data set into /dev/shm, or to another fast place, and verify the copy.

    The copy is whole or not there: a half of one is never used, and the same command goes on after a kill. Unchanged,
    it is used again at once. It has a data YAML of its own. Before it starts, the room is compared with what the files
    will take, RAM included. jpeg-1440 makes larger images smaller and encodes them anew; raw-1440 writes all of them
    decoded. Both change the pixels a little, and print what that costs and saves.
    """
    if status:
        if data is not None:
            raise UsageError("--status shows all staged sets", hint="leave the data YAML out")
        _show_status(as_json=json)
        return
    if data is None:
        raise UsageError("no data YAML", hint="sainet data stage DATA.yaml, or --status")
    _stage(data, to, format_, force=force, json=json)


def _stage(data: str, to: Path | None, format_: str, *, force: bool, json: bool) -> None:
    from sainet.cli.output import note
    from sainet.data.source import read_source
    from sainet.data.stage.form import parse_form
    from sainet.data.stage.layout import default_place
    from sainet.data.stage.staging import stage_data
    from sainet.data.stage.survey import take_survey

    form = parse_form(format_)
    survey = take_survey(read_source(data))
    place = default_place(survey.source.yaml, form) if to is None else to.expanduser().absolute()
    before: list[Need] = []

    def admit(need: "Need") -> None:
        before.append(need)
        _admit(need, force=force)

    try:
        with _progress() as on_progress:
            staged = stage_data(survey, place, form, admit=admit, skip=force, on_progress=on_progress)
    except KeyboardInterrupt:
        note(f"stopped: the same command goes on, sainet data unstage {place} removes what is there")
        raise
    _print(staged, survey, form, before, as_json=json)


def _admit(need: "Need", *, force: bool) -> None:
    """Refuse what does not fit; say what it takes and what stays free."""
    from sainet.cli.output import note
    from sainet.report.memory import gib
    from sainet.run.staging_room import Reserve, admit, room_at

    if need.estimate is not None:
        for line in _cost_lines(need.survey, need.form, need.estimate):
            note(line)
    room = room_at(need.place, in_memory=need.in_memory)
    admit(need, room, Reserve(), force=force)
    about = "about " if need.is_estimate else ""
    left = room.free_bytes + need.frees_bytes - need.bytes
    ram = f", {gib(room.ram.headroom_bytes + need.frees_bytes - need.bytes)} of RAM" if room.ram else ""
    note(f"staging {about}{gib(need.bytes)} to {need.place}; {gib(max(0, left))} stay free there{ram}")


def _cost_lines(survey: "Survey", form: "Form", found: "Estimate") -> Iterator[str]:
    """What a form costs and saves, by the sample."""
    from sainet.report.memory import gib

    sample = f"by a sample of {found.images} images"
    yield f"as-is {gib(survey.bytes)} -> {form} about {gib(found.bytes)}, {sample}"
    yield (
        f"decoding one: {1000 * found.decode_s:.1f} ms as-is -> {1000 * found.staged_decode_s:.1f} ms, with Pillow on "
        f"one core; making one: {1000 * found.convert_s:.1f} ms. The pixels are not quite those of the originals"
    )


def _print(staged: "Staged", survey: "Survey", form: "Form", before: "list[Need]", *, as_json: bool) -> None:
    from sainet.cli.output import note, print_json
    from sainet.report.memory import gib

    record = staged.record
    if not staged.is_new:
        note(f"{staged.place} holds this set already, unchanged; it was left as it is")
    else:
        resumed = f", {staged.resumed} of them by the run before" if staged.resumed else ""
        note(f"verified: {record.images} images, {record.labels} label files in {record.took_s:.1f} s{resumed}")
        if form.kind != "as-is":
            kept = len(survey.images) - record.converted
            note(f"as-is {gib(survey.bytes)} -> {form} {gib(record.bytes)}; {kept} images stayed as they were")
        if before and before[-1].in_memory:
            note(f"it takes {gib(record.page_bytes)} of RAM until: sainet data unstage {staged.place}")
    if as_json:
        print_json(_as_dict(staged))
    else:
        print(staged.yaml)


def _as_dict(staged: "Staged") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "yaml": str(staged.yaml),
        "place": str(staged.place),
        "is_new": staged.is_new,
        "resumed_images": staged.resumed,
        "record": asdict(staged.record),
    }


def unstage(
    what: Annotated[Path, typer.Argument(metavar="DIR|DATA.yaml", help="A staged set, or what it was staged from.")],
) -> None:
    """Remove a staged set, or what there is of one. Nothing else is ever removed.

    With a data YAML all that was staged from it into the default place. A set that a training uses is not removed.
    """
    from sainet.cli.output import note
    from sainet.data.stage.removing import places_of, remove

    for place in places_of(what):
        remove(place)
        note(f"removed {place}")


def _show_status(*, as_json: bool) -> None:
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
            Text(known.source if known else ""),
        )
    stdout().print(table)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Shows (done, total): a bar with the rate and the time left on a terminal, a few lines in a log."""
    from sainet.cli.output import stderr

    if not stderr().is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("staging"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=stderr(), transient=True) as progress:
        task = progress.add_task("staging", total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, total=total, rate=f"{speed:,.0f} images/s" if speed else "")

        yield update


class _Lines:
    """A line of progress for every quarter of the images."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        from sainet.cli.output import note

        quarter = _REPORTS * done // max(1, total)
        if quarter > self._told:
            self._told = quarter
            note(f"staged {done} of {total} images")
