"""Hours that a sweep has used over all its commands, as its folder records them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fcos.errors import ConfigError
from fcos.storage.files import reason_of
from orchestration.cluster.resources import Demand
from orchestration.config.schema import BudgetConfig

SPENT = "spent.json"
Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass
class Spent:
    """Hours used by a sweep's trainings: the content of spent.json."""

    wall: Hours
    cpu: Hours
    gpu: Hours

    @classmethod
    def nothing(cls) -> "Spent":
        """Return the hours of a sweep before its first training."""
        return cls(wall=0.0, cpu=0.0, gpu=0.0)

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


_STORED = TypeAdapter(Spent)


def read_spent(folder: Path) -> Spent:
    """Return what earlier commands of a sweep used.

    Raises ConfigError for a record that cannot be read, as the hours in it would be spent twice.
    """
    path = folder / SPENT
    try:
        return _STORED.validate_json(path.read_bytes())
    except FileNotFoundError:
        return Spent.nothing()
    except OSError as error:
        raise ConfigError(
            f"{path}: hours that this sweep has used (budget.*), not readable: {reason_of(error)}"
        ) from None
    except ValidationError:
        raise ConfigError(
            f"{path}: not readable as the hours that this sweep has used (budget.*); restore the file"
        ) from None
