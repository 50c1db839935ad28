"""Goal: a step whose loss is not finite leaves weights and optimizer as they were, is told and counted, and too
many in a row fail the job, on one rank and on two, across a resume too. Method: a token whose frozen embedding is
NaN, in rows that are met in the order of the file; the run without those rows is the reference."""

import json
import math
import unittest

import numpy
import trainer_runs
from safetensors.numpy import load_file, save_file
from trainer_runs import NON_FINITE, TrainerTestCase

LENGTH = 16
POISON = trainer_runs.VOCABULARY - 1


class SkippedStepsTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        path = self.root / "model" / "model.safetensors"
        tensors = load_file(path)
        tensors["model.embed_tokens.weight"][POISON] = numpy.nan
        save_file(tensors, path, metadata={"format": "pt"})

    def rows(self, name, poisoned, count=8):
        """One row a line; those numbers in `poisoned` hold the token. Returns a spec of a step a row."""
        random = numpy.random.default_rng(5)
        rows = [random.integers(0, 16, LENGTH).tolist() for _ in range(count)]
        if poisoned is None:  # the reference: without them
            rows = [row for i, row in enumerate(rows) if i not in (2, 5)]
        else:
            for i in poisoned:
                rows[i][3] = POISON
        path = self.root / name
        path.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
        spec = self.spec(max_sequence_length=LENGTH,
                         dataset={"training": str(path), "validation": "", "shuffle": False},
                         optimizer={"schedule": "constant", "warmup_steps": 0},
                         training={"max_steps": len(rows), "gradient_accumulation_steps": 1})
        spec["method"]["trainable"] = ["norm"]
        return spec

    def test_a_skipped_step_changes_nothing_but_the_data_position(self):
        run = self.complete(self.rows("poisoned.jsonl", [2, 5]), "skipping")
        reference = self.complete(self.rows("clean.jsonl", None), "reference")
        steps = run.of("step")
        self.assertEqual([step["step"] for step in steps], list(range(1, 9)))
        self.assertEqual([step["step"] for step in steps if step.get("skipped")], [3, 6])
        self.assertEqual([step.get("skipped_steps", 0) for step in steps], [0, 0, 1, 1, 1, 2, 2, 2])
        self.assertEqual(steps[2]["loss"], "NaN")
        self.assertEqual(steps[2]["learning_rate"], 1e-2)
        self.assertEqual([step["loss"] for step in steps if not step.get("skipped")],
                         [step["loss"] for step in reference.of("step")])
        self.assertEqual(self.adapter_bytes("skipping"), self.adapter_bytes("reference"))
        told = [text for text in run.warnings() if "the update was not done" in text]
        self.assertEqual([text.split(":")[0] for text in told], ["step 3", "step 6"])

    def test_the_schedule_goes_on(self):
        spec = self.rows("poisoned.jsonl", [2, 5])
        spec["optimizer"].update(schedule="linear", warmup_steps=2)
        run = self.complete(spec)
        rates = [step["learning_rate"] for step in run.of("step")]
        self.assertEqual(rates[:2], [0.0, 0.005])
        for before, after in zip(rates[2:], rates[3:]):
            self.assertAlmostEqual(before - after, 1e-2 / 6)

    def test_too_many_in_a_row_fail_the_job(self):
        spec = self.rows("row.jsonl", [1, 3, 4, 5])
        spec["training"]["max_skipped_steps"] = 3
        run = self.start(spec)
        self.assertEqual(run.finish(), NON_FINITE, run.stderr())
        error = run.events[-1]
        self.assertEqual((error["type"], error["reason"]), ("error", "NON_FINITE"))
        self.assertIn("step 6: the loss is nan, so the update was not done, 3 time(s) in a row", error["message"])
        self.assertEqual(run.of("step")[-1]["step"], 6)
        self.assertEqual(len([text for text in run.warnings() if "the update was not done" in text]), 3)

    def test_one_may_be_too_many(self):
        spec = self.rows("row.jsonl", [1])
        spec["training"]["max_skipped_steps"] = 1
        run = self.start(spec)
        self.assertEqual(run.finish(), NON_FINITE, run.stderr())
        self.assertEqual(run.of("step")[-1]["step"], 2)

    def test_two_ranks_skip_together(self):
        spec = self.rows("poisoned.jsonl", [2, 5])
        spec["resources"]["devices_per_node"] = 2
        spec["training"]["max_steps"] = 4  # rows 1-2, 3-4 (poisoned on rank 0), 5-6 (on rank 1), 7-8
        port = trainer_runs.free_port()
        runs = [self.start(spec, "ranks", rank=rank, world_size=2, port=port) for rank in (0, 1)]
        for run in runs:
            self.assertEqual(run.finish(), 0, run.stderr())
        self.assertEqual([step["step"] for step in runs[0].of("step") if step.get("skipped")], [2, 3])
        self.assertTrue(all(math.isfinite(value) for tensor in
                            load_file(self.root / "ranks" / "adapter" / "adapter_model.safetensors").values()
                            for value in tensor.flat))

    def test_the_counts_survive_a_resume(self):
        spec = self.rows("row.jsonl", [1, 3, 4, 5])
        spec["checkpoint"] = {"interval_steps": 5}
        whole = self.complete(spec, "whole")
        adapter = self.adapter_bytes("whole")
        resumed = self.complete(spec, "whole", "--resume")
        self.assertEqual(resumed.of("prepared")[0]["start_step"], 5)
        self.assertEqual(resumed.steps(), whole.steps()[5:])
        self.assertEqual([step["skipped_steps"] for step in resumed.of("step")], [4, 4, 4])
        self.assertEqual([text for text in resumed.warnings() if "step 6" in text],
                         [text for text in whole.warnings() if "step 6" in text])
        self.assertEqual(self.adapter_bytes("whole"), adapter)

    def test_a_broken_first_row_is_no_obstacle_to_a_resume(self):
        # That row's loss is what a checkpoint is recognized by.
        spec = self.rows("row.jsonl", [0, 3])
        spec["checkpoint"] = {"interval_steps": 5}
        whole = self.complete(spec, "whole")
        resumed = self.complete(spec, "whole", "--resume")
        self.assertEqual(resumed.steps(), whole.steps()[5:])

    def test_steps_in_a_row_are_counted_across_a_resume(self):
        spec = self.rows("row.jsonl", [1, 3, 4, 5])
        spec["checkpoint"] = {"interval_steps": 5}
        spec["training"]["max_skipped_steps"] = 3
        self.assertEqual(self.start(spec).finish(), NON_FINITE)
        resumed = self.start(spec, "output", "--resume")
        self.assertEqual(resumed.finish(), NON_FINITE, resumed.stderr())
        self.assertEqual([step["step"] for step in resumed.of("step")], [6])


if __name__ == "__main__":
    unittest.main()
