"""Goal: every dashboard follows one set of rules, so that any Grafana can load and any operator read it.
Method: reads deploy/grafana as data; no program runs.
"""

import pathlib
import re

import pytest
import yaml

from repository import DASHBOARDS, DEPLOY, ROOT, load_dashboard, metric_names, panels, targets

each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_there_is_a_dashboard():
    assert DASHBOARDS


@each_dashboard
def test_dashboard_is_complete_and_read_only(path):
    dashboard = load_dashboard(path)
    for key in ("title", "uid", "description", "tags", "schemaVersion", "refresh"):
        assert dashboard.get(key), f"{key} is missing"
    assert dashboard["editable"] is False
    assert "id" not in dashboard, "ids belong to one Grafana"


@each_dashboard
def test_dashboard_has_variables_for_data_source_instance_and_job(path):
    variables = {entry["name"]: entry for entry in load_dashboard(path)["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert {"instance", "job"} <= variables.keys()
    for variable in variables.values():
        assert variable["label"] and variable["description"]


@each_dashboard
def test_every_panel_has_title_description_unit_and_targets(path):
    dashboard = load_dashboard(path)
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles), "two panels have one title"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids), "two panels have one id"
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), f"{panel['title']}: the description is no sentence"
        assert panel["fieldConfig"]["defaults"]["unit"], f"{panel['title']}: no unit"
        assert panel["targets"], f"{panel['title']}: no query"
        for target in panel["targets"]:
            assert target["legendFormat"], f"{panel['title']}: no legend"


@each_dashboard
def test_every_query_takes_its_source_from_the_variable(path):
    for panel in panels(load_dashboard(path)):
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


@each_dashboard
def test_queries_select_instances_and_use_the_rate_interval(path):
    for title, expression in targets(load_dashboard(path)):
        selectors = re.findall(r"longlora_\w+(\{[^}]*\})?", expression)
        assert all('instance=~"$instance"' in selector for selector in selectors), f"{title}: {expression}"
        windows = re.findall(r"\[([^\]]*)\]", expression)
        assert set(windows) <= {"$__rate_interval", "$__range"}, f"{title}: a fixed window in {expression}"
        for name in re.findall(r"(longlora_\w+_total)\b(?!_steps)", expression):
            assert re.search(rf"(rate|increase)\({name}", expression), f"{title}: {name} without rate or increase"


@each_dashboard
def test_panels_do_not_overlap(path):
    taken = {}
    for panel in load_dashboard(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@each_dashboard
def test_metrics_are_those_of_the_operating_page(path):
    documented = metric_names((ROOT / "docs" / "OPERATING.md").read_text())
    shown = set().union(*(metric_names(expression) for _, expression in targets(load_dashboard(path))))
    assert shown <= documented


def test_provisioning_finds_the_dashboards_and_the_data_source():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/longlora.yml").read_text())["providers"][0]
    mounts = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in compose["grafana"]["volumes"])
    assert pathlib.PurePath(mounts[provider["options"]["path"]]) == pathlib.PurePath("grafana/dashboards")
    assert pathlib.PurePath(mounts["/etc/grafana/provisioning"]) == pathlib.PurePath("grafana/provisioning")
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape, "Grafana derives $__rate_interval from it"
