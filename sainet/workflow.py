"""Stage 1, then stage 2: a small state machine whose memory is state.json.

`sainet train` is the same machine with one stage. A finished stage is never trained again.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sainet.config.keys import split_stage
from sainet.config.library import Profile
from sainet.config.resolve import Resolved, resolve
from sainet.config.runfile import resolved_yaml
from sainet.config.schema import STAGE_1_WEIGHTS
from sainet.errors import ConfigError, Interrupted, Problem, RunExistsError, StorageError, UsageError
from sainet.files import replace_text
from sainet.hardware.machine import Machine, read_machine, values_of
from sainet.protocol import Stage
from sainet.run.downshifts import lowered, standing_downshifts
from sainet.run.identity import check_same_training, training_identity
from sainet.run.leftovers import end_leftovers
from sainet.run.lock import locked
from sainet.run.preflight import Preflight, Standing, Surroundings, inspect, promised_bytes, promised_shm_bytes, require
from sainet.run.signals import Caught, catching
from sainet.state import Command, Downshift, Request, RunFolder, RunState, StageState

if TYPE_CHECKING:  # a dry run watches nothing
    from sainet.run.attempt import View

ViewMaker = Callable[[str, int], AbstractContextManager["View"]]
"""Given the run's name and its number of stages, something that shows events while it is entered."""


