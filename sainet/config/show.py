"""A resolved configuration for people: one line a key, with its origin and with what it replaced."""

import difflib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sainet.config.document import written
from sainet.config.keys import advice_for, expand, section_names
from sainet.config.resolve import Resolved
from sainet.config.schema import Config
from sainet.config.validate import nested
from sainet.errors import UsageError

_WIDEST_VALUE = 24
"""Longer values push their own origin to the right, not everybody's."""


def ordered_keys(resolved: Resolved) -> list[str]:
    """Every key that has a value, in the schema's order."""
    sections = list(Config.model_fields)
    return sorted(resolved.history, key=lambda key: sections.index(key.partition(".")[0]))


def select_keys(resolved: Resolved, names: Sequence[str]) -> list[str]:
    """The keys that `names` stand for, each a section, a key or an unambiguous short name; all keys without names.

    Raises `UsageError` for a name that stands for nothing.
    """
    keys = ordered_keys(resolved)
    if not names:
        return keys
    wanted = {key for name in names for key in _named(name, keys)}
    return [key for key in keys if key in wanted]


def nested_values(resolved: Resolved, keys: Sequence[str]) -> dict[str, Any]:
    """The values of `keys`, section by section."""
    return nested((key, resolved.value(key)) for key in keys)


def origin_lines(resolved: Resolved, keys: Sequence[str]) -> list[str]:
    """`loader.workers = 8   <- profile h200 (configs/profiles/h200.yaml:14), over default "auto"` for each key.

    Keys and values are aligned, and an empty line parts the sections.
    """
    key_width = max((len(key) for key in keys), default=0)
    value_width = min(max((len(_shown(resolved.value(key))) for key in keys), default=0), _WIDEST_VALUE)
    lines: list[str] = []
    for _, group in groupby(keys, key=lambda key: key.partition(".")[0] if "." in key else ""):
        lines += [""] if lines else []
        for key in group:
            value = _shown(resolved.value(key))
            lines.append(f"{key:<{key_width}} = {value:<{value_width}}   <- {_history(resolved, key)}")
    return lines


def _shown(value: Any) -> str:
    """A value on one line; of a list of mappings only how long it is."""
    is_long = isinstance(value, list) and any(isinstance(item, dict) for item in value)
    return f"{len(value)} items" if is_long else written(value)


def _history(resolved: Resolved, key: str) -> str:
    *before, last = resolved.history[key]
    if not before:
        return str(last.origin)
    replaced = before[-1]
    if written(replaced.value) == written(last.value):
        return str(last.origin)
    if replaced.origin.layer == "default":
        return f"{last.origin}, over default {_shown(replaced.value)}"
    return f"{last.origin}, over {_shown(replaced.value)} of {replaced.origin}"


def _named(name: str, keys: Sequence[str]) -> list[str]:
    if name in section_names():
        return [key for key in keys if key.startswith(f"{name}.")]
    key = expand(name)
    if key is not None and key in keys:
        return [key]
    if key is not None:
        raise UsageError(f"`{key}` is not set", hint="`sainet config show env` lists the variables that are")
    near = difflib.get_close_matches(name, section_names(), n=1, cutoff=0.7)
    hint = f"did you mean the section `{near[0]}`?" if near else advice_for(name)
    raise UsageError(f"there is no key or section `{name}`", hint=hint)
