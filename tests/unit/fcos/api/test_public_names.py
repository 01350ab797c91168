"""What `import fcos` offers: which names, and what is loaded where."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fcos
import orchestration
from fcos.installation import ROOT
from orchestration import sweep

OFFER = """
import sys
import {package}
names = dir({package})
{use}
print(*names, "|", *(name for name in ("torch", "hydra", "ray", "mlflow", "pydantic") if name in sys.modules))
"""


def offered(package: str, use: str = "") -> tuple[set[str], set[str]]:
    """The names that a package lists, and the large libraries that are loaded after a use of it."""
    code = OFFER.format(package=package, use=use)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names, _, loaded = done.stdout.partition("|")
    return set(names.split()), set(loaded.split())


@pytest.mark.ray
@pytest.mark.parametrize("package", ["fcos", "orchestration"])
def test_the_import_lists_all_names_and_loads_none(package: str) -> None:
    names, loaded = offered(package)
    assert names >= set(sys.modules[package].__all__)
    assert loaded == set()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("fcos", "fcos.configure()"),
        ("fcos", "fcos.ConfigError"),
        ("orchestration", "orchestration.run_sweep"),
        ("orchestration.sweep", "orchestration.sweep.run_sweep"),
    ],
)
def test_a_configuration_and_a_sweep_load_no_torch(package: str, use: str) -> None:
    assert offered(package, use)[1] <= {"pydantic"}


@pytest.mark.parametrize("package", [fcos, orchestration])
def test_no_public_name_is_that_of_a_module_whose_import_would_replace_it(package: ModuleType) -> None:
    folder = ROOT / package.__name__
    modules = {Path(each).stem for each in folder.iterdir() if each.is_dir() or each.suffix == ".py"}
    assert len(modules) > 5 and modules & set(package.__all__) == set()


@pytest.mark.parametrize("package", [fcos, orchestration])
def test_every_public_name_is_there_and_described(package: ModuleType) -> None:
    document = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert f"`{name}`" in document or f"`{name}(" in document, name


@pytest.mark.parametrize("package", [fcos, orchestration])
def test_a_name_that_is_not_offered_is_refused_as_python_does(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        package.trian  # noqa: B018


def test_the_module_of_the_command_has_the_function_too() -> None:
    assert sweep.run_sweep is orchestration.run_sweep
    assert not hasattr(sweep, "run_swep")
