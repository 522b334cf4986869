"""What is drawn of a batch: its first images, taken off the device at once.

Upstream draws in threads, each with a float copy of the whole batch on the host, and keeps the batch on the device
until it is done: at a batch of 128 of 832x1440 that is 1.7 GiB a picture, six times over in the final evaluation.
"""

from typing import Any

DRAWN = 16
"""Images in a picture, at most: upstream's `plot_images(max_subplots=16)`."""


def drawn_part(batch: dict[str, Any]) -> dict[str, Any]:
    """`batch` with the images that a picture shows, copied to the host; the labels of the others are not looked at."""
    return {**batch, "img": batch["img"][:DRAWN].detach().to("cpu", copy=True)}
