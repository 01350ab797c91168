"""What an export traces is not checked for shapes."""

from collections.abc import Iterator

import pytest

from tests.helpers.detections.exported_files import untyped_tracing


@pytest.fixture(autouse=True)
def untyped() -> Iterator[None]:
    """Sides are symbols in a trace."""
    with untyped_tracing():
        yield
