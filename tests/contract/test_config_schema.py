"""The published schemas accept every config file as it is, and no misspelt key in any of them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fcos.installation import ROOT
from orchestration.cli.schemas import print_schema
from orchestration.config.compose import compose
from orchestration.config.conf_files import CONF, is_global, read_conf
from orchestration.config.json_schema.documents import EXPERIMENT, GROUPS, KINDS, make_config_schema, make_file_schema
from orchestration.config.overrides import check_overrides, dotted_keys
from orchestration.config.schema import LabConfig

DOCS = ROOT / "docs"
FILES = sorted(CONF.rglob("*.yaml"))
PUBLISHED = {"": DOCS / "config.schema.json"} | {kind: DOCS / "config_files" / f"{kind}.schema.json" for kind in KINDS}


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@cache
def validator_of(kind: str) -> jsonschema.Draft202012Validator:
    """Return the validator of a kind of config files."""
    return validator(make_file_schema(kind))


def kind_of(file: Path) -> str:
    return EXPERIMENT if file.parent == CONF or is_global(file) else file.parent.name


def problems(kind: str, values: Any) -> list[str]:
    return [error.message for error in validator_of(kind).iter_errors(values)]


def misspelt(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield a config file's values once for each of its keys, in which that key has a letter more, and its path."""
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        where = (*path, key)
        if not has_free_names(path):
            yield ".".join(where), {f"{name}x" if name == key else name: each for name, each in values.items()}
        if path == () and key in ("defaults", "hydra"):
            continue
        for inner, changed in misspelt(value, where):
            yield inner, {**values, key: changed}


def has_free_names(path: tuple[str, ...]) -> bool:
    """Return whether the keys below a path are names: of arms, factors, levels, or values of a condition."""
    names = path[:1] == ("experiment",) and path[1:2] in (("arms",), ("factors",), ("paper",))
    depth = 3 if path[1:2] == ("factors",) else 2
    return (names and len(path) <= depth) or path[-1:] == ("when",)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schema_is_the_one_that_the_command_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_schema(name)
    assert capsys.readouterr().out == PUBLISHED[name].read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_config_file_is_valid_and_none_with_a_misspelt_key(file: Path) -> None:
    kind, values = kind_of(file), read_conf(file)
    assert problems(kind, values) == []
    accepted = [path for path, changed in misspelt(values) if validator_of(kind).is_valid(changed)]
    assert accepted == []


def test_every_group_with_a_section_has_a_schema() -> None:
    plain = {file.parent.name for file in FILES if file.parent != CONF and not is_global(file)}
    assert plain == set(GROUPS)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("model", {"head": {"norm": "ln"}}),
        ("model", {"head": {"num_convs": -1}}),
        ("schedule", {"steps": "many"}),
        ("data", {"name": "voc"}),
        (EXPERIMENT, {"experiment": {"arms": {"a": {"model.head.norm": "ln"}}}}),
        (EXPERIMENT, {"experiment": {"arms": {"a": {"seed": 1}}}}),
        (EXPERIMENT, {"experiment": {"arms": {"a": {"data.synthetic.seed": 1}}}}),
        (EXPERIMENT, {"experiment": {"search": {"space": {"model.head.norm": {"choices": ["gn", "bn"]}}}}}),
        (EXPERIMENT, {"experiment": {"seeds": []}}),
    ],
)
def test_a_value_that_the_schema_refuses_is_shown_in_an_editor(kind: str, values: Any) -> None:
    assert problems(kind, values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("model", {"head": {"norm": "${model.fpn.norm}"}, "defaults": ["fcos_small"]}),
        ("data", {"root": "???"}),
        (EXPERIMENT, {"experiment": {"arms": {"a": {"model": {"head": {"norm": "gn"}}}, "b": {"model.head": {}}}}}),
        (EXPERIMENT, {"experiment": {"arms": {"a": {"implementation": "my_own"}}}}),
        (EXPERIMENT, {"experiment": {"search": {"space": {"model": {"head": {"norm": {"choice": ["gn", "bn"]}}}}}}}),
    ],
)
def test_what_hydra_takes_is_not_marked_as_wrong(kind: str, values: Any) -> None:
    assert problems(kind, values) == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["+experiment=ablation_centerness"],
        ["+experiment=factorial_improvements"],
        ["+experiment=search_fcos", "search=tpe_asha"],
        ["+experiment=table1_bpr"],
        ["data=coco", "data.root=/data", "model=fcos_lite", "cluster=many_gpus"],
    ],
)
def test_a_whole_configuration_is_valid_and_no_part_of_it(words: list[str]) -> None:
    values = compose(check_overrides(words)).model_dump(mode="json")
    whole = validator(make_config_schema())
    assert [error.message for error in whole.iter_errors(values)] == []
    assert not whole.is_valid({key: value for key, value in values.items() if key != "model"})
    assert not whole.is_valid({**values, "modle": values["model"]})


def test_keys_have_the_descriptions_and_defaults_of_the_source() -> None:
    schema = make_config_schema()
    head = schema["$defs"]["HeadConfig"]["properties"]
    assert head["towers"]["description"] == (
        "Classification and regression have one tower each, or share one (v2's real-time models)."
    )
    assert (head["num_convs"]["default"], head["num_convs"]["minimum"]) == (4, 0)
    kind = schema["$defs"]["AssignmentConfig"]["properties"]["kind"]
    assert kind["description"].endswith("anchors of an IoU of 0.5 (retinanet), those of lowest loss (simota).")
    assert schema["properties"]["reuse"]["description"].startswith("Reuse finished trainings")


def test_arms_may_name_every_key_of_a_training_but_seeds() -> None:
    arm = set(make_file_schema(EXPERIMENT)["$defs"]["Arm"]["properties"])
    keys = {key for key in dotted_keys(LabConfig) if key.split(".")[0] in ("model", "data", "schedule", "coverage")}
    assert keys - arm == {"data.synthetic.seed"}
    assert "seed" not in arm
