"""Goal: checkpoint.keep_best, export.weights: best and evaluation.patience do what the validation losses say, and
a resume on a machine that has the newest checkpoint only changes nothing. Method: a job that learns and then
overfits; what ought to happen is worked out from its own evaluation events."""

import json
import shutil
import unittest

import numpy
from trainer_runs import STOPPED, TrainerTestCase

INTERVAL = 4


class BestCheckpointTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        # Two rows to learn by heart; the validation set shares their vocabulary only.
        random = numpy.random.default_rng(8)
        with open(self.root / "training.jsonl", "w", encoding="utf-8") as file:
            for _ in range(2):
                file.write(json.dumps({"input_ids": random.integers(0, 16, 32).tolist()}) + "\n")

    def overfitting(self, **changes):
        spec = self.spec(optimizer={"learning_rate": 5e-3, "schedule": "constant", "warmup_steps": 0},
                         training={"max_steps": 40, "gradient_accumulation_steps": 1},
                         evaluation={"interval_steps": INTERVAL},
                         checkpoint={"interval_steps": 5, "keep_last": 2, "keep_best": True},
                         export={"weights": "best"})
        for key, value in changes.items():
            spec[key].update(value)
        return spec

    def losses(self, run):
        return {event["step"]: event["loss"] for event in run.of("evaluation")}

    def best_of(self, run):
        """Step of the lowest loss after at least one step, and that it is neither the first nor the last."""
        losses = {step: loss for step, loss in self.losses(run).items() if step > 0}
        best = min(losses, key=losses.get)
        self.assertNotIn(best, (min(losses), max(losses)), f"the case shows nothing: {losses}")
        return best

    def checkpoints(self, output):
        return sorted(int(path.name.removeprefix("step-")) for path in (self.root / output / "checkpoints").iterdir())

    def checkpoint_adapter(self, output, step):
        return (self.root / output / "checkpoints" / f"step-{step}" / "adapter" /
                "adapter_model.safetensors").read_bytes()

    def test_the_best_is_kept_and_exported(self):
        run = self.complete(self.overfitting())
        best = self.best_of(run)
        lowest = float("inf")
        expected = []
        for step, loss in self.losses(run).items():
            if step > 0 and loss < lowest:
                lowest = loss
                expected.append(step)
        self.assertEqual([event["step"] for event in run.of("checkpoint") if event.get("best")], expected)
        self.assertEqual(self.checkpoints("output"), sorted({best, 35, 40}))
        self.assertEqual(run.of("finished")[0]["weights_step"], best)
        self.assertEqual(self.adapter_bytes("output"), self.checkpoint_adapter("output", best))
        self.assertNotEqual(self.adapter_bytes("output"), self.checkpoint_adapter("output", 40))
        self.assertIn(f"{best} of 40", (self.root / "output" / "adapter" / "README.md").read_text())

    def test_keeping_the_best_alone_exports_the_last(self):
        run = self.complete(self.overfitting(export={"weights": "last"}))
        self.assertNotIn("weights_step", run.of("finished")[0])
        self.assertEqual(self.adapter_bytes("output"), self.checkpoint_adapter("output", 40))

    def test_another_machine_needs_the_newest_checkpoint_only(self):
        spec = self.overfitting()
        whole = self.complete(spec, "whole")
        best = self.best_of(whole)
        newest = next(step for step in (40, 35) if step != best)
        source = self.root / "whole" / "checkpoints" / f"step-{newest}"
        for attempt in ("second", "third"):  # the third has its copy from the second's
            shutil.copytree(source, self.root / attempt / "checkpoints" / source.name)
            resumed = self.complete(spec, attempt, "--resume")
            self.assertEqual(resumed.of("prepared")[0]["start_step"], newest)
            self.assertEqual(resumed.steps(), whole.steps()[newest:])
            self.assertEqual(resumed.of("finished")[0]["weights_step"], best)
            self.assertEqual(self.adapter_bytes(attempt), self.adapter_bytes("whole"))
            source = self.root / attempt / "checkpoints" / "step-40"

    def test_patience_ends_the_run_and_says_why(self):
        full = self.complete(self.overfitting(), "full")
        losses = self.losses(full)
        for patience in (1, 2):
            with self.subTest(patience=patience):
                lowest, without_gain, stop = losses[0], 0, None
                for step in list(losses)[1:]:
                    without_gain = 0 if losses[step] < lowest else without_gain + 1
                    lowest = min(lowest, losses[step])
                    if without_gain == patience:
                        stop = step
                        break
                self.assertLess(stop, 40, losses)
                spec = self.overfitting(evaluation={"patience": patience})
                output = f"patience-{patience}"
                run = self.complete(spec, output)
                self.assertEqual(run.steps(), full.steps()[:stop], "the schedule does not know of the early end")
                finished = run.of("finished")[0]
                self.assertEqual(finished["step"], stop)
                self.assertFalse(finished["stopped"])
                self.assertIn(f"not lowered in {patience} evaluation(s)", finished["early_stop"])
                self.assertEqual(self.adapter_bytes(output), self.checkpoint_adapter(output, finished["weights_step"]))

    def test_a_run_that_ended_early_resumes_to_its_end(self):
        spec = self.overfitting(evaluation={"patience": 1}, checkpoint={"interval_steps": INTERVAL})
        run = self.complete(spec)
        adapter = self.adapter_bytes("output")
        self.assertEqual(run.of("checkpoint")[-1]["step"], run.of("finished")[0]["step"])
        resumed = self.complete(spec, "output", "--resume")
        self.assertEqual(resumed.steps(), [])
        self.assertEqual({**resumed.of("finished")[0], "time": 0}, {**run.of("finished")[0], "time": 0})
        self.assertEqual(self.adapter_bytes("output"), adapter)

    def test_a_stopped_run_keeps_count(self):
        spec = self.overfitting(evaluation={"patience": 2}, checkpoint={"interval_steps": 0})
        whole = self.complete(spec, "whole")
        end = whole.of("finished")[0]["step"]
        run = self.start(spec, "stopped")
        run.read_until("evaluation", end - INTERVAL)
        run.kill(15)
        self.assertEqual(run.finish(), STOPPED, run.stderr())
        resumed = self.complete(spec, "stopped", "--resume")
        self.assertEqual({**resumed.of("finished")[0], "time": 0}, {**whole.of("finished")[0], "time": 0})
        self.assertEqual(self.adapter_bytes("stopped"), self.adapter_bytes("whole"))


if __name__ == "__main__":
    unittest.main()
