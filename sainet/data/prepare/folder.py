"""The folder of a prepared set: whether it may be written to, what is in it at the end, and in which order."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sainet.data.prepare.manifest import write_manifest
from sainet.errors import UsageError
from sainet.files import replace_text, replacing

__all__ = ["JOURNAL", "check_apart", "complete", "finished_before", "make_folders"]

JOURNAL, _RECORD, _MANIFEST, _YAML = ".prepare.jsonl", "prepared.json", "manifest.parquet", "data.yaml"


def check_apart(source: Path, folder: Path) -> None:
    """Raises `UsageError` when one lies in the other: what was written would be read."""
    here, there = source.resolve(), folder.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(f"{folder} and {source} lie in each other", hint="write into a folder beside the source")


def finished_before(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary where the folder holds the finished set of this request; None where there is something to be done.

    Raises `UsageError` when the folder holds anything else but a set that was begun.
    """
    if not folder.exists() or (folder / JOURNAL).exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        begun, summary = record["request"], dict(record["summary"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is there already, and no set of `sainet data prepare`", hint="name a new folder"
        ) from error
    differing = sorted(key for key in request if begun.get(key) != request[key])
    if differing:
        raise UsageError(
            f"{folder} holds a set that was prepared otherwise: {', '.join(differing)} differ",
            hint="name another folder, or remove that one",
        )
    if not (folder / _YAML).is_file() or not (folder / _MANIFEST).is_file():
        raise UsageError(f"{folder} has lost its {_YAML} or {_MANIFEST}", hint="remove it, and prepare the set again")
    return summary


def make_folders(folder: Path, splits: Iterable[str]) -> None:
    for split in splits:
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)


def complete(
    folder: Path,
    request: Mapping[str, Any],
    summary: Mapping[str, Any],
    rows: Iterable[Sequence[Any]],
    classes: Sequence[str],
) -> None:
    """Write what makes the set one: the manifest, the record, and last the data YAML. The journal goes then.

    Raises `StorageError` when the disk is full.
    """
    write_manifest(folder / _MANIFEST, rows, classes)
    with replacing(folder / _RECORD) as temporary:
        text = json.dumps({"request": request, "summary": summary}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    replace_text(folder / _YAML, _yaml(summary, classes))
    (folder / JOURNAL).unlink()


def _yaml(summary: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Paths are relative to the file itself, so that the set can be moved."""
    kind = "parquet" if summary["annotations"] == "parquet" else f"{summary['annotations'].upper()} annotations"
    lines = [f"# Made by `sainet data prepare {summary['release']}` from {kind}. Paths are relative to this file."]
    lines += [f"# Licence, as the source says: {' '.join(line.split())}" for line in summary["licence"]]
    lines += [f"{split}: images/{split}" for split, counts in summary["splits"].items() if counts["images"]]
    lines += ["names:", *(f"  {label}: {name}" for label, name in enumerate(classes))]
    return "\n".join(lines) + "\n"
