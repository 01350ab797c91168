"""Another command on the same output folder, which holds leases and leaves results; its trainings are made up."""

from pathlib import Path

from torch import nn

from fcos.storage import checkpoint_folder
from fcos.storage.run_folder import MetricPoint
from fcos.training import checkpoint
from orchestration.experiment.trials import Trial
from orchestration.leases.holders import Holder, TrainingStep
from orchestration.leases.lease import Claim, Lease, claim_next, read_state
from orchestration.leases.objects import Objects
from orchestration.planning.plan import Plan
from orchestration.tracking.history import PastRun
from orchestration.trial import files
from tests.helpers.experiments.summaries import summary_of

STORE = "sqlite:///of the sweeps"


def save_checkpoint(folder: Path, trial: Trial, step: int) -> Path:
    """Save a checkpoint of a training whose model is one weight; return its folder."""
    return checkpoint.save(
        folder, step=step, config=trial.values, classes=(), model=nn.Linear(1, 1), averages={}, state={}
    )


class OtherCommand:
    """Sweep `first` on host `one`."""

    def __init__(self, objects: Objects, plan: Plan, name: str = "a", store: str = STORE) -> None:
        self.plan, self.name, self.store = plan, name, store
        self.holder = Holder(objects, name, plan.name, "one")
        self.leases: dict[str, Lease] = {}
        self.heartbeat()

    def heartbeat(self, step: int = 0) -> None:
        """Give a heartbeat: all trainings with a lease are at a step."""
        running = {identity: TrainingStep(step=step, total_steps=60, loss=1.5) for identity in self.leases}
        self.holder.heartbeat([trial.identity for trial in self.plan.trials], running)

    def claim(self, trial: Trial) -> Lease:
        """Claim a training and begin it."""
        folder, objects = self.plan.folder_of(trial), self.holder.objects
        claim = Claim(holder=self.name, sweep=self.plan.name, host="one", folder=str(folder), store=self.store)
        lease = claim_next(objects, trial.identity, read_state(objects, trial.identity), claim)
        assert lease is not None
        files.begin_training(folder)
        self.leases[trial.identity] = lease
        return lease

    def save(self, trial: Trial, step: int = 4) -> Path:
        """Save a checkpoint of a training."""
        folder = self.plan.folder_of(trial)
        files.append_points(folder, [MetricPoint(None, "train/loss", step, 1.5)])
        return save_checkpoint(folder / "checkpoints", trial, step)

    def finish(self, trial: Trial) -> None:
        """End a training with a result."""
        folder, weights = self.plan.folder_of(trial), self.save(trial)
        files.append_points(folder, [MetricPoint(arm, "val/AP", 4, 0.25) for arm in trial.arms])
        summary = summary_of(
            {arm: {"val/AP": 0.25} for arm in trial.arms},
            checkpoint=str(weights.relative_to(folder)),
            checkpoint_sha256=checkpoint_folder.digest(weights),
            resumed_from=0,
        )
        self.leases[trial.identity].finish()
        files.write_summary(folder, trial.identity, summary)

    def runs(self, trial: Trial) -> list[PastRun]:
        """Return the runs of a training as the store has them from its beginning on."""
        folder = self.plan.folder_of(trial)
        common = {
            "fcos.sweep": self.plan.name,
            "fcos.train_identity": trial.identity,
            "fcos.trunk": trial.trunk,
            "fcos.training_id": files.training_id(folder),
            "fcos.folder": str(folder),
        }
        return [
            PastRun(f"run of {arm}", {**common, "fcos.arm": arm, "fcos.identity": trial.identity_of(arm)}, {}, {})
            for arm in trial.arms
        ]
