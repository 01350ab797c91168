"""What tests of plans share: the provenance of this checkout, which each plan would compute anew."""

from collections.abc import Iterator

import pytest

from tests.helpers.known_provenance import known_provenance


@pytest.fixture(autouse=True, scope="session")
def _provenance_is_known() -> Iterator[None]:
    with known_provenance():
        yield
