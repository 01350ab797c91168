"""Execute one command on a plan: train what is not finished, record it, write the report."""

import logging
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rich.logging import RichHandler

from fcos.errors import ConfigError
from fcos.storage.store_conventions import Artifact
from orchestration.cli.commands import report_command
from orchestration.cli.console import Output, format_count
from orchestration.cli.entry import OK, STOPPED, TRAINING_FAILED
from orchestration.cli.event_records import result_of
from orchestration.cluster.connect import checked_local_nodes, connected
from orchestration.cluster.resources import demand, max_concurrent
from orchestration.driver.bucket_steps import BucketSteps
from orchestration.driver.budget import enforce_budget
from orchestration.driver.event_lines import EventLines
from orchestration.driver.events import Events, TrialEvent, TrialStopped
from orchestration.driver.interruption import advise, find_interruption
from orchestration.driver.monitoring.command_monitor import CommandMonitor
from orchestration.driver.monitoring.undelivered import artifacts_not_stored, not_stored
from orchestration.driver.progress import State, SweepProgress
from orchestration.driver.progress_view import ProgressView, make_view
from orchestration.driver.recorder import RunRecorder
from orchestration.driver.retention import CheckpointRetention, remove_forks
from orchestration.driver.sharing.begin_sharing import share_trainings
from orchestration.driver.subprocesses.register_best import register_best
from orchestration.driver.subprocesses.report_process import ReportProcess
from orchestration.driver.tune_run import TuneJob, run_tune
from orchestration.driver.watchdogs import HEAD_LOST_CLOSE_SECONDS, end_stalled
from orchestration.planning.plan import add_looks, read_plan, settle_plan
from orchestration.planning.prepare import Prepared
from orchestration.planning.repeats.plan_history import read_plan_history, record_plan_history
from orchestration.planning.reuse import LaterReuse, take_all
from orchestration.planning.search_race import SearchRace
from orchestration.planning.seed_rounds import LaterRounds, Needed, SeedRounds, find_looks
from orchestration.planning.spent import read_spent
from orchestration.tracking.sqlite_store import opening_delay
from orchestration.tracking.tracker import SWEEP, Tracker
from orchestration.trial.failures import failure_reason

SETTLE_SECONDS = 60.0
CLOSE_SECONDS = 20.0
UNFINISHED: Final[tuple[State, ...]] = ("waiting", "followed", "running", "failed", "stopped")


