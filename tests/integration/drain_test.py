"""Goal: a drained worker, and one that is told to end, are emptied, and their jobs end elsewhere as if nothing had
been. Method: a real cluster; another worker on the same machine takes the job over; the adapter is compared, to the
bit.
"""

from cluster import BIN, Cluster, free_port, wait_for

LONG = {"max_steps": 60, "precision": "fp32"}


def test_drained_workers_job_moves_and_ends_in_the_same_weights():
    with Cluster(devices="cpu:1") as cluster:
        undisturbed, name, trainers = cluster.start_with_a_twin(LONG)
        assert cluster.client("drain", "w1").stdout == "DRAINING\n"
        cluster.wait_for_sigterm(trainers)
        cluster.thaw(trainers)
        cluster.client("drain", "w1", "--wait")
        cluster.wait_until_no_trainer_is_left()
        waiting = cluster.get(name)
        assert waiting["state"] == "QUEUED"
        assert waiting["attempts"][0]["state"] == "EVICTED"

        second = cluster._spawn(
            "worker-2", BIN / "longlora-worker", "--server", f"127.0.0.1:{cluster.port}", "--name", "w2",
            "--work-dir", cluster.directory / "work-2", "--model-dir", cluster.models, "--metrics-listen",
            f"127.0.0.1:{free_port()}", "--devices", "cpu:1")
        try:
            job = cluster.wait(name)
            assert job["state"] == "SUCCEEDED"
            assert job["attempts"][1]["worker"] == "workers/w2"
            assert int(job["attempts"][1]["start_step"]) >= 10
            assert cluster.adapter(name) == cluster.adapter(undisturbed)

            cluster.client("cordon", "w2")
            waiting = cluster.submit(cluster.spec())
            wait_for(lambda: cluster.get(waiting).get("schedule_reason", {}).get("code") == "NO_WORKER",
                     "no worker takes the job")
            cluster.client("uncordon", "w1")
            assert cluster.wait(waiting)["attempts"][0]["worker"] == "workers/w1"
        finally:
            second.kill()
            second.wait()


def test_worker_that_is_told_to_end_gives_its_job_back_without_a_failure():
    with Cluster(devices="cpu:1", server_flags=["--failed-attempts-max", "1"]) as cluster:
        undisturbed, name, trainers = cluster.start_with_a_twin(LONG)
        cluster.worker.terminate()
        cluster.wait_for_sigterm(trainers)
        cluster.thaw(trainers)
        assert cluster.worker.wait(timeout=60) == 0
        waiting = cluster.get(name)
        assert waiting["state"] == "QUEUED"
        assert waiting["attempts"][0]["state"] == "EVICTED"
        assert waiting["attempts"][0]["eviction"]["reason"] == "WORKER_LEFT"
        cluster.wait_until_no_trainer_is_left()

        cluster.start_worker()
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED", job
        assert int(job["attempts"][1]["start_step"]) >= 10, "no step of it is lost"
        assert cluster.adapter(name) == cluster.adapter(undisturbed)
