"""Goal: ranks of a job train as one, live and die as one. Method: the same job on one rank with twice the
accumulation and on two ranks; SIGKILL of either rank.
"""

import os
import signal

import pytest
from cluster import Cluster, assert_gapless, steps, wait_for


def job(cluster, ranks, max_steps=20):
    return cluster.spec(
        resources={"devices_per_node": ranks},
        training={"max_steps": max_steps, "gradient_accumulation_steps": 4 // ranks, "precision": "fp32"})


def test_two_ranks_give_the_losses_of_one_with_twice_the_accumulation():
    with Cluster(devices="cpu:2") as cluster:
        names = [cluster.submit(job(cluster, ranks)) for ranks in (1, 2)]
        losses = []
        for name in names:
            assert cluster.wait(name)["state"] == "SUCCEEDED"
            losses.append([loss for _, _, loss in steps(cluster.events(name))])
        assert len(losses[0]) == 20
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
        assert losses[0][-1] < losses[0][0], "it must have learned something"


@pytest.mark.parametrize("victim", [0, 1])
def test_killing_either_rank_ends_both_and_the_job_resumes(victim):
    with Cluster(devices="cpu:2") as cluster:
        name = cluster.submit(job(cluster, 2, max_steps=40))
        ranks = cluster.freeze_at_step(name, 8)
        assert len(ranks) == 2
        wait_for(lambda: cluster.checkpoints(name), "a checkpoint is stored")
        os.kill(ranks[victim], signal.SIGKILL)
        cluster.thaw(ranks)
        wait_for(lambda: not set(ranks) & set(cluster.trainers()), "both ranks of the attempt are gone")
        finished = cluster.wait(name)
        assert finished["state"] == "SUCCEEDED", finished
        assert len(finished["attempts"]) == 2
        assert finished["attempts"][0]["failure"]["reason"] == "TRAINER_CRASHED"
        events = cluster.events(name)
        assert_gapless(events)
        assert steps(events)[-1][1] == 40
        assert int(finished["attempts"][1]["start_step"]) >= 4
