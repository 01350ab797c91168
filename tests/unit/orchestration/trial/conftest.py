"""A bucket in memory for what opens one by the address of the output."""

import pytest

from fcos.storage.bucket.address import Address
from fcos.storage.bucket.objects import Objects
from orchestration.trial import bucket_folder
from tests.helpers.bucket_runs import memory_bucket


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Objects:
    """The sweep whose bucket the code under test opens."""
    output = memory_bucket()
    monkeypatch.setattr(bucket_folder, "open_objects", lambda *_: output)
    monkeypatch.setattr(Address, "parse", classmethod(lambda *_: output.address))
    return output.below("mine")
