"""Goal: cancel works in every state and leaves no process. Method: a real cluster; each test brings a job
into one state, cancels it there and looks into /proc.
"""

import os
import signal

from cluster import Cluster, wait_for

ENDLESS = {"max_steps": 100000, "precision": "fp32"}


def cancelled(cluster, name):
    job = cluster.wait(name, {"CANCELLED"}, timeout=60)
    cluster.wait_until_no_trainer_is_left()
    return job


def test_cancel_while_queued():
    with Cluster(devices="cpu:1") as cluster:
        first = cluster.submit(cluster.spec(training=ENDLESS))
        cluster.wait(first, {"PREPARING", "RUNNING"})
        second = cluster.submit(cluster.spec(training=ENDLESS))
        waiting = cluster.get(second)
        assert waiting["state"] == "QUEUED"
        wait_for(lambda: cluster.get(second).get("schedule_reason", {}).get("code") == "WAITING_FOR_DEVICES",
                 "the server tells why it waits")
        cluster.client("cancel", second)
        assert cluster.get(second)["state"] == "CANCELLED"
        assert "attempts" not in cluster.get(second)
        cluster.client("cancel", first)
        cancelled(cluster, first)


def test_cancel_while_preparing():
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec(training=ENDLESS))
        trainer = wait_for(cluster.trainers, "a trainer has started")[0]
        os.kill(trainer, signal.SIGSTOP)  # it cannot become RUNNING, and SIGTERM cannot end it
        assert cluster.get(name)["state"] == "PREPARING"
        cluster.client("cancel", name)
        assert cluster.get(name)["state"] == "CANCELLING"
        os.kill(trainer, signal.SIGCONT)
        cancelled(cluster, name)


def test_cancel_while_running_twice():
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec(training=ENDLESS))
        cluster.wait_for_step(name, 3)
        cluster.client("cancel", name)
        cluster.client("cancel", name, check=False)  # while CANCELLING: changes nothing
        job = cancelled(cluster, name)
        assert job["attempts"][-1]["state"] == "CANCELLED"


def test_cancel_a_job_of_two_ranks_with_one_that_ignores_sigterm():
    with Cluster(devices="cpu:2", worker_flags=["--grace", "2s"]) as cluster:
        name = cluster.submit(cluster.spec(training=ENDLESS, resources={"devices_per_node": 2}))
        cluster.wait_for_step(name, 3)
        trainers = cluster.trainers()
        assert len(trainers) == 2
        os.kill(trainers[1], signal.SIGSTOP)  # a stopped process ignores SIGTERM: only SIGKILL ends it
        cluster.client("cancel", name)
        cancelled(cluster, name)


def test_cancel_after_the_end_is_refused():
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec())
        assert cluster.wait(name)["state"] == "SUCCEEDED"
        refused = cluster.client("cancel", name, check=False)
        assert refused.returncode == 2
        assert "SUCCEEDED" in refused.stderr
        assert cluster.get(name)["state"] == "SUCCEEDED"


def test_cancel_while_the_worker_is_away():
    with Cluster(devices="cpu:1", lease="3s") as cluster:
        name = cluster.submit(cluster.spec(training=ENDLESS))
        cluster.wait_for_step(name, 2)
        cluster.kill_worker()
        cluster.client("cancel", name)
        cancelled(cluster, name)
        cluster.start_worker()
        cluster.wait_for_worker()
        cluster.wait_until_no_trainer_is_left()
        assert cluster.get(name)["state"] == "CANCELLED"
