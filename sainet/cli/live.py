"""Running a workflow before somebody's eyes, and its result at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sainet.cli.output import note, print_json, stderr, stdout, warn
from sainet.protocol import DataStaged, read_events
from sainet.report.memory import gib
from sainet.report.progress import ProgressView
from sainet.report.runs import RunSummary, summarise
from sainet.report.tables import run_dict, stage_table
from sainet.run.attempt import View
from sainet.workflow import Workflow


def run_live(workflow: Workflow, *, resume: bool, json: bool) -> None:
    """Train what is not done yet, then print the table of both stages and the final weights (or one JSON object)."""
    was_done = workflow.is_done()
    workflow.run(resume=resume, make_view=_view, warn=warn)
    if was_done:
        note(f"the run {workflow.folder.name} was finished before: nothing was trained")
    _tell_what_stays_staged(workflow)
    summary = summarise(workflow.folder)
    assert isinstance(summary, RunSummary)
    if json:
        print_json(run_dict(summary))
    else:
        stdout().print(stage_table(summary.stages, here=Path.cwd()))
        stdout().print(f"final weights: {workflow.folder.stage(max(workflow.stages)).best}", soft_wrap=True)


def _tell_what_stays_staged(workflow: Workflow) -> None:
    events = read_events(workflow.folder.events)
    staged = {event.place: event.bytes for event in events if isinstance(event, DataStaged)}
    for place, size_bytes in staged.items():
        if place.exists():
            note(f"{place} goes on taking {gib(size_bytes)} of RAM; free it with: sainet data unstage {place}")


@contextmanager
def _view(name: str, stages: int) -> Iterator[View]:
    with ProgressView(stderr(), run=name, stages=stages) as view:
        yield view
