"""Begin to share trainings with other commands: the heartbeat of this one, looks at the others, and the end of both."""

import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from fcos.storage.store_conventions import default_uri, public_uri
from orchestration.bucket.lease_objects import BucketObjects
from orchestration.bucket.output import BucketOutput
from orchestration.cli.bucket_lock import machine_name
from orchestration.config.schema import LabConfig
from orchestration.driver.progress import SweepProgress
from orchestration.driver.sharing.shared_trainings import SharedTrainings, warn_unshared
from orchestration.driver.watchdogs import repeating
from orchestration.leases.holders import HEARTBEAT_SECONDS, Holder, OtherHolders, TrainingStep
from orchestration.leases.objects import FolderObjects, Objects
from orchestration.planning.plan import Plan
from orchestration.planning.repeats.other_results import OtherResults
from orchestration.planning.reuse import is_here

# Below the output folder; no sweep can have that name.
LEASES = ".leases"
LOOK_SECONDS = 2.0


@contextmanager
def share_trainings(
    lab: LabConfig, plan: Plan, progress: SweepProgress, bucket: BucketOutput | None = None
) -> Iterator[SharedTrainings]:
    """Share trainings while the block runs; at its end all leases are given back.

    Nothing is shared with reuse=false, which trains whatever others do, of a search, whose trainings follow from its
    own results, and where the output folder takes no leases.
    """
    objects, name, host = _objects(lab, bucket), uuid.uuid4().hex, socket.gethostname()
    holder, others = Holder(objects, name, plan.name, host), OtherHolders(objects, name)
    fetches = (is_here, is_here) if bucket is None else (bucket.fetch_training, bucket.fetch_begun)
    results = OtherResults(lab, plan, fetch=fetches[0], fetch_begun=fetches[1])
    shared = SharedTrainings(plan, objects, others, results, _store(lab, bucket), host)

    def heartbeat() -> None:
        holder.heartbeat(_planned(progress), _running(progress))

    shared.enabled = lab.reuse and plan.search is None and _is_writable(heartbeat)
    if not shared.enabled:
        yield shared
        return
    shared.look()
    try:
        with (
            repeating("heartbeat", HEARTBEAT_SECONDS, partial(_try, heartbeat)),
            repeating("leases", LOOK_SECONDS, shared.look),
        ):
            yield shared
    finally:
        shared.give_back_all()
        _try(holder.end)
        _try(others.remove_dead)


def _objects(lab: LabConfig, bucket: BucketOutput | None) -> Objects:
    if bucket is None:
        return FolderObjects(lab.folder / LEASES)
    return BucketObjects(bucket.objects.below(LEASES))


def _store(lab: LabConfig, bucket: BucketOutput | None) -> str:
    """Return an address that no other tracking store has: one in the local folder of a bucket is that host's alone."""
    if lab.tracking.uri is not None:
        return public_uri(lab.tracking.uri)
    store = public_uri(default_uri(lab.folder))
    return store if bucket is None else f"{store} of {machine_name()}"


def _is_writable(heartbeat: Callable[[], None]) -> bool:
    """Give the first heartbeat, by which others judge the claims that follow; return False where that fails."""
    try:
        heartbeat()
    except OSError as error:
        warn_unshared(error)
        return False
    return True


def _try(call: Callable[[], None]) -> None:
    # One heartbeat that is lost is followed by another.
    with suppress(OSError):
        call()


def _planned(progress: SweepProgress) -> list[str]:
    return [trial.identity for _, trial in progress.planned("waiting", "running")]


def _running(progress: SweepProgress) -> Mapping[str, TrainingStep]:
    running = progress.planned("running")
    return {
        trial.identity: TrainingStep(step=each.step, total_steps=each.total_steps, loss=each.loss)
        for each, trial in running
    }
