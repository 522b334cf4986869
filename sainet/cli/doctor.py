"""`sainet doctor`: what will work on this machine, and what will not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sainet.report.doctor import Finding

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    runs_dir: Annotated[Path, typer.Option("--runs-dir", help="Folder of the runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object, sizes in bytes.")] = False,
) -> None:
    """Say what will not work on this machine.

    Looks at versions, GPUs, RAM, /dev/shm and disks, and says why.

    Nothing is changed and no GPU memory is taken. Exits with 1 only where torch or ultralytics is missing.
    """
    from dataclasses import asdict

    from sainet.cli.output import print_json
    from sainet.hardware.machine import read_machine, read_versions
    from sainet.hardware.storage import disk_of
    from sainet.report.doctor import diagnose

    machine, versions, disk = read_machine(), read_versions(), disk_of(runs_dir)
    findings = diagnose(machine, versions, disk)
    if json:
        figures = {**asdict(machine), "versions": asdict(versions), "runs_disk": asdict(disk)}
        print_json({"findings": [asdict(finding) for finding in findings], "machine": figures})
    else:
        _print_table(findings)
    if versions.torch is None or versions.ultralytics is None:
        raise typer.Exit(1)


def _print_table(findings: "list[Finding]") -> None:
    from rich.table import Table
    from rich.text import Text

    from sainet.cli.output import stdout

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "what", "found", "what that means"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict, style=_STYLES[finding.verdict])
        # Text, not markup: names of devices and paths may hold square brackets.
        table.add_row(verdict, finding.topic, Text(finding.value), Text(finding.hint or ""))
    stdout().print(table)
