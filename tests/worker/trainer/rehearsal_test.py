"""Goal: a job that does not fit into memory fails before its first step and says which part did not fit; one that
fits is told its peak. Method: the real program, once under a limit of address space a little above what a small
job takes."""

import json
import unittest

import numpy
from trainer_runs import OUT_OF_MEMORY, VOCABULARY, TrainerTestCase

LONG = 1 << 18


class RehearsalTest(TrainerTestCase):
    def long_spec(self):
        path = self.root / "long.jsonl"
        ids = numpy.random.default_rng(1).integers(0, VOCABULARY, LONG).tolist()
        path.write_text(json.dumps({"input_ids": ids}) + "\n")
        return self.spec(max_sequence_length=LONG, dataset={"training": str(path), "validation": ""},
                         training={"max_steps": 1, "gradient_accumulation_steps": 1})

    def test_steps_need_no_more_than_was_told_before(self):
        spec = self.long_spec()
        run = self.complete(spec)
        told = run.of("prepared")[0]["memory_bytes"]
        used = run.of("step")[-1]["memory_bytes"]
        self.assertGreater(told, LONG * 32 * 4 * 3, "three layers' inputs at least")
        # malloc does not give back all that it once had.
        self.assertLess(used, 1.15 * told)

    def test_too_little_memory_shows_while_preparing(self):
        small = self.start(self.spec(), "small")
        small.read_until("prepared")
        with open(f"/proc/{small.process.pid}/status", encoding="ascii") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmPeak")) << 10
        small.kill()
        run = self.start(self.long_spec(), "large", wrapper=("prlimit", f"--as={peak + (150 << 20)}"))
        self.assertEqual(run.finish(), OUT_OF_MEMORY, run.stderr())
        self.assertEqual([event["type"] for event in run.events], ["error"])
        error = run.events[0]
        self.assertEqual(error["reason"], "OUT_OF_MEMORY")
        self.assertRegex(error["message"], "memory ran out in the (forward|backward) pass of a training step")
        self.assertIn("lower max_sequence_length", error["message"])


if __name__ == "__main__":
    unittest.main()