class SweepRun:
    """One command on a plan; the lock of its folder is held by the caller."""

    def __init__(self, prepared: Prepared, output: Output, *, on_workers: bool) -> None:
        self._lab, self._plan, self._reusable = prepared.lab, prepared.plan, prepared.reusable
        self._output, self._console = output, output.console
        self._on_workers = on_workers
        # Before anything of the sweep is written: a record that cannot be read ends the command.
        self._spent = read_spent(self._plan.folder)
        self._bucket = BucketSteps(prepared.bucket, self._plan, output.note)
        before, history = read_plan(self._plan.folder), read_plan_history(self._plan.folder)
        key = settle_plan(self._plan, prepared.earlier_looks.seeds)
        if self._lab.experiment is not None:
            elsewhere, now = len(self._reusable.sources), datetime.now(UTC)
            record_plan_history(self._plan, self._lab.experiment, history, before, elsewhere, now)
        self._bucket.begin()
        stored = read_plan(self._plan.folder)
        self._looks_before = [] if stored is None else stored.looks
        self._rounds = SeedRounds.of(self._plan, self._lab.experiment)
        self._race = SearchRace.of(self._plan)
        needed = self._take_results()
        # The project's own warnings appear above the live view, whatever else is kept from the terminal; before the
        # tracker, whose thread opens the store at once and may have one.
        logging.getLogger("orchestration").addHandler(
            RichHandler(console=self._console, show_time=False, show_path=False)
        )
        tracking = self._lab.tracking
        store = tracking.uri, tracking.experiment, self._lab.folder
        self._delay = 0.0 if tracking.required or self._lab.cluster.address != "local" else opening_delay(*store)
        self._tracker = Tracker(*store, key, required=tracking.required, delay=self._delay)
        self._recorder = RunRecorder.of(self._plan, self._tracker, self._lab)
        self._progress = SweepProgress.of(self._plan, needed)
        self._lines = EventLines(self._plan, self._progress, output.stream)
        # Heartbeats for other commands, until the store has the results that they take.
        self._sharing = ExitStack()
        self._monitor = CommandMonitor(prepared, self._progress, self._tracker, output)
        self._retention = CheckpointRetention(self._lab, self._plan, self._unfinished, self._recorder.record_removed)

    def _take_results(self) -> Sequence[int] | None:
        """Take over what other sweeps have; return the indices of the trainings of the rounds that have begun."""
        lab, plan, rounds = self._lab, self._plan, self._rounds
        if rounds is None:
            take_all(lab, plan, plan.trials, self._reusable)
            return None
        if not lab.reuse:
            # Copies of earlier commands in any round are no results.
            take_all(lab, plan, plan.trials, self._reusable)
        taken: tuple[int, ...] = ()
        # What is taken over may complete a round, so that the next one begins.
        while (needed := rounds.needed()).indices != taken:
            new = [plan.trials[index] for index in needed.indices if index not in taken]
            take_all(lab, plan, new, self._reusable)
            taken = needed.indices
        return taken

    def run(self, report: ReportProcess | None) -> int:
        """Train, record, and let the report be written where one is given; return the exit code.

        However it ends, no run of this plan is left RUNNING.
        """
        try:
            return self._monitor.watch(partial(self._run, report))
        finally:
            # The record of the end is written after all else.
            self._bucket.leave()

    def _run(self, report: ReportProcess | None) -> int:
        try:
            self._recorder.open_sweep(self._looks_before)
            self._train(report)
            self._tracker.wait_open()
            self._record_kept()
            self._remove_checkpoints(self._unfinished())
            self._close_sweep(reported=report is not None)
            settled = self._tracker.flush(SETTLE_SECONDS)
            reported = report is None or (settled and self._report(report))
            registered = self._register(settled=settled)
            delivered = self._bucket.end([trial for _, trial in self._progress.planned(*UNFINISHED)])
        except BaseException:
            # Ctrl-C too: what a search has drawn until then.
            with suppress(ConfigError, OSError):
                self._recorder.record_plan()
            self._bucket.leave()
            raise
        finally:
            if report is not None:
                report.end()
            if not self._tracker.close(CLOSE_SECONDS):
                self._output.note(not_stored(self._tracker, self._plan.folder, CLOSE_SECONDS))
            if self._tracker.artifact_problem is not None:
                self._output.note(artifacts_not_stored(self._tracker.artifact_problem, self._plan.folder))
            self._sharing.close()
        command = report_command(self._plan.name, self._tracker.uri)
        if not reported:
            self._output.note(f"no report was written; when the store has its runs: {command}", "red")
        if self._lab.experiment is not None and not self._lab.report:
            self._output.note(f"report=false: for the report, {command}")
        return max(self._exit_code(), OK if reported and registered and delivered else TRAINING_FAILED)

    def _train(self, report: ReportProcess | None) -> None:
        """Run what is not finished with Ray Tune; at its end the report begins to load its libraries."""
        waiting = [each for each in self._progress.trials if each.state == "waiting"]
        if not waiting:
            if report is not None:
                report.begin(self._tracker.uri)
            return
        lab, plan, progress = self._lab, self._plan, self._progress
        if why := self._spent.exceeded(lab.budget):
            # Neither Ray nor a training begins.
            self._leave_waiting(why)
            return
        nodes = checked_local_nodes(lab.cluster)
        self._bucket.fetch([each.trial for each in waiting if each.trial is not None])
        with ExitStack() as stack:
            shared = self._sharing.enter_context(share_trainings(lab, plan, progress, self._bucket.output))
            # When Ray runs no training any more, and before the store is waited for.
            stack.callback(shared.give_back_all)
            with self._console.status("Ray and tracking start ..."):
                joined = stack.enter_context(connected(lab.cluster, nodes or [], on_workers=self._on_workers))
                if not self._delay:
                    self._tracker.wait_open()
            resources = demand(lab.cluster, joined)
            # Rounds of seeds that follow may have more trainings than the one that is open.
            most = len(waiting) if self._rounds is None else len(plan.trials)
            progress.max_concurrent = min(max_concurrent(joined, resources, lab.cluster.concurrent), most)
            view = stack.enter_context(make_view(progress, self._console))
            running = partial(progress.running_folders, plan)
            stack.enter_context(self._bucket.following(running, is_joined=lab.cluster.address != "local"))
            stack.enter_context(enforce_budget(plan.folder, lab.budget, resources, running))
            stack.enter_context(end_stalled(lab.cluster.stall_seconds, running))
            stack.enter_context(self._monitor.running())
            pending = [each.index for each in waiting if each.trial is not None]
            to_sample = len(waiting) - len(pending)
            later = None if self._rounds is None else LaterRounds(self._rounds, self._begin_round)
            add = None if self._race is None else partial(self._add_training, self._bucket.later_reuse(lab))
            job = TuneJob(
                lab, plan, resources, progress.max_concurrent, self._on_workers, pending, to_sample,
                later, self._reusable.trunks, add, shared if shared.enabled else None, self._bucket.output,
            )  # fmt: skip
            handlers = [progress.handle, view.handle, self._lines.handle, self._recorder.handle, shared.handle]
            begin = partial(self._begin_in_time, report)
            self._run_tune(job, Events([*handlers, self._retention.handle, self._monitor.handle, begin]), view)
            if report is not None:
                report.begin(self._tracker.uri)

    def _begin_round(self, needed: Needed) -> None:
        """Store the looks, and include the trainings of a later round with what other sweeps have of them."""
        add_looks(self._plan, needed.looks)
        take_all(self._lab, self._plan, [self._plan.trials[index] for index in needed.indices], self._reusable)
        before = self._progress.count("waiting")
        self._progress.include(self._plan, needed.indices)
        begun = self._progress.count("waiting") - before
        self._lines.emit_look(needed, begun)
        if begun:
            text = f"{needed.text}; {format_count(begun, 'training')} of one more seed"
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _add_training(self, reuse: LaterReuse, index: int) -> None:
        """Show a training that the race has added, and take over what other sweeps have of it."""
        assert self._race is not None
        trial, confirming = self._plan.trials[index], self._race.search.confirm_seeds
        if trial.seed in confirming and not any(each.seed in confirming for each in self._plan.trials[:index]):
            leader = next(iter(trial.arms))
            text = f"{leader} leads the search; it and the starting point are trained with seeds that chose nothing"
            self._output.note(text)
        reuse.take(self._plan, trial)
        self._progress.add(self._plan, index)

    def _run_tune(self, job: TuneJob, events: Events, view: ProgressView) -> None:
        try:
            exhausted = run_tune(job, events, partial(self._end_without_head, events, view))
        except Exception as error:
            reason = find_interruption(error, self._plan.folder)
            if reason is None:
                raise
            self._stop_all(events, reason)
            return
        if exhausted is not None:
            self._note_exhausted(exhausted)
        if self._race is not None and self._race.decide(self._failed()) == "end":
            self._progress.leave_out_rest()

    def _stop_all(self, events: Events, reason: str) -> None:
        """Stop what has not ended; it goes on with the next command."""
        for progress, trial in self._progress.planned("running"):
            events.publish(TrialStopped(progress.index, trial, reason, begun=True))
        self._leave_waiting(reason)

    def _leave_waiting(self, reason: str) -> None:
        """Leave what has not begun to a later command."""
        for progress in self._progress.stop_waiting(reason):
            if progress.trial is not None:
                self._lines.handle(TrialStopped(progress.index, progress.trial, reason, begun=False))

    def _end_without_head(self, events: Events, view: ProgressView, reason: str) -> None:
        """Close the runs and end the process at once: nothing that waits in Ray comes back."""
        self._stop_all(events, reason)
        self._close_sweep(reported=False)
        self._tracker.close(HEAD_LOST_CLOSE_SECONDS)
        view.end(f"stopped: {reason}; start it again, the same command goes on")
        self._monitor.end(STOPPED, reason)
        self._output.stream.emit(result_of(STOPPED))
        os._exit(STOPPED)

    def _note_exhausted(self, reason: str) -> None:
        """Raise ConfigError where a searcher found no point at all; else note it where points are missing."""
        if not self._plan.trials:
            raise ConfigError(f"experiment.search.space: the searcher draws no valid configuration; the last: {reason}")
        for progress in self._progress.trials[len(self._plan.trials) :]:
            progress.note = f"nothing more to draw: {reason}"

    def _record_kept(self) -> None:
        """Record what an earlier command finished and the store does not have: runs, or artifacts of runs."""
        for _, trial in self._progress.planned("kept"):
            summary = self._plan.summary_of(trial)
            if summary is not None:
                self._bucket.complete(self._recorder, trial, summary)
                self._recorder.record_kept(trial, summary)

    def _remove_checkpoints(self, unfinished: Collection[str]) -> None:
        removed, lines = self._retention.end(unfinished)
        self._bucket.remove(removed, remove_forks(self._plan, unfinished))
        for line in lines:
            self._output.note(line)

    def _unfinished(self) -> set[str]:
        """Return the identities of the trainings without a result."""
        return {trial.identity for _, trial in self._progress.planned(*UNFINISHED)}

    def _failed(self) -> set[str]:
        """Return the identities of the trainings that failed in this command."""
        return {trial.identity for _, trial in self._progress.planned("failed")}

    def _close_sweep(self, *, reported: bool) -> None:
        """Close the sweep's own run; reported: whether a report of what there is follows."""
        new = self._looks(reported=reported)
        self._emit_looks(new)
        looks = add_looks(self._plan, new)
        winner = None if self._race is None else self._race.winner(self._failed())
        self._recorder.close_sweep(self._progress.count("failed"), self._progress.count("stopped"), looks, winner)

    def _emit_looks(self, looks: Sequence[int]) -> None:
        """Emit the looks that have had no event in this command."""
        if self._rounds is not None:
            self._lines.emit_look(self._rounds.needed(), begun=0)
        complete = self._progress.count("stopped") == 0
        for seeds in looks:
            self._lines.emit_given_look(seeds, complete=complete)

    def _looks(self, *, reported: bool) -> Sequence[int]:
        """Return at how many seeds the arms are looked at with what there is now."""
        if self._race is not None:
            seeds = self._race.count_confirmed(self._failed())
            return (seeds,) if seeds else ()
        if self._lab.experiment is None or self._lab.experiment.baseline is None:
            return ()
        stopped = self._progress.count("stopped") > 0
        return find_looks(self._plan, self._lab.experiment, stopped=stopped, reported=reported)

    def _begin_in_time(self, report: ReportProcess | None, _: TrialEvent) -> None:
        """Open the store once a training has begun; let the report load its libraries before the last one ends."""
        self._tracker.open_now()
        if report is not None:
            report.begin_in_time(self._tracker.uri, self._progress.seconds_left)

    def _report(self, report: ReportProcess) -> bool:
        if not report.write(self._tracker.uri):
            return False
        folder = self._plan.folder / Artifact.REPORT
        self._recorder.add_report(sorted(file for file in folder.iterdir() if file.is_file()))
        return True

    def _register(self, *, settled: bool) -> bool:
        """Register the best run with tracking.register_as; return False where that did not work."""
        name = self._lab.tracking.register_as
        if name is None:
            return True
        left = self._progress.count("stopped")
        key = SWEEP if self._lab.experiment is not None else ("", self._plan.trials[0].seed)
        run_id = self._tracker.run_id(key)
        if left or not settled or run_id is None:
            why = f"{format_count(left, 'training')} left" if left else "the store does not have all runs"
            self._output.note(f"tracking.register_as={name}: nothing is registered yet, {why}")
            return bool(left)
        return register_best(run_id, name, self._tracker.uri, self._output)

    def _exit_code(self) -> int:
        """Print what failed or was stopped, and why; return the exit code of the trainings."""
        for progress, trial in self._progress.planned("failed"):
            reason = failure_reason(self._plan.folder_of(trial))
            self._console.print(f"failed: {progress.label}: {reason}", style="red", soft_wrap=True)
        stopped = [each for each in self._progress.trials if each.state == "stopped"]
        if stopped:
            why = read_spent(self._plan.folder).exceeded(self._lab.budget) or stopped[0].note
            left = format_count(len(stopped), "training")
            self._output.note(f"stopped: {why}; {left} left: {advise(why)}, the same command goes on", "yellow")
            return STOPPED
        return TRAINING_FAILED if self._progress.count("failed") else OK
