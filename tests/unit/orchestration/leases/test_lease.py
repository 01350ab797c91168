"""Leases: one holder for each generation, and one end, by whoever is first."""

from pathlib import Path

import pytest

from orchestration.bucket.lease_objects import BucketObjects
from orchestration.leases.lease import (
    Claim,
    Lease,
    LeaseState,
    Outcome,
    Superseded,
    claim_next,
    expire,
    read_state,
)
from orchestration.leases.objects import FolderObjects, Objects
from tests.helpers.bucket_runs import memory_bucket
from tests.helpers.memory_objects import MemoryObjects

FIRST = Claim(holder="a", sweep="first", host="one", folder="/outputs/first/trials/x", store="sqlite:///x")
SECOND = Claim(holder="b", sweep="second", host="two")


@pytest.fixture(params=["folder", "bucket", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "bucket":
        return BucketObjects(memory_bucket())
    return FolderObjects(tmp_path / "leases") if request.param == "folder" else MemoryObjects()


def claimed(objects: Objects, claim: Claim = FIRST) -> Lease:
    lease = claim_next(objects, "x", read_state(objects, "x"), claim)
    assert lease is not None
    return lease


def test_of_two_claims_one_is_granted(objects: Objects) -> None:
    before = read_state(objects, "x")
    assert before == LeaseState() and before.is_free
    assert claim_next(objects, "x", before, FIRST) is not None
    assert claim_next(objects, "x", before, SECOND) is None
    after = read_state(objects, "x")
    assert (after.generation, after.claim, after.end, after.is_free) == (1, FIRST, None, False)


def test_a_claim_whose_answer_was_lost_is_granted_when_it_is_made_again(objects: Objects) -> None:
    before = read_state(objects, "x")
    assert claim_next(objects, "x", before, FIRST) == claim_next(objects, "x", before, FIRST) is not None


def test_a_lease_that_is_given_back_is_free_at_once(objects: Objects) -> None:
    lease = claimed(objects)
    lease.check()
    assert lease.give_back(Outcome.STOPPED)
    state = read_state(objects, "x")
    assert state.is_free and state.end is not None and state.end.outcome is Outcome.STOPPED
    assert claimed(objects, SECOND).generation == 2


def test_a_holder_that_was_given_up_gets_no_result(objects: Objects) -> None:
    lease = claimed(objects)
    state = expire(objects, "x", read_state(objects, "x"), "b")
    assert state.is_free and state.end is not None and state.end.outcome is Outcome.EXPIRED
    with pytest.raises(Superseded, match=r"the lease of this training has ended \(expired\)"):
        lease.check()
    claimed(objects, SECOND)
    with pytest.raises(Superseded, match="sweep second on two trains this now"):
        lease.finish()
    assert not lease.give_back(Outcome.STOPPED)


def test_a_result_that_came_first_is_not_taken_away(objects: Objects) -> None:
    lease = claimed(objects)
    before = read_state(objects, "x")
    lease.finish()
    state = expire(objects, "x", before, "b")
    assert state.end is not None and state.end.outcome is Outcome.FINISHED
    # Its own process may end it again, as the driver does after the training.
    lease.check()
    lease.finish()
    assert lease.give_back(Outcome.FINISHED)


def test_a_result_whose_generation_was_followed_counts_no_more(objects: Objects) -> None:
    """Its process was killed between the end of the lease and the summary, and the training was begun elsewhere."""
    lease = claimed(objects)
    lease.finish()
    claimed(objects, SECOND)
    for call in (lease.check, lease.finish):
        with pytest.raises(Superseded):
            call()


@pytest.mark.parametrize("cut", [0, 7])
def test_records_that_were_cut_short_count_as_made(tmp_path: Path, cut: int) -> None:
    """A process was killed while it wrote them: that they are there decides."""
    objects = FolderObjects(tmp_path)
    lease = claimed(objects)
    claim = tmp_path / "x" / "1.claim"
    claim.write_bytes(claim.read_bytes()[:cut])
    state = read_state(objects, "x")
    assert (state.generation, state.claim, state.is_free) == (1, Claim(), False)
    assert claim_next(objects, "x", LeaseState(), SECOND) is None
    lease.give_back(Outcome.STOPPED)
    end = tmp_path / "x" / "1.end"
    end.write_bytes(end.read_bytes()[:cut])
    assert read_state(objects, "x").is_free
    with pytest.raises(Superseded):
        lease.check()


def test_generations_are_counted_as_numbers(objects: Objects) -> None:
    for _ in range(11):
        claimed(objects).give_back(Outcome.FAILED)
    assert read_state(objects, "x").generation == 11


def test_files_on_their_way_to_another_name_are_no_objects(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.overwrite("holders/a", b"1")
    (tmp_path / "holders" / ".0123.tmp").write_text("half")
    assert objects.names("holders") == ["a"]
    objects.overwrite("holders/a", b"2")
    assert objects.read("holders/a") == b"2"
    objects.remove("holders/a")
    objects.remove("holders/a")
    assert objects.names("holders") == [] and objects.names("none") == [] and objects.read("holders/a") is None
