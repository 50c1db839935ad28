"""Goal: a queue gets its nominal quota back from a borrower, who loses no work and ends as if nothing had been.
Method: a real cluster with one device and two queues; the adapter is compared, to the bit; the ledger of device time
is compared with the lengths of the attempts.
"""

import datetime
import json

import pytest
from cluster import Cluster, wait_for

LONG = {"max_steps": 60, "precision": "fp32"}
QUEUES = """
min_run_time: 0s
queues:
  - name: research
    nominal: {cpu: 1}
    borrowing_limit: {cpu: 0}
"""


def seconds(attempt):
    start, end = (datetime.datetime.fromisoformat(attempt[key]) for key in ("start_time", "end_time"))
    return (end - start).total_seconds()


@pytest.fixture(name="queues")
def queues_file(tmp_path):
    path = tmp_path / "queues.yaml"
    path.write_text(QUEUES)
    return path


def test_borrowed_device_goes_back_and_the_borrower_ends_in_the_same_weights(queues):
    with Cluster(devices="cpu:1", server_flags=["--queues", queues]) as cluster:
        undisturbed, borrower, trainers = cluster.start_with_a_twin(LONG)
        owner = cluster.submit(cluster.spec(queue="research"))
        cluster.wait_for_sigterm(trainers)
        job = cluster.get(borrower)
        assert job["attempts"][0]["eviction"]["reason"] == "PREEMPTED"
        assert owner in job["attempts"][0]["eviction"]["message"]

        waiting = json.loads(cluster.client("queue", "research", "--output", "json").stdout)["jobs"]
        assert [(entry["place"], entry["job"]) for entry in waiting] == [(1, owner)]
        shown = cluster.client("queue").stdout
        assert "research" in shown and "WAITING_FOR_DEVICES" in shown

        cluster.thaw(trainers)
        assert cluster.wait(owner)["state"] == "SUCCEEDED"
        job = cluster.wait(borrower)
        assert job["state"] == "SUCCEEDED"
        assert [attempt["state"] for attempt in job["attempts"]] == ["EVICTED", "SUCCEEDED"]
        assert int(job["attempts"][1]["start_step"]) >= 10
        assert cluster.adapter(borrower) == cluster.adapter(undisturbed)

        for attempt in job["attempts"]:
            assert sum(attempt["ledger"].values()) == pytest.approx(seconds(attempt), abs=1e-5)
        assert sum(job["ledger"].values()) == pytest.approx(sum(map(seconds, job["attempts"])), abs=1e-5)
        assert "training" in cluster.client("get", borrower).stdout.split("Time", 1)[1].splitlines()[0]


def test_what_a_queue_cannot_give_is_refused_at_submit(queues):
    with Cluster(devices="cpu:1", server_flags=["--queues", queues]) as cluster:
        refused = cluster.client("submit", "-f", cluster.job_file(cluster.spec(queue="reserch")), check=False)
        assert refused.returncode == 2
        assert "queue" in refused.stderr and "default, research" in refused.stderr
        two = cluster.spec(queue="research", resources={"devices_per_node": 2})
        refused = cluster.client("submit", "-f", cluster.job_file(two), check=False)
        assert refused.returncode == 2
        assert "resources.devices_per_node" in refused.stderr


def test_jobs_choose_workers_by_label():
    with Cluster(devices="cpu:1", worker_flags=["--label", "zone=a"]) as cluster:
        elsewhere = cluster.submit(cluster.spec(resources={"worker_labels": ["zone=b"]}))
        here = cluster.submit(cluster.spec(resources={"worker_labels": ["zone=a"]}))
        assert cluster.wait(here)["state"] == "SUCCEEDED"
        wait_for(lambda: cluster.get(elsewhere).get("schedule_reason", {}).get("code") == "NO_MODEL",
                 "no worker has the label")
        assert "labels" in cluster.get(elsewhere)["schedule_reason"]["message"]


def test_a_broken_queues_file_is_told_at_the_start(tmp_path):
    (tmp_path / "queues.yaml").write_text("queues:\n  - {name: a, weight: -1}\n")
    with Cluster(devices="cpu:1") as cluster:
        cluster.kill_server()
        refused = cluster.spawn_server("broken", "--queues", tmp_path / "queues.yaml")
        assert refused.wait(timeout=60) == 2
        assert "queues[0].weight: expected a number above 0" in (cluster.directory / "broken.log").read_text()
