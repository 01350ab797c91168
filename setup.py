"""What pyproject.toml cannot hold: conf/ is installed as the data folder fcos_lab_conf, beside the packages."""

from setuptools import find_packages, setup

PACKAGES = ("fcos", "orchestration", "analysis")

setup(
    packages=[*find_packages(include=[f"{name}{end}" for name in PACKAGES for end in ("", ".*")]), "fcos_lab_conf"],
    package_dir={"fcos_lab_conf": "conf"},
)
