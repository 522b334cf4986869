"""The layers that a user writes: `sainet.yaml`, `--config` files, `SAINET_*` variables, `--set` and the flags."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sainet.config.document import parse_value, read_entries
from sainet.config.keys import advice_for, all_keys, expand, split_stage
from sainet.config.library import env_text, is_empty_section, shipped_root
from sainet.config.origin import Layer, LayerName, Origin, Setting, shown_path
from sainet.config.schema import STAGE_1_WEIGHTS
from sainet.errors import ConfigError, Problem

PROJECT_FILE = "sainet.yaml"
_PREFIX = "SAINET_"
_PATHS = ("data", "weights")


def file_layer(path: Path, layer: LayerName) -> Layer:
    """A configuration file of the user's; paths in it are relative to it. Raises `ConfigError`."""
    shown = shown_path(path.absolute(), shipped_root())
    settings = [
        Setting(e.key, env_text(e), Origin(layer, "", f"{shown}:{e.line}"))
        for e in read_entries(path, shown)
        if not is_empty_section(e)
    ]
    return anchored(Layer("user", settings), path.absolute().parent)


def project_layer(folder: Path) -> Layer | None:
    """`sainet.yaml` in the working directory, when there is one."""
    path = folder / PROJECT_FILE
    return file_layer(path, "project") if path.is_file() else None


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """`SAINET_LOADER_WORKERS=8`, `SAINET_WORKERS=8`, `SAINET_STAGE2_EPOCHS=40`. Raises `ConfigError`."""
    names = _variable_names()
    settings, problems = [], []
    for variable in sorted(name for name in environment if name.startswith(_PREFIX)):
        key = _key_of_variable(variable, names)
        if key is None:
            problems.append(_unknown_variable(variable))
            continue
        try:
            value = _typed(key, environment[variable])
        except ValueError as error:
            problems.append(Problem(f"not a YAML value: {error}", variable))
            continue
        settings.append(Setting(key, value, Origin("environment", "", variable)))
    problems += _said_twice(settings)
    if problems:
        raise ConfigError(problems)
    return Layer("user", settings)


def command_line_layer(sets: Sequence[tuple[str, str, str]]) -> Layer:
    """(key, value as text, the flag that said so) triples; keys may be short. Raises `ConfigError`."""
    settings: list[Setting] = []
    problems: list[Problem] = []
    for name, text, flag in sets:
        limit, short = split_stage(name)
        key = expand(short)
        try:
            value = _typed(key or short, text)
        except ValueError as error:
            problems.append(Problem(f"not a YAML value: {error}", flag))
            continue
        full = f"stage{limit}.{key or short}" if limit else key or short
        settings.append(Setting(full, value, Origin("command line", "", flag)))
    problems += _said_twice(settings)
    if problems:
        raise ConfigError(problems)
    return Layer("user", settings)


def anchored(layer: Layer, folder: Path) -> Layer:
    """The layer with its relative paths made absolute, as typed in `folder`: run.yaml must mean them too."""
    return Layer(layer.kind, [_anchored(setting, folder) for setting in layer.settings])


def split_set(text: str) -> tuple[str, str, str]:
    """`train.batch=96` as typed after `--set`. Raises `ConfigError` without an equals sign."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError([Problem("expected KEY=VALUE", f"--set {text}", "for example --set train.batch=96")])
    return key.strip(), value.strip(), f"--set {key.strip()}={value.strip()}"


def _typed(key: str, text: str) -> Any:
    """Environment variables and paths are text as they stand; everything else is read as YAML would."""
    _, plain = split_stage(key)
    if plain in _PATHS:
        return _home(text)
    return text if plain.startswith("env.") else parse_value(text)


def _home(path: str) -> str:
    """`~` as the shell would have it, which leaves it alone after an equals sign."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:  # no such user
        return path


def _anchored(setting: Setting, folder: Path) -> Setting:
    if not isinstance(setting.value, str):
        return setting
    return replace(setting, value=anchored_path(split_stage(setting.key)[1], setting.value, folder))


def anchored_path(key: str, value: str, folder: Path) -> str:
    """`value` of `key`, a path made absolute from `folder`; bare names of weights are searched for later."""
    if key not in _PATHS or value in {"", STAGE_1_WEIGHTS}:
        return value
    value = _home(value)
    is_bare_name = key == "weights" and "/" not in value and not (folder / value).exists()
    return value if Path(value).is_absolute() or is_bare_name else str((folder / value).resolve())


def _said_twice(settings: Iterable[Setting]) -> list[Problem]:
    first: dict[str, Setting] = {}
    problems = []
    for setting in settings:
        before = first.setdefault(setting.key, setting)
        if before.value != setting.value:
            problems.append(Problem(f"`{setting.key}` is also set by `{before.where}`", setting.where, "keep one"))
    return problems


def _variable_names() -> dict[str, str]:
    """SAINET_TRAIN_BATCH and SAINET_BATCH -> train.batch."""
    names = {key.upper().replace(".", "_"): key for key in all_keys()}
    for key in all_keys():
        short = key.rpartition(".")[2]
        if expand(short) == key:
            names.setdefault(short.upper(), key)
    return names


def _key_of_variable(variable: str, names: Mapping[str, str]) -> str | None:
    rest = variable.removeprefix(_PREFIX)
    limit = next((f"stage{n}." for n in "12" if rest.startswith(f"STAGE{n}_")), "")
    rest = rest[len(limit) :] if limit else rest
    if rest.startswith("ENV_"):
        return f"{limit}env.{rest.removeprefix('ENV_')}"
    return f"{limit}{names[rest]}" if rest in names else None


def _unknown_variable(variable: str) -> Problem:
    name = variable.removeprefix(_PREFIX).lower()
    advice = f"use the option --{name}" if name in {"profile", "tier"} else advice_for(name)
    return Problem("sainet has no such setting", variable, advice)
