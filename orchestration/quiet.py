"""MLflow and its libraries kept off the console: what goes wrong is raised, and told once by whoever catches it."""

import logging
import warnings

LIBRARIES = ("mlflow", "alembic", "sqlalchemy", "urllib3", "huey")


def quiet_libraries() -> None:
    """Let nothing of MLflow's libraries reach the console; to be called after MLflow is imported, which sets it up."""
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        warnings.filterwarnings("ignore", module=rf"{name}\b")
