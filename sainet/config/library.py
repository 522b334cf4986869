"""The profiles and presets that ship with sainet, and profiles of the user's own."""

import difflib
from pathlib import Path

from sainet.config.document import Entry, read_entries, written
from sainet.config.keys import section_names, split_stage
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
            raise ConfigError([Problem(f"no such profile file: {name}")])
        return path.absolute()
    if name not in profile_names():
        near = difflib.get_close_matches(name, profile_names(), n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the profiles are {', '.join(profile_names())}"
        raise ConfigError([Problem(f"there is no profile `{name}`", hint=f"{hint} (sainet profiles ls)")])
    return shipped_root() / "profiles" / f"{name}.yaml"


class Profile:
    """One profile's file: its own settings and those of its tiers."""

    def __init__(self, name: str | Path) -> None:
        """Raises `ConfigError` for an unknown name, a file that is not YAML, or tiers that are not named sections."""
        self.path = name.absolute() if isinstance(name, Path) else profile_path(name)
        self.name = self.path.stem
        self.shown = shown_path(self.path, shipped_root())
        self._entries = read_entries(self.path, self.shown)
        problems = [_tier_problem(entry, self.shown) for entry in self._entries if _is_no_tier(entry)]
        if problems:
            raise ConfigError(problems)

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
            raise ConfigError([Problem(f"profile {self.name} has no tier `{tier}`", "--tier", f"its tiers: {known}")])
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
    return preset_file_layer(shipped_root() / "presets" / f"{PRESETS[stage]}.yaml")


def preset_file_layer(path: Path) -> Layer:
    """The preset in a file. Raises `ConfigError` for one that is missing or not YAML."""
    shown = shown_path(path.absolute(), shipped_root())
    return _layer("preset", path.stem, shown, read_entries(path, shown))


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
    is_written = entry.text is not None and entry.value is not None
    return entry.text if is_written and split_stage(entry.key)[1].startswith("env.") else entry.value


def is_empty_section(entry: Entry) -> bool:
    """`train:` with nothing below it sets nothing."""
    sections = {"tiers", "stage1", "stage2", *section_names()}
    return entry.value is None and split_stage(entry.key)[1] in sections


def _is_no_tier(entry: Entry) -> bool:
    """`tiers: 3` or `tiers: {fast: 3}`; a tier with nothing in it changes nothing."""
    section, _, rest = entry.key.partition(".")
    return section == "tiers" and "." not in rest and entry.value is not None


def _tier_problem(entry: Entry, shown: str) -> Problem:
    hint = "tiers: {NAME: {train: {batch: 64}}}"
    return Problem(f"`{entry.key}` should hold sections; it is {written(entry.value)}", f"{shown}:{entry.line}", hint)
