"""Goal: the adapter that a user downloads is the model that was trained. Method: submit, wait, download with
the real client; load with peft and transformers; the loss on the validation set must be the trainer's own.
"""

import json

import pytest
import torch
from cluster import Cluster


def validation_loss(model, rows):
    """Mean over all target tokens of the rows, dense attention."""
    total = count = 0
    with torch.no_grad():
        for row in rows:
            logits = model(input_ids=torch.tensor([row])).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="sum").item()
            count += len(row) - 1
    return total / count


def rows_of(tokens, length):
    return [row for row in (tokens[i : i + length] for i in range(0, len(tokens), length)) if len(row) > 1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_downloaded_results_give_the_trainers_validation_loss(tied, precision):
    import peft
    import transformers

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    with Cluster(devices="cpu:1", model={"tied": tied}) as cluster:
        # One document, so that its rows can be cut here without any knowledge of packing.
        tokens = [1 + (7 * i * i + 3 * i) % 380 for i in range(400)]
        for path in (cluster.training, cluster.validation):
            path.write_text(json.dumps({"input_ids": tokens}) + "\n")
        name = cluster.submit(cluster.spec(
            dataset={"format": "tokens"}, export={"merged": True},
            training={"max_steps": 12, "precision": precision}, optimizer={"learning_rate": 1e-2}))
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED", job
        losses = [event["evaluation"]["loss"] for event in cluster.events(name) if "evaluation" in event]
        assert losses[-1] < losses[0] - 0.1, "training must have helped"

        target = cluster.directory / "results"
        cluster.client("download", name, "--to", target)
        rows = rows_of(tokens, 128)
        base = transformers.AutoModelForCausalLM.from_pretrained(cluster.models / "tiny", dtype=dtype)
        adapted = peft.PeftModel.from_pretrained(base, target / "adapter").eval()
        merged = transformers.AutoModelForCausalLM.from_pretrained(target / "merged", dtype=dtype).eval()
        bound = 1e-4 if precision == "fp32" else 1e-2
        assert validation_loss(adapted, rows) == pytest.approx(losses[-1], abs=bound)
        assert validation_loss(merged, rows) == pytest.approx(losses[-1], abs=bound)
        untouched = transformers.AutoModelForCausalLM.from_pretrained(cluster.models / "tiny", dtype=dtype).eval()
        assert validation_loss(untouched, rows) == pytest.approx(losses[0], abs=bound)
