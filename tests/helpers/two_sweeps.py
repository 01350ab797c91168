"""Two sweeps that have trainings in common: the second one begins to share while the first one has some of them."""

from pathlib import Path

from orchestration.driver.sharing.shared_trainings import SharedTrainings
from orchestration.experiment.trials import Trial
from orchestration.leases.holders import LIMIT_SECONDS, OtherHolders
from orchestration.leases.lease import LeaseState, read_state
from orchestration.planning.repeats.other_results import OtherResults
from tests.helpers.experiments.composed import composed_into, plan_of
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.memory_objects import MemoryObjects
from tests.helpers.other_command import STORE, OtherCommand

EXPERIMENT = "+experiment=ablation_centerness"


class Scene:
    """Sweep `second`, which begins to share its trainings while sweep `first` has some of them."""

    def __init__(self, output: Path, experiment: str = EXPERIMENT) -> None:
        self.objects, self.history = MemoryObjects(), StoredRuns()
        words = (experiment, "experiment.seeds=[0]")
        self.first = OtherCommand(self.objects, plan_of(output, *words, "name=first"))
        lab = composed_into(output, *words, "name=second")
        self.plan = plan_of(output, *words, "name=second")
        self.results = OtherResults(lab, self.plan, self.history)
        self.shared = self.share("b")
        self.shared.look()

    def share(self, name: str) -> SharedTrainings:
        return SharedTrainings(self.plan, self.objects, OtherHolders(self.objects, name), self.results, STORE, "two")

    @property
    def trial(self) -> Trial:
        """The training of arms none and from_regression, which both sweeps have."""
        return self.plan.trials[0]

    def look_for_long(self, command: SharedTrainings | None = None) -> None:
        """Look for so long that a counter that stands still is that of a dead command."""
        shared = command or self.shared
        holders = {read_state(self.objects, trial.identity).claim.holder for trial in self.plan.trials}
        for _ in range(int(LIMIT_SECONDS)):
            shared.others.look(1.01, holders)
        shared.look()

    def store(self) -> None:
        """Let the store have the runs of the first sweep's training, as it has them from the beginning on."""
        self.history._runs = tuple(self.first.runs(self.trial))

    def lease(self) -> LeaseState:
        return read_state(self.objects, self.trial.identity)
