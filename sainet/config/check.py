"""Checking one file by itself: is it a good profile, preset or project file, whatever it will be combined with?"""

from collections.abc import Sequence
from pathlib import Path

from sainet.config.contradictions import contradictions
from sainet.config.document import read_entries
from sainet.config.jsonschema import Kind
from sainet.config.layers import file_layer
from sainet.config.library import Profile, preset_file_layer, shipped_root
from sainet.config.origin import Layer, shown_path
from sainet.config.schema import Config
from sainet.config.validate import layer_problems, nested
from sainet.errors import ConfigError, Problem


def kind_of(path: Path) -> Kind:
    """What the content, or else the folder, makes of a file. Raises `ConfigError` for one that is not YAML."""
    entries = read_entries(path, shown_path(path.absolute(), shipped_root()))
    folder = path.absolute().parent.name
    if folder == "profiles" or {entry.key.partition(".")[0] for entry in entries} & {"tiers", "hardware"}:
        return "profile"
    return "preset" if folder == "presets" else "project"


def check_file(path: Path) -> Kind:
    """The kind of a file without faults; each tier of a profile is checked too.

    Raises `ConfigError` with every problem. Contradictions are looked for where one file owns all the keys that
    could contradict each other, so not in a project file, which changes values that it does not see.
    """
    kind = kind_of(path)
    match kind:
        case "profile":
            profile = Profile(path)
            own = profile.layer()
            problems = _problems([own])
            for tier in profile.tiers:
                problems += _problems([own, profile.tier_layer(tier)])
        case "preset":
            problems = _problems([preset_file_layer(path)])
        case "project":
            problems = layer_problems(file_layer(path, "config"))[1]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return kind


def checked_config(layers: Sequence[Layer]) -> Config:
    """Layers over the defaults. Raises `ConfigError` with what is wrong with them."""
    config, problems = _over_defaults(layers)
    if problems:
        raise ConfigError(problems)
    return config


def _over_defaults(layers: Sequence[Layer]) -> tuple[Config, list[Problem]]:
    """What is good of the layers, and what is wrong with them, alone and together."""
    checked = [layer_problems(layer) for layer in layers]
    settings = {setting.key: setting for good, _ in checked for setting in good}
    config = Config.model_validate(nested((key, setting.value) for key, setting in settings.items()))
    together = contradictions(config, {key: setting.where for key, setting in settings.items()})
    return config, [*(problem for _, bad in checked for problem in bad), *together]


def _problems(layers: Sequence[Layer]) -> list[Problem]:
    return _over_defaults(layers)[1]
