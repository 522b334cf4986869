"""`sainet guard`: what the guard would have done with other settings, from what it has recorded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sainet.cli.options import ConfigFiles, Sets, Tier, request_of

if TYPE_CHECKING:
    from sainet.config.schema import Config
    from sainet.guard.ladder import Footing
    from sainet.guard.replay import Decision
    from sainet.state import Request

_SHOWN = "h200"
"""Whose ladder is shown where nobody says: it has all rungs."""

app = typer.Typer(help="See what the guard would do.", no_args_is_help=True)


@app.callback()
def _guard() -> None:
    """With a callback `replay` stays a command by its name, although it is the only one."""


@app.command("replay")
def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A run's memory.csv, or a CSV of your own with such columns.")
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="Whose settings; by default those of the run that FILE is from, else h200's.",
            show_default=False,
        ),
    ] = None,
    tier: Tier = None,
    config: ConfigFiles = None,
    sets: Sets = None,
    json: Annotated[bool, typer.Option("--json", help="A list of objects; time_s is that of the file.")] = False,
) -> None:
    """Print each decision that the guard would have made: when, about what, what it would have done, and why.

    Each step is the next one from these settings on; what it would have changed is not in the recording.
    """
    from dataclasses import asdict

    from sainet.cli.config import resolve_here
    from sainet.cli.output import note, print_json, warn
    from sainet.guard.ladder import Ladder
    from sainet.guard.replay import replay as decide
    from sainet.guard.sample_file import read_samples

    asked = resolve_here(1, _request(file, profile, request_of(profile or _SHOWN, tier, config, sets))).config
    samples = read_samples(file, warn)
    decisions = decide(samples, asked.guard, Ladder(_footing(asked)))
    if json:
        print_json([asdict(decision) for decision in decisions])
    elif decisions:
        _print(decisions, samples[0].time_s)
    else:
        note(f"nothing to decide in {len(samples)} samples over {samples[-1].time_s - samples[0].time_s:.0f} s")


def _request(file: Path, profile: str | None, typed: "Request") -> "Request":
    """What was typed; without a profile, over what was asked for when the run of the recording was started."""
    from sainet.cli.start import over
    from sainet.state import RunFolder

    run = RunFolder(file.absolute().parent)
    if profile is not None or not run.exists:
        return typed
    return over(run.read_state().request, typed, [1])


def _print(decisions: "list[Decision]", start_s: float) -> None:
    from sainet.cli.output import print_columns

    rows = [[f"{one.time_s - start_s:.1f} s", one.resource, one.level, one.action, one.reason] for one in decisions]
    print_columns([["after", "resource", "level", "action", "because"], *rows], right=(0,))


def _footing(config: "Config") -> "Footing":
    """Where the ladder begins, as far as the settings tell: which models can be cut into pieces they do not."""
    from sainet.config.auto import device_count
    from sainet.guard.ladder import Footing
    from sainet.run.arguments import loader_plan, usable_val_workers, val_loader_plan

    workers = config.loader.workers
    assert isinstance(workers, int), "auto is resolved before"
    val_workers, _ = usable_val_workers(config, 1, training_workers=workers, typed_by_user=True)
    batch, ranks = config.train.batch, device_count(config.train.device)
    return Footing(
        engine=config.train.engine,
        workers=workers,
        prefetch_factor=loader_plan(config, workers=workers).prefetch_factor,
        val_workers=val_workers,
        val_prefetch_factor=val_loader_plan(config, workers=val_workers).prefetch_factor,
        cache=config.loader.cache,
        batch=batch,
        micro_batch=config.train.micro_batch,
        pieces_at_most=batch // ranks if config.train.engine == "sainet" else config.train.micro_batch,
        smaller_batches=tuple(batch >> half for half in range(1, batch.bit_length())),
        on_vram=config.guard.on_vram,
    )
