"""The JSON schemas of profiles, presets and project files, for editors and for whoever generates such files.

They come from the pydantic models, so they say what the loader accepts. `configs/schema/` holds them as files.
"""

from copy import deepcopy
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema

from sainet.config.schema import PRESET_SECTIONS, PROFILE_SECTIONS, Config

Kind = Literal["profile", "preset", "project"]
KINDS: tuple[Kind, ...] = ("profile", "preset", "project")

_SECTIONS: dict[Kind, tuple[str, ...]] = {
    "profile": PROFILE_SECTIONS,
    "preset": PRESET_SECTIONS,
    "project": PRESET_SECTIONS + PROFILE_SECTIONS,
}
_ABOUT: dict[Kind, tuple[str, str]] = {
    "profile": ("sainet profile", "A machine and how to use it (configs/profiles, --profile)."),
    "preset": ("sainet stage preset", "What a stage learns, and how (configs/presets)."),
    "project": ("sainet project file", "What this project changes (sainet.yaml, --config FILE)."),
}


class _Untitled(GenerateJsonSchema):
    """A title on each key would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema(kind: Kind) -> dict[str, Any]:
    """The schema of one kind of file, draft 2020-12. No key but the names in `env` is open."""
    whole = Config.model_json_schema(schema_generator=_Untitled)
    definitions = whole["$defs"]
    sections = {name: whole["properties"][name] for name in _SECTIONS[kind]}
    if "env" in sections:
        # Variables are taken as they are written, so that `OMP_NUM_THREADS: 8` needs no quotes.
        sections["env"]["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    title, description = _ABOUT[kind]
    properties = sections | _named_sets(kind, sections, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": {name: definitions[name] for name in sorted(_used(properties, definitions))},
    }


def _named_sets(kind: Kind, sections: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`tiers` of a profile, `stage1` and `stage2` of a project file: the same sections once more, below a name."""
    definition = {"type": "object", "additionalProperties": False, "properties": deepcopy(sections)}
    if kind == "profile":
        definitions["Tier"] = definition | {"description": "What a tier changes in its profile."}
        about = "Named sets of differences, chosen with --tier."
        return {"tiers": {"type": "object", "description": about, "additionalProperties": {"$ref": "#/$defs/Tier"}}}
    if kind == "project":
        definitions["Stage"] = definition | {"description": "What holds for one stage only."}
        return {
            name: {"$ref": "#/$defs/Stage", "description": f"For stage {name[-1]} only."}
            for name in ("stage1", "stage2")
        }
    return {}


def _used(node: Any, definitions: dict[str, Any]) -> set[str]:
    """The names of the definitions that `node` refers to, directly or through others."""
    if isinstance(node, list):
        return {name for item in node for name in _used(item, definitions)}
    if not isinstance(node, dict):
        return set()
    names = {name for item in node.values() for name in _used(item, definitions)}
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        names |= {name} | _used(definitions[name], definitions)
    return names
