"""What pairing by seed gains over independent seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Two pairs always have a correlation of 1 or -1.
MIN_PAIRS = 3


@dataclass(frozen=True)
class PairingGain:
    """Gain of pairing, estimated from a few seeds.

    correlation: of arm and baseline over the seeds. seeds_replaced: how many seeds in each arm, of its own, give the
    same standard error as one seed that both share: (s_a^2 + s_b^2) / s_d^2; infinite where all differences are equal.
    """

    correlation: float
    seeds_replaced: float


def measure_pairing_gain(arm: NDArray[np.float64], baseline: NDArray[np.float64]) -> PairingGain | None:
    """Return the gain from the values of the seeds that both have; None below three, or where either never varies."""
    if len(arm) < MIN_PAIRS or np.ptp(arm) == 0 or np.ptp(baseline) == 0:
        return None
    spread = float((arm - baseline).var(ddof=1))
    apart = float(arm.var(ddof=1) + baseline.var(ddof=1))
    return PairingGain(
        correlation=float(np.corrcoef(arm, baseline)[0, 1]),
        seeds_replaced=apart / spread if spread > 1e-12 * apart else np.inf,
    )
