"""What FASDD's file names say is to be seen in an image."""

import re

__all__ = ["classes_named"]

_NAMED = re.compile(r"(bothFireAndSmoke|neitherFireNorSmoke|fire|smoke)_CV\d")
_SAID = {
    "bothFireAndSmoke": frozenset({"fire", "smoke"}),
    "neitherFireNorSmoke": frozenset[str](),
    "fire": frozenset({"fire"}),
    "smoke": frozenset({"smoke"}),
}


def classes_named(name: str) -> frozenset[str] | None:
    """The classes by the name of an image, without folders; None where the name does not say."""
    match = _NAMED.match(name)
    return _SAID[match[1]] if match else None
