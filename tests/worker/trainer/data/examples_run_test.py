"""Goal: a run on conversations trains on the answers and on nothing else, packed or not, and says what it left
out. Method: longlora-trainer on a tiny Llama; the loss of its first step against transformers' over the same
examples, each alone; then the events of runs that must cut, drop and refuse."""

import gzip
import json
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

import chat_parity_test  # noqa: E402
import parity_models  # noqa: E402
import parity_samples  # noqa: E402
from tests.testing import tiny_model  # noqa: E402
from trainer_runs import INVALID_JOB, TrainerTestCase  # noqa: E402

LENGTH = 1024


class ExamplesRunTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        import transformers

        self.model = self.root / "chat-model"
        tiny_model.make_model(self.model, vocab=400, max_positions=LENGTH)
        parity_models.tiny(self.model)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.model)
        self.tokenizer.chat_template = parity_models.BLOCKS
        self.tokenizer.save_pretrained(self.model)

    def examples(self, count, longest=LENGTH):
        """Conversations with an answer that fit a row."""
        found = []
        for index in range(1, 1000):
            sample = parity_samples.conversation(index)
            ids, mask = chat_parity_test.prefix_mask(self.tokenizer, sample)
            if any(mask[1:]) and len(ids) <= longest:
                found.append((sample, ids, mask))
            if len(found) == count:
                return found
        raise AssertionError("too few samples")

    def chat_spec(self, **changes):
        return self.spec(**{
            "base_model": str(self.model), "max_sequence_length": LENGTH, "method": {"attention": {"pattern": "dense"}},
            "evaluation": {"interval_steps": 0}, **changes})

    def write(self, name, samples, pack=lambda data: data):
        path = self.root / name
        path.write_bytes(pack("".join(json.dumps(sample) + "\n" for sample in samples).encode()))
        return str(path)

    def reference_loss(self, examples):
        import torch
        import transformers

        model = transformers.AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32)
        total = targets = 0.0
        with torch.no_grad():
            for _, ids, mask in examples:
                labels = torch.tensor([token if chosen else -100 for token, chosen in zip(ids, mask)])
                logits = model(torch.tensor([ids])).logits[0, :-1]
                total += torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum").item()
                targets += int((labels[1:] != -100).sum())
        return total / targets

    def test_the_first_loss_is_that_of_the_answers_alone(self):
        examples = self.examples(12)
        expected = self.reference_loss(examples)
        # Named otherwise than they are: uploads have no names.
        path = self.write("upload", [sample for sample, _, _ in examples], gzip.compress)
        for packing in True, False:
            dataset = {"training": path, "validation": "", "format": "chat", "packing": packing}
            rows = 1
            for _ in range(2):  # the second time all rows are in the step
                run = self.complete(self.chat_spec(dataset=dataset, training={
                    "max_steps": 1, "gradient_accumulation_steps": rows}), f"out-{packing}-{rows}")
                prepared = run.of("prepared")[0]
                rows = int(prepared["training_rows"])
            self.assertEqual(int(prepared["training_tokens"]), sum(len(ids) for _, ids, _ in examples))
            self.assertAlmostEqual(
                prepared["fill_ratio"], sum(len(ids) for _, ids, _ in examples) / rows / LENGTH, places=6)
            self.assertEqual(rows == len(examples), not packing)
            self.assertAlmostEqual(run.of("step")[0]["loss"], expected, places=4)
            self.assertEqual(run.warnings(), ["optimizer.warmup_steps is 2 and the job has 1 step(s): the learning "
                                              "rate never reaches its peak"])

    def test_the_cache_changes_nothing(self):
        examples = self.examples(12)
        dataset = {"training": self.write("a", [sample for sample, _, _ in examples]), "validation": "", "format": "chat"}
        spec = self.chat_spec(dataset=dataset, training={"max_steps": 3, "gradient_accumulation_steps": 1})
        cache = self.root / "cache"
        first = self.complete(spec, "first", "--cache-dir", str(cache))
        kept = next(cache.glob("*.tokens"))
        second = self.complete(spec, "second", "--cache-dir", str(cache))
        data = bytearray(kept.read_bytes())
        data[len(data) // 2] ^= 1
        kept.write_bytes(data)
        third = self.complete(spec, "third", "--cache-dir", str(cache))
        self.assertEqual(first.steps(), second.steps())
        self.assertEqual(first.steps(), third.steps())
        self.assertEqual(first.warnings(), second.warnings())
        self.assertIn("is made again", " ".join(third.warnings()))

    def test_long_examples_are_cut_dropped_or_refused_aloud(self):
        examples = self.examples(20)
        lengths = sorted(len(ids) for _, ids, _ in examples)
        length = lengths[14]
        path = self.write("b", [sample for sample, _, _ in examples])

        def spec(policy):
            return self.chat_spec(
                max_sequence_length=length, training={"max_steps": 1},
                dataset={"training": path, "validation": "", "format": "chat", "length_policy": policy})

        too_long = sum(size > length for size in lengths)
        dropped = self.complete(spec("drop"), "drop").warnings()
        self.assertIn(f"dataset.training: {too_long} of 20 examples are longer than max_sequence_length {length} and "
                      "are left out (dataset.length_policy)", dropped)
        cut = " ".join(self.complete(spec("truncate_prompt"), "cut").warnings())
        self.assertRegex(cut, r"lost the oldest \d+ tokens of their prompts|an answer longer than")
        run = self.start(spec("error"), "error")
        self.assertEqual(run.finish(), INVALID_JOB)
        self.assertEqual(run.of("error")[0]["reason"], "DATASET_INVALID")
        self.assertRegex(run.of("error")[0]["message"], r"line \d+: the example has \d+ tokens")

    def test_a_model_without_a_template_cannot_take_conversations(self):
        for name in "chat_template.jinja", "tokenizer_config.json":
            file = self.model / name
            if name.endswith("json"):
                config = json.loads(file.read_text())
                config.pop("chat_template", None)
                file.write_text(json.dumps(config))
            else:
                file.unlink(missing_ok=True)
        path = self.write("c", [{"messages": [{"role": "user", "content": "x"}]}])
        run = self.start(self.chat_spec(dataset={"training": path, "validation": "", "format": "chat"}))
        self.assertEqual(run.finish(), INVALID_JOB)
        self.assertIn("has no chat template", run.of("error")[0]["message"])


if __name__ == "__main__":
    unittest.main()
