"""Names of sweeps in commands for readers."""

import shlex

import pytest

from analysis.manuscript.commands import quote_archive, quote_word


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "$(rm x)", "a;b", "--help"])
def test_a_name_is_one_word_of_a_shell(name: str) -> None:
    assert shlex.split(quote_word(name)) == [name]
    assert len(shlex.split(quote_archive(name))) == 1


def test_an_archive_has_the_path_that_is_written() -> None:
    assert quote_archive("ablation_norm") == "outputs/ablation_norm/ablation_norm.zip"
    assert quote_archive("my sweep (1)") == "outputs/my_sweep_1_/my_sweep_1_.zip"
