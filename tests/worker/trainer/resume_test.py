"""Goal: a job that was killed or stopped goes on as if nothing had happened, bit for bit, and a checkpoint that
does not belong to the job is refused aloud. Method: the real program on a tiny model; every step's loss, rate,
norm and tokens, every evaluation, and the bytes of the adapter are compared with an uninterrupted run."""

import json
import signal
import unittest

import trainer_runs
from trainer_runs import INVALID_JOB, STOPPED, TrainerTestCase, write_model, write_tokens


class ResumeTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        self.whole = self.complete(self.spec(), "whole")

    def assert_continues(self, first, resumed, output):
        """`resumed` went on where `first` left a checkpoint as the whole run did, to the same adapter."""
        start = resumed.of("prepared")[0]["start_step"]
        self.assertGreater(start, 0)
        self.assertEqual(resumed.steps(), self.whole.steps()[start:])
        self.assertEqual(resumed.warnings(), self.whole.warnings())
        seen = [event["step"] for event in first.of("evaluation") if event["step"] <= start]
        missing = [event for event in self.whole.of("evaluation") if event["step"] not in seen]
        self.assertEqual([(event["step"], event["loss"]) for event in resumed.of("evaluation")],
                         [(event["step"], event["loss"]) for event in missing])
        self.assertEqual(self.adapter_bytes(output), self.adapter_bytes("whole"))
        return start

    def test_a_killed_run_goes_on_bit_equal(self):
        spec = self.spec(checkpoint={"interval_steps": 5})
        killed = self.start(spec, "killed")
        killed.read_until("checkpoint")
        killed.kill()
        self.assertEqual(killed.finish(), -signal.SIGKILL)
        start = self.assert_continues(killed, self.complete(spec, "killed", "--resume"), "killed")
        self.assertEqual(start % 5, 0)

    def test_sigterm_writes_a_checkpoint_and_exits_stopped(self):
        run = self.start(self.spec(), "stopped")
        run.read_until("step", 3)
        run.kill(signal.SIGTERM)
        self.assertEqual(run.finish(), STOPPED, run.stderr())
        finished = run.of("finished")[0]
        self.assertTrue(finished["stopped"])
        step = finished["step"]
        self.assertEqual(step, run.of("step")[-1]["step"])
        self.assertEqual([event["path"] for event in run.of("checkpoint")], [f"checkpoints/step-{step}"])
        self.assertFalse((self.root / "stopped" / "adapter").exists())
        resumed = self.complete(self.spec(), "stopped", "--resume")
        self.assertEqual(self.assert_continues(run, resumed, "stopped"), step)

    def test_sigusr1_writes_a_checkpoint_and_goes_on(self):
        run = self.start(self.spec(), "asked")
        run.read_until("step", 2)
        run.kill(signal.SIGUSR1)
        self.assertEqual(run.finish(), 0, run.stderr())
        self.assertEqual(len(run.of("checkpoint")), 1)
        self.assertEqual(run.steps(), self.whole.steps())
        self.assertEqual(self.adapter_bytes("asked"), self.adapter_bytes("whole"))

    def test_a_checkpoint_holds_an_adapter_and_only_the_newest_are_kept(self):
        run = self.complete(self.spec(checkpoint={"interval_steps": 10, "keep_last": 2}), "kept")
        self.assertEqual([event["step"] for event in run.of("checkpoint")], [10, 20, 30, 40])
        kept = self.root / "kept" / "checkpoints"
        self.assertEqual(sorted(path.name for path in kept.iterdir()), ["step-30", "step-40"])
        self.assertEqual((kept / "step-40" / "adapter" / "adapter_model.safetensors").read_bytes(),
                         self.adapter_bytes("kept"))
        event = run.of("checkpoint")[-1]
        size = sum(path.stat().st_size for path in (kept / "step-40").rglob("*") if path.is_file())
        self.assertEqual(event["bytes"], size)

    def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(self):
        spec = self.spec(checkpoint={"interval_steps": 15, "keep_last": 2})
        self.complete(spec, "damaged")
        newest = self.root / "damaged" / "checkpoints" / "step-30"
        largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[-1] ^= 1
        largest.write_bytes(content)
        resumed = self.complete(spec, "damaged", "--resume")
        self.assertEqual(resumed.of("prepared")[0]["start_step"], 15)
        self.assertTrue([text for text in resumed.warnings() if "step-30" in text], resumed.warnings())
        self.assertEqual(resumed.steps(), self.whole.steps()[15:])

    def test_resume_without_a_checkpoint_starts_afresh_and_says_so(self):
        run = self.complete(self.spec(), "fresh", "--resume")
        self.assertTrue([text for text in run.warnings() if "no checkpoint" in text], run.warnings())
        self.assertEqual(run.steps(), self.whole.steps())

    def test_a_finished_job_resumes_to_its_export(self):
        spec = self.spec(checkpoint={"interval_steps": 40})
        self.complete(spec, "finished")
        resumed = self.complete(spec, "finished", "--resume")
        self.assertEqual(resumed.steps(), [])
        self.assertEqual(self.adapter_bytes("finished"), self.adapter_bytes("whole"))


