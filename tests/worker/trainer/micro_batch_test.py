"""Goal: how many rows go at once changes nothing but speed: a micro-batch of rows of different lengths trains as the
same rows one by one. Method: the real program with micro-batches of 1, 2 and 3 and the same rows a step, without
packing; losses, gradient norms and tokens of every step are compared."""

import unittest

from trainer_runs import TrainerTestCase


class MicroBatchTest(TrainerTestCase):
    def steps_of(self, pattern, micro_batch_size, rows=6):
        run = self.complete(self.spec(
            dataset={"packing": False}, method={"lora": {"rank": 4, "alpha": 8}, "attention": pattern},
            training={"max_steps": 8, "micro_batch_size": micro_batch_size,
                      "gradient_accumulation_steps": rows // micro_batch_size}),
            f"{pattern['pattern']}-{micro_batch_size}")
        self.assertLess(run.of("prepared")[0]["fill_ratio"], 0.9, "no row is padded: the case shows nothing")
        return run.of("step"), run.of("evaluation")

    def test_rows_of_different_lengths_train_together_as_one_by_one(self):
        for pattern in ({"pattern": "dense"}, {"pattern": "shifted_sparse", "group_size": 8}):
            one_by_one, judged = self.steps_of(pattern, 1)
            for size in (2, 3):
                with self.subTest(pattern=pattern, size=size):
                    together, judged_too = self.steps_of(pattern, size)
                    self.assertEqual(len(together), 8)
                    for ours, theirs in zip(together, one_by_one):
                        self.assertEqual(ours["tokens"], theirs["tokens"])
                        self.assertAlmostEqual(ours["loss"], theirs["loss"], delta=2e-6)
                        self.assertAlmostEqual(ours["grad_norm"], theirs["grad_norm"], delta=2e-5)
                    self.assertAlmostEqual(judged_too[-1]["loss"], judged[-1]["loss"], delta=2e-6)


if __name__ == "__main__":
    unittest.main()
