"""Checking layers against the schema, with errors for people: all at once, each with its place and a hint."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sainet.config.document import Items, written
from sainet.config.keys import FOREIGN, advice_for, is_known, owner_of, section_names, split_stage
from sainet.config.origin import Layer, Setting
from sainet.config.schema import Config
from sainet.errors import Problem

_NULL_HINT = "give it a value, or leave it out for the default"
_HINTS = {
    "loader.cache": "Ultralytics' `true` is `ram`",
    "train.imgsz": "for example 1440, or [1440, 808] for a rectangle 1440 wide",
    "train.amp": "true (fp16), fp16, bf16, fp32 or false",
}


def layer_problems(layer: Layer) -> tuple[list[Setting], list[Problem]]:
    """The settings of a layer that are good, and what is wrong with the others."""
    good, problems = [], []
    for setting in layer.settings:
        problem = _key_problem(setting, layer.kind)
        if problem:
            problems.append(problem)
        else:
            good.append(setting)
    bad_values = _value_problems(good)
    problems += (problem for found in bad_values.values() for problem in found)
    return [s for s in good if id(s) not in bad_values], problems


def nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Dotted keys as nested dictionaries."""
    tree: dict[str, Any] = {}
    for key, value in values:
        *parents, last = key.split(".") if not key.startswith("env.") else key.split(".", 1)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def _key_problem(setting: Setting, kind: str) -> Problem | None:
    limit, key = split_stage(setting.key)
    if limit and kind != "user":
        hint = "do that in sainet.yaml or with --set"
        return Problem(f"`{setting.key}` limits a key to one stage, which a {kind} cannot", setting.where, hint)
    if key in section_names() or key in {"stage1", "stage2"}:
        return Problem(f"`{key}` is a section: it takes keys, not a value", setting.where, f"name the key: {key}.KEY")
    if not is_known(key):
        return _unknown(key, setting.where)
    owner = owner_of(key)
    if kind == "preset" and owner == "profile":
        return Problem(f"`{key}` belongs to a profile, not to a stage preset", setting.where, _elsewhere(key))
    if kind in {"profile", "tier"} and owner == "preset":
        return Problem(f"`{key}` belongs to a stage preset, not to a profile", setting.where, _elsewhere(key))
    return None


def _unknown(key: str, where: str) -> Problem:
    above, _, last = key.rpartition(".")
    if key.partition(".")[0] in {"tiers", "profile", "tier"}:
        return Problem(f"`{key}` cannot be set here", where, "choose with --profile and --tier; tiers live in profiles")
    if key.startswith("env.") and not last.isdigit():
        return Problem(f"`{key}` is not a name that a variable can have", where, "letters, digits and _")
    if is_known(above):
        return Problem(f"`{above}` takes a value: it has no keys below it", where)
    if last.isdigit():
        hint = 'inside { } a comma parts keys, so a value such as "0,1" needs quotes there'
        return Problem(f"unknown key `{key}`", where, hint)
    if last.lower() in FOREIGN:
        return Problem(f"sainet has no `{key}`", where, FOREIGN[last.lower()].advice)
    return Problem(f"unknown key `{key}`", where, advice_for(key))


def _elsewhere(key: str) -> str:
    return f"set it in sainet.yaml or with --set {key}=..."


def _value_problems(settings: Sequence[Setting]) -> dict[int, list[Problem]]:
    """Problems by the id() of the setting that has them; settings limited to a stage are checked by themselves."""
    groups: dict[str | None, list[Setting]] = defaultdict(list)
    for setting in settings:
        groups[split_stage(setting.key)[0]].append(setting)
    found: dict[int, list[Problem]] = {}
    for group in groups.values():
        by_key = {split_stage(s.key)[1]: s for s in group}
        try:
            Config.model_validate(nested((key, s.value) for key, s in by_key.items()))
        except ValidationError as error:
            for key, details in _by_key(error, by_key).items():
                setting = by_key[key]
                found[id(setting)] = list(_item_problems(key, setting, details))
                if not found[id(setting)]:
                    hint = _NULL_HINT if setting.value is None else _HINTS.get(key)
                    found[id(setting)] = [Problem(_describe(key, setting.value, details), setting.where, hint)]
    return found


def _item_problems(key: str, setting: Setting, details: Sequence[ErrorDetails]) -> Iterator[Problem]:
    """What is wrong inside the mappings of a list, each with its own line; nothing where the value is no such list."""
    for detail in details:
        number, *inner = [*detail["loc"][key.count(".") + 1 :], None]
        if not isinstance(setting.value, Items) or not isinstance(number, int):
            continue
        name, lines = inner[0], setting.value.lines[number]
        line = lines.get(str(name), min(lines.values(), default=None))
        where = f"{setting.where.rpartition(':')[0]}:{line}" if line else setting.where
        item = f"`{key}`, item {number + 1}"
        if name is None:
            yield Problem(f"{item} should be {_expected(detail)}", where)
        elif detail["type"] == "extra_forbidden":
            yield Problem(f"{item}: unknown key `{name}`", where)
        elif detail["type"] == "missing":
            yield Problem(f"{item}: `{name}` is missing", where)
        else:
            yield Problem(f"{item}: `{name}` should be {_expected(detail)}; it is {written(detail['input'])}", where)


def _by_key(error: ValidationError, keys: Container[str]) -> dict[str, list[ErrorDetails]]:
    """pydantic's errors under the dotted key that has them; a union reports one for each member."""
    grouped: dict[str, list[ErrorDetails]] = defaultdict(list)
    for details in error.errors():
        parts = [str(part) for part in details["loc"]]
        prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        grouped[next(prefix for prefix in prefixes if prefix in keys)].append(details)
    return grouped


def _describe(key: str, value: Any, details: Sequence[ErrorDetails]) -> str:
    wanted = list(dict.fromkeys(_wanted(d) for d in details))
    return f"`{key}` should be {' or '.join(wanted)}; it is {written(value)}"


def _wanted(details: ErrorDetails) -> str:
    place = details["loc"][-1]
    return f"{_expected(details)} at place {place + 1}" if isinstance(place, int) else _expected(details)


def _expected(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "bool_type":
            return "true or false"
        case "int_type" | "int_from_float":
            return "a whole number"
        case "float_type":
            return "a number"
        case "string_type":
            return "text"
        case "list_type":
            return "a list"
        case "model_type":
            return "`key: value` lines"
        case "finite_number":
            return "a finite number"
        case "string_too_short":
            return "text that is not empty"
        case "literal_error":
            return str(context["expected"]).replace("False", "false")
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "greater_than":
            return f"greater than {context['gt']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case _:
            return str(details["msg"]).removeprefix("Value error, ")
