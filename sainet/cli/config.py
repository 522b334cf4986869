"""`sainet config`: which values a run would use and where they come from, checks, and the schemas."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sainet.cli.options import ConfigFiles, Json, Profile, Sets, Stage, Tier, request_of, stage_number
from sainet.errors import ConfigError, Problem, UsageError

if TYPE_CHECKING:
    from sainet.config.resolve import Resolved
    from sainet.state import Request

app = typer.Typer(help="Show, check and describe the configuration.", no_args_is_help=True)


@app.command()
def show(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEYS", help="Keys or sections; all of them without.")
    ] = None,
    profile: Profile = "auto",
    tier: Tier = None,
    stage: Stage = 1,
    config: ConfigFiles = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Print each value that a run here would use, where it comes from, and what it replaced."""
    from sainet.cli.output import print_json, warn
    from sainet.config.show import nested_values, origin_lines, select_keys

    resolved = resolve_here(stage_number(stage), request_of(profile, tier, config, sets))
    chosen = select_keys(resolved, keys or [])
    if json:
        print_json(
            {
                "profile": resolved.profile,
                "tier": resolved.tier,
                "stage": resolved.stage,
                "config": nested_values(resolved, chosen),
                "origins": {key: str(resolved.origin(key)) for key in chosen},
                "warnings": resolved.warnings,
            }
        )
        return
    for line in origin_lines(resolved, chosen):
        print(line)
    for text in resolved.warnings:
        warn(text)


@app.command()
def validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Profiles, presets or project files, each checked by itself."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Default: auto.", show_default=False)
    ] = None,
    tier: Tier = None,
    stage: Annotated[
        int | None,
        typer.Option("--stage", min=1, max=2, metavar="1|2", help="Default: both.", show_default=False),
    ] = None,
) -> None:
    """Check files, or without FILES what a run here would use. Reports all problems at once, and exits with 2."""
    if not files:
        _validate_run(request_of(profile or "auto", tier), [stage_number(stage)] if stage else [1, 2])
        return
    for option, value in (("--profile", profile), ("--tier", tier), ("--stage", stage)):
        if value is not None:
            raise UsageError(f"{option} is for a check without FILES", hint="each file is checked by itself")
    _validate_files(files)


@app.command()
def schema(
    kind: Annotated[
        str, typer.Option("--kind", metavar="profile|preset|project", help="project: sainet.yaml and --config files.")
    ] = "project",
) -> None:
    """Print the JSON schema of a kind of file, for editors and generators."""
    from sainet.cli.output import print_json
    from sainet.config.jsonschema import KINDS, json_schema

    found = next((known for known in KINDS if known == kind), None)
    if found is None:
        raise UsageError(f"there is no kind of file `{kind}`", where="--kind", hint=f"one of {', '.join(KINDS)}")
    print_json(json_schema(found))


def resolve_here(stage: Literal[1, 2], request: "Request") -> "Resolved":
    """What a run of this stage in this folder, on this machine, would use."""
    import os

    from sainet.cli.machine_values import hardware_values
    from sainet.config.resolve import resolve

    return resolve(stage, request, hardware_values(), environment=os.environ, folder=Path.cwd())


def _validate_run(request: "Request", stages: Sequence[Literal[1, 2]]) -> None:
    from sainet.cli.output import warn

    problems: list[Problem] = []
    resolved: list[Resolved] = []
    for stage in stages:
        try:
            resolved.append(resolve_here(stage, request))
        except ConfigError as error:
            problems += error.problems
    for text in dict.fromkeys(text for one in resolved for text in one.warnings):
        warn(text)
    for one in resolved:
        tier = f", tier {one.tier}" if one.tier else ""
        print(f"ok: stage {one.stage}, profile {one.profile}{tier}")
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _validate_files(files: Sequence[Path]) -> None:
    from sainet.config.check import check_file

    problems: list[Problem] = []
    for path in files:
        try:
            kind = check_file(path)
            print(f"ok: {path} ({kind})")
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
