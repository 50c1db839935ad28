"""Goal: our trainer computes what transformers + peft compute (fp32): logits, every gradient tensor of the
first step, tokens decoded greedily, and the losses of twenty steps of training; for every family, rope scaling
and both patterns.
Method: both sides start from the same Hugging Face directory, PEFT adapter and token file; the reference
attends under an explicit mask. The probe gives logits, gradients and tokens, the real trainer binary the losses."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

import reference

# Threads that wait for one another cost a busy machine more than these models are worth.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
LOGITS_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-5  # |ours - theirs| / |theirs|, of a whole tensor


def check_step_one(case, directory, spec, rows, probe):
    rows = reference.rows_of_step(case, rows, 1)
    reference.write_rows(rows, directory / "rows.safetensors")
    subprocess.run([probe, directory / "model", directory / "spec.json", directory / "adapter",
                    directory / "rows.safetensors", directory / "probe.safetensors"], check=True, env=ONE_THREAD)
    ours = load_file(directory / "probe.safetensors")
    model, trained = reference.load_reference(case, directory)
    for i, row in enumerate(rows):
        with torch.no_grad():
            error = (ours[f"row.{i}.logits"] - reference.logits_of(model, case, row)).abs().max().item()
        assert error <= LOGITS_TOLERANCE, f"logits of row {i} differ by {error}"
        if not case.group_size and not case.packing:  # what transformers computes left to itself
            with torch.no_grad():
                own = model(input_ids=torch.tensor([row["input_ids"]])).logits
            error = (ours[f"row.{i}.logits"] - own).abs().max().item()
            assert error <= LOGITS_TOLERANCE, f"plain logits of row {i} differ by {error}"
        decoded = ours[f"row.{i}.decoded"].tolist()
        own = reference.generate(model, row["input_ids"][:(len(row["input_ids"]) + 1) // 2], len(decoded))
        assert decoded == own, f"row {i} goes on with {decoded}, and with {own} in transformers"
    loss = reference.step_loss(model, case, rows)
    assert abs(ours["loss"].item() - loss) <= LOSS_TOLERANCE, (ours["loss"].item(), loss)

    gradients = {name.removeprefix("grad."): t for name, t in ours.items() if name.startswith("grad.")}
    assert gradients.keys() == trained.keys(), gradients.keys() ^ trained.keys()
    worst = 0.0
    for name, parameter in trained.items():
        theirs = parameter.grad
        assert theirs.norm() > 0, f"{name} has no gradient to compare"
        error = ((gradients[name] - theirs).norm() / theirs.norm()).item()
        assert error <= GRADIENT_TOLERANCE, f"gradient of {name} differs by {error}"
        worst = max(worst, error)
    print(f"step 1: loss {loss:.6f}; {len(trained)} gradients within {worst:.1e}")


def check_training(case, directory, spec, rows, trainer):
    run = subprocess.run([trainer, "--spec", directory / "spec.json", "--output", directory / "out"],
                         stdout=subprocess.PIPE, text=True, check=True, env=ONE_THREAD)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    ours = [event["loss"] for event in events if event["type"] == "step"]
    model, trained = reference.load_reference(case, directory)
    theirs = reference.train(model, trained, case, spec, rows)
    assert len(ours) == len(theirs) == case.steps, (len(ours), len(theirs))
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    print(f"{case.steps} steps: loss {theirs[0]:.4f} -> {theirs[-1]:.4f}; within {worst:.1e}")
    assert worst <= LOSS_TOLERANCE, list(zip(ours, theirs))
    with torch.no_grad():
        after = reference.step_loss(model, case, reference.rows_of_step(case, rows, 1), backward=False)
    assert after < theirs[0] - 100 * LOSS_TOLERANCE, "the reference did not learn: the case shows nothing"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+", choices=reference.CASES)
    parser.add_argument("--probe", required=True)
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--step-one-only", action="store_true", help="no training: for a quick look")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.cases:
        print(f"-- {name}", flush=True)
        case = reference.CASES[name]
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            spec, documents = reference.write_inputs(case, directory)
            rows = reference.rows_of(case, documents)
            check_step_one(case, directory, spec, rows, options.probe)
            if not options.step_one_only:
                check_training(case, directory, spec, rows, options.trainer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
