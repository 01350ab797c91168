"""Whatever states shapes is checked while tests run, and no other package: the checks wrap every function of it."""

import re

import pytest

from fcos.installation import ROOT

PACKAGES = ("fcos", "orchestration", "analysis", "benchmarks")
STATES_SHAPES = re.compile(r"^\s*(?:from|import) jaxtyping\b", re.MULTILINE)
# Passes whole numbers where decimal ones are stated, which mypy allows and the checks do not.
UNCHECKED = ("orchestration.config.folder_choices",)


def test_packages_with_stated_shapes_are_those_that_are_checked(pytestconfig: pytest.Config) -> None:
    *checked, _ = pytestconfig.getoption("jaxtyping_packages").split(",")
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    stating = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if STATES_SHAPES.search(file.read_text(encoding="utf-8"))
    ]
    assert [module for module in stating if not any(is_within(module, each) for each in (*checked, *UNCHECKED))] == []
    assert [
        package for package in (*checked, *UNCHECKED) if not any(is_within(each, package) for each in stating)
    ] == []


def is_within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")
