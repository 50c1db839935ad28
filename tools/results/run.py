"""`./dev results`: LongLoRA's ablations on SmolLM2-135M; writes docs/results.md with its table and plot.

Every variant trains from the same base on the same rows, with all else equal, and is then evaluated with
dense attention on a novel that none has seen, at several context lengths. The positions are interpolated by
FACTOR as if the model had been made for ORIGINAL_LENGTH tokens. What is finished lies in .results/ and is
not done again. All of it is done by longlora-trainer alone; two runs at a time, a core each.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from report import write_report
from variants import VARIANTS, Variant

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "demo"))
import convert_model  # noqa: E402
import novels  # noqa: E402

TRAINER = ROOT / "build" / "bin" / "longlora-trainer"
WORK = ROOT / ".results"
MODEL = WORK / convert_model.MODEL_NAME
DATA = WORK / "data"
ORIGINAL_LENGTH = 512
TARGET_LENGTH = 2048
FACTOR = TARGET_LENGTH / ORIGINAL_LENGTH
LENGTHS = (512, 1024, 2048)  # of evaluation
STEPS = 24
LEARNING_RATE = 2e-4
HELD_OUT_CHARACTERS = 48_000  # some 10,800 tokens: five rows of TARGET_LENGTH and a little


def make_spec(length: int, factor: float, **method) -> dict:
    """What all runs share; the precision is the CPU's own (worker/trainer warns where it is not bf16)."""
    return {
        "base_model": str(MODEL), "max_sequence_length": length,
        "dataset": {"training": str(DATA / "books.jsonl"), "format": "text"},
        "method": {"rope_scaling": {"type": "linear", "factor": factor}, **method},
        "optimizer": {"learning_rate": LEARNING_RATE, "warmup_steps": 4},
        "training": {"max_steps": STEPS, "seed": 1, "precision": "bf16"},
        "resources": {"device": "cpu"},
    }


class Trainer:
    """One trainer process in a folder of its own; its events are kept there."""

    def __init__(self, folder: pathlib.Path, spec: dict):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(spec, indent=1))
        with open(folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [TRAINER, "--spec", folder / "spec.json", "--output", folder / "output", "--cache-dir",
                 WORK / "tokens"],
                stdout=subprocess.PIPE, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.folder = folder

    def events(self):
        """Yields each event as it comes, and raises unless the trainer ends well or as it was asked to."""
        with open(self.folder / "events.jsonl", "w", encoding="utf-8") as kept:
            for line in self.process.stdout:
                kept.write(line.decode())
                kept.flush()
                yield json.loads(line)
        stopped = 3
        if self.process.wait() not in (0, stopped):
            raise RuntimeError(f"longlora-trainer failed in {self.folder}: see stderr and events.jsonl there")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower().replace("²", "2")).strip("-")


def train(variant: Variant) -> tuple[pathlib.Path, dict]:
    """The adapter of a variant, and what its training said."""
    folder = WORK / "train" / slug(variant.name)
    record = folder / "record.json"
    if not record.exists():
        attention = {"pattern": variant.pattern}
        if variant.pattern != "dense":
            attention |= {"group_ratio": 0.25, "dense_final_fraction": variant.dense_final_fraction}
        spec = make_spec(TARGET_LENGTH, FACTOR, trainable=list(variant.trainable), attention=attention)
        events = list(Trainer(folder, spec).events())
        steps = [event for event in events if event["type"] == "step"]
        prepared = next(event for event in events if event["type"] == "prepared")
        record.write_text(json.dumps({
            "trainable_parameters": prepared["trainable_parameters"],
            "first_loss": steps[0]["loss"],
            "mean_loss_of_last_8": sum(step["loss"] for step in steps[-8:]) / 8}))
        shutil.rmtree(folder / "output" / "checkpoints", ignore_errors=True)
    return folder / "output" / "adapter", json.loads(record.read_text())


def evaluate(name: str, adapter: pathlib.Path | None, length: int, factor: float) -> dict:
    """The evaluation before the first step of a job that goes on from `adapter`; no step of it is done."""
    folder = WORK / "evaluate" / f"{slug(name)}-{length}"
    record = folder / "record.json"
    if not record.exists():
        # At the trained length also with the pattern of training: the fidelity gap.
        attention = ({"pattern": "shifted_sparse", "group_ratio": 0.25} if length == TARGET_LENGTH
                     else {"pattern": "dense"})
        trained = adapter and json.loads((adapter / "adapter_config.json").read_text()).get("modules_to_save")
        spec = make_spec(length, factor, attention=attention, initial_adapter=str(adapter or ""),
                         trainable=["embed", "norm"] if trained else [])
        spec["dataset"]["validation"] = str(DATA / "held-out.jsonl")
        trainer = Trainer(folder, spec)
        found = None
        for event in trainer.events():
            if event["type"] == "evaluation" and found is None:
                found = event
                trainer.stop()
        record.write_text(json.dumps(found))
        shutil.rmtree(folder / "output", ignore_errors=True)
    return json.loads(record.read_text())


def measure(name: str, variant: Variant | None, factor: float) -> dict:
    adapter, training = train(variant) if variant else (None, {})
    evaluations = {length: evaluate(name, adapter, length, factor) for length in LENGTHS}
    longest = evaluations[TARGET_LENGTH]
    return {"name": name, "training": training,
            "tokens": {length: found["tokens"] for length, found in evaluations.items()},
            "perplexity": {length: found["perplexity"] for length, found in evaluations.items()},
            "fidelity_gap": longest["training_pattern_loss"] - longest["loss"],
            "buckets": longest["buckets"]}


def prepare() -> None:
    convert_model.convert(convert_model.packaged_gguf(), MODEL)
    training, held_out = novels.write_novels(DATA)
    whole = novels.unwrap(novels.read_lines(novels.PACKAGE_DATA)[novels.HELD_OUT])
    novels.write_jsonl(held_out, [novels.cut_at_paragraph(whole, HELD_OUT_CHARACTERS)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev results", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each (default: 2)")
    arguments = parser.parse_args()
    prepare()
    runs = [("base model, not interpolated", None, 1.0), ("base model, interpolated", None, FACTOR),
            *((variant.name, variant, FACTOR) for variant in VARIANTS)]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda run: measure(*run), runs))
    write_report(results, ROOT / "docs", steps=STEPS, length=TARGET_LENGTH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
