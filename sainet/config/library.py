"""The profiles and presets that ship with sainet, and profiles of the user's own."""

import difflib
from pathlib import Path

from sainet.config.document import Entry, read_entries
from sainet.config.origin import Layer, Origin, Setting, shown_path
from sainet.errors import ConfigError, Problem
from sainet.protocol import Stage

PRESETS: dict[Stage, str] = {1: "fasdd-pretrain", 2: "pyrosdis-finetune"}


def shipped_root() -> Path:
    """The folder `configs`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def profile_names() -> list[str]:
    """The shipped profiles."""
    return sorted(path.stem for path in (shipped_root() / "profiles").glob("*.yaml"))


def profile_path(name: str) -> Path:
    """The file of a shipped profile's name, or of a path to a YAML of the user's own.

    Raises `ConfigError` with the nearest names when there is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError([Problem(f"no such profile file: {name}", "--profile")])
        return path.absolute()
    if name not in profile_names():
        near = difflib.get_close_matches(name, profile_names(), n=2, cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"the profiles are {', '.join(profile_names())}"
        )
        raise ConfigError(
            [Problem(f"there is no profile `{name}`", "--profile", f"{hint} (sainet profiles ls)")]
        )
    return shipped_root() / "profiles" / f"{name}.yaml"


class Profile:
    """One profile's file: its own settings and those of its tiers."""

    def __init__(self, name: str) -> None:
        """Raises `ConfigError` for an unknown name or a file that is not YAML."""
        self.path = profile_path(name)
        self.name = self.path.stem
        self.shown = shown_path(self.path, shipped_root())
        self._entries = read_entries(self.path, self.shown)

    @property
    def tiers(self) -> list[str]:
        names = [e.key.split(".")[1] for e in self._entries if e.key.startswith("tiers.")]
        return list(dict.fromkeys(names))

    def layer(self) -> Layer:
        """The profile's own settings, without its tiers."""
        mine = [e for e in self._entries if e.key.partition(".")[0] != "tiers"]
        return _layer("profile", self.name, self.shown, mine)

    def tier_layer(self, tier: str) -> Layer:
        """Raises `ConfigError` with the tiers that there are."""
        if tier not in self.tiers:
            known = ", ".join(self.tiers) or "none"
            raise ConfigError(
                [Problem(f"profile {self.name} has no tier `{tier}`", "--tier", f"its tiers: {known}")]
            )
        prefix = f"tiers.{tier}."
        entries = [
            Entry(e.key.removeprefix(prefix), e.value, e.text, e.line)
            for e in self._entries
            if e.key.startswith(prefix)
        ]
        return _layer("tier", tier, self.shown, entries)

    def headline(self) -> str:
        """The first comment line of the file: the hardware that it is for."""
        for line in self.path.read_text(encoding="utf-8").splitlines():
            text = line.lstrip("# ").strip()
            if line.startswith("#") and text and not text.startswith("yaml-language-server"):
                return text
        return ""


def preset_layer(stage: Stage) -> Layer:
    """The shipped preset of a stage."""
    name = PRESETS[stage]
    path = shipped_root() / "presets" / f"{name}.yaml"
    shown = shown_path(path, shipped_root())
    return _layer("preset", name, shown, read_entries(path, shown))


def _layer(kind: str, name: str, shown: str, entries: list[Entry]) -> Layer:
    assert kind in {"preset", "profile", "tier"}
    settings = [
        Setting(e.key, env_text(e), Origin(kind, name, f"{shown}:{e.line}"))  # type: ignore[arg-type]
        for e in entries
        if not is_empty_section(e)
    ]
    return Layer(kind, settings)  # type: ignore[arg-type]


def env_text(entry: Entry) -> object:
    """The value of an entry; an environment variable is taken as it is written (`8` and `on` stay text)."""
    return entry.text if entry.key.startswith(("env.", "stage1.env.", "stage2.env.")) else entry.value


def is_empty_section(entry: Entry) -> bool:
    """`train:` with nothing below it sets nothing."""
    from sainet.config.schema import PROFILE_SECTIONS, Config, section_model

    return entry.value is None and (
        entry.key in {"tiers", "env", "stage1", "stage2"}
        or (
            entry.key in Config.model_fields
            and (entry.key in PROFILE_SECTIONS or section_model(entry.key) is not None)
        )
    )
