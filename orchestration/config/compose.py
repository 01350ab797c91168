"""Compose a validated LabConfig from the command line and YAML files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten, parse
from fcos.config.run import CoverageConfig
from fcos.errors import ConfigError
from orchestration.config import conf_files
from orchestration.config.choice import Choice
from orchestration.config.factorial import with_cells
from orchestration.config.given import given_by
from orchestration.config.groups import expand_presets
from orchestration.config.schema import LabConfig
from orchestration.config.search import flat_space
from orchestration.config.start import choices_of_start


@dataclass(frozen=True)
class Composed:
    """A validated config, and what was chosen on the way to it: by data=auto, or for weights to begin from."""

    lab: LabConfig
    choices: tuple[Choice, ...] = ()
    # What was left out of a folder, changed or taken for granted.
    notes: tuple[str, ...] = ()


def compose(overrides: Sequence[str], own: Path | None = None) -> LabConfig:
    """Return the validated config of checked overrides; see `compose_with_choices`."""
    return compose_with_choices(overrides, own).lab


def compose_with_choices(overrides: Sequence[str], own: Path | None = None) -> Composed:
    """Return the validated config of checked overrides (`overrides.check_overrides`), with what was chosen for it.

    data=auto chooses by what a folder holds; weights to begin from bring a schedule along that keeps them.
    `own` is the folder of --config-dir, whose options Hydra searches after the built-in ones.
    Raises ConfigError naming key, value and rule.
    """
    values, options = _plain_values(overrides, own)
    given = given_by(overrides, values.get("experiment"), own, options)

    def recompose(words: Sequence[str]) -> dict[str, Any]:
        return _plain_values([*words, *overrides], own)[0]

    def options_without(names: Collection[str]) -> dict[str, str | None]:
        return _plain_values([word for word in overrides if word.partition("=")[0] not in names], own)[1]

    if (values.get("data") or {}).get("name") == "auto":
        # Reads boxes and counts their locations, for which it imports torch.
        from orchestration.config.auto import configure

        configured = configure(values, given, recompose)
        return Composed(parse(LabConfig, configured.values), configured.choices, configured.notes)
    if values.get("auto"):
        key = next(iter(values["auto"]))
        raise ConfigError(f"auto.{key}={values['auto'][key]}: has an effect on data=auto alone; leave it out")
    choices = choices_of_start(values, given, options_without)
    if choices:
        values = recompose([word for choice in choices for word in choice.words])
    return Composed(parse(LabConfig, _with_default_root(values)), choices)


def _plain_values(overrides: Sequence[str], own: Path | None) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Return what Hydra composes as plain values, and the option of each group.

    Arms, levels and search spaces have dotted keys.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    disable_environment_interpolation()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf_files.CONF), version_base=None):
            composed = hydra_compose("config", overrides=[*overrides, *_search_path(own)], return_hydra_config=True)
        options = OmegaConf.to_container(composed.hydra.runtime.choices)
        with open_dict(composed):
            del composed["hydra"]
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise ConfigError("\n".join(f"{key}: a value is needed; give {key}=..." for key in missing))
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_error_text(error)) from None
    assert isinstance(values, dict) and isinstance(options, dict)
    chosen = {str(group): None if option is None else str(option) for group, option in options.items()}
    return _with_dotted_keys({str(key): value for key, value in values.items()}, overrides, own), chosen


def _with_dotted_keys(values: dict[str, Any], overrides: Sequence[str], own: Path | None) -> dict[str, Any]:
    """Return composed values with the arms, levels and search spaces of an experiment as dotted keys."""
    experiment = values.get("experiment")
    if isinstance(experiment, dict) and isinstance(experiment.get("arms"), dict):
        arms = expand_presets(experiment["arms"], own)
        experiment["arms"] = accumulate_arms(arms) if experiment.get("cumulative") else arms
    if isinstance(experiment, dict):
        values["experiment"] = experiment = with_cells(experiment, own)
        if "until" in experiment and _gives_seeds_alone(overrides):
            experiment["until"] = "seeds"
    search = experiment.get("search") if isinstance(experiment, dict) else None
    if isinstance(search, dict) and isinstance(search.get("space"), dict):
        search["space"] = flat_space(search["space"])
    return values


def _gives_seeds_alone(overrides: Sequence[str]) -> bool:
    """Return whether a command line lists seeds and leaves open until when they are trained: these and no more."""
    keys = {override.lstrip("+").partition("=")[0] for override in overrides}
    return "experiment.seeds" in keys and "experiment.until" not in keys


def _search_path(own: Path | None) -> list[str]:
    """Return the override that adds the user's own folder to Hydra's search path."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if own is None:
        return []
    return [f"hydra.searchpath=[{QuotedString(f'file://{own.absolute()}', Quote.single).with_quotes()}]"]


def _with_default_root(values: dict[str, Any]) -> dict[str, Any]:
    """Set data.root to the current folder where a coverage config has relative annotation paths but no root."""
    data, experiment = values.get("data"), values.get("experiment")
    if values.get("task") != "coverage" or not isinstance(data, dict) or data.get("root") is not None:
        return values
    arms = experiment.get("arms") if isinstance(experiment, dict) else None
    keys = [flatten(data, "data."), *(arms.values() if isinstance(arms, dict) else ())]
    split = (values.get("coverage") or {}).get("split") or CoverageConfig.model_fields["split"].default
    files = [each[key] for each in keys if isinstance(each, dict) for key in each if key == f"data.{split}.annotations"]
    if all(Path(str(file)).expanduser().is_absolute() for file in files):
        return values
    return {**values, "data": {**data, "root": "."}}


def disable_environment_interpolation() -> None:
    """Make `oc.env` interpolations fail: resolved values are recorded, and could be secrets."""
    from omegaconf import OmegaConf

    def refuse(*arguments: str) -> None:
        name = arguments[0] if arguments else ""
        raise ConfigError(f"${{oc.env:{name}}}: a config does not read the environment; write the value itself")

    OmegaConf.register_new_resolver("oc.env", refuse, replace=True)


def accumulate_arms(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return cumulative arms as dotted keys: each includes the changes of those before it, later values winning."""
    keys: dict[str, Any] = {}
    cumulative = {}
    for arm, changes in arms.items():
        keys = keys | flatten(changes)
        cumulative[arm] = keys
    return cumulative


def _error_text(error: Exception) -> str:
    """Return the message of an error of Hydra or OmegaConf, without their type names."""
    lines = [line.strip() for cause in (error, error.__cause__) if cause for line in str(cause).splitlines()]
    text = "; ".join(line for line in lines if line and not line.startswith("object_type"))
    return text.removeprefix("ConfigError raised while resolving interpolation: ")