@dataclass
class Workflow:
    """One invocation of `sainet train` (one stage) or `sainet full-workflow` (both)."""

    command: Command
    stages: Sequence[Stage]
    request: Request
    folder: RunFolder
    machine: Machine
    tell: Callable[[str], None] = field(default=lambda _: None)
    """Hears of what takes a while before anything starts."""
    read: Callable[[], Machine] = read_machine
    """Looks at the machine again: hours pass between the stages, and others use it too."""

    # --- looking, for a dry run and for the start

    def resolve(self) -> dict[Stage, Resolved]:
        """The configuration of every stage.

        Raises `ConfigError` with the problems of all of them, and for a typed key that reaches none of them.
        """
        resolved: dict[Stage, Resolved] = {}
        problems = [
            Problem(f"`{key}` is for a stage that this command does not train", flag)
            for key, _, flag in self.request.sets
            if (limit := split_stage(key)[0]) is not None and int(limit) not in self.stages
        ]
        for stage in self.stages:
            try:
                resolved[stage] = self._resolve(stage, self.request)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return resolved

    def _resolve(self, stage: Stage, request: Request) -> Resolved:
        return resolve(stage, request, values_of(self.machine), environment=os.environ, folder=self.here)

    def stored_state(self, *, resume: bool) -> RunState | None:
        """What is known of the run. Raises `RunExistsError` or `UsageError` where `--resume` does not fit it."""
        if not self.folder.exists:
            self._require_untouched()
            if resume:
                raise UsageError(
                    f"there is no run {self.folder.name} to resume in {self.folder.root.parent}",
                    hint="sainet runs ls shows the runs; --run and --runs-dir name one",
                )
            return None
        if self.command == "train" and not resume:
            raise RunExistsError(
                f"the run {self.folder.name} is there already ({self.folder.root})",
                hint="--resume goes on with it; --run NAME starts another",
            )
        return self.folder.read_state()

    def inspect(self, resolved: dict[Stage, Resolved], state: RunState | None) -> dict[Stage, Preflight]:
        """Data, weights and admission of every stage that is not done, before anything starts: hour nine is too late.

        Raises `UsageError` when a stage that was trained in part would become another training.
        """
        for stage, settings in resolved.items():
            if state and stage in state.stages and self._has_begun(stage, state.stages[stage]):
                check_same_training(state.stages[stage].settings, settings, run=self.folder.name)
        found: dict[Stage, Preflight] = {}
        for stage, settings in resolved.items():
            if state is None or stage not in state.stages or state.stages[stage].status != "done":
                promised = sum(promised_bytes(before, self.folder) for before in found.values())
                staged = sum(promised_shm_bytes(before, settings) for before in found.values())
                around = replace(self._surroundings(settings), promised_disk_bytes=promised, promised_shm_bytes=staged)
                standing = self._standing(stage, state)
                known = state.stages[stage].downshifts if state and stage in state.stages else {}
                found[stage] = self._inspect_lowered(settings, around, standing, known)
        return found

    def _inspect_lowered(
        self, settings: Resolved, around: Surroundings, standing: Standing, known: Mapping[str, Downshift]
    ) -> Preflight:
        """With what memory has made smaller in the attempts before, which is told."""
        holding = standing_downshifts(settings, known, self.request.retyped)
        found = inspect(lowered(settings, holding), around, standing, force=self.request.force)
        found.warnings += [
            f"{key} is {one.now}, not {one.asked}: the guard lowered it ({one.reason}); type the key to set it anew"
            for key, one in holding.items()
        ]
        return found

    def is_done(self) -> bool:
        """Whether every stage of this command was trained before."""
        known = self.folder.read_state().stages if self.folder.exists else {}
        return all(stage in known and known[stage].status == "done" for stage in self.stages)

    @property
    def here(self) -> Path:
        """Where the request was typed."""
        return Path(self.request.folder or Path.cwd())

    def _require_untouched(self) -> None:
        """A training whose state.json is gone would be gone on with as one that nobody can check."""
        for stage in self.stages:
            if self.folder.stage(stage).has_begun:
                raise StorageError(
                    f"{self.folder.root} holds a training of stage {stage}, but no state.json says of what",
                    hint="restore state.json from a copy, or take another --run",
                )

    def _has_begun(self, stage: Stage, record: StageState) -> bool:
        return record.status == "done" or record.epochs_done > 0 or self.folder.stage(stage).has_begun

    def _surroundings(self, settings: Resolved) -> Surroundings:
        return Surroundings(
            machine=self.machine,
            folder=self.here,
            runs=self.folder.root,
            stage_1_weights=self._stage_1_weights() if settings.config.weights == STAGE_1_WEIGHTS else None,
            tiers=partial(self._tiers, settings),
            tell=self.tell,
        )

    def _stage_1_weights(self) -> str | None:
        """What stage 1 starts from with the same request; None where it cannot be resolved, which is not asked here."""
        with suppress(ConfigError):
            return self._resolve(1, self.request).config.weights
        return None

    def _tiers(self, settings: Resolved) -> dict[str, Resolved]:
        """What a stage would be with each of its profile's tiers."""
        asked = self.request.profile
        found: dict[str, Resolved] = {}
        for tier in Profile(settings.profile if asked == "auto" else asked).tiers:
            with suppress(ConfigError):  # what was typed may contradict it
                found[tier] = self._resolve(settings.stage, self.request.model_copy(update={"tier": tier}))
        return found

    def _standing(self, stage: Stage, state: RunState | None) -> Standing:
        stage_1_done = state is not None and 1 in state.stages and state.stages[1].status == "done"
        record = state.stages.get(stage, StageState()) if state else StageState()
        return Standing(
            in_workflow=len(self.stages) > 1,
            stage_1_best=self.folder.stage(1).best if stage_1_done else None,
            last=self.folder.stage(stage).kept if state is not None else None,
            epochs_done=record.epochs_done,
            classes=record.classes,
        )

    # --- running

    def run(self, *, resume: bool, make_view: ViewMaker, warn: Callable[[str], None]) -> RunState:
        """Train every stage that is not done; `warn` is told what the user should know before.

        Raises what the stages raise; and before anything starts `RunExistsError`, `RunLockedError`, and
        everything that `resolve`, `inspect` and `require` raise.
        """
        resolved = self.resolve()
        stored = self.stored_state(resume=resume)
        if stored is not None:
            self._end_leftovers(stored)
        found = self.inspect(resolved, stored)
        for stage, preflight in found.items():
            for text in preflight.warnings:
                warn(f"stage {stage}: {text}")
        require(found.values())
        with locked(self.folder.lock):
            state = self._open(resolved)
            self._write_settings(resolved)
            with catching() as caught, make_view(self.folder.name, len(self.stages)) as view:
                for stage in found:
                    self._run_stage(stage, resolved[stage], state, view, caught)
        return state

    def _end_leftovers(self, state: RunState) -> None:
        """What an attempt whose supervisor was killed still holds must not count against its own resume."""
        with locked(self.folder.lock):
            ended = [end_leftovers(record) for record in state.stages.values()]
            if any(ended):
                self.machine = self.read()

    def _run_stage(self, stage: Stage, settings: Resolved, state: RunState, view: "View", caught: Caught) -> None:
        if state.stages[stage].status == "done":  # by another process, while this one looked at the data
            return
        if caught.number is not None:
            hint = "the same command goes on from there"
            raise Interrupted(f"asked to stop before stage {stage}", signal_number=caught.number, hint=hint)
        self.machine = self.read()
        found = self.inspect({stage: settings}, state)  # again: stage 1's weights are there by now
        require(found.values())
        from sainet.run.stage import StageRun
        from sainet.run.staged import staged_data

        with staged_data(found[stage], self.folder, state.stages[stage], view, caught, self.tell) as ready:
            StageRun(self.folder, state, stage, ready, view, caught).run()

    def _open(self, resolved: dict[Stage, Resolved]) -> RunState:
        """The run's state, new or the stored one, with this request in it. Held under the lock."""
        state = self.folder.read_state() if self.folder.exists else None
        if state is None:
            state = RunState(name=self.folder.name, command=self.command, request=self.request, stages={})
        for stage, settings in resolved.items():
            record = state.stages.setdefault(stage, StageState())
            if not self._has_begun(stage, record):
                record.settings = training_identity(settings)
            record.downshifts = standing_downshifts(settings, record.downshifts, self.request.retyped)
            record.epochs = settings.config.schedule.epochs
            record.request = self.request
        if len(self.stages) == len(state.stages):  # one stage of a workflow does not say how to go on with the whole
            state.command, state.request = self.command, self.request
        self.folder.write_state(state)
        return state

    def _write_settings(self, resolved: dict[Stage, Resolved]) -> None:
        parts = [f"# Run {self.folder.name}: the resolved configuration and where each value came from."]
        parts += [resolved_yaml(settings) for settings in resolved.values()]
        replace_text(self.folder.settings, "\n".join(parts))
