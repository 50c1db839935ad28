"""Goal: an evaluation tells the dense loss, the loss with the training pattern, and the loss by position, each over
the whole validation set, alike on one rank and on three. Method: the same sums from transformers' logits under the
parity tests' explicit masks, token by token."""

import dataclasses
import json
import math
import os
import sys
import tempfile
import unittest
from pathlib import Path

import torch
import torch.nn.functional as F
import trainer_runs
from trainer_runs import Run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "parity"))
import reference  # noqa: E402

LENGTH = 50  # eighths of it are no whole numbers


class EvaluationTest(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory(prefix="longlora-evaluation-")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.case = reference.Case(heads=4, kv_heads=2, row_length=LENGTH, max_positions=LENGTH, group_size=16, steps=4,
                                   accumulation=1)
        self.spec, documents = reference.write_inputs(self.case, self.root)
        self.spec["dataset"]["validation"] = self.spec["dataset"]["training"]
        self.spec["training"]["max_steps"] = 1
        self.rows = reference.rows_of(self.case, documents)
        # Validation keeps a last, shorter row.
        tokens = sum(len(ids) for ids, _ in documents)
        rest = tokens % LENGTH
        if rest > 1:
            padded = reference.rows_of(dataclasses.replace(self.case, row_length=rest), self.last(documents, rest))
            self.rows += padded

    @staticmethod
    def last(documents, count):
        """The last `count` tokens as documents."""
        found = []
        for ids, labels in reversed(documents):
            taken = min(count, len(ids))
            if taken == 0:
                break
            found.insert(0, (ids[-taken:], labels[-taken:]))
            count -= taken
        return found

    def expected(self, pattern):
        """(position, loss) of every target."""
        model, _ = reference.load_reference(self.case, self.root)
        found = []
        with torch.no_grad():
            for row in self.rows:
                logits = reference.logits_of(model, pattern, row)[0, :-1]
                losses = F.cross_entropy(logits, torch.tensor(row["labels"][1:]), reduction="none",
                                         ignore_index=reference.IGNORE)
                found += [(row["position_ids"][t + 1], loss.item()) for t, loss in enumerate(losses)
                          if row["labels"][t + 1] != reference.IGNORE]
        return found

    def evaluate(self, output, ranks=1):
        spec = json.loads(json.dumps(self.spec))
        if ranks == 1:
            runs = [Run(spec, self.root / output)]
        else:
            spec["resources"]["devices_per_node"] = ranks
            port = trainer_runs.free_port()
            runs = [Run(spec, self.root / output, rank=rank, world_size=ranks, port=port) for rank in range(ranks)]
        for run in runs:
            self.assertEqual(run.finish(), 0, run.stderr())
        return runs[0].of("evaluation")[0]

    def test_losses_and_buckets_are_those_of_the_reference(self):
        dense = self.expected(dataclasses.replace(self.case, group_size=0))
        sparse = self.expected(self.case)
        for ranks in (1, 3):
            with self.subTest(ranks=ranks):
                event = self.evaluate(f"out-{ranks}", ranks)
                self.assertEqual(event["tokens"], len(dense))
                mean = sum(loss for _, loss in dense) / len(dense)
                self.assertAlmostEqual(event["loss"], mean, delta=1e-5)
                self.assertAlmostEqual(event["perplexity"], math.exp(mean), delta=1e-2)
                pattern = sum(loss for _, loss in sparse) / len(sparse)
                self.assertAlmostEqual(event["training_pattern_loss"], pattern, delta=1e-5)
                self.assertGreater(abs(pattern - mean), 1e-3, "the patterns do not differ: the case shows nothing")
                buckets = event["buckets"]
                self.assertEqual((buckets[0]["begin"], buckets[-1]["end"]), (0, LENGTH))
                for before, after in zip(buckets, buckets[1:]):
                    self.assertEqual(before["end"], after["begin"])
                self.assertEqual(len(buckets), 8)
                for bucket in buckets:
                    inside = [loss for position, loss in dense if bucket["begin"] <= position < bucket["end"]]
                    self.assertEqual(bucket["tokens"], len(inside))
                    self.assertAlmostEqual(bucket["loss"], sum(inside) / len(inside), delta=1e-5)

    def test_a_dense_job_has_no_gap(self):
        self.spec["method"]["attention"] = {"pattern": "dense"}
        self.assertNotIn("training_pattern_loss", self.evaluate("dense"))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    unittest.main()
