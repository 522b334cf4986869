"""Reading a YAML file into dotted keys that remember their line.

PyYAML alone would let a duplicate key win silently and read `1e-3` as text; both matter here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sainet.errors import ConfigError, Problem

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # the C loader where libyaml is there
    """YAML's safe types, and floats such as `1e-3` as YAML 1.2 has them."""


_DEEPEST = 6
"""Levels of keys; `tiers.NAME.loader.val.workers` takes five. The limit also ends anchors that hold themselves."""

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class Items(list[Any]):
    """A list of mappings. `lines`: for each of them, where its keys stand, from 1."""

    def __init__(self, items: Iterable[Any], lines: Sequence[Mapping[str, int]]) -> None:
        super().__init__(items)
        self.lines = lines


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
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(f"is not UTF-8 text: {error.reason}", shown, "save it as UTF-8")]) from error
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", shown)]) from error


def parse_entries(text: str, shown: str) -> list[Entry]:
    """`read_entries` for text that is at hand. Raises `ConfigError`."""
    return list(_parsed(text, shown))


@lru_cache(maxsize=16)  # a profile is asked for with each of its tiers
def _parsed(text: str, shown: str) -> tuple[Entry, ...]:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None or root.tag == "tag:yaml.org,2002:null":
            return ()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError([Problem("expected `key: value` lines", f"{shown}:{root.start_mark.line + 1}")])
        problems = list(_key_problems(root, "", shown))
        if problems:
            raise ConfigError(problems)
        return tuple(_leaves(loader, root, ""))
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error.problem):  # PyYAML 6.0.4 counts; before, the interpreter did
            raise ConfigError([Problem("is nested too deeply", shown)]) from None
        raise ConfigError([_syntax_problem(error, shown)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem(f"not YAML: {str(error).splitlines()[0]}", shown)]) from error
    except RecursionError:
        raise ConfigError([Problem("is nested too deeply", shown)]) from None
    finally:
        loader.dispose()


def parse_value(text: str) -> Any:
    """A value as it would be read in a YAML file, e.g. `true`, `1e-3`, `[1440, 808]`.

    Raises `ValueError` with YAML's reason.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader with one more number format
    except yaml.MarkedYAMLError as error:
        raise ValueError(error.problem or error.context) from error
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def written(value: Any) -> str:
    """A value on one line as YAML would have it, e.g. `true`, `null`, `[1440, 808]`, `"text"`."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _leaves(loader: Any, node: yaml.MappingNode, prefix: str) -> Iterator[Entry]:
    loader.flatten_mapping(node)  # merge keys (`<<: *base`); what they bring comes first, so its own keys replace it
    for key_node, value_node in {key.value: (key, value) for key, value in node.value}.values():
        key = prefix + key_node.value
        if isinstance(value_node, yaml.MappingNode):
            yield from _leaves(loader, value_node, f"{key}.")
        else:
            text = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
            yield Entry(key, _value(loader, value_node), text, key_node.start_mark.line + 1)


def _value(loader: Any, node: yaml.Node) -> Any:
    value = _construct(loader, node)
    if not _mappings(node):
        return value
    mappings = [item.value if isinstance(item, yaml.MappingNode) else [] for item in node.value]
    return Items(value, [{key.value: key.start_mark.line + 1 for key, _ in pairs} for pairs in mappings])


def _mappings(node: yaml.Node) -> list[yaml.MappingNode]:
    """The mappings of a list, if it is one."""
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    return [item for item in items if isinstance(item, yaml.MappingNode)]


def _construct(loader: Any, node: yaml.Node) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # PyYAML lets Python's own through, e.g. for the date 2024-99-99
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def _key_problems(node: yaml.MappingNode, prefix: str, shown: str) -> Iterator[Problem]:
    """Keys that are not text, have a dot in them, or come twice."""
    if prefix.count(".") >= _DEEPEST:
        yield Problem(f"`{prefix}` is nested too deeply", f"{shown}:{node.start_mark.line + 1}")
        return
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        problem = _key_problem(key_node, prefix, first)
        if problem:
            yield Problem(problem[0], f"{shown}:{line}", problem[1])
            continue
        first[key_node.value] = line
        for below in [value_node] if isinstance(value_node, yaml.MappingNode) else _mappings(value_node):
            yield from _key_problems(below, f"{prefix}{key_node.value}.", shown)


def _key_problem(key_node: yaml.Node, prefix: str, first: dict[str, int]) -> tuple[str, str] | None:
    """What is wrong with one key, and the hint."""
    if not isinstance(key_node, yaml.ScalarNode):
        return "a key is a list or a mapping", "keys are names"
    key = key_node.value
    if key in first:
        return f"`{prefix}{key}` is set twice (first on line {first[key]})", "keep one of the two"
    if "." in key:
        above, _, below = key.partition(".")
        hint = f"write `{above}:` and below it `{below}:`" if not prefix else "names have no dots"
        return f"`{prefix}{key}` has a dot inside one key", hint
    return None


def _syntax_problem(error: yaml.MarkedYAMLError, shown: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"{shown}:{mark.line + 1}" if mark else shown
    return Problem(f"not valid YAML: {error.problem or error.context}", where, "check indentation, colons and quotes")
