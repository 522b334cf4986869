"""The data YAML of a clean copy."""

from collections.abc import Iterable, Mapping

__all__ = ["yaml_text"]


def yaml_text(splits: Iterable[str], names: Mapping[int, str], head: str) -> str:
    """With paths relative to itself; `head` is said in its first line, whatever a path in it is made of."""
    from yaml import safe_dump

    text = safe_dump(dict(names), allow_unicode=True, default_flow_style=True, width=1000).strip()
    places = "".join(f"{split}: images/{split}\n" for split in splits)
    printable = "".join(letter if letter.isprintable() else "?" for letter in head)
    return f"# {printable}\n{places}names: {text}\n"
