"""Resolve the dependencies anew and commit the answer in two forms that hold no download addresses.

requirements.lock   names, versions and hashes of the whole tree, for pip
pyproject.toml      the same versions as uv constraints, so that `uv run` installs exactly them

Run with: python .ci/pin.py            (uv must be on the PATH)
          python .ci/pin.py --check    (only compares the two; exit code 1 if they differ)
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PYPROJECT = ROOT / "pyproject.toml"
BLOCK = re.compile(r"(?<=constraint-dependencies = \[ # written by \.ci/pin\.py\n).*?(?=^\]$)", re.S | re.M)


def constraints_of(lock: str) -> str:
    """Return the `name==version ; marker` lines of a lock file, as the body of a TOML list."""
    pins = [line.rstrip(" \\") for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    return "".join(f'  "{pin}",\n' for pin in pins)


def main() -> int:
    project = PYPROJECT.read_text()
    if not BLOCK.search(project):
        print("pyproject.toml has no constraint-dependencies block written by .ci/pin.py")
        return 1
    if "--check" in sys.argv:
        agree = BLOCK.search(project).group() == constraints_of(LOCK.read_text())
        print("pins agree" if agree else "requirements.lock and pyproject.toml disagree: run .ci/pin.py")
        return 0 if agree else 1
    # The constraints must not hold the new resolution to the old answer.
    PYPROJECT.write_text(BLOCK.sub("", project))
    try:
        subprocess.run(
            ["uv", "pip", "compile", "pyproject.toml", "--group", "dev", "--universal", "--generate-hashes",
             "--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--upgrade", "--quiet",
             "--custom-compile-command", "python .ci/pin.py", "--output-file", str(LOCK)],
            cwd=ROOT, check=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        PYPROJECT.write_text(project)
        return error.returncode
    PYPROJECT.write_text(BLOCK.sub(lambda _: constraints_of(LOCK.read_text()), project))
    return 0


if __name__ == "__main__":
    sys.exit(main())
