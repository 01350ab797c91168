"""A sweep over eight seeds with an arm that is surely better, one that is surely worse, and one of chance."""

from tests.helpers.experiments.stored_sweeps import EXPERIMENT, SweepWriter

NONE = (0.460, 0.430, 0.470, 0.455, 0.441, 0.462, 0.450, 0.448)
GAINS = (0.031, 0.032, 0.035, 0.028, 0.036, 0.030, 0.033, 0.029)
_PAIRS = list(zip(NONE, GAINS, strict=True))
DECIDED = {
    "none": NONE,
    "branch": tuple(value + gain for value, gain in _PAIRS),
    "from_regression": tuple(value - gain for value, gain in _PAIRS),
    "noise": tuple(value + gain * (-1) ** seed for seed, (value, gain) in enumerate(_PAIRS)),
}


def write_decided(writer: SweepWriter, mlflow_experiment: str, name: str) -> str:
    """Write the sweep; returns its run id."""
    arms = {arm: {"model.head.quality": arm} for arm in DECIDED}
    experiment = {**EXPERIMENT, "arms": arms, "seeds": list(range(len(NONE))), "paper": {}}
    return writer.write_sweep(mlflow_experiment, name, DECIDED, experiment=experiment)
