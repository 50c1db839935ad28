"""Goal: the cards beside adapter and merged model tell the job, its data, its losses and the versions, in a form
that Hugging Face reads, and a resumed run tells the same as an undisturbed one. Method: the real program; cards
read by huggingface_hub, and compared with the spec, the files' digests and the run's own events."""

import hashlib
import json
import re
import signal
import unittest

import torch
from huggingface_hub import ModelCard
from trainer_runs import STOPPED, TrainerTestCase

FOLDERS = {"adapter": "peft", "merged": "transformers"}


class ModelCardTest(TrainerTestCase):
    def job(self):
        return self.spec(training={"max_steps": 20}, export={"merged": True},
                         checkpoint={"interval_steps": 4, "keep_best": True})

    def cards(self, output):
        return {folder: (self.root / output / folder / "README.md").read_text() for folder in FOLDERS}

    @staticmethod
    def table(card):
        return dict(re.findall(r"^\| (.+) \| (.+) \|$", card, re.MULTILINE))

    def test_cards_tell_where_the_weights_come_from(self):
        run = self.complete(self.job())
        steps, evaluations = run.of("step"), run.of("evaluation")
        best = min(evaluations[1:], key=lambda event: event["loss"])

        def at(event):
            return f"{event['loss']:.6g} (step {event['step']})"
        for folder, card in self.cards("output").items():
            with self.subTest(folder=folder):
                table = self.table(card)
                self.assertEqual(table["Training steps"], "20 of 20")
                self.assertEqual(table["Training loss, first and last step"],
                                 f"{steps[0]['loss']:.6g}, {steps[-1]['loss']:.6g}")
                self.assertEqual(table["Validation loss before training"], f"{evaluations[0]['loss']:.6g}")
                self.assertEqual(table["Validation loss, last"], at(evaluations[-1]))
                self.assertEqual(table["Validation loss, lowest"], at(best))
                for kind in ("training", "validation"):
                    digest = hashlib.sha256((self.root / f"{kind}.jsonl").read_bytes()).hexdigest()
                    self.assertEqual(table[f"{kind.capitalize()} data, SHA-256"], digest)
                self.assertEqual(table["Base model type"], "llama")
                self.assertRegex(table["Made with"], r"^longlora \d+\.\d+\.\d+, LibTorch \d+\.\d+\.\d+$")
                self.assertIn(f"LibTorch {torch.__version__.split('+')[0]}", table["Made with"])
                manifest = json.loads(
                    (self.root / "output" / "checkpoints" / "step-20" / "manifest.json").read_text())
                self.assertEqual(table["Spec digest (what decides the training)"], manifest["spec_digest"])

    def test_hugging_face_reads_the_front_matter(self):
        self.complete(self.job())
        for folder, library in FOLDERS.items():
            data = ModelCard.load(self.root / "output" / folder / "README.md").data
            self.assertEqual((data.library_name, data.base_model), (library, str(self.root / "model")))
            self.assertEqual([tag for tag in ("longlora", "long-context") if tag not in data.tags], [])

    def test_the_job_stands_in_the_card_and_runs_again(self):
        job = self.job()
        first = self.complete(job)
        text = self.cards("output")["adapter"].split("## The job")[1]
        spec = json.loads(re.search(r"```json\n(.*?)\n```", text, re.DOTALL).group(1))
        self.assertEqual(spec["dataset"]["training"], "training.jsonl")
        self.assertEqual({key: spec["optimizer"][key] for key in job["optimizer"]}, job["optimizer"])
        for kind in ("training", "validation"):
            spec["dataset"][kind] = str(self.root / spec["dataset"][kind])
        self.assertEqual(self.complete(spec, "again").steps(), first.steps())

    def test_a_resumed_run_has_the_cards_of_an_undisturbed_one(self):
        self.complete(self.job(), "whole")
        run = self.start(self.job(), "stopped")
        run.read_until("step", 11)
        run.kill(signal.SIGTERM)
        self.assertEqual(run.finish(), STOPPED, run.stderr())
        self.complete(self.job(), "stopped", "--resume")
        self.assertEqual(self.cards("stopped"), self.cards("whole"))


if __name__ == "__main__":
    unittest.main()
