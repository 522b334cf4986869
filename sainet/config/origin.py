"""Where a value came from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

LayerName = Literal[
    "default", "preset", "profile", "tier", "project", "config", "environment", "command line", "auto", "guard"
]


@dataclass(frozen=True)
class Origin:
    """The layer that set a value, in words, and its place as `file:line`, a flag or a variable."""

    layer: LayerName
    name: str = ""
    place: str = ""

    @property
    def typed_by_user(self) -> bool:
        """True where the user wrote the value, as opposed to something that ships with sainet or was derived."""
        return self.layer in {"project", "config", "environment", "command line"}

    def __str__(self) -> str:
        match self.layer:
            case "default":
                return "default"
            case "preset" | "profile" | "tier":
                return f"{self.layer} {self.name} ({self.place})"
            case "auto" | "guard":
                return f"{self.layer}: {self.name}"
            case _:
                return self.place


DEFAULT = Origin("default")


@dataclass(frozen=True)
class Setting:
    """One dotted key with the value that one layer gives it."""

    key: str
    value: Any
    origin: Origin

    @property
    def where(self) -> str:
        """The place for an error message."""
        return self.origin.place or str(self.origin)


@dataclass
class Layer:
    """What one source sets; its kind says which sections it may set (a profile: a profile's)."""

    kind: Literal["preset", "profile", "tier", "user"]
    settings: list[Setting] = field(default_factory=list)


def shown_path(path: Path, shipped_root: Path) -> str:
    """A path as a person would write it: below `shipped_root`'s parent or below the working directory."""
    for base in (shipped_root.parent, Path.cwd()):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)
