"""Goal: a paused job gives its devices back and, resumed, ends as if it had not been paused. Method: a real
cluster with one device; the adapter is compared, to the bit, with that of a job nobody paused.
"""

from cluster import Cluster, assert_gapless, steps

LONG = {"max_steps": 60, "precision": "fp32"}


def test_paused_job_lets_another_run_and_goes_on_to_the_same_weights():
    with Cluster(devices="cpu:1") as cluster:
        undisturbed, name, trainers = cluster.start_with_a_twin(LONG)
        assert cluster.client("pause", name).stdout == "PAUSING\n"
        cluster.wait_for_sigterm(trainers)
        cluster.thaw(trainers)
        assert cluster.client("pause", name, "--wait").stdout == "PAUSED\n"
        cluster.wait_until_no_trainer_is_left()
        paused_at = int(cluster.checkpoints(name)[-1]["step"])
        assert paused_at == int(cluster.get(name)["progress"]["step"]), "no step of it is lost"

        other = cluster.submit(cluster.spec())
        assert cluster.wait(other)["state"] == "SUCCEEDED", "the device is free"
        cluster.kill_server()
        cluster.start_server()
        assert cluster.get(name)["state"] == "PAUSED"

        cluster.client("resume", name)
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED"
        assert [attempt["state"] for attempt in job["attempts"]] == ["PAUSED", "SUCCEEDED"]
        assert int(job["attempts"][1]["start_step"]) == paused_at
        events = cluster.events(name)
        assert_gapless(events)
        assert [step for _, step, _ in steps(events)] == list(range(1, LONG["max_steps"] + 1))
        assert [loss for *_, loss in steps(events)] == [loss for *_, loss in steps(cluster.events(undisturbed))]
        assert cluster.adapter(name) == cluster.adapter(undisturbed)


def test_trainer_that_does_not_pause_in_its_time_is_killed_and_goes_on_from_the_checkpoint_before():
    with Cluster(devices="cpu:1", worker_flags=["--pause-grace", "1s"]) as cluster:
        name = cluster.submit(cluster.spec(training=LONG))
        cluster.freeze_at_step(name, 10)
        cluster.client("pause", name, "--wait")
        cluster.wait_until_no_trainer_is_left()
        before = int(cluster.checkpoints(name)[-1]["step"])
        cluster.client("resume", name)
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED"
        assert int(job["attempts"][1]["start_step"]) == before


def test_paused_job_can_be_cancelled():
    with Cluster(devices="cpu:1") as cluster:
        name = cluster.submit(cluster.spec(training={"max_steps": 100000, "precision": "fp32"}))
        cluster.wait_for_step(name, 2)
        cluster.client("pause", name, "--wait")
        assert cluster.client("cancel", name).stdout == "CANCELLED\n"
        refused = cluster.client("resume", name, check=False)
        assert refused.returncode == 2
        assert "CANCELLED" in refused.stderr
