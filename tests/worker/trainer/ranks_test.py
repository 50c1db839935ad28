"""Goal: a job on two ranks is the job on one rank with twice the accumulation, and the death of a rank ends the
other with an error that names it, after which the job resumes. Method: real processes over Gloo."""

import signal
import unittest

import trainer_runs
from trainer_runs import RESOURCE, STOPPED, SUCCEEDED, TrainerTestCase


class RanksTest(TrainerTestCase):
    def two_ranks(self, spec, output, *flags):
        port = trainer_runs.free_port()
        return [self.start(spec, output, *flags, rank=rank, world_size=2, port=port) for rank in (0, 1)]

    def pair_spec(self, **changes):
        return self.spec(resources={"devices_per_node": 2}, **changes)

    def complete_pair(self, spec, output, *flags):
        first, second = self.two_ranks(spec, output, *flags)
        self.assertEqual(first.finish(), SUCCEEDED, first.stderr())
        self.assertEqual(second.finish(), SUCCEEDED, second.stderr())
        return first, second

    def test_two_ranks_equal_one_rank_with_twice_the_accumulation(self):
        # AdamW divides a gradient by its own size, so it turns the rounding of a gradient near 0 into a step;
        # with this rate twenty such steps stay far below the tolerance.
        twenty = {"max_steps": 20, "gradient_accumulation_steps": 4}
        optimizer = {"learning_rate": 1e-3}
        one = self.complete(self.spec(training=twenty, optimizer=optimizer), "one")
        twenty["gradient_accumulation_steps"] = 2
        first, second = self.complete_pair(self.pair_spec(training=twenty, optimizer=optimizer), "two")
        self.assertEqual(second.events, [], "only rank 0 speaks")
        self.assertEqual(len(first.steps()), 20)
        for ours, theirs in zip(first.steps(), one.steps()):
            self.assertEqual((ours[0], ours[4]), (theirs[0], theirs[4]))
            for key in (1, 2, 3):  # loss, learning rate, gradient norm
                self.assertAlmostEqual(ours[key], theirs[key], delta=1e-5 * abs(theirs[key]),
                                       msg=f"step {ours[0]}")
        losses = [[event["loss"] for event in run.of("evaluation")] for run in (first, one)]
        self.assertEqual(len(losses[0]), 3)
        for ours, theirs in zip(*losses):
            self.assertAlmostEqual(ours, theirs, delta=1e-5 * theirs)

    def check_death(self, victim):
        whole, _ = self.complete_pair(self.pair_spec(), "whole")
        spec = self.pair_spec(checkpoint={"interval_steps": 3})
        runs = self.two_ranks(spec, "killed")
        runs[0].read_until("checkpoint")
        runs[victim].kill()
        survivor = runs[1 - victim]
        self.assertEqual(survivor.finish(), RESOURCE, survivor.stderr())
        self.assertEqual(runs[victim].finish(), -signal.SIGKILL)
        error = survivor.of("error")[0]
        self.assertEqual(error["reason"], "PEER_LOST")
        self.assertIn(f"rank {victim} is lost", error["message"])

        resumed, _ = self.complete_pair(spec, "killed", "--resume")
        start = resumed.of("prepared")[0]["start_step"]
        self.assertGreaterEqual(start, 3)
        self.assertEqual(resumed.steps(), whole.steps()[start:])
        self.assertEqual(self.adapter_bytes("killed"), self.adapter_bytes("whole"))

    def test_the_death_of_rank_0_ends_rank_1_and_the_job_resumes_bit_equal(self):
        self.check_death(0)

    def test_the_death_of_rank_1_ends_rank_0_and_the_job_resumes_bit_equal(self):
        self.check_death(1)

    def test_a_signal_to_either_rank_stops_both_at_one_step(self):
        for asked in (0, 1):
            with self.subTest(asked=asked):
                runs = self.two_ranks(self.pair_spec(), f"stopped-{asked}")
                runs[0].read_until("step", 2)
                runs[asked].kill(signal.SIGTERM)
                self.assertEqual([run.finish() for run in runs], [STOPPED, STOPPED])
                self.assertEqual(len(runs[0].of("checkpoint")), 1)

    def test_ranks_that_the_spec_does_not_ask_for_are_refused(self):
        run = self.start(self.pair_spec(), "alone")
        self.assertEqual(run.finish(), trainer_runs.INVALID_JOB)
        self.assertIn("devices_per_node", run.of("error")[0]["message"])


if __name__ == "__main__":
    unittest.main()
