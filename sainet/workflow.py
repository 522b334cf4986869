"""Stage 1, then stage 2: a small state machine whose memory is state.json.

`sainet train` is the same machine with one stage. A finished stage is never trained again.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sainet.config.auto import HardwareValues
from sainet.config.resolve import Resolved, resolve
from sainet.config.runfile import resolved_yaml
from sainet.errors import ConfigError, Interrupted, Problem, RunExistsError, UsageError, WeightsError
from sainet.files import replace_text
from sainet.hardware.machine import Machine
from sainet.protocol import Stage
from sainet.run.identity import check_same_training, training_identity
from sainet.run.lock import locked
from sainet.run.preflight import Preflight, inspect
from sainet.run.signals import catching
from sainet.run.stage import StageRun, View
from sainet.state import Command, Request, RunFolder, RunState, StageState

ViewMaker = Callable[[str, int], AbstractContextManager[View]]
"""Given the run's name and its number of stages, something that shows events while it is entered."""


@dataclass
class Workflow:
    """One invocation of `sainet train` (one stage) or `sainet full-workflow` (both)."""

    command: Command
    stages: Sequence[Stage]
    request: Request
    folder: RunFolder
    machine: Machine

    # --- looking, for a dry run and for the start

    def resolve(self) -> dict[Stage, Resolved]:
        """The configuration of every stage. Raises `ConfigError` with the problems of all of them."""
        hardware = HardwareValues(self.machine.cpus, tuple(gpu.name for gpu in self.machine.gpus.gpus if gpu.visible))
        resolved: dict[Stage, Resolved] = {}
        problems: list[Problem] = []
        for stage in self.stages:
            try:
                resolved[stage] = resolve(stage, self.request, hardware, environment=os.environ, folder=Path.cwd())
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return resolved

    def inspect(self, resolved: dict[Stage, Resolved], state: RunState | None) -> dict[Stage, Preflight]:
        """Data, weights and admission of every stage, before anything starts: hour nine is too late for a typo."""
        return {
            stage: inspect(
                settings,
                self.machine,
                Path.cwd(),
                stage_1_best=self._stage_1_best(state),
                in_workflow=len(self.stages) > 1,
                force=self.request.force,
            )
            for stage, settings in resolved.items()
        }

    def _stage_1_best(self, state: RunState | None) -> Path | None:
        done = state is not None and 1 in state.stages and state.stages[1].status == "done"
        best = self.folder.stage(1).best
        return best if done and best.exists() else None

    # --- running

    def run(self, *, resume: bool, make_view: ViewMaker, warn: Callable[[str], None]) -> RunState:
        """Train every stage that is not done; `warn` is told what the user should know before.

        Raises what the stages raise; and before anything starts `RunExistsError`, `RunLockedError`, and
        everything that `Preflight.require` raises.
        """
        if self.folder.exists and self.command == "train" and not resume:
            raise RunExistsError(
                f"the run {self.folder.name} is there already ({self.folder.root})",
                hint="--resume goes on with it; --run NAME starts another",
            )
        if resume and not self.folder.exists:
            raise UsageError(
                f"there is no run {self.folder.name} to resume in {self.folder.root.parent}",
                hint="sainet runs ls shows the runs; --run and --runs-dir name one",
            )
        resolved = self.resolve()
        self._require(resolved, self._stored_state(), warn)
        with locked(self.folder.lock):
            state = self._open(resolved)
            self._write_settings(resolved)
            with catching() as caught, make_view(self.folder.name, len(self.stages)) as view:
                for stage in self.stages:
                    if state.stages[stage].status == "done":
                        continue
                    if caught.number is not None:
                        raise Interrupted(
                            f"asked to stop before stage {stage}",
                            signal_number=caught.number,
                            hint="the same command goes on from there",
                        )
                    found = self.inspect({stage: resolved[stage]}, state)[stage]
                    found.require()
                    self._require_weights(found)
                    StageRun(self.folder, state, stage, found, view, caught).run()
        return state

    def _require(self, resolved: dict[Stage, Resolved], state: RunState | None, warn: Callable[[str], None]) -> None:
        """Raise what stands against any stage that still has to run, before the first one starts."""
        open_stages = {
            stage: settings
            for stage, settings in resolved.items()
            if state is None or stage not in state.stages or state.stages[stage].status != "done"
        }
        for stage, found in self.inspect(open_stages, state).items():
            for text in found.warnings:
                warn(f"stage {stage}: {text}")
            found.require()

    def _require_weights(self, found: Preflight) -> None:
        if found.weights is None:
            raise WeightsError(
                f"stage 1 is done, but its best weights are gone: {self.folder.stage(1).best}",
                hint="put the file back, or name weights for stage 2: --set stage2.weights=FILE.pt",
            )

    def _stored_state(self) -> RunState | None:
        return self.folder.read_state() if self.folder.exists else None

    def _open(self, resolved: dict[Stage, Resolved]) -> RunState:
        """The run's state: new, or the stored one after checking that it is the same training. Held under the lock."""
        state = self._stored_state()
        if state is None:
            state = RunState(name=self.folder.name, command=self.command, request=self.request, stages={})
        for stage, settings in resolved.items():
            record = state.stages.setdefault(stage, StageState())
            if record.attempts:
                check_same_training(record.settings, settings, run=self.folder.name)
            record.settings = training_identity(settings)
            record.epochs = settings.config.schedule.epochs
        state.command, state.request, state.updated_s = self.command, self.request, time.time()
        self.folder.write_state(state)
        return state

    def _write_settings(self, resolved: dict[Stage, Resolved]) -> None:
        parts = [f"# Run {self.folder.name}: the resolved configuration and where each value came from."]
        parts += [resolved_yaml(settings) for settings in resolved.values()]
        replace_text(self.folder.settings, "\n".join(parts))
