"""How long it will take, by the published figures of the very same configuration, and never by anything else."""

import math

from sainet.config.resolve import Resolved
from sainet.config.schema import Config
from sainet.run.arguments import shape


def predicted_time(resolved: Resolved, images: int | None) -> str | None:
    """A sentence for the plan; None where the profile's `reference:` says nothing that applies.

    `images`: training images of the data, when known.
    """
    config, published = resolved.config, resolved.config.reference
    count = images if images is not None else published.images
    if published.s_per_batch and published.batch == config.train.batch and count:
        batches = math.ceil(count * config.schedule.fraction / config.train.batch)
        hours = published.s_per_batch * batches * config.schedule.epochs / 3600
        whose = "your" if images is not None else "the document's"
        return (
            f"{hours:.1f} h for {config.schedule.epochs} epochs of {whose} {count} images at the published "
            f"{published.s_per_batch} s a batch ({published.source}); validation not counted{_other_shape(config)}"
        )
    hours_range = published.stage1_hours if resolved.stage == 1 else published.stage2_hours
    if hours_range and published.batch == config.train.batch:
        low, high = hours_range[0], hours_range[-1]
        span = f"{low:g} h" if low == high else f"{low:g} to {high:g} h"
        return (
            f"published for this configuration: {span} ({published.source}, its own data and epochs)"
            f"{_other_shape(config)}"
        )
    return None


def _other_shape(config: Config) -> str:
    """What to think of a figure that was measured at another image size."""
    if config.reference.imgsz is None:
        return ""
    measured, trained = shape(config.reference.imgsz), shape(config.train.imgsz)
    if measured == trained:
        return ""
    share = math.prod(trained) / math.prod(measured)
    return f"; measured at {measured[0]}x{measured[1]}, and {trained[0]}x{trained[1]} has {share:.2f} times its pixels"
