"""`sweep.py list` and `show`: which experiments there are, and what one of them does."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.cli.event_stream import SILENT
from orchestration.cli.experiments import list_text, requests_text, show_experiments, show_text
from orchestration.config.groups import groups

WIDE, PHONE = 120, 40
NAME = "ablation_centerness"


def test_every_experiment_is_listed_with_its_claim() -> None:
    lines = list_text([], None, 10_000).splitlines()
    assert [line.split()[0] for line in lines] == groups()["experiment"]
    assert all(len(line.split()) > 3 for line in lines)


def test_words_choose_those_that_have_all_of_them_in_name_or_claim() -> None:
    names = [line.split()[0] for line in list_text(["Center-ness", "loss"], None, 10_000).splitlines()]
    assert "ablation_centerness_loss" in names and "centerness_floor" in names and NAME not in names


@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_lines_fit_the_terminal_and_lose_no_word(width: int) -> None:
    text = list_text([], None, width)
    assert text.split() == list_text([], None, 10_000).split()
    assert max(map(len, text.splitlines())) <= width


def test_arms_are_shown_with_what_they_set_and_the_lines_that_run_them() -> None:
    text = show_text(NAME, None, 10_000)
    assert "\nnone (baseline)  model.head.quality=none model.postprocess.quality=none\n" in text
    assert "\nseeds    0, 1, 2; then one at a time until every arm is decided, or has 12\n" in text
    assert "v1 Table 4: 33.5 none" in text and "\ncost " in text
    assert text.splitlines()[-2].endswith(f"sweep.py +experiment={NAME} dry_run=true")


def test_of_a_ladder_each_step_is_shown_with_what_it_adds() -> None:
    lines = show_text("ladder_table3", None, 10_000).splitlines()
    assert lines[-1].endswith("sweep.py +experiment=ladder_table3 --cfg job")
    assert next(line for line in lines if line.startswith("giou ")).split()[1:] == ["model.loss.regression=giou"]


def test_a_search_is_shown_with_its_space_and_the_searcher_of_its_file() -> None:
    text = show_text("search_fcos", None, 10_000)
    assert "model.head.gn_groups                     choice=[4,8,16] when={model.head.norm: gn}" in text
    assert "+experiment=search_fcos search=tpe_asha\n" in text


def test_factors_are_shown_by_level() -> None:
    text = show_text("factorial_centerness_sampling", None, 10_000)
    assert "\nsampling:\n  everywhere  model.assignment.center_sampling_radius=null\n" in text


@pytest.mark.parametrize("name", groups()["experiment"])
def test_every_experiment_can_be_shown(name: str) -> None:
    text = show_text(name, None, WIDE)
    assert text.startswith(f"{name}\n\n") and "\nmetrics " in text and f"+experiment={name}" in text


def test_an_experiment_of_ones_own_is_shown_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    text = (
        "# @package _global_\nexperiment: {name: mine, claim: Mine., baseline: a, seeds: [0], "
        "arms: {a: {}, b: {model.head.norm: bn}}}\n"
    )
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    assert show_experiments([f"--config-dir={tmp_path}", "show", "mine"], SILENT) == 0
    shown = capsys.readouterr().out
    assert "\na (baseline)  nothing\nb             model.head.norm=bn\n" in shown
    assert f"--config-dir={tmp_path} +experiment=mine dry_run=true" in shown
    assert "cost" not in shown
    assert show_experiments([f"--config-dir={tmp_path}", "list", "mine."], SILENT) == 0
    assert capsys.readouterr().out == "mine  Mine.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["show", "ablation_centernes"],
            "experiment=ablation_centernes: no such experiment; did you mean ablation_cen",
        ),
        (["show"], "show: give the name of one experiment"),
        (["show", NAME, "seed=3"], "seed=3: show takes names alone"),
        (["list", "--json"], "--json: list takes names alone"),
        (["list", "zzz"], "list zzz: no experiment has these words in its name or claim"),
        (["--config-dir=absent", "list"], "--config-dir=absent: no such folder"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    assert requests_text(words)
    with pytest.raises(ConfigError) as caught:
        show_experiments(words, SILENT)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("words", [[], [f"+experiment={NAME}"], ["--config-dir", "list", "seed=1"], ["--config-dir"]])
def test_words_of_a_sweep_request_no_text(words: list[str]) -> None:
    assert not requests_text(words)
