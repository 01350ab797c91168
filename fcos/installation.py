"""Where the code runs from, a checkout or an installed wheel, and where its config files are."""

import sys
from pathlib import Path

# The folder that holds the packages: the root of a checkout, or site-packages.
ROOT = Path(__file__).resolve().parents[1]
# Packages of the commands that are not in orchestration/.
PACKAGES = {"report": "analysis", "publish": "analysis", "verify": "analysis", "paper": "analysis"}
# The name of conf/ in a wheel (setup.py): `conf` alone would be too general among installed packages.
INSTALLED_CONF = "fcos_lab_conf"


def checkout() -> Path | None:
    """Return the root of the checkout that the code runs from, None for an installed wheel."""
    return None if (ROOT / INSTALLED_CONF).is_dir() else ROOT


def conf_folder() -> Path:
    """Return the folder of the config files, which may be missing.

    It is looked up beside the packages and not by import: a job that Ray runs from a copied checkout must not read the
    config files of a wheel that is installed on the node.
    """
    return ROOT / (INSTALLED_CONF if checkout() is None else "conf")


def command(name: str) -> str:
    """Return how a command such as `sweep` or `verify` is started: a script of the checkout, or fcos-<name>."""
    if checkout() is None or Path(sys.argv[0]).stem.startswith("fcos-"):
        return installed_command(name)
    return f"python {PACKAGES.get(name, 'orchestration')}/{name}.py"


def installed_command(name: str) -> str:
    """Return the name of a command as a wheel installs it, wherever this one runs from."""
    return f"fcos-{name.replace('_', '-')}"
