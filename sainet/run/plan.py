"""The plan of one attempt: everything that the training process is told."""

import os

from sainet.protocol import Plan, Stage
from sainet.run.arguments import loader_plan, shape, trainer_arguments, val_loader_plan
from sainet.run.preflight import Preflight
from sainet.state import RunFolder


def make_plan(found: Preflight, folder: RunFolder, stage: Stage, attempt: int, *, resume: bool) -> Plan:
    """`found` has its data and its weights: `preflight.require` has seen to it."""
    assert found.data is not None
    assert found.weights is not None
    config, paths = found.resolved.config, folder.stage(stage)
    return Plan(
        run=folder.name,
        stage=stage,
        attempt=attempt,
        supervisor_pid=os.getpid(),
        attempt_dir=paths.attempt(attempt),
        weights_dir=paths.weights,
        checkpoint_dir=paths.checkpoint,
        events=folder.events,
        orders=paths.orders(attempt),
        cache_dir=folder.cache,
        data=found.data,
        weights=found.weights,
        lock=paths.lock,
        resume=resume,
        select_by=config.schedule.select_by,
        engine=config.train.engine,
        shape=shape(config.train.imgsz),
        loader=loader_plan(config, workers=found.workers),
        val_loader=val_loader_plan(config, workers=found.val_workers),
        ram_cache_bytes=found.fit.ram_cache_bytes if found.fit and not found.forced else None,
        micro_batch=config.train.micro_batch,
        tf32=config.train.tf32,
        cudnn_benchmark=config.train.cudnn_benchmark,
        checkpoint_every_s=60 * config.train.checkpoint_minutes,
        arguments=trainer_arguments(config, paths.attempt(attempt), workers=found.workers),
    )
