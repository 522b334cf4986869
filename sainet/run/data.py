"""What is known of a stage's data before the start: whether they can be read, what their labels have wrong, and where
they will be staged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sainet.data.check.cheap import Count, check_labels
from sainet.data.source import data_plan, read_source
from sainet.errors import DataError, Problem, SainetError
from sainet.files import cache_folder
from sainet.report.labels import findings_text
from sainet.run.staging import planned_staging

if TYPE_CHECKING:
    from sainet.run.preflight import Preflight

__all__ = ["inspect_data"]


def inspect_data(found: "Preflight", yaml: str, tell: Callable[[str], None], *, force: bool) -> None:
    """Look at the data of `yaml`, and write into `found` what they are and what is against them. Raises nothing."""
    config = found.resolved.config
    try:
        found.source = read_source(yaml)
        found.data = data_plan(found.source, config.schedule.classes, skip_bad_images=force)
        counts = check_labels(found.source, cache_folder() / "labels", tell)
    except SainetError as error:
        found.errors.append(error)
    else:
        _judge_labels(found, found.source.yaml, counts, force=force)
    if found.source is not None:
        known = force or bool(found.errors)  # what is missing has been told
        try:
            found.staging = planned_staging(found.source, config, skip=known)
        except SainetError as error:
            found.errors.append(error)


def _judge_labels(found: "Preflight", yaml: Path, counts: Sequence[Count], *, force: bool) -> None:
    """Show what the labels have wrong, and refuse what would be left out in silence."""
    if counts:
        found.warnings.append(findings_text(yaml, counts))
    dropped = [count for count in counts if count.drops]
    if not dropped:
        return
    listed = ", ".join(f"{count.count} {count.kind}" for count in dropped)
    message = f"images that Ultralytics would silently leave out: {listed}; {dropped[0].message}"
    hint = f"`sainet data clean {quote(str(yaml))} OUT` mends them; --force trains without them"
    if force:
        found.forced.append(Problem(message, dropped[0].where, hint))
    else:
        found.errors.append(DataError(message, where=dropped[0].where, hint=hint))
