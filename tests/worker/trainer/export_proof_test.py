"""Goal: a job's results are read back before it succeeds. Method: the real program; what it says of the proof, for
every kind of result."""

import re
import unittest

from trainer_runs import LAYERS, TrainerTestCase

PROOF = re.compile(r"(\w+) was read back from the disk: (\d+) LoRA modules of (\d+) applied, "
                   r"logits within (\S+) of the trainer's \(allowed: (\S+)\)")


class ExportProofTest(TrainerTestCase):
    def proofs(self, **changes):
        run = self.complete(self.spec(training={"max_steps": 4}, **changes))
        found = [(folder, int(applied), float(largest), float(bound))
                 for folder, applied, of, largest, bound in PROOF.findall(run.stderr()) if applied == of]
        for _, _, largest, bound in found:
            self.assertLessEqual(largest, bound)
            self.assertGreater(bound, 0.0)
        return [(folder, applied) for folder, applied, _, _ in found]

    def test_adapter_and_merged_model(self):
        self.assertEqual(self.proofs(export={"merged": True}),
                         [("adapter", 4 * LAYERS), ("merged", 4 * LAYERS)])

    def test_best_weights(self):
        self.assertEqual(self.proofs(export={"weights": "best"}, checkpoint={"keep_best": True}),
                         [("adapter", 4 * LAYERS)])


if __name__ == "__main__":
    unittest.main()
