"""`sainet profiles`: the machines that sainet ships settings for, and copies of them to adapt."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sainet.cli.options import Json
from sainet.errors import UsageError

if TYPE_CHECKING:
    from sainet.config.library import Profile

app = typer.Typer(help="List, read and copy the shipped profiles.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A shipped profile, or a YAML of your own.")]


@app.command()
def ls(json: Json = False) -> None:
    """List the shipped profiles: the machine that each is for, its batch and image size, and its tiers."""
    from sainet.cli.output import print_json
    from sainet.config.library import Profile, profile_names

    rows = [_summary(Profile(name)) for name in profile_names()]
    if json:
        print_json(rows)
    else:
        _print_table(rows)


@app.command()
def show(name: _Name, json: Json = False) -> None:
    """Print a profile as it is written; with --json, its settings and those of each tier, defaults filled in."""
    from sainet.cli.output import print_json
    from sainet.config.library import Profile

    profile = Profile(name)
    if not json:
        print(profile.path.read_text(encoding="utf-8"), end="")
        return
    print_json(
        {
            "name": profile.name,
            "path": str(profile.path),
            "tiers": profile.tiers,
            "settings": _settings(profile, None),
            "tier_settings": {tier: _settings(profile, tier) for tier in profile.tiers},
        }
    )


@app.command()
def cp(
    name: _Name,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A new .yaml file, or a folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace DEST when it exists.")] = False,
) -> None:
    """Copy a profile, to adapt it and to use it as --profile DEST."""
    from sainet.cli.output import note
    from sainet.config.library import Profile
    from sainet.files import replace_text

    profile = Profile(name)
    target = dest / f"{profile.name}.yaml" if dest.is_dir() else dest
    _check_target(target, force)
    replace_text(target, _adapted(profile.path.read_text(encoding="utf-8"), name, target))
    print(str(target))
    path = shlex.quote(str(target))
    note(f"next: edit it, then: sainet config validate {path} && sainet config show --profile {path}")


def _summary(profile: "Profile") -> dict[str, Any]:
    values = {setting.key: setting.value for setting in profile.layer().settings}
    return {
        "name": profile.name,
        "hardware": profile.headline(),
        "gpu": values.get("hardware.gpu"),
        "gpus": values.get("hardware.gpus", 0),
        "batch": values.get("train.batch"),
        "imgsz": values.get("train.imgsz"),
        "tiers": profile.tiers,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from sainet.cli.output import stdout

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("profile", "GPUs", "batch", "imgsz", "tiers", "hardware"):
        table.add_column(column, overflow="fold")
    for row in rows:
        gpus = f"{row['gpus']}x {row['gpu']}" if row["gpus"] else "none"
        cells = [row["name"], gpus, row["batch"], row["imgsz"], ", ".join(row["tiers"]) or "none", row["hardware"]]
        # Text, not markup: [1440, 808] would be taken for a style.
        table.add_row(*(Text(str(cell)) for cell in cells))
    stdout().print(table)


def _settings(profile: "Profile", tier: str | None) -> dict[str, Any]:
    """The sections of a profile with its defaults filled in. Raises `ConfigError` for a profile with faults."""
    from sainet.config.check import checked_config
    from sainet.config.schema import PROFILE_SECTIONS

    layers = [profile.layer(), *([profile.tier_layer(tier)] if tier else [])]
    return checked_config(layers).model_dump(include=set(PROFILE_SECTIONS))


def _check_target(target: Path, force: bool) -> None:
    if target.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"{target} does not end in .yaml", hint="--profile takes names without that for shipped ones")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint=f"mkdir -p {shlex.quote(str(target.parent))}")
    if target.exists() and not force:
        raise UsageError(f"{target} exists already", hint="take another name, or replace it with --force")


def _adapted(text: str, name: str, target: Path) -> str:
    """The schema where it is, seen from anywhere, and the commands of the header with the copy's name."""
    from sainet.config.library import shipped_root

    schema = shipped_root() / "schema" / "profile.schema.json"
    line = f"# yaml-language-server: $schema={schema}"
    text = re.sub(r"^# yaml-language-server:.*$", lambda _: line, text, flags=re.MULTILINE)
    return re.sub(rf"--profile {re.escape(name)}(?=\s)", lambda _: f"--profile {shlex.quote(str(target))}", text)
