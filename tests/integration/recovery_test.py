"""Goal: any process may be killed at any moment and nothing acknowledged is lost. Method: a real cluster
trains a real (tiny) model; one process gets SIGKILL in mid-job; the result is compared, to the bit, with
that of a job nobody disturbed.
"""

import os
import signal
import time

import pytest
from cluster import Cluster, assert_gapless, steps, wait_for

LONG = {"max_steps": 60, "precision": "fp32"}


@pytest.fixture(scope="module")
def undisturbed():
    """Losses of the job that the tests below disturb, and the bytes of its adapter."""
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        assert cluster.wait(name)["state"] == "SUCCEEDED"
        return {"losses": {step: loss for _, step, loss in steps(cluster.events(name))},
                "adapter": cluster.adapter(name)}


def check_equal(cluster, name, undisturbed):
    """The last attempt to reach each step had the undisturbed loss there, and the adapter is the same."""
    events = cluster.events(name)
    assert_gapless(events)
    losses = {step: loss for _, step, loss in steps(events)}
    assert losses == undisturbed["losses"]
    assert cluster.adapter(name) == undisturbed["adapter"]
    return events


def test_server_killed_in_mid_job(undisturbed):
    with Cluster(devices="cpu:1", lease="20s") as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        trainers = cluster.freeze_at_step(name, 10)
        cluster.kill_server()
        cluster.thaw(trainers)
        time.sleep(1)
        cluster.start_server()
        assert set(cluster.trainers()) <= set(trainers), "the trainer must not notice"
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED"
        assert len(job["attempts"]) == 1
        events = check_equal(cluster, name, undisturbed)
        # Each step once: nothing lost, nothing doubled.
        assert [step for _, step, _ in steps(events)] == list(range(1, LONG["max_steps"] + 1))


def test_server_killed_right_after_an_acknowledged_submit():
    with Cluster() as cluster:
        names = [cluster.submit(cluster.spec(base_model="tiny")) for _ in range(3)]
        cluster.kill_server()
        cluster.start_server()
        for name in names:
            assert cluster.wait(name)["state"] == "SUCCEEDED"


def test_worker_killed_in_mid_job(undisturbed):
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        former = cluster.freeze_at_step(name, 10)
        wait_for(lambda: cluster.checkpoints(name), "a checkpoint is stored")
        cluster.kill_worker()
        cluster.start_worker()
        wait_for(lambda: not set(former) & set(cluster.trainers()), "the former trainers are gone")
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED", job
        assert [attempt["number"] for attempt in job["attempts"]] == [1, 2]
        assert job["attempts"][0]["failure"]["reason"] in ("WORKER_RESTARTED", "WORKER_LOST")
        assert job["attempts"][0]["failure"]["fault"] == "SYSTEM"
        assert int(job["attempts"][1]["start_step"]) >= 4, "it must go on from a checkpoint"
        events = check_equal(cluster, name, undisturbed)
        assert steps(events, attempt=2)[0][1] == int(job["attempts"][1]["start_step"]) + 1


def test_worker_stays_away_until_its_lease_lapses(undisturbed):
    with Cluster(devices="cpu:1", lease="3s") as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        cluster.freeze_at_step(name, 10)
        cluster.kill_worker()
        waiting = cluster.wait(name, {"QUEUED"})
        assert waiting["attempts"][0]["failure"]["reason"] == "WORKER_LOST"
        wait_for(lambda: cluster.get(name).get("schedule_reason", {}).get("code"), "the server tells why it waits")
        cluster.start_worker()
        assert cluster.wait(name)["state"] == "SUCCEEDED"
        check_equal(cluster, name, undisturbed)


def test_trainer_killed_in_mid_job(undisturbed):
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        (trainer,) = cluster.freeze_at_step(name, 10)
        os.kill(trainer, signal.SIGKILL)
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED", job
        assert job["attempts"][0]["failure"]["reason"] == "TRAINER_CRASHED"
        assert job["attempts"][0]["failure"]["retried"] is True
        check_equal(cluster, name, undisturbed)


def test_server_away_longer_than_the_lease_ends_the_ranks_before_the_job_is_given_away():
    with Cluster(devices="cpu:1", lease="2s") as cluster:
        name = cluster.submit(cluster.spec(training={"max_steps": 2000, "precision": "fp32"}))
        cluster.wait_for_step(name, 2)
        cluster.kill_server()
        wait_for(lambda: not cluster.trainers(), "the lease lapses and the ranks end", 30)
        cluster.start_server()
        wait_for(lambda: len(cluster.get(name)["attempts"]) == 2, "a second attempt begins")
        assert cluster.get(name)["attempts"][0]["failure"]["fault"] == "SYSTEM"
        cluster.wait(name, {"RUNNING"})
        cluster.client("cancel", name, "--wait", check=False)
        assert cluster.get(name)["state"] == "CANCELLED"
        cluster.wait_until_no_trainer_is_left()
