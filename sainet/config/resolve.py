"""From layers to one configuration in which every value knows where it came from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sainet.config.auto import HardwareValues, auto_settings, pick_profile, staging_settings
from sainet.config.contradictions import contradictions
from sainet.config.keys import split_stage
from sainet.config.layers import anchored, command_line_layer, environment_layer, file_layer, project_layer
from sainet.config.library import Profile, preset_layer
from sainet.config.notes import warnings_of
from sainet.config.origin import DEFAULT, Layer, Origin, Setting
from sainet.config.schema import Config
from sainet.config.validate import layer_problems, nested
from sainet.errors import ConfigError, Problem
from sainet.protocol import Stage
from sainet.state import Request


@dataclass
class Resolved:
    """One stage's configuration, with the history of every value, lowest layer first."""

    stage: Stage
    profile: str
    tier: str | None
    config: Config
    history: dict[str, list[Setting]] = field(repr=False)

    @property
    def origins(self) -> dict[str, Origin]:
        return {key: settings[-1].origin for key, settings in self.history.items()}

    def origin(self, key: str) -> Origin:
        return self.history[key][-1].origin if key in self.history else DEFAULT

    @cached_property
    def warnings(self) -> list[str]:
        """What the user should know, none of which stops a run."""
        return warnings_of(self.config, self.origins)

    def value(self, key: str) -> Any:
        return self.history[key][-1].value

    def over(self, settings: Iterable[Setting]) -> "Resolved":
        """The same with other values over these, whose keys and types are known to be right."""
        history = {key: list(before) for key, before in self.history.items()}
        for setting in settings:
            history.setdefault(setting.key, []).append(setting)
        config = Config.model_validate(nested((key, found[-1].value) for key, found in history.items()))
        return Resolved(self.stage, self.profile, self.tier, config, history)


def resolve(
    stage: Stage,
    request: Request,
    hardware: HardwareValues,
    *,
    environment: Mapping[str, str],
    folder: Path,
) -> Resolved:
    """Lay the layers over each other: defaults < preset < profile < tier < `sainet.yaml` in `folder` <
    `--config` files < `SAINET_*` < `--set` and flags; then replace each `auto`.

    Raises `ConfigError` with every problem of every layer.
    """
    name = pick_profile(hardware) if request.profile == "auto" else request.profile
    layers, problems = _read_layers(stage, name, request, environment, folder)
    all_read = not problems
    history = {key: [Setting(key, value, DEFAULT)] for key, value in _leaves(Config().model_dump())}
    for layer in layers:
        good, bad = layer_problems(layer)
        problems += bad
        for setting in _for_stage(good, stage):
            history.setdefault(setting.key, []).append(setting)
    for setting in auto_settings({key: settings[-1].value for key, settings in history.items()}, hardware):
        history[setting.key].append(setting)
    for setting in staging_settings(history):
        history[setting.key].append(setting)
    config = Config.model_validate(nested((key, settings[-1].value) for key, settings in history.items()))
    if all_read:  # a layer that is missing would make contradictions of its own
        problems += contradictions(config, {key: settings[-1].where for key, settings in history.items()})
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Resolved(stage, Path(name).stem, request.tier, config, history)


def _read_layers(
    stage: Stage, profile_name: str, request: Request, environment: Mapping[str, str], folder: Path
) -> tuple[list[Layer], list[Problem]]:
    layers: list[Layer] = []
    problems: list[Problem] = []

    def profile_layers() -> list[Layer]:
        profile = Profile(profile_name)
        return [profile.layer(), *([profile.tier_layer(request.tier)] if request.tier else [])]

    def config_reader(path: str) -> Callable[[], list[Layer]]:
        return lambda: [file_layer(Path(path), "config")]

    readers: list[Callable[[], list[Layer]]] = [
        lambda: [preset_layer(stage)],
        profile_layers,
        lambda: [layer for layer in [project_layer(folder)] if layer],
        *[config_reader(path) for path in request.config_files],
        lambda: [anchored(environment_layer(environment), folder)],
        lambda: [anchored(command_line_layer(request.sets), folder)],
    ]
    for reader in readers:
        try:
            layers += reader()
        except ConfigError as error:
            problems += error.problems
    return layers, problems


def _for_stage(settings: Iterable[Setting], stage: Stage) -> list[Setting]:
    """The settings that reach this stage; those limited to it come last, so that they win within their layer."""
    general, limited = [], []
    for setting in settings:
        limit, key = split_stage(setting.key)
        if limit is None:
            general.append(setting)
        elif limit == str(stage):
            limited.append(Setting(key, setting.value, setting.origin))
    return general + limited


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
