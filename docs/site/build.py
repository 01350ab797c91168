"""Build the documentation site: stage the documents, make the generated pages, run zensical, check the result.

uv run --group docs python -m docs.site.build            # into build/site/html
uv run --group docs python -m docs.site.build --output FOLDER

Any warning, a link that leads nowhere, and anything that a page would fetch from another host ends it with code 1.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from docs.site.api_reference import write_api_pages
from docs.site.config_keys import config_keys_page
from docs.site.documents import ROOT, stage_documents, write_page
from docs.site.experiments import experiments_page
from docs.site.links import find_faults
from docs.site.navigation import CONFIG_KEYS, EVERY_EXPERIMENT, navigation_toml

HERE = Path(__file__).parent
SETTINGS = HERE / "zensical.toml"
OUTPUT = ROOT / "build" / "site"
PAGES, HTML = "pages", "html"
ASSETS = ("site.css", "focus.js", "iframe-worker.js")
# Names the folder where mkdocstrings looks for modules: the code of this checkout.
PATHS = "[project.plugins.mkdocstrings.handlers.python]\n"


def stage_site(output: Path) -> None:
    """Write the pages and the settings of zensical below a folder, which is emptied first."""
    shutil.rmtree(output, ignore_errors=True)
    pages = output / PAGES
    pages.mkdir(parents=True)
    stage_documents(pages)
    write_page(pages / CONFIG_KEYS, config_keys_page())
    write_page(pages / EVERY_EXPERIMENT, experiments_page())
    for name in ASSETS:
        shutil.copyfile(HERE / name, pages / name)
    modules = write_api_pages(pages)
    settings = SETTINGS.read_text(encoding="utf-8")
    settings = settings.replace("[project]\n", f"[project]\n{navigation_toml(modules)}", 1)
    settings = settings.replace(PATHS, f"{PATHS}paths = [{str(ROOT)!r}]\n", 1)
    (output / "zensical.toml").write_text(settings, encoding="utf-8")


def build_site(output: Path) -> list[str]:
    """Build the pages of a staged site strictly, and return what is wrong with the result, a line each."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=output, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return [*done.stdout.splitlines(), *done.stderr.splitlines(), f"zensical ended with code {done.returncode}"]
    return find_faults(output / HTML)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the documentation site, strictly.")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="folder that is emptied and filled; default build/site"
    )
    output = parser.parse_args().output.resolve()
    stage_site(output)
    faults = build_site(output)
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{len(faults)} lines of faults" if faults else f"built: {output / HTML / 'index.html'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
