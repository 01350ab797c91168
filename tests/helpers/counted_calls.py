"""Calls of a function that a test counts, while they go on as before."""

from typing import Any

import pytest


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[Any, ...]]:
    """Return a list that gets the positional arguments of each call of an attribute of a module or a class."""
    calls: list[tuple[Any, ...]] = []
    call = getattr(owner, name)

    def record(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return call(*arguments, **named)

    monkeypatch.setattr(owner, name, record)
    return calls
