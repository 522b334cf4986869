"""Reading a YAML file into dotted keys that remember their line.

PyYAML alone would let a duplicate key win silently and read `1e-3` as text; both matter here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sainet.errors import ConfigError, Problem

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # the C loader where libyaml is there
    """YAML's safe types, and floats such as `1e-3` as YAML 1.2 has them."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Entry:
    """A leaf of a YAML file: its dotted key, its value, the text it was written as, and its line (from 1)."""

    key: str
    value: Any
    text: str | None
    line: int


def read_entries(path: Path, shown: str) -> list[Entry]:
    """The leaves of a YAML mapping, in order; `shown` names the file in messages.

    Raises `ConfigError` for a file that is missing, is not YAML, or says a key twice.
    """
    try:
        return parse_entries(path.read_text(encoding="utf-8"), shown)
    except FileNotFoundError:
        raise ConfigError([Problem("no such file", shown)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"cannot be read: {error}", shown)]) from error


def parse_entries(text: str, shown: str) -> list[Entry]:
    """`read_entries` for text that is at hand."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError([Problem("expected `key: value` lines", f"{shown}:{root.start_mark.line + 1}")])
        problems = list(_duplicates(root, "", shown))
        if problems:
            raise ConfigError(problems)
        return list(_leaves(loader, root, ""))
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, shown)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem(f"not YAML: {error}", shown)]) from error
    finally:
        loader.dispose()


def parse_value(text: str) -> Any:
    """A value as it would be read in a YAML file, e.g. `true`, `1e-3`, `[1440, 808]`.

    Raises `ValueError` with YAML's reason.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader with one more number format
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _leaves(loader: Any, node: yaml.MappingNode, prefix: str) -> Iterator[Entry]:
    loader.flatten_mapping(node)  # merge keys (`<<: *base`)
    for key_node, value_node in node.value:
        key = prefix + str(key_node.value)
        if isinstance(value_node, yaml.MappingNode):
            yield from _leaves(loader, value_node, f"{key}.")
        else:
            text = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
            value = loader.construct_object(value_node, deep=True)
            yield Entry(key, value, text, key_node.start_mark.line + 1)


def _duplicates(node: yaml.MappingNode, prefix: str, shown: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in first:
            yield Problem(
                f"`{prefix}{key}` is set twice (first on line {first[key]})",
                f"{shown}:{line}",
                "keep one of the two",
            )
        first.setdefault(key, line)
        if isinstance(value_node, yaml.MappingNode):
            yield from _duplicates(value_node, f"{prefix}{key}.", shown)


def _syntax_problem(error: yaml.MarkedYAMLError, shown: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"{shown}:{mark.line + 1}" if mark else shown
    return Problem(
        f"not valid YAML: {error.problem or error.context}", where, "check indentation, colons and quotes"
    )
