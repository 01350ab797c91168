"""Leases in a bucket: decided by objects that are created once, however late a listing is."""

import pytest

from fcos.storage.bucket.objects import Objects
from orchestration.bucket.lease_objects import BucketObjects
from orchestration.leases.lease import Claim, Outcome, claim_next, read_state
from tests.helpers.bucket_runs import memory_bucket


def test_a_claim_that_a_listing_does_not_show_yet_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = BucketObjects(memory_bucket())
    for holder in ("a", "b", "c"):
        lease = claim_next(objects, "x", read_state(objects, "x"), Claim(holder=holder))
        assert lease is not None and lease.give_back(Outcome.STOPPED)
    listed = objects.names("x")
    monkeypatch.setattr(Objects, "list", lambda *_: [f"x/{name}" for name in listed if name.startswith("1.")])
    state = read_state(objects, "x")
    assert (state.generation, state.claim.holder) == (3, "c") and state.is_free


def test_names_are_relative_to_their_folder() -> None:
    objects = BucketObjects(memory_bucket())
    objects.overwrite("holders/a", b"1")
    objects.overwrite("x/1.claim", b"2")
    assert (objects.names("holders"), objects.names("x"), objects.names("y")) == (["a"], ["1.claim"], [])
    objects.remove("holders/a")
    objects.remove("holders/a")
    assert objects.names("holders") == [] and objects.read("holders/a") is None
