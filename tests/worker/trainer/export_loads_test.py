"""Goal: what a job exports is what it trained. Method: the adapter is loaded with peft on the base model and the
merged model with transformers alone, and each must give the validation loss the trainer reported last (dense
attention, documents one by one), with tied and untied embeddings, with and without trained embedding and
norms, with RoPE scaling, in fp32 and bf16. A job that goes on from the adapter must start at that loss."""

import json
import unittest

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from trainer_runs import TrainerTestCase, write_model

TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}


@torch.no_grad()
def dense_loss(model, path):
    """Mean loss over the targets of all documents of a token dataset."""
    total, targets = 0.0, 0
    model.eval()
    for line in path.read_text().splitlines():
        document = json.loads(line)
        labels = torch.tensor(document["labels"])[1:]
        logits = model(torch.tensor([document["input_ids"]])).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
        targets += int((labels != -100).sum())
    return total / targets


class ExportLoadsTest(TrainerTestCase):
    # Twice the model's 64 positions: linear RoPE scaling by 2. Documents are shorter, so none is cut.
    ROW = 128

    def job(self, model, trainable, precision, **method):
        return self.spec(
            base_model=str(model), max_sequence_length=self.ROW, export={"merged": True},
            dataset={"training": str(self.root / "training.jsonl"), "packing": False,
                     "validation": str(self.root / "validation.jsonl"), "format": "tokens"},
            method={"lora": {"rank": 4, "alpha": 8}, "attention": {"group_size": 16}, "trainable": trainable,
                    **method},
            training={"max_steps": 12, "gradient_accumulation_steps": 2, "precision": precision})

    def with_adapter(self, model, precision, output):
        """The base model under peft. An adapter cannot carry RoPE scaling: rope_scaling.json beside it does."""
        config = AutoConfig.from_pretrained(model)
        rope = json.loads((self.root / output / "adapter" / "rope_scaling.json").read_text())
        config.rope_parameters = rope["rope_parameters"]
        base = AutoModelForCausalLM.from_pretrained(model, config=config, dtype=DTYPE[precision])
        return PeftModel.from_pretrained(base, self.root / output / "adapter")

    def check(self, tied, trainable, precision):
        model = write_model(self.root / "base", seed=4, tied=tied)
        run = self.complete(self.job(model, trainable, precision))
        before, after = (run.of("evaluation")[i]["loss"] for i in (0, -1))
        self.assertGreater(before - after, 2 * TOLERANCE[precision], "training must change the loss visibly")
        tolerance = TOLERANCE[precision]
        validation = self.root / "validation.jsonl"

        with self.subTest("peft"):
            loaded = self.with_adapter(model, precision, "output")
            self.assertAlmostEqual(dense_loss(loaded, validation), after, delta=tolerance)
        with self.subTest("merged"):
            merged = AutoModelForCausalLM.from_pretrained(self.root / "output" / "merged", dtype=DTYPE[precision])
            self.assertAlmostEqual(dense_loss(merged, validation), after, delta=tolerance)
        with self.subTest("initial_adapter"):
            # The first step of a warm-up has learning rate 0.
            spec = self.job(model, trainable, precision, initial_adapter=str(self.root / "output" / "adapter"))
            spec["training"]["max_steps"] = 1
            again = self.complete(spec, "again")
            for event in again.of("evaluation"):
                self.assertAlmostEqual(event["loss"], after, delta=tolerance)

    def test_untied_with_embedding_and_norms(self):
        self.check(tied=False, trainable=["embed", "norm"], precision="fp32")

    def test_tied_with_embedding_and_norms(self):
        self.check(tied=True, trainable=["embed", "norm"], precision="fp32")

    def test_plain_lora(self):
        self.check(tied=True, trainable=[], precision="fp32")

    def test_norms_only(self):
        self.check(tied=False, trainable=["norm"], precision="fp32")

    def test_untied_in_bf16(self):
        self.check(tied=False, trainable=["embed", "norm"], precision="bf16")

    def test_tied_in_bf16(self):
        self.check(tied=True, trainable=["embed", "norm"], precision="bf16")


if __name__ == "__main__":
    unittest.main()
