"""The words `list` and `show` of a sweep's command: which experiments there are, and what one of them does."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcos.errors import ConfigError, Mistake
from fcos.installation import command
from orchestration.cli.console import OutputConsole
from orchestration.cli.entry import OK
from orchestration.cli.experiment_header import ExperimentHeader, read_header
from orchestration.config.compose import compose
from orchestration.config.conf_files import experiment_claim, option_file
from orchestration.config.experiment import ExperimentConfig
from orchestration.config.groups import check_own_folder, groups, suggest_or_list
from orchestration.config.overrides import check_overrides, split_config_dir

if TYPE_CHECKING:
    from orchestration.cli.event_stream import EventStream

LIST, SHOW = "list", "show"
# Columns of a terminal below which a claim stands under its name, and of text in a pipe.
NARROW, ENDLESS = 72, 1 << 30
INDENT = "  "


def requests_text(arguments: Sequence[str]) -> bool:
    """Return whether a command line is `list` or `show`, and not a sweep's."""
    try:
        _, words = split_config_dir(arguments)
    except ConfigError:
        return False
    return bool(words) and words[0] in (LIST, SHOW)


def show_experiments(arguments: Sequence[str], stream: "EventStream") -> int:
    """Print the text for `list [WORD ...]` or `show NAME`; returns the exit code.

    Raises ConfigError for an experiment that there is not, and for settings beside these words.
    """
    own, (word, *names) = split_config_dir(arguments)
    if odd := [name for name in names if "=" in name or name.startswith("-")]:
        raise ConfigError(f"{odd[0]}: {word} takes names alone; settings belong to the sweep itself")
    if own is not None:
        check_own_folder(own)
    console = OutputConsole()
    width = console.width if console.is_terminal else ENDLESS
    if word == LIST:
        text = list_text(names, own, width)
    elif len(names) == 1:
        text = show_text(names[0], own, width)
    else:
        raise ConfigError(f"{SHOW}: give the name of one experiment, such as {SHOW} ablation_centerness")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return OK


def list_text(words: Sequence[str], own: Path | None, width: int) -> str:
    """Return a line for each experiment whose name or claim has all the words, with its claim."""
    claims = {name: experiment_claim(option_file("experiment", name, own)) for name in groups(own)["experiment"]}
    found = {
        name: claim
        for name, claim in claims.items()
        if all(word.lower() in f"{name} {claim}".lower() for word in words)
    }
    if not found:
        raise ConfigError(f"{LIST} {' '.join(words)}: no experiment has these words in its name or claim")
    return "\n".join(_entries(found, width))


def _entries(texts: Mapping[str, str], width: int) -> list[str]:
    """Return names with texts beside them, or below them where the terminal is narrow."""
    if width < NARROW:
        return [
            line
            for name, text in texts.items()
            for line in (name, *(f"{INDENT}{part}" for part in _wrapped(text, width - len(INDENT))))
        ]
    column = max(map(len, texts)) + len(INDENT)
    lines = []
    for name, text in texts.items():
        first, *more = _wrapped(text, max(width - column, NARROW // 2)) or [""]
        lines += [f"{name:<{column}}{first}".rstrip(), *(" " * column + line for line in more)]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines of whole words: a setting that is longer than a line can still be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def show_text(name: str, own: Path | None, width: int) -> str:
    """Return what an experiment claims, costs and varies, and the lines that run it."""
    options = groups(own)["experiment"]
    if name not in options:
        raise ConfigError(Mistake("no such experiment", "experiment", name, hint=suggest_or_list(name, options)))
    experiment = compose(check_overrides([f"+experiment={name}"], own), own).experiment
    assert experiment is not None
    header = read_header(option_file("experiment", name, own))
    run = _command_of(name, header, own)
    facts = _facts(experiment, header)
    lines = {"run": run, "plan": f"{run} dry_run=true", "all keys": f"{run} --cfg job"}
    # Commands are copied, and so not broken.
    parts = [
        _wrapped(experiment.claim or header.claim, width),
        _entries(facts, width),
        *_varied(experiment, width),
        _entries(lines, ENDLESS),
    ]
    return "\n\n".join([name, *("\n".join(part) for part in parts if part)])


def _command_of(name: str, header: ExperimentHeader, own: Path | None) -> str:
    """Return the command of an experiment, with what its header adds, such as a searcher."""
    script, *words = header.command.partition("\n")[0].split("orchestration/sweep.py")
    given = words[0].split() if script == "python " and words else []
    options = [] if own is None else [f"--config-dir={own}"]
    others = [word for word in given if not word.startswith(("+experiment=", "--config-dir"))]
    return " ".join([command("sweep"), *options, f"+experiment={name}", *others])


def _facts(experiment: ExperimentConfig, header: ExperimentHeader) -> dict[str, str]:
    seeds = ", ".join(map(str, experiment.seeds))
    if experiment.until == "decided":
        seeds += f"; then one at a time until every arm is decided, or has {experiment.most_seeds}"
    facts = {
        "papers": header.papers,
        "cost": header.cost,
        "more": " ".join(header.command.splitlines()[1:]),
        "metrics": ", ".join(experiment.metrics),
        "seeds": seeds,
    }
    return {name: text for name, text in facts.items() if text}


def _varied(experiment: ExperimentConfig, width: int) -> list[list[str]]:
    """Return what differs between trainings, a table each: factors or arms, or the space of a search."""
    if experiment.search is not None:
        space = {key: _settings(each.model_dump(exclude_none=True)) for key, each in experiment.search.space.items()}
        return [[f"searches in {experiment.search.trials} trainings:", *_entries(space, width)]]
    if experiment.factors:
        return [
            [f"{factor}:", *_entries({f"{INDENT}{level}": _settings(keys) for level, keys in levels.items()}, width)]
            for factor, levels in experiment.factors.items()
        ]
    arms: dict[str, str] = {}
    above: Mapping[str, Any] = {}
    for arm, keys in experiment.arms.items():
        own = {key: value for key, value in keys.items() if key not in above or above[key] != value}
        arms[f"{arm}{' (baseline)' if arm == experiment.baseline else ''}"] = _settings(own) or "nothing"
        above = keys if experiment.cumulative else {}
    title = "arms, and what each adds to those above it:" if experiment.cumulative else "arms, and what each sets:"
    return [[title, *_entries(arms, width)]]


def _settings(keys: Mapping[str, Any]) -> str:
    """Return settings as they are given on a command line, without the quotes of a shell."""
    return " ".join(f"{key}={_value(value)}" for key, value in keys.items() if value != {})


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    return str(value)
