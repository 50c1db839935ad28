"""Goal: what a job exports is what it trained. Method: the adapter is loaded with peft on the base model and the
merged model with transformers alone, and each must give the validation loss the trainer reported last (dense
attention, documents one by one), with tied and untied embeddings, with and without trained embedding and
norms, for every family and kind of RoPE scaling, in fp32 and bf16. A job that goes on from the adapter must start at
that loss."""

import json
import unittest

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from trainer_runs import VOCABULARY, TrainerTestCase, write_model

TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}


def write_family(directory, family, seed=4, **config):
    """A tiny random model of `family`, every weight of it random."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        family, vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=None,
        **{"max_position_embeddings": 64, **config}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    return directory


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
        config.max_position_embeddings = rope["max_position_embeddings"]
        base = AutoModelForCausalLM.from_pretrained(model, config=config, dtype=DTYPE[precision])
        return PeftModel.from_pretrained(base, self.root / output / "adapter")

    def check(self, tied, trainable, precision):
        self.check_model(write_model(self.root / "base", seed=4, tied=tied), trainable, precision)

    def check_family(self, family, *, targets, rope_scaling=None, **config):
        method = {"lora": {"rank": 4, "alpha": 8, "target_modules": targets}}
        if rope_scaling:
            method["rope_scaling"] = rope_scaling
        self.check_model(write_family(self.root / "base", family, **config), ["embed", "norm"], "fp32", **method)

    def check_model(self, model, trainable, precision, **method):
        run = self.complete(self.job(model, trainable, precision, **method))
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
            spec = self.job(model, trainable, precision, **method,
                            initial_adapter=str(self.root / "output" / "adapter"))
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

    def test_mistral_all_linear_with_dynamic_rope(self):
        self.check_family("mistral", targets=["all-linear"], sliding_window=None,
                          rope_scaling={"type": "dynamic", "factor": 2.0})

    def test_qwen2_tied_with_yarn(self):
        self.check_family("qwen2", targets=["q_proj", "v_proj"], tie_word_embeddings=True, rope_scaling={"type": "yarn"})

    def test_qwen3_with_head_norms_and_a_yarn_of_its_own(self):
        self.check_family("qwen3", targets=["all-linear"], head_dim=16, attention_bias=True,
                          rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "mscale": 0.8,
                                           "mscale_all_dim": 0.3, "original_max_position_embeddings": 64})

    def test_llama3_rope_with_biases(self):
        self.check_family("llama", targets=["all-linear"], attention_bias=True, mlp_bias=True,
                          max_position_embeddings=256,
                          rope_parameters={"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0,
                                           "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                           "original_max_position_embeddings": 32})

    def test_phi3_fused_with_longrope_beyond_its_original_length(self):
        self.check_family("phi3", targets=["all-linear"], max_position_embeddings=256,
                          original_max_position_embeddings=32,
                          rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
                                           "short_factor": [1.0, 1.1], "long_factor": [1.5, 4.0]})


if __name__ == "__main__":
    unittest.main()
