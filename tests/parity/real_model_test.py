"""Goal: on a real model and a real text our logits and loss are those of transformers (fp32), densely and with
shifted sparse attention. Method: SmolLM2-135M made by the demo's converter from its wheel, one row of 2,048 tokens
of the licence (twice); dense attention as transformers computes it by itself, sparse under an explicit mask."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "demo"))

import convert_model  # noqa: E402  (sets the environment for transformers)
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

LENGTH, GROUP = 2048, 512
LOGITS_TOLERANCE, LOSS_TOLERANCE = 1e-3, 1e-4  # logits reach 43


def sparse_mask(heads):
    """[1, H, T, T] additive: the same group of GROUP tokens, shifted by half a group in the second half of heads."""
    i, j = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)[None]
    masks = []
    for shift in (0, GROUP // 2):
        visible = (j <= i) & ((i + shift) // GROUP == (j + shift) // GROUP)
        masks.append(torch.zeros(LENGTH, LENGTH).masked_fill(~visible, torch.finfo(torch.float32).min))
    return torch.stack([masks[head >= heads // 2] for head in range(heads)])[None]


def ours(probe, directory, ids, attention):
    spec = {"base_model": str(directory / "model"), "dataset": {"training": "-", "format": "tokens"},
            "max_sequence_length": LENGTH, "method": {"attention": attention, "trainable": []},
            "training": {"max_steps": 1, "precision": "fp32"}}
    (directory / "spec.json").write_text(json.dumps(spec))
    save_file({"row.0.input_ids": ids, "row.0.labels": ids.clone(), "row.0.position_ids": torch.arange(LENGTH)[None],
               "row.0.document_starts": torch.tensor([0])}, directory / "rows.safetensors")
    subprocess.run([probe, directory / "model", directory / "spec.json", "-", directory / "rows.safetensors",
                    directory / "out.safetensors"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    out = load_file(directory / "out.safetensors")
    return out["row.0.logits"][0], out["loss"].item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probe", required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        convert_model.convert(convert_model.packaged_gguf(), directory / "model")
        text = (ROOT / "LICENSE").read_text() * 2
        ids = torch.tensor([AutoTokenizer.from_pretrained(directory / "model").encode(text)[:LENGTH]])
        assert ids.shape == (1, LENGTH), ids.shape
        model = AutoModelForCausalLM.from_pretrained(directory / "model", dtype=torch.float32).eval()
        for name, attention, mask in (
                ("dense", {"pattern": "dense"}, None),
                ("shifted_sparse", {"pattern": "shifted_sparse", "group_size": GROUP},
                 sparse_mask(model.config.num_attention_heads))):
            logits, loss = ours(options.probe, directory, ids, attention)
            with torch.no_grad():
                theirs = model(ids, attention_mask=mask, use_cache=False).logits[0]
            error = (logits - theirs).abs().max().item()
            expected = torch.nn.functional.cross_entropy(theirs[:-1], ids[0, 1:]).item()
            print(f"{name}: loss {expected:.6f}, differs by {abs(loss - expected):.1e}; logits by {error:.1e} "
                  f"of at most {theirs.abs().max().item():.1f}", flush=True)
            assert error <= LOGITS_TOLERANCE and abs(loss - expected) <= LOSS_TOLERANCE
            assert expected < 5, "a model that understands nothing (10.8) shows nothing"
    return 0


if __name__ == "__main__":
    sys.exit(main())
