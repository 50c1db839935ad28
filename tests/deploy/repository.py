"""Where things are, for the tests of this folder."""

import json
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BINARIES = pathlib.Path(os.environ.get("LONGLORA_BIN", ROOT / "build" / "bin"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def load_dashboard(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


def panels(dashboard: dict) -> list[dict]:
    """Every panel that shows data; rows are headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(dashboard: dict) -> list[tuple[str, str]]:
    """(panel title, PromQL as the dashboard has it) of every query."""
    return [(panel["title"], target["expr"]) for panel in panels(dashboard) for target in panel["targets"]]


def metric_names(text: str) -> set[str]:
    """Names of our metrics in a query or a document; a histogram's parts count as the histogram."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\blonglora_[a-z0-9_]*[a-z0-9]", text)}
