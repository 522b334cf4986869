"""How much memory the cards that people rent have, for planning without one."""

__all__ = ["card_memory_bytes"]

_MIB = 1024**2

# What nvidia-smi shows as a card's total, MiB: less than the nominal size where ECC takes its share.
_CARDS_MIB = {
    "T4": 15360,
    "V100-16GB": 16384,
    "V100-32GB": 32768,
    "RTX 3090": 24576,
    "RTX 4090": 24564,
    "A10": 23028,
    "A10G": 23028,
    "L4": 23034,
    "A100-40GB": 40960,
    "A100-80GB": 81920,
    "L40S": 46068,
    "H100": 81559,
    "H200": 143771,
}


def card_memory_bytes(name: str) -> int | None:
    """Memory of a card by its name, in any case, with or without `NVIDIA`; None for a name that fits none or several.

    `A100` alone is two cards, so it is none.
    """
    wanted = _plain(name)
    exact = [size for card, size in _CARDS_MIB.items() if _plain(card) == wanted]
    near = [size for card, size in _CARDS_MIB.items() if wanted in _plain(card)]
    found = exact or near
    return found[0] * _MIB if len(set(found)) == 1 else None


def known_cards() -> list[str]:
    """The names that `card_memory_bytes` knows."""
    return sorted(_CARDS_MIB)


def _plain(name: str) -> str:
    return "".join(name.lower().removeprefix("nvidia").split()).replace("-", "")
