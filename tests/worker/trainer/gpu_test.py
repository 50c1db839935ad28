"""Goal: a job on a GPU is the job on the CPU, alone and over NCCL. Method: the same tiny job on both, compared
step by step. Runs only where there is an NVIDIA GPU; elsewhere ctest reports it as skipped."""

import json
import os
import sys
import unittest

import trainer_runs
from trainer_runs import SUCCEEDED, TrainerTestCase

SKIPPED = 77  # SKIP_RETURN_CODE of the ctest
NUM_GPUS = sum(os.path.exists(f"/dev/nvidia{index}") for index in range(16))


class GpuTest(TrainerTestCase):
    def assert_alike(self, run, reference, tolerance):
        self.assertEqual(len(run.steps()), len(reference.steps()))
        for ours, theirs in zip(run.steps(), reference.steps()):
            self.assertAlmostEqual(ours[1], theirs[1], delta=tolerance * theirs[1], msg=f"step {ours[0]}")

    def test_cuda_equals_cpu_in_fp32(self):
        cpu = self.complete(self.spec(), "cpu")
        cuda = self.complete(self.spec(resources={"device": "cuda"}), "cuda")
        self.assert_alike(cuda, cpu, 1e-3)
        self.assertGreater(cuda.of("step")[-1]["memory_bytes"], 0)

    def test_cuda_equals_cpu_in_bf16(self):
        training = {"precision": "bf16"}
        cpu = self.complete(self.spec(training=training), "cpu")
        cuda = self.complete(self.spec(training=training, resources={"device": "cuda"}), "cuda")
        self.assert_alike(cuda, cpu, 3e-2)

    def test_rows_of_one_document_and_of_many_equal_the_cpu(self):
        """Attention has a kernel for a few long segments, and one for many short ones."""
        for length, count in ((32, 24), (3, 240)):
            with self.subTest(length=length):
                (self.root / "training.jsonl").write_text("".join(
                    json.dumps({"input_ids": [(7 * row + 3 * i * i) % 16 for i in range(length)]}) + "\n"
                    for row in range(count)))
                training = {"precision": "bf16"}
                cpu = self.complete(self.spec(training=training), f"cpu-{length}")
                cuda = self.complete(self.spec(training=training, resources={"device": "cuda"}), f"cuda-{length}")
                self.assert_alike(cuda, cpu, 3e-2)

    def test_resume_on_cuda_goes_on(self):
        spec = self.spec(resources={"device": "cuda"}, checkpoint={"interval_steps": 5})
        killed = self.start(spec, "killed")
        killed.read_until("checkpoint")
        killed.kill()
        killed.finish()
        resumed = self.complete(spec, "killed", "--resume")
        self.assertGreaterEqual(resumed.of("prepared")[0]["start_step"], 5)

    @unittest.skipIf(NUM_GPUS < 2, "needs two GPUs")
    def test_two_ranks_over_nccl_equal_one_rank(self):
        one = self.complete(self.spec(training={"gradient_accumulation_steps": 4}), "one")
        spec = self.spec(resources={"device": "cuda", "devices_per_node": 2})
        port = trainer_runs.free_port()
        runs = [self.start(spec, "two", rank=rank, world_size=2, port=port) for rank in (0, 1)]
        for run in runs:
            self.assertEqual(run.finish(), SUCCEEDED, run.stderr())
        self.assert_alike(runs[0], one, 1e-3)


if __name__ == "__main__":
    if NUM_GPUS == 0:
        print("skipped: there is no NVIDIA GPU on this machine (/dev/nvidia0)")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
