"""What a training imports, imported by the processes of a local Ray while the driver prepares the trainings."""


def import_training() -> None:
    """Import what trains. Where that fails, the training itself reports why."""
    import fcos.training_run  # noqa: F401
    import orchestration.trial.run  # noqa: F401


def import_ahead(processes: int, cpus: float) -> None:
    """Let some processes import what trains, and wait for none of them.

    cpus: of one training. Each takes them, so that a training begins in a process that has its imports.
    """
    import ray

    task = ray.remote(num_cpus=cpus, max_retries=0)(import_training)
    for _ in range(processes):
        task.remote()
