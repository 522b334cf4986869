"""Options that several commands share, so that they read the same everywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sainet.state import Request

Profile = Annotated[
    str,
    typer.Option(
        "--profile", metavar="NAME", help="A shipped profile, a YAML of your own, or auto: by the machine's GPUs."
    ),
]
Tier = Annotated[
    str | None, typer.Option("--tier", metavar="NAME", help="One of the profile's tiers.", show_default=False)
]
Stage = Annotated[
    int,
    typer.Option("--stage", min=1, max=2, metavar="1|2", help="1: fire and smoke on FASDD. 2: smoke on PyroSDIS."),
]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config", metavar="FILE", help="A YAML over the profile and sainet.yaml; repeatable.", show_default=False
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one key, as in train.batch=96 or stage2.epochs=40; repeatable.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on stdout.")]


def stage_number(stage: int) -> Literal[1, 2]:
    """`--stage` as the type that the rest of sainet wants; typer has checked the range."""
    return 2 if stage == 2 else 1


def request_of(
    profile: str, tier: str | None = None, config: Sequence[Path] | None = None, sets: Sequence[str] | None = None
) -> "Request":
    """What was typed. Raises `ConfigError` for each `--set` that is not KEY=VALUE."""
    from sainet.config.layers import split_set
    from sainet.errors import ConfigError, Problem
    from sainet.state import Request

    triples: list[tuple[str, str, str]] = []
    problems: list[Problem] = []
    for text in sets or []:
        try:
            triples.append(split_set(text))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    files = [str(path.absolute()) for path in config or []]
    is_file = profile.endswith((".yaml", ".yml"))
    return Request(
        profile=str(Path(profile).absolute()) if is_file else profile, tier=tier, config_files=files, sets=triples
    )
