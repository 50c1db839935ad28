"""Goal: what operators see is real: both /metrics are sound, and every query of every dashboard gives data
while a job runs.
Method: starts the real server, worker and trainer on a tiny model, and a real Prometheus with the shipped
scrape configuration (ports and interval changed), then asks Prometheus what Grafana would ask.
"""

import json
import math
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml

from repository import DASHBOARDS, DEPLOY, ROOT, load_dashboard, metric_names, targets

sys.path.insert(0, str(ROOT / "tests" / "integration"))
from cluster import Cluster, free_port, wait_for  # noqa: E402

WAIT_SECONDS = 90


def http_get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


class Deployment:
    """A cluster in which one job has succeeded and another one runs, and a Prometheus that scrapes it."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.metrics_ports = {"server": cluster.metrics_port, "worker": cluster.worker_metrics_port}
        self.address = f"127.0.0.1:{free_port()}"
        self.prometheus = self._start_prometheus()
        wait_for(lambda: len(self.query("up == 1")) == 2, "both targets are scraped", WAIT_SECONDS)
        self.submit(3, wait=True)
        self.running_job = self.submit(1_000_000)

    def _start_prometheus(self) -> subprocess.Popen:
        """The shipped configuration, with this cluster's ports and a scrape every second."""
        configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        unscraped = dict(self.metrics_ports)
        for scrape in configuration["scrape_configs"]:
            port = unscraped.pop(scrape["job_name"].removeprefix("longlora-"))
            scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        assert not unscraped, f"the shipped configuration leaves out {unscraped}"
        path = self.cluster.directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration))
        with open(self.cluster.directory / "prometheus.log", "wb") as log:
            return subprocess.Popen(
                ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={self.cluster.directory / 'tsdb'}",
                 f"--web.listen-address={self.address}"], stdout=log, stderr=log)

    def stop(self) -> None:
        self.prometheus.kill()
        self.prometheus.wait()

    def submit(self, steps: int, wait: bool = False) -> str:
        spec = self.cluster.spec(training={"max_steps": steps}, evaluation={"interval_steps": 20},
                                 checkpoint={"interval_steps": 20, "keep_last": 1})
        name = self.cluster.submit(spec)
        if wait:
            job = self.cluster.wait(name)
            assert job["state"] == "SUCCEEDED", job
        return name

    def ask(self, path: str, **parameters) -> list:
        """An answer of Prometheus' HTTP API; an error of Prometheus fails with its message."""
        assert self.prometheus.poll() is None, "prometheus died"
        try:
            answer = http_get(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return []  # it is starting
            pytest.fail(f"{parameters}: {error.read().decode()}")
        except (urllib.error.URLError, ConnectionError):
            return []
        return json.loads(answer)["data"]

    def query(self, expression: str) -> list[dict]:
        data = self.ask("query", query=expression)
        return data["result"] if data else []

    def metrics(self, program: str) -> str:
        return http_get(f"http://127.0.0.1:{self.metrics_ports[program]}/metrics")


@pytest.fixture(scope="module")
def deployment():
    with Cluster(devices="cpu:1") as cluster:
        deployment = Deployment(cluster)
        try:
            yield deployment
        finally:
            deployment.stop()


def as_grafana_asks(expression: str) -> str:
    """Variables as Grafana fills them in: 'All' of instance and job, windows for a scrape every second."""
    for name, value in {"$__rate_interval": "10s", "$__range": "60s", "$instance": ".*", "$job": ".*"}.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"an unknown variable is left in {expression}"
    return expression


def has_data(result: list[dict]) -> bool:
    return any(math.isfinite(float(series["value"][1])) for series in result)


def test_every_dashboard_query_gives_data_while_a_job_runs(deployment):
    for path in DASHBOARDS:
        waiting = targets(load_dashboard(path))

        def none_left():
            waiting[:] = [(title, expression) for title, expression in waiting
                          if not has_data(deployment.query(as_grafana_asks(expression)))]
            return not waiting

        try:
            wait_for(none_left, "every query gives data", WAIT_SECONDS)
        except AssertionError:
            pytest.fail("no data for:\n" + "\n".join(f"{title}: {expression}" for title, expression in waiting))


def test_every_dashboard_variable_has_values(deployment):
    for path in DASHBOARDS:
        for variable in load_dashboard(path)["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
                match = {"match[]": as_grafana_asks(metric)}
                wait_for(lambda: deployment.ask(f"label/{label}/values", **match), f"{variable['name']} has values")


def test_metrics_are_those_of_the_operating_page(deployment):
    page = (ROOT / "docs" / "OPERATING.md").read_text().split("## Metrics\n")[1].split("\n## ")[0]
    wait_for(lambda: "longlora_job_last_checkpoint_timestamp_seconds{" in deployment.metrics("server"),
             "the running job has a checkpoint")
    exported = deployment.metrics("server") + deployment.metrics("worker")
    samples = "\n".join(line for line in exported.splitlines() if not line.startswith("#"))
    assert metric_names(samples) == metric_names(page)


@pytest.mark.parametrize("program", ["server", "worker"])
def test_promtool_finds_nothing_wrong_with_the_metrics(deployment, program):
    checked = subprocess.run(["promtool", "check", "metrics"], input=deployment.metrics(program),
                             capture_output=True, text=True)
    assert checked.returncode == 0 and not checked.stdout + checked.stderr


def test_promtool_accepts_the_shipped_configuration():
    subprocess.run(["promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml"], check=True)


def test_series_of_a_job_vanish_when_it_ends(deployment):
    job = deployment.running_job.removeprefix("fineTuneJobs/")
    assert f'longlora_job_step{{job="{job}"}}' in deployment.metrics("server")
    deployment.cluster.client("cancel", deployment.running_job)
    wait_for(lambda: f'job="{job}"' not in deployment.metrics("server"), "the job's series are gone")
