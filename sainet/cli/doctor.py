"""`sainet doctor`: what will work on this machine, and what will not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sainet.cli.options import Json
from sainet.errors import SainetError, UsageError

if TYPE_CHECKING:
    from sainet.config.schema import Config
    from sainet.hardware.machine import Machine
    from sainet.hardware.storage import Disk
    from sainet.report.doctor import DataOnDisk
    from sainet.report.findings import Finding

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    runs_dir: Annotated[Path, typer.Option("--runs-dir", help="Folder of the runs.")] = Path("runs"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="YAML", help="Look at the disks of these images too.", show_default=False),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME", help="Compare with what this profile was written for.", show_default=False
        ),
    ] = None,
    tier: Annotated[
        str | None, typer.Option("--tier", metavar="NAME", help="One of the profile's tiers.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Say what will not work on this machine.

    Looks at versions, GPUs, RAM, CPUs, /dev/shm and disks, and says why. With --profile, also what there is less of
    here than on the machine that the profile was written for.

    Nothing is changed and no GPU memory is taken. Exits with 1 only where torch or ultralytics is missing.
    """
    from dataclasses import asdict

    from sainet.cli.output import print_json
    from sainet.hardware.machine import read_machine, read_versions
    from sainet.hardware.storage import disk_of
    from sainet.report.doctor import diagnose

    name, config = _profile(profile, tier)
    machine, versions, disk = read_machine(), read_versions(), disk_of(runs_dir)
    images, about_images = _images(data, config)
    findings = [*diagnose(machine, versions, disk), *about_images]
    if config is not None:
        findings += _compared(name, tier, config, machine, disk, images)
    if json:
        figures = {**asdict(machine), "versions": asdict(versions), "runs_disk": asdict(disk)}
        figures["data"] = asdict(images) if images else None
        expected = {"name": name, "tier": tier, "hardware": config.hardware.model_dump()} if config else None
        print_json({"findings": [asdict(finding) for finding in findings], "machine": figures, "profile": expected})
    else:
        _print_table(findings)
    if versions.torch is None or versions.ultralytics is None:
        raise typer.Exit(1)


def _profile(name: str | None, tier: str | None) -> "tuple[str, Config | None]":
    """The name and the settings of a profile, found as `sainet train` finds it; no settings where none is asked for."""
    if name is None:
        if tier is not None:
            raise UsageError("--tier is one of a profile's", hint="name the profile too: --profile NAME")
        return "", None
    from sainet.cli.machine_values import hardware_values
    from sainet.config.auto import pick_profile
    from sainet.config.check import checked_config
    from sainet.config.library import Profile

    profile = Profile(pick_profile(hardware_values()) if name == "auto" else name)
    layers = [profile.layer(), *([profile.tier_layer(tier)] if tier else [])]
    return profile.name if name == "auto" else name, checked_config(layers)


def _images(yaml: Path | None, config: "Config | None") -> "tuple[DataOnDisk | None, list[Finding]]":
    """The images of a data YAML, and what there is to say about them; data that are not good are a finding too."""
    if yaml is None:
        return None, []
    from sainet.data.census import take_census
    from sainet.data.source import read_source
    from sainet.hardware.storage import disks_of
    from sainet.report.doctor import DataOnDisk, diagnose_data
    from sainet.report.findings import Finding
    from sainet.run.staging import staged_bytes

    try:
        source = read_source(str(yaml))
        census, folders = take_census(source), {Path(image).parent for image in source.named_images}
        staged = staged_bytes(source, config) if config else 0
        images = DataOnDisk(census.train + census.val, census.file_bytes, disks_of(sorted(folders)), staged)
    except SainetError as error:
        where = error.problems[0].where
        message = f"{where}: {error.message}" if where else error.message
        return None, [Finding("data", message, "problem", error.hint)]
    return images, list(diagnose_data(images))


def _compared(
    name: str, tier: str | None, config: "Config", machine: "Machine", runs_disk: "Disk", images: "DataOnDisk | None"
) -> "list[Finding]":
    import os

    from sainet.hardware.gpu import visible_gpus
    from sainet.report.expectations import Found, compare
    from sainet.run.launch import environment

    gpus = visible_gpus(machine.gpus, environment(os.environ, config.env))
    return compare(name, tier, config, Found(machine, gpus, runs_disk, images))


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
