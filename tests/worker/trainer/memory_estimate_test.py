"""Goal: what `--estimate` tells from spec and config.json alone is the peak of the whole run within a tenth.
Method: the real program on random Llamas of some 30 to 60 million parameters, so that tensors and not the program
make the peak; every run evaluates, checkpoints and exports as its spec says, and the kernel tells its peak
when it is over."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy
from safetensors.numpy import save_file
from trainer_runs import INVALID_JOB, SUCCEEDED, TRAINER, Run

HIDDEN, INTERMEDIATE, LAYERS, HEADS, HEAD_SIZE = 512, 1536, 6, 8, 64

# Runs a program and tells its peak on standard error. Small, because a process counts what its parent had.
PEAK = (sys.executable, "-S", "-E", "-c", """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print("peak", usage.ru_maxrss * 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
""")


def write_model(directory, vocabulary, tied, key_heads):
    random = numpy.random.default_rng(1)
    directory.mkdir(parents=True)
    keys = key_heads * HEAD_SIZE
    shapes = {"model.embed_tokens": (vocabulary, HIDDEN), "model.norm": (HIDDEN,)}
    if not tied:
        shapes["lm_head"] = (vocabulary, HIDDEN)
    for layer in range(LAYERS):
        for name, shape in (("input_layernorm", (HIDDEN,)), ("post_attention_layernorm", (HIDDEN,)),
                            ("self_attn.q_proj", (HIDDEN, HIDDEN)), ("self_attn.k_proj", (keys, HIDDEN)),
                            ("self_attn.v_proj", (keys, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)),
                            ("mlp.gate_proj", (INTERMEDIATE, HIDDEN)), ("mlp.up_proj", (INTERMEDIATE, HIDDEN)),
                            ("mlp.down_proj", (HIDDEN, INTERMEDIATE))):
            shapes[f"model.layers.{layer}.{name}"] = shape
    save_file({f"{name}.weight": random.standard_normal(shape, dtype=numpy.float32) * 0.02 if len(shape) > 1
               else numpy.ones(shape, numpy.float32) for name, shape in shapes.items()},
              directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps({
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": key_heads,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied}))


class MemoryEstimateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="longlora-memory-")
        cls.addClassCleanup(folder.cleanup)
        cls.root = Path(folder.name)
        cls.runs = 0

    def spec(self, *, vocabulary=16_000, tied=True, key_heads=4, length=1024, rows=1, trainable=(), precision="bf16",
             pattern="shifted_sparse", validation=False, **keys):
        model = self.root / f"model-{vocabulary}-{tied}-{key_heads}"
        if not model.exists():
            write_model(model, vocabulary, tied, key_heads)
        tokens = length * rows * keys.get("training", {}).get("gradient_accumulation_steps", 1)
        data = self.root / f"data-{tokens}.jsonl"
        ids = numpy.random.default_rng(2).integers(0, 16_000, tokens).tolist()
        data.write_text(json.dumps({"input_ids": ids}) + "\n")
        spec = {"base_model": str(model), "max_sequence_length": length,
                "dataset": {"training": str(data), "validation": str(data) if validation else "",
                            "format": "tokens"},
                "method": {"trainable": list(trainable), "attention": {"pattern": pattern}},
                "optimizer": {"warmup_steps": 0},
                "training": {"max_steps": 1, "micro_batch_size": rows, "precision": precision},
                "resources": {"device": "cpu"}}
        for key, value in keys.items():
            spec[key] = {**spec.get(key, {}), **value}
        return spec

    def estimate(self, spec):
        path = self.root / "spec.json"
        path.write_text(json.dumps(spec))
        return subprocess.run([TRAINER, "--spec", str(path), "--estimate"], capture_output=True, text=True, check=False)

    def check(self, moment, **keys):
        """The run's peak is within a tenth of the estimate, and the estimate knows when it is."""
        spec = self.spec(**keys)
        told = self.estimate(spec)
        self.assertEqual(told.returncode, SUCCEEDED, told.stderr)
        estimate = json.loads(told.stdout)
        self.assertEqual(estimate["total_bytes"], sum(part["bytes"] for part in estimate["components"]))
        type(self).runs += 1
        run = Run(spec, self.root / f"output-{self.runs}", wrapper=PEAK)
        self.assertEqual(run.finish(), SUCCEEDED, run.stderr())
        peak = int(re.search(r"^peak (\d+)$", run.stderr(), re.M).group(1))
        ratio = estimate["total_bytes"] / peak
        prepared = run.of("prepared")[0]
        parts = ", ".join(f"{part['name']} {part['bytes'] >> 20}" for part in estimate["components"])
        line = (f"estimate {estimate['total_bytes'] >> 20} MiB, peak {peak >> 20}, {100 * (ratio - 1):+.1f}%, "
                f"rehearsed {prepared['memory_bytes'] >> 20}; {estimate['moment']}: {parts}")
        print(line, file=sys.stderr)
        self.assertEqual(estimate["moment"], moment, line)
        self.assertEqual(prepared["estimated_memory_bytes"], estimate["total_bytes"])
        self.assertLess(abs(ratio - 1), 0.1, line)
        # The rehearsal saw it come.
        self.assertLess(peak, 1.1 * prepared["memory_bytes"] if "proof" not in moment else peak + 1, line)

    BACKWARD = "the backward pass of a training step"

    def test_plain_lora_on_long_rows(self):
        self.check(self.BACKWARD, length=4096)

    def test_dense_attention_in_fp32(self):
        self.check(self.BACKWARD, length=2048, pattern="dense", precision="fp32")

    def test_two_rows_at_once_with_validation(self):
        self.check(self.BACKWARD, length=2048, rows=2, validation=True)

    def test_adapters_on_every_linear_with_dropout(self):
        self.check(self.BACKWARD, length=2048,
                   method={"trainable": [], "lora": {"rank": 16, "dropout": 0.1, "target_modules": ["all-linear"]}})

    def test_a_tied_embedding_that_trains(self):
        self.check("the loss of a training step", vocabulary=32_000, trainable=["embed", "norm"], validation=True)

    def test_a_tied_embedding_that_trains_in_fp32(self):
        self.check("the loss of a training step", vocabulary=32_000, trainable=["embed", "norm"], precision="fp32")

    def test_an_embedding_that_trains_beside_a_frozen_head(self):
        self.check(self.BACKWARD, tied=False, trainable=["embed", "norm"], length=2048, key_heads=8)

    def test_a_checkpoint_in_the_midst_of_the_run(self):
        self.check("the loss of a training step", vocabulary=32_000, trainable=["embed"], length=512,
                   training={"max_steps": 2, "precision": "bf16"}, checkpoint={"interval_steps": 1})

    def test_several_micro_batches_a_step(self):
        self.check("the embedding's gradient in a training step", vocabulary=32_000, tied=False, trainable=["embed"],
                   length=256, training={"max_steps": 1, "gradient_accumulation_steps": 2, "precision": "fp32"})

    def test_a_merged_model(self):
        self.check("the proof of the merged model", tied=False, length=512, precision="fp32",
                   export={"merged": True})

    def test_what_cannot_be_estimated_is_refused_by_name(self):
        told = self.estimate(self.spec(method={"lora": {"target_modules": ["qkv_proj"]}}))
        self.assertEqual(told.returncode, INVALID_JOB)
        self.assertIn('method.lora.target_modules: "qkv_proj" names no linear layer', told.stderr)
        told = self.estimate({**self.spec(), "base_model": "missing"})
        self.assertEqual(told.returncode, INVALID_JOB)
        self.assertIn("base_model: there is no directory missing", told.stderr)
        alone = subprocess.run([TRAINER, "--spec", "spec.json"], capture_output=True, text=True, check=False)
        self.assertEqual(alone.returncode, INVALID_JOB)
        self.assertIn("--output is required", alone.stderr)


if __name__ == "__main__":
    unittest.main()
