"""The templates of reports."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.render.tables import escape_markdown


def environment(autoescape: bool) -> Environment:
    """Where templates are found and how they are filled: HTML is escaped by itself, Markdown by the filter `md`."""
    built = Environment(
        loader=PackageLoader("analysis"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    built.filters["md"] = escape_markdown
    return built
