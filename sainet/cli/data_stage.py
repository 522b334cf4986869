"""`sainet data stage` and `unstage`: a verified copy of a data set on faster storage."""

from collections.abc import Iterator
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
    from sainet.data.stage.survey import Survey


def stage(
    data: Annotated[str | None, typer.Argument(metavar="DATA.yaml", help="The data YAML.", show_default=False)] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where to; by default a folder in /dev/shm.", show_default=False),
    ] = None,
    format_: Annotated[
        str,
        typer.Option("--format", metavar="as-is|jpeg-N|raw-N", help="Re-encoded or decoded, the long side at most N."),
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
        from sainet.cli.data_stage_status import show_status

        show_status(as_json=json)
        return
    if data is None:
        raise UsageError("no data YAML", hint="sainet data stage DATA.yaml, or --status")
    _stage(data, to, format_, force=force, json=json)


def _stage(data: str, to: Path | None, format_: str, *, force: bool, json: bool) -> None:
    from sainet.cli.output import note
    from sainet.cli.progress import progress
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
        with progress("staging", "staged") as on_progress:
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
        if record.skipped:
            note(f"{record.skipped} images cannot be read and are left out")
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
