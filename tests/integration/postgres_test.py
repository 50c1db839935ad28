"""Goal: with PostgreSQL a second server stands by and takes over by itself, and a job that runs does not notice. Method:
a real PostgreSQL, two real servers on one address, a real worker; the leader is killed, or its session is ended; the
adapter is compared, to the bit, with that of a job nobody disturbed.
"""

import contextlib
import subprocess

import pytest
from cluster import Cluster, assert_gapless, steps, wait_for
from postgres import Postgres

LONG = {"max_steps": 60, "precision": "fp32"}
TAKEOVER_SECONDS = 10


@pytest.fixture(name="postgres")
def running_postgres():
    with Postgres() as postgres:
        yield postgres


def start_standby(cluster):
    standby = cluster.spawn_server("standby", "--standby")
    wait_for(lambda: "standing by" in (cluster.directory / "standby.log").read_text(), "the second server stands by")
    return standby


def wait_for_takeover(cluster, standby):
    cluster.server = standby
    wait_for(lambda: cluster.client("list", check=False).returncode == 0, "the standby has taken over",
             TAKEOVER_SECONDS)


def check_undisturbed(cluster, name, undisturbed):
    job = cluster.wait(name)
    assert job["state"] == "SUCCEEDED", job
    assert len(job["attempts"]) == 1
    events = cluster.events(name)
    assert_gapless(events)
    assert [step for _, step, _ in steps(events)] == list(range(1, LONG["max_steps"] + 1))
    assert cluster.adapter(name) == cluster.adapter(undisturbed)


def test_standby_takes_over_from_a_killed_server_in_mid_job(postgres):
    with Cluster(devices="cpu:1", lease="20s", server_flags=["--store", postgres.url]) as cluster:
        undisturbed, name, trainers = cluster.start_with_a_twin(LONG)
        standby = start_standby(cluster)
        cluster.kill_server()
        wait_for_takeover(cluster, standby)
        cluster.thaw(trainers)
        check_undisturbed(cluster, name, undisturbed)


def test_server_that_loses_its_session_to_the_standby_ends(postgres):
    with Cluster(devices="cpu:1", lease="20s", server_flags=["--store", postgres.url]) as cluster:
        undisturbed, name, trainers = cluster.start_with_a_twin(LONG)
        standby = start_standby(cluster)
        former = cluster.server
        postgres.end_sessions()  # of the standby too, which goes on waiting
        # The standby asks for the lock all the time, the leader notices its loss with its next write.
        for _ in range(5):
            postgres.end_leader()
            with contextlib.suppress(subprocess.TimeoutExpired):
                former.wait(timeout=8)
                break
        assert former.poll() == 1
        assert "another longlora-server" in (cluster.directory / "server.log").read_text()
        wait_for_takeover(cluster, standby)
        cluster.thaw(trainers)
        check_undisturbed(cluster, name, undisturbed)


def test_jobs_go_on_when_every_session_breaks(postgres):
    with Cluster(devices="cpu:1", lease="20s", server_flags=["--store", postgres.url]) as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        for step in (5, 15, 25):
            cluster.wait_for_step(name, step)
            postgres.end_sessions()
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED", job
        assert_gapless(cluster.events(name))


def test_second_server_without_standby_is_refused(postgres):
    with Cluster(devices="cpu:1", server_flags=["--store", postgres.url]) as cluster:
        second = cluster.spawn_server("second")
        assert second.wait(timeout=30) == 1
        assert "another longlora-server has this job store" in (cluster.directory / "second.log").read_text()
