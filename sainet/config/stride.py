"""The sides that a model can take."""

STRIDE = 32
"""The largest stride of YOLOv8 and YOLO11 detection models: sides are rounded up to a multiple of it."""


def to_stride(side: int) -> int:
    """`side` pixels rounded up to a multiple of the stride."""
    return -(-side // STRIDE) * STRIDE