class DropoutResumeTest(TrainerTestCase):
    """Masks depend on where they are drawn alone, so a resume draws the same."""

    def dropping(self, **changes):
        spec = self.spec(checkpoint={"interval_steps": 7})
        spec["method"]["lora"]["dropout"] = 0.3
        spec["method"]["lora"].update(changes)
        return spec

    def test_a_killed_run_with_dropout_goes_on_bit_equal(self):
        whole = self.complete(self.dropping(), "whole")
        killed = self.start(self.dropping(), "killed")
        killed.read_until("checkpoint")
        killed.kill()
        killed.finish()
        resumed = self.complete(self.dropping(), "killed", "--resume")
        start = resumed.of("prepared")[0]["start_step"]
        self.assertGreater(start, 0)
        self.assertEqual(resumed.steps(), whole.steps()[start:])
        self.assertEqual(self.adapter_bytes("killed"), self.adapter_bytes("whole"))

    def test_dropout_changes_the_training_and_not_the_evaluation(self):
        dropped = self.complete(self.dropping(), "dropped")
        plain = self.complete(self.dropping(dropout=0.0), "plain")
        # B is zero until the first update that has a rate, so the losses part after that.
        self.assertNotEqual(dropped.steps()[4:], plain.steps()[4:])
        self.assertEqual(dropped.of("evaluation")[0]["loss"], plain.of("evaluation")[0]["loss"])
        self.assertEqual(json.loads((self.root / "dropped" / "adapter" / "adapter_config.json").read_text())
                         ["lora_dropout"], 0.3)


class RefusedResumeTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        self.complete(self.spec(checkpoint={"interval_steps": 30}))

    def assert_refused(self, spec, part, *flags):
        run = self.start(spec, "output", *flags)
        self.assertEqual(run.finish(), INVALID_JOB, run.stderr())
        error = run.of("error")[0]
        self.assertIn(part, error["message"])
        self.assertEqual(run.steps(), [])
        return error["reason"]

    def test_another_spec_is_refused(self):
        spec = self.spec(optimizer={"learning_rate": 2e-2})
        self.assertEqual(self.assert_refused(spec, "settings have changed", "--resume"), "RESUME_MISMATCH")

    def test_names_intervals_and_paths_may_change(self):
        (self.root / "training.jsonl").rename(self.root / "moved.jsonl")
        spec = self.spec(display_name="other", dataset={"training": str(self.root / "moved.jsonl")},
                         checkpoint={"interval_steps": 3}, evaluation={"interval_steps": 0}, priority=7)
        self.complete(spec, "output", "--resume")

    def test_a_long_prompt_is_witness_too(self):
        path = self.root / "prompt.jsonl"
        path.write_text(json.dumps({"input_ids": [i % 16 for i in range(600)], "labels": [-100] * 599 + [1]}) + "\n")
        spec = self.spec(dataset={"training": str(path), "validation": ""}, max_sequence_length=600,
                         training={"max_steps": 2}, checkpoint={"interval_steps": 2})
        self.complete(spec, "prompt")
        manifest = json.loads((self.root / "prompt" / "checkpoints" / "step-2" / "manifest.json").read_text())
        self.assertGreater(manifest["state"]["witness_loss"], 0.0)

    def test_another_base_model_fails_the_witness(self):
        write_model(self.root / "other", seed=9)
        reason = self.assert_refused(self.spec(base_model=str(self.root / "other")), "loss of training row",
                                     "--resume")
        self.assertEqual(reason, "RESUME_MISMATCH")

    def test_other_data_is_refused(self):
        write_tokens(self.root / "training.jsonl", seed=11)
        run = self.start(self.spec(), "output", "--resume")
        self.assertEqual(run.finish(), INVALID_JOB)
        self.assertEqual(run.of("error")[0]["reason"], "RESUME_MISMATCH")

    def test_checkpoints_that_are_all_damaged_are_refused(self):
        for manifest in (self.root / "output" / "checkpoints").glob("*/manifest.json"):
            manifest.write_text("{}")
        self.assertEqual(self.assert_refused(self.spec(), "step-30", "--resume"), "RESUME_MISMATCH")

    def test_starting_anew_over_checkpoints_is_refused(self):
        self.assertEqual(self.assert_refused(self.spec(), "--resume"), "INVALID_SPEC")

    def test_another_number_of_ranks_is_refused(self):
        manifest = next((self.root / "output" / "checkpoints" / "step-30").glob("manifest.json"))
        self.assertEqual(json.loads(manifest.read_text())["world_size"], 1)
        spec = self.spec(resources={"devices_per_node": 2})
        port = trainer_runs.free_port()
        runs = [self.start(spec, "output", "--resume", rank=rank, world_size=2, port=port) for rank in (0, 1)]
        for run in runs:
            self.assertNotEqual(run.finish(), 0)
        self.assertEqual(runs[0].of("error")[0]["reason"], "RESUME_MISMATCH")


if __name__ == "__main__":
    unittest.main()
