"""The comment above a field is its description, and no other comment is."""

from pydantic import Field

from fcos.config.base import Section
from orchestration.config.json_schema.comments import field_comments


class Outer(Section):
    # Number of things,
    # in pixels.
    count: int = 1
    plain: int = 2

    # Of nothing.

    # Of this one.
    above: float = Field(
        # Of a bound.
        0.5,
        ge=0,
    )


class Inner(Outer):
    # Another text.
    plain: int = 3


def test_the_lines_directly_above_a_field_are_its_comment() -> None:
    assert field_comments(Outer) == {"count": "Number of things, in pixels.", "above": "Of this one."}


def test_a_section_has_the_comments_of_those_that_it_extends() -> None:
    assert field_comments(Inner)["plain"] == "Another text."
    assert field_comments(Inner)["count"] == "Number of things, in pixels."


def test_a_section_without_a_source_has_none() -> None:
    made = type("Made", (Section,), {"__annotations__": {"count": int}, "count": 1, "__module__": "nowhere"})
    assert field_comments(made) == {}
