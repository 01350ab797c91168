"""Code digest and package versions of plans, which stay the same while tests run."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from fcos.installation import ROOT
from orchestration.experiment import provenance
from orchestration.experiment.code_digest import code_digest


@contextmanager
def known_provenance() -> Iterator[None]:
    """Compute the digest of this checkout's code, and each package's version, once; of another checkout each time."""
    of_here = cache(code_digest)

    def find_digest(root: Path, entry: str) -> str:
        return of_here(root, entry) if root == ROOT else code_digest(root, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "code_digest", find_digest)
        patch.setattr(provenance, "version", cache(version))
        yield
