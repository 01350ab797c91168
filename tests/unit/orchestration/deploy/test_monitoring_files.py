"""The dashboard and the scraping of metrics: as Grafana and Prometheus read them, of metrics that are exported."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from fcos.installation import ROOT
from orchestration.driver.monitoring.metrics import METRICS, SWEEP

DEPLOY = ROOT / "orchestration" / "deploy"
DASHBOARD = DEPLOY / "grafana_dashboard.json"
PROMETHEUS = DEPLOY / "prometheus.yaml"

# Of the dashboard model that Grafana documents, what it needs to import a file.
SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
    "additionalProperties": False,
}
POSITION = {
    "type": "object",
    "required": ["x", "y", "w", "h"],
    "properties": {
        "x": {"type": "integer", "minimum": 0, "maximum": 23},
        "y": {"type": "integer", "minimum": 0},
        "w": {"type": "integer", "minimum": 1, "maximum": 24},
        "h": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}
TARGET = {
    "type": "object",
    "required": ["refId", "expr", "datasource", "legendFormat"],
    "properties": {
        "refId": {"type": "string", "pattern": "^[A-Z]$"},
        "expr": {"type": "string", "minLength": 1},
        "legendFormat": {"type": "string"},
        "datasource": SOURCE,
    },
    "additionalProperties": False,
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "targets", "datasource", "fieldConfig", "options"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["stat", "timeseries"]},
        "title": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "datasource": SOURCE,
        "gridPos": POSITION,
        "targets": {"type": "array", "minItems": 1, "items": TARGET},
        "options": {"type": "object"},
        "fieldConfig": {
            "type": "object",
            "required": ["defaults", "overrides"],
            "properties": {
                "defaults": {"type": "object", "required": ["unit"]},
                "overrides": {"type": "array"},
            },
        },
    },
    "additionalProperties": False,
}
VARIABLE = {
    "type": "object",
    "required": ["name", "type", "query"],
    "properties": {"name": {"type": "string"}, "type": {"enum": ["datasource", "query"]}},
}
MODEL = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "panels", "templating", "time", "annotations"],
    "properties": {
        "title": {"type": "string", "minLength": 1},
        "uid": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {"list": {"type": "array", "items": VARIABLE}},
        },
        "time": {"type": "object", "required": ["from", "to"]},
        "annotations": {"type": "object", "required": ["list"]},
        # One that is set belongs to the Grafana that the file was exported from, and is refused elsewhere.
        "id": {"type": "null"},
    },
}
METRIC = re.compile(r"\bray_\w+")


def dashboard() -> dict[str, Any]:
    values = json.loads(DASHBOARD.read_text())
    assert isinstance(values, dict)
    return values


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [*panels, *(each["definition"] for each in dashboard()["templating"]["list"] if "definition" in each)]


def rays_metrics() -> set[str]:
    """The names that Ray's agent of a node exports, as its source has them."""
    source = Path(ray.__file__).parent / "dashboard" / "modules" / "reporter" / "reporter_agent.py"
    names = re.findall(r'Gauge\(\s*"(\w+)"', source.read_text())
    assert len(names) > 20
    return {f"ray_{name}" for name in names}


def test_the_dashboard_has_what_grafana_needs() -> None:
    jsonschema.Draft202012Validator(MODEL).validate(dashboard())
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_no_panel_lies_over_another() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & seen, panel["title"]
        seen |= cells


def test_every_metric_of_the_dashboard_is_one_that_we_or_ray_export() -> None:
    used = {name for text in expressions() for name in METRIC.findall(text)}
    ours = {each.exported for each in METRICS}
    assert used - ours - rays_metrics() == set()
    assert ours - used == set(), "exported, and nowhere to be seen"


@pytest.mark.parametrize("expression", expressions())
def test_labels_and_brackets_of_an_expression_fit(expression: str) -> None:
    labels = {each.exported: {SWEEP, *each.labels} for each in METRICS}
    for name, body in re.findall(r"(ray_fcos_\w+)\{([^}]*)\}", expression):
        assert {part.split("=")[0] for part in body.split(",")} <= labels[name]
    for left, right in ("()", "{}", "[]"):
        assert expression.count(left) == expression.count(right)


def test_every_variable_of_an_expression_is_one_of_the_dashboard_or_of_grafana() -> None:
    known = {each["name"] for each in dashboard()["templating"]["list"]} | {"__rate_interval"}
    used = {name for text in (*expressions(), DASHBOARD.read_text()) for name in re.findall(r"\$\{?(\w+)", text)}
    assert used - known == set()


def test_prometheus_reads_the_file_in_which_ray_lists_its_nodes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    config = yaml.safe_load(PROMETHEUS.read_text())
    (job,) = config["scrape_configs"]
    (discovery,) = job["file_sd_configs"]
    assert set(job) == {"job_name", "file_sd_configs"} and set(config) == {"global", "scrape_configs"}
    assert [Path(file).name for file in discovery["files"]] == [PROMETHEUS_SERVICE_DISCOVERY_FILE]
    assert "--web.listen-address=127.0.0.1:" in PROMETHEUS.read_text()
