"""Whatever states shapes is checked while tests run, and no other package: the checks wrap every function of it."""

import pytest

from fcos.installation import ROOT


def test_packages_with_stated_shapes_are_those_that_are_checked(pytestconfig: pytest.Config) -> None:
    *checked, _ = pytestconfig.getoption("jaxtyping_packages").split(",")
    files = [file for file in (ROOT / "fcos").rglob("*.py") if "jaxtyping" in file.read_text()]
    stating = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    assert [module for module in stating if not any(is_within(module, package) for package in checked)] == []
    assert [package for package in checked if not any(is_within(module, package) for module in stating)] == []


def is_within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")
