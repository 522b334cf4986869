"""What one step of the optimizer is made of: its images, and the learning rate for them."""

from sainet.config.schema import Config


def accumulation(batch: int, nbs: int) -> int:
    """Batches whose gradients are added up before a step of the optimizer (Ultralytics' rule)."""
    return max(round(nbs / batch), 1)


def step_images(config: Config) -> int:
    """Images in one step of the optimizer. `train.batch` counts those of all GPUs, so their number is in it."""
    batch = config.train.batch
    return batch * accumulation(batch, config.optim.nbs)


def initial_lr(config: Config) -> float:
    """The learning rate that warm-up ends at and the schedule starts from.

    `lr_scaling: linear`: lr0 is stated for `lr_base_batch` images a step and grows in proportion to them. The biases'
    own rate at the start of warm-up (`warmup_bias_lr`) stays as it is.
    """
    if config.train.lr_scaling == "none":
        return config.optim.lr0
    return config.optim.lr0 * step_images(config) / config.train.lr_base_batch
