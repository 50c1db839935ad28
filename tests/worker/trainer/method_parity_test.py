"""Goal: rsLoRA, LoRA+, a learning rate of its own for embedding and norms, weight decay and a dense last part of
the run are what transformers + peft + torch compute. Method: the parity tests' reference with its optimizer in
groups, peft's own create_loraplus_optimizer among them; losses of every step are compared. Without each option
the losses differ, so that none could be left out unnoticed."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "parity"))
import reference  # noqa: E402

STEPS = 12
TOLERANCE = 1e-4
TRAINER = os.environ.get("LONGLORA_TRAINER", "")


class MethodParityTest(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory(prefix="longlora-method-")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def prepare(self, **changes):
        case = reference.Case(steps=STEPS, accumulation=1, heads=4, kv_heads=2, **changes)
        spec, documents = reference.write_inputs(case, self.root)
        spec["optimizer"]["warmup_steps"] = 0
        return case, spec, reference.rows_of(case, documents)

    def ours(self, spec, output):
        path = self.root / "spec.json"
        path.write_text(json.dumps(spec))
        run = subprocess.run([TRAINER, "--spec", path, "--output", self.root / output], stdout=subprocess.PIPE,
                             text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        events = [json.loads(line) for line in run.stdout.splitlines()]
        self.prepared = next(event for event in events if event["type"] == "prepared")
        steps = [event for event in events if event["type"] == "step"]
        self.rates = [event["learning_rate"] for event in steps]
        return [event["loss"] for event in steps]

    def theirs(self, case, rows, make_optimizer, dense_from=math.inf):
        model, trained = reference.load_reference(case, self.root)
        optimizer = make_optimizer(model, trained)
        losses = []
        for step in range(1, STEPS + 1):
            pattern = dataclasses.replace(case, group_size=0) if step >= dense_from else case
            losses.append(reference.step_loss(model, pattern, reference.rows_of_step(case, rows, step)))
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return losses

    def assert_equal_losses(self, ours, theirs, plain):
        for a, b in zip(ours, theirs, strict=True):
            self.assertAlmostEqual(a, b, delta=TOLERANCE)
        self.assertGreater(max(abs(a - b) for a, b in zip(ours, plain, strict=True)), 10 * TOLERANCE,
                           "the option makes no difference here: the case shows nothing")

    @staticmethod
    def adamw(groups, weight_decay=0.0):
        return torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay)

    def test_lora_plus_is_pefts(self):
        case, spec, rows = self.prepare(trainable=[])
        plain = self.ours(spec, "plain")
        spec["optimizer"].update(lora_plus_ratio=16.0, weight_decay=0.1)
        ours = self.ours(spec, "plus")
        theirs = self.theirs(case, rows, lambda model, trained: create_loraplus_optimizer(
            model, torch.optim.AdamW, lr=3e-3, loraplus_lr_ratio=16.0, loraplus_weight_decay=0.1,
            betas=(0.9, 0.95), eps=1e-8))
        self.assert_equal_losses(ours, theirs, plain)
        self.assertEqual(set(self.rates), {3e-3}, "the base rate is told")

    def test_embedding_and_norms_have_their_own_rate(self):
        case, spec, rows = self.prepare()
        plain = self.ours(spec, "plain")
        spec["optimizer"].update(trainable_learning_rate=3e-2, lora_plus_ratio=4.0, weight_decay=0.1)
        ours = self.ours(spec, "own")

        def make(_, trained):
            def pick(wanted):
                return [value for name, value in trained.items() if wanted(name)]
            return self.adamw([
                {"params": pick(lambda name: "lora_A" in name), "lr": 3e-3, "weight_decay": 0.1},
                {"params": pick(lambda name: "lora_B" in name), "lr": 1.2e-2, "weight_decay": 0.1},
                {"params": pick(lambda name: "embed" in name), "lr": 3e-2, "weight_decay": 0.1},
                {"params": pick(lambda name: "norm" in name), "lr": 3e-2, "weight_decay": 0.0}])
        self.assert_equal_losses(ours, self.theirs(case, rows, make), plain)

    def test_rslora_is_pefts_in_training_import_and_export(self):
        case, spec, rows = self.prepare()
        plain = self.ours(spec, "plain")
        config_path = self.root / "adapter" / "adapter_config.json"
        config = json.loads(config_path.read_text())
        config_path.write_text(json.dumps({**config, "use_rslora": True}))
        spec["method"]["lora"]["use_rslora"] = True
        spec["export"] = {"merged": True}
        ours = self.ours(spec, "root")
        self.assert_equal_losses(ours, self.theirs(case, rows, lambda _, trained: self.adamw(
            [{"params": list(trained.values()), "lr": 3e-3}])), plain)
        exported = json.loads((self.root / "root" / "adapter" / "adapter_config.json").read_text())
        self.assertIs(exported["use_rslora"], True)
        # The merged weight, by peft's own scaling.
        name = "model.layers.0.self_attn.q_proj"
        adapter = load_file(self.root / "root" / "adapter" / "adapter_model.safetensors")
        merged = load_file(self.root / "root" / "merged" / "model.safetensors")[f"{name}.weight"]
        base = load_file(self.root / "model" / "model.safetensors")[f"{name}.weight"]
        layer = get_peft_model(torch.nn.ModuleDict({"q": torch.nn.Linear(2, 2)}),
                               LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=["q"]))
        scale = layer.base_model.model["q"].scaling["default"]
        a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        self.assertTrue(torch.allclose(merged, base + scale * b @ a, atol=1e-5))

    def test_the_last_part_trains_dense(self):
        case, spec, rows = self.prepare()
        plain = self.ours(spec, "plain")
        self.assertNotIn("dense_start_step", self.prepared)
        spec["method"]["attention"]["dense_final_fraction"] = 0.4  # 4.8 of 12 steps: five
        ours = self.ours(spec, "dense")
        self.assertEqual(self.prepared["dense_start_step"], 8)
        self.assertEqual(ours[:7], plain[:7])
        theirs = self.theirs(case, rows, lambda _, trained: self.adamw(
            [{"params": list(trained.values()), "lr": 3e-3}]), dense_from=8)
        self.assert_equal_losses(ours, theirs, plain)


if __name__ == "__main__":
    unittest.main()
