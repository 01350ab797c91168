"""Descriptions of settings: the comments above the fields of a section, read from its source."""

import ast
import inspect
import textwrap

from pydantic import BaseModel


def field_comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comment above each field of a section and of those that it extends; without one, no entry."""
    comments: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            comments |= _own_comments(each)
    return comments


def _own_comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comments in the body of one class; none where its source is not at hand."""
    try:
        source = textwrap.dedent(inspect.getsource(model))
    except (OSError, TypeError):
        return {}
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    fields = [node for node in definition.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    found = {ast.unparse(node.target): _comment_above(lines, node.lineno - 1) for node in fields}
    return {name: comment for name, comment in found.items() if comment}


def _comment_above(lines: list[str], index: int) -> str:
    """Return the text of the comment lines that end directly above a line, given by its index."""
    above: list[str] = []
    while index > 0 and lines[index - 1].lstrip().startswith("#"):
        index -= 1
        above.insert(0, lines[index].lstrip().removeprefix("#").strip())
    return " ".join(above)
