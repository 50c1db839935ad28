"""Goal: the passkey probe counts what transformers' greedy generation answers right, before and after training.
Method: prompts built here again from the paper's texts; a tiny model that is trained on them until it knows some;
the base model and the merged result generate in transformers."""

import json
import sys
import unittest
from pathlib import Path

import torch
import transformers
import trainer_runs
from trainer_runs import INVALID_JOB, TrainerTestCase

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "testing"))
import tiny_model  # noqa: E402

LENGTHS = (300, 420)
TRIALS = 3
SEED = 4
BITS = (1 << 64) - 1


def draw_number(length, trial):
    state = SEED
    for part in (length, trial):
        state = (state + 0x9E3779B97F4A7C15 * (part + 1)) & BITS
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & BITS
        state ^= state >> 31
    return 10000 + state % 90000


class PasskeyRunTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        torch.set_num_threads(1)
        tiny_model.make_model(self.root / "tiny", layers=2, hidden=64, max_positions=512, vocab=384)
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.root / "tiny")

        def encode(text):
            return tokenizer.encode(text, add_special_tokens=False)
        self.prompts = []
        for length in LENGTHS:
            for trial in range(TRIALS):
                number = draw_number(length, trial)
                task = encode("There is an important info hidden inside a lot of irrelevant text. Find it and "
                              "memorize them. I will quiz you about the important information there.\n")
                information = encode(f"\nThe pass key is {number}. Remember it. {number} is the pass key.\n")
                question = encode("\nWhat is the pass key? The pass key is")
                room = length - len(task) - len(information) - len(question)
                before = int((trial + 0.5) / TRIALS * room)
                grass = encode("The grass is green. The sky is blue. The sun is yellow. Here we go. There and back "
                               "again. ") * length
                prompt = task + grass[:before] + information + grass[:room - before] + question
                self.assertEqual(len(prompt), length)
                self.prompts.append((prompt, encode(f" {number}")))
        # Those of one length alone are learnt, so that the lengths' counts differ.
        path = self.root / "prompts.jsonl"
        path.write_text("".join(json.dumps({"input_ids": prompt + answer,
                                            "labels": [-100] * len(prompt) + answer}) + "\n"
                                for prompt, answer in self.prompts[:TRIALS]))
        self.job = self.spec(
            base_model=str(self.root / "tiny"), max_sequence_length=448,
            dataset={"training": str(path), "validation": str(path), "packing": False},
            optimizer={"learning_rate": 4e-3, "schedule": "linear", "warmup_steps": 5},
            training={"max_steps": 60, "gradient_accumulation_steps": 6, "seed": SEED},
            evaluation={"interval_steps": 0, "passkey": {"lengths": list(LENGTHS), "trials": TRIALS}},
            export={"merged": True})
        self.job["method"] = {"lora": {"rank": 16, "alpha": 32}, "attention": {"pattern": "dense"}}

    def generated_right(self, directory):
        """Of each length, how many transformers answers."""
        model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        right = []
        for prompt, answer in self.prompts:
            output = model.generate(torch.tensor([prompt]), max_new_tokens=len(answer), do_sample=False,
                                    eos_token_id=[], pad_token_id=0)
            right.append(output[0, len(prompt):].tolist() == answer)
        return [sum(right[i:i + TRIALS]) for i in range(0, len(right), TRIALS)]

    def test_the_probe_counts_what_greedy_generation_answers(self):
        run = self.complete(self.job)
        first, last = run.of("evaluation")
        self.assertEqual([(result["length"], result["trials"]) for result in first["passkey"]],
                         [(length, TRIALS) for length in LENGTHS])
        self.assertEqual([result["correct"] for result in first["passkey"]], self.generated_right(self.root / "tiny"))
        found = [result["correct"] for result in last["passkey"]]
        self.assertEqual(found, self.generated_right(self.root / "output" / "merged"))
        self.assertGreater(found[0], found[1], "one length was not learnt better: the case shows nothing")

    def test_evaluations_between_have_no_probe(self):
        self.job["evaluation"]["interval_steps"] = 1
        self.job["training"]["max_steps"] = 2
        run = self.complete(self.job)
        self.assertEqual(["passkey" in event for event in run.of("evaluation")], [True, False, True])

    def test_ranks_share_the_prompts(self):
        self.job["training"].update(max_steps=1)
        alone = self.complete(self.job).of("evaluation")[0]["passkey"]
        self.job["resources"]["devices_per_node"] = 2
        port = trainer_runs.free_port()
        runs = [self.start(self.job, "ranks", rank=rank, world_size=2, port=port) for rank in (0, 1)]
        for run in runs:
            self.assertEqual(run.finish(), 0, run.stderr())
        self.assertEqual(runs[0].of("evaluation")[0]["passkey"], alone)

    def test_without_a_tokenizer_the_field_is_named_while_preparing(self):
        (self.root / "tiny" / "tokenizer.json").unlink()
        run = self.start(self.job)
        self.assertEqual(run.finish(), INVALID_JOB)
        self.assertEqual([event["type"] for event in run.events], ["error"])
        self.assertEqual(run.events[0]["reason"], "INVALID_SPEC")
        self.assertIn("evaluation.passkey.lengths needs the model's tokenizer", run.events[0]["message"])

    def test_a_length_that_holds_no_prompt_is_refused_while_preparing(self):
        self.job["evaluation"]["passkey"]["lengths"] = [128]
        run = self.start(self.job)
        self.assertEqual(run.finish(), INVALID_JOB)
        self.assertIn("evaluation.passkey.lengths: 128 is too short", run.events[-1]["message"])


if __name__ == "__main__":
    unittest.main()
