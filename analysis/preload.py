"""What a report needs on its way, loaded while the last trainings run, so that it reads and prints at once."""

from contextlib import suppress
from importlib import import_module

# What a report imports in its functions.
MODULES = (
    "analysis.combining.joining",
    "analysis.combining.laboratories",
    "analysis.explorer.page",
    "analysis.render.console",
    "analysis.report_json.build",
    "analysis.sections.document",
)
PAGES = (("report.html.j2", True), ("explorer.html.j2", True), ("report.md.j2", False))


def preload(uri: str | None) -> None:
    """Import the libraries, open the store, draw a figure that is shown nowhere, and load the templates.

    uri: of the store; None where it is not known. The report itself reports a store that cannot be opened.
    """
    from analysis.reader.client import StoreError, connect, import_client

    import_client()
    for name in MODULES:
        import_module(name)
    if uri is not None:
        # MLflow imports its classes of a store, and maps them to tables, with the first client.
        with suppress(StoreError):
            connect(uri)
    from analysis.render.plots import LIGHT, make_figure, to_svg
    from analysis.render.templates import make_environment

    # Fonts are read with the first text.
    to_svg(make_figure(LIGHT, (2.0, 1.5))[0])
    for name, autoescape in PAGES:
        make_environment(autoescape).get_template(name)
