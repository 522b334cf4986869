"""The machine's figures in the form that the configuration asks for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sainet.config.auto import HardwareValues


def hardware_values() -> "HardwareValues":
    """What `auto` is resolved from on this machine: its usable CPU threads and the GPUs that CUDA would see."""
    from sainet.hardware.machine import read_machine, values_of

    return values_of(read_machine())
