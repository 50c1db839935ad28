"""Goal: the program says what is wrong in one error event, on standard error and by its exit code, and equal
runs give equal bits. Method: the real program on a tiny model and on broken input."""

import json
import os
import subprocess
import unittest

import trainer_runs
from trainer_runs import (INVALID_JOB, RESOURCE, SUCCEEDED, TRAINER, TrainerTestCase, write_model)


class ProgramTest(TrainerTestCase):
    def assert_fails(self, spec, code, reason, part):
        run = self.start(spec)
        self.assertEqual(run.finish(), code, run.stderr())
        error = run.events[-1]
        self.assertEqual((error["type"], error["reason"]), ("error", reason))
        self.assertIn(part, error["message"])
        self.assertIn(part, run.stderr())
        return run

    def test_a_run_reports_its_whole_life(self):
        run = self.complete(self.spec(export={"merged": True}))
        kinds = [event["type"] for event in run.events]
        self.assertEqual(kinds[0], "prepared")
        self.assertEqual(kinds[-1], "finished")
        self.assertEqual([event["step"] for event in run.of("step")], list(range(1, 41)))
        self.assertEqual([event["step"] for event in run.of("evaluation")], [0, 10, 20, 30, 40])
        prepared = run.of("prepared")[0]
        self.assertEqual(prepared["total_steps"], 40)
        self.assertGreater(prepared["trainable_parameters"], trainer_runs.VOCABULARY * trainer_runs.HIDDEN)
        self.assertGreater(run.of("step")[0]["memory_bytes"], 0)
        self.assertLess(run.of("evaluation")[-1]["loss"], run.of("evaluation")[0]["loss"])
        finished = run.of("finished")[0]
        self.assertEqual((finished["adapter"], finished["merged"]), ("adapter", "merged"))
        self.assertTrue((self.root / "output" / "merged" / "config.json").exists())

    def test_equal_runs_give_equal_bits(self):
        for precision in ("fp32", "bf16"):
            with self.subTest(precision=precision):
                spec = self.spec(training={"precision": precision, "max_steps": 6})
                first = self.complete(spec, f"first-{precision}")
                second = self.complete(spec, f"second-{precision}")
                self.assertEqual(first.steps(), second.steps())
                self.assertEqual(self.adapter_bytes(f"first-{precision}"),
                                 self.adapter_bytes(f"second-{precision}"))

    def test_the_seed_matters(self):
        losses = [self.complete(self.spec(training={"seed": seed, "max_steps": 3}), f"seed-{seed}").steps()
                  for seed in (0, 1)]
        self.assertNotEqual(losses[0], losses[1])

    def test_epochs_set_the_number_of_steps(self):
        spec = self.spec()
        spec["training"] = {"epochs": 2, "gradient_accumulation_steps": 2, "precision": "fp32"}
        run = self.complete(spec)
        prepared = run.of("prepared")[0]
        self.assertEqual(prepared["total_steps"], prepared["training_rows"])

    def test_a_model_is_found_by_name(self):
        spec = self.spec(base_model="model", training={"max_steps": 1})
        self.complete(spec, "output", "--model-dir", str(self.root))

    def test_unknown_models_are_refused(self):
        for name in ("nowhere", "../model"):
            with self.subTest(name=name):
                run = self.start(self.spec(base_model=name), "output", "--model-dir", str(self.root / "model"))
                self.assertEqual(run.finish(), INVALID_JOB)
                self.assertEqual(run.of("error")[0]["reason"], "MODEL_INVALID")

    def test_a_broken_spec_names_the_key(self):
        self.assert_fails(self.spec(method={"lora": {"rank": "8"}}), INVALID_JOB, "INVALID_SPEC", "method.lora.rank")
        self.assert_fails(self.spec(surprise=1), INVALID_JOB, "INVALID_SPEC", "surprise")
        self.assert_fails(self.spec(optimizer={"learning_rate": -1}), INVALID_JOB, "INVALID_SPEC",
                          "optimizer.learning_rate")
        self.assert_fails("{", INVALID_JOB, "INVALID_SPEC", "spec.json")

    def test_what_is_not_honoured_is_refused(self):
        for change, part in (({"method": {"rope_scaling": {"type": "llama3"}}}, "method.rope_scaling.type"),
                             ({"resources": {"nodes": 2}}, "resources.nodes"),
                             ({"resources": {"context_parallel": 2}}, "resources.context_parallel"),
                             ({"resources": {"shard_base": True}}, "resources.shard_base")):
            with self.subTest(part=part):
                self.assert_fails(self.spec(**change), INVALID_JOB, "INVALID_SPEC", part)

    def test_an_unknown_target_module_names_itself(self):
        spec = self.spec(method={"lora": {"rank": 4, "alpha": 8, "target_modules": ["q_projj"]}})
        self.assert_fails(spec, INVALID_JOB, "INVALID_SPEC", "q_projj")

    def test_broken_data_names_file_and_line(self):
        (self.root / "training.jsonl").write_text('{"input_ids": [1, 2, 3]}\n{"input_ids": [1, 2\n')
        self.assert_fails(self.spec(), INVALID_JOB, "DATASET_INVALID", "training.jsonl line 2")

    def test_a_truncated_model_is_refused(self):
        path = self.root / "model" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-8])
        self.assert_fails(self.spec(), INVALID_JOB, "MODEL_INVALID", "model.safetensors")

    def test_cuda_without_a_gpu_says_so_in_plain_words(self):
        if os.path.exists("/dev/nvidia0"):
            self.skipTest("this machine has an NVIDIA GPU: tests labelled gpu cover device: cuda")
        self.assert_fails(self.spec(resources={"device": "cuda"}), RESOURCE, "DEVICE_UNAVAILABLE",
                          os.environ.get("LONGLORA_CUDA_OBSTACLE", "there is no NVIDIA driver on this machine"))

    def test_the_trainer_ends_when_nobody_reads_its_events(self):
        run = self.start(self.spec(training={"max_steps": 100_000}))
        run.read_until("step", 2)
        run.process.stdout.close()
        self.assertEqual(run.process.wait(timeout=60), RESOURCE)

    def test_events_go_to_the_descriptor_they_are_asked_on(self):
        reader, writer = os.pipe()
        spec_path = self.root / "spec.json"
        spec_path.write_text(json.dumps(self.spec(training={"max_steps": 2})))
        process = subprocess.Popen([TRAINER, "--spec", str(spec_path), "--output", str(self.root / "out"),
                                    "--events-fd", str(writer)], pass_fds=[writer], stdout=subprocess.PIPE)
        os.close(writer)
        with os.fdopen(reader) as events:
            kinds = [kind for kind in (json.loads(line)["type"] for line in events) if kind != "warning"]
        self.assertEqual(process.communicate()[0], b"")
        self.assertEqual(process.returncode, SUCCEEDED)
        self.assertEqual(kinds, ["prepared", "evaluation", "step", "step", "evaluation", "finished"])

    def test_bad_flags_exit_as_an_invalid_job(self):
        self.assertEqual(subprocess.run([TRAINER], stderr=subprocess.DEVNULL, check=False).returncode,
                         INVALID_JOB)
        self.assertEqual(subprocess.run([TRAINER, "--help"], stdout=subprocess.DEVNULL, check=False).returncode, 0)


if __name__ == "__main__":
    unittest.main()
