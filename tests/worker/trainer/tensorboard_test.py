"""Goal: TensorBoard shows a run's figures, each step once, also after a resume on another machine. Method: the real
program; TensorBoard's own reader, whose checksums and protobuf are not ours, against the events of the run."""

import unittest
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainer_runs import TrainerTestCase


def read(folder: Path):
    """{tag: [(step, value)]}"""
    log = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    log.Reload()
    return {tag: [(point.step, point.value) for point in log.Scalars(tag)] for tag in log.Tags()["scalars"]}


class TensorBoardTest(TrainerTestCase):
    def assert_shows(self, folder, steps, evaluations):
        tags = read(folder)
        for tag, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"),
                         ("train/grad_norm", "grad_norm"), ("train/tokens_per_second", "tokens_per_second")):
            self.assert_points(tags[tag], [(event["step"], event[key]) for event in steps])
        self.assert_points(tags["validation/loss"], [(event["step"], event["loss"]) for event in evaluations])
        self.assert_points(tags["validation/fidelity_gap"],
                           [(event["step"], event["training_pattern_loss"] - event["loss"]) for event in evaluations])

    def assert_points(self, found, wanted):
        self.assertEqual([step for step, _ in found], [step for step, _ in wanted])
        for (_, ours), (_, theirs) in zip(found, wanted):
            self.assertAlmostEqual(ours, theirs, delta=1e-6 * max(1.0, abs(theirs)))

    def test_a_whole_run_lies_in_the_output_and_beside_the_adapter(self):
        run = self.complete(self.spec())
        for folder in ("output/tensorboard", "output/adapter/tensorboard"):
            self.assert_shows(self.root / folder, run.of("step"), run.of("evaluation"))

    def test_after_a_kill_each_step_is_shown_once(self):
        spec = self.spec(checkpoint={"interval_steps": 5})
        killed = self.start(spec, "output")
        killed.read_until("checkpoint")
        killed.read_until("step")
        killed.kill()
        killed.finish()
        resumed = self.complete(spec, "output", "--resume")
        start = resumed.of("prepared")[0]["start_step"]
        self.assertGreater(start, 0)
        steps = [event for event in killed.of("step") if event["step"] <= start] + resumed.of("step")
        evaluations = [event for event in killed.of("evaluation") if event["step"] <= start]
        evaluations += resumed.of("evaluation")
        self.assertEqual([event["step"] for event in steps], list(range(1, 41)))
        self.assert_shows(self.root / "output" / "adapter" / "tensorboard", steps, evaluations)


if __name__ == "__main__":
    unittest.main()
