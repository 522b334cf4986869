"""`run.yaml`: the resolved configuration of a run, which people read and `--config` reads again."""

from sainet.config.document import written
from sainet.config.resolve import Resolved
from sainet.config.show import ordered_keys


def resolved_yaml(resolved: Resolved) -> str:
    """A `stage1:` or `stage2:` block with the origin of every value behind it in a comment."""
    lines = [f"stage{resolved.stage}:"]
    above: list[str] = []
    for key in ordered_keys(resolved):
        *sections, last = key.split(".", 1) if key.startswith("env.") else key.split(".")
        for depth, section in enumerate(sections):
            if above[: depth + 1] != sections[: depth + 1]:
                lines.append(f"{'  ' * (depth + 1)}{section}:")
        above = sections
        setting = f"{'  ' * (len(sections) + 1)}{last}: {written(resolved.value(key))}"
        lines.append(f"{setting}  # {resolved.origin(key)}")
    return "\n".join(lines) + "\n"
