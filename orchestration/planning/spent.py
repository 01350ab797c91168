"""Hours that a sweep has used over all its commands, as its folder records them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fcos.errors import ConfigError
from orchestration.cluster.resources import Demand
from orchestration.config.schema import BudgetConfig

SPENT = "spent.json"


@dataclass
class Spent:
    """Hours used by a sweep's trainings."""

    wall: float = 0.0
    cpu: float = 0.0
    gpu: float = 0.0

    def add(self, seconds: float, running: int, resources: Demand) -> None:
        """Add some time in which so many trainings ran."""
        hours = seconds / 3600 if running else 0.0
        self.wall += hours
        self.cpu += hours * running * resources.workers * resources.cpus
        self.gpu += hours * running * resources.workers * resources.gpus

    def exceeded(self, limits: BudgetConfig) -> str:
        """Describe the first limit that is reached; empty where none is."""
        for name in ("gpu", "cpu", "wall"):
            limit, used = getattr(limits, f"{name}_hours"), getattr(self, name)
            if limit is not None and used >= limit:
                return f"budget.{name}_hours={limit:g} is used up ({used:.3g} over all commands of this sweep)"
        return ""


def read_spent(folder: Path) -> Spent:
    """Return what earlier commands of a sweep used.

    Raises ConfigError for a record that cannot be read, as the hours in it would be spent twice.
    """
    path = folder / SPENT
    try:
        values: Mapping[str, float] = json.loads(path.read_text())
        hours = [float(values[name]) for name in ("wall", "cpu", "gpu")]
    except FileNotFoundError:
        return Spent()
    except (ValueError, KeyError, TypeError):
        hours = [math.nan]
    if not all(0 <= used < math.inf for used in hours):
        raise ConfigError(f"{path}: not readable as the hours that this sweep has used (budget.*); restore the file")
    return Spent(*hours)
