"""Jinja templates of the reports."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.render.tables import escape_markdown


@cache
def make_environment(autoescape: bool) -> Environment:
    """Return the template environment: HTML is escaped automatically, Markdown by the filter `md`."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = escape_markdown
    return environment
