"""Options that commands share."""

import argparse

import pytest

from fcos.cli.options import fraction, parse_changes, positive_int
from fcos.errors import ConfigError


def test_changes_are_json_or_strings() -> None:
    assert parse_changes(["a.b=[1, 2]", "c=null", "d=/data/a=b"]) == {"a.b": [1, 2], "c": None, "d": "/data/a=b"}
    with pytest.raises(ConfigError, match="--set nonsense: must be KEY=VALUE"):
        parse_changes(["nonsense"])


def test_numbers_out_of_range_are_refused() -> None:
    assert positive_int("3") == 3 and fraction("0.5") == 0.5
    for parse, text in ((positive_int, "0"), (fraction, "1"), (fraction, "-1")):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)
