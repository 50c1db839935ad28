"""LongLoRA on one GPU beside transformers + peft on the same GPU: tokens a second and memory, and the estimate of it.

    ./dev bench gpu [--shape llama-2-7b] [--lengths 8192 32768] [--steps 4]

A Llama of random weights is trained for a few steps at each length, in bf16, LoRA of rank 8 on all of attention with
embeddings and norms trained, as LongLoRA does: by longlora-trainer with shifted sparse and with dense attention, and by
transformers' own Llama with peft, SDPA and gradient checkpointing. The first step is left out. Needs an NVIDIA GPU.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

TRAINER = os.environ.get("LONGLORA_TRAINER", str(pathlib.Path(__file__).resolve().parents[1] / "build/bin/longlora-trainer"))
RANK, ALPHA = 8, 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
SHAPES = {  # hidden, intermediate, layers, query heads, key/value heads, vocabulary
    "tiny": (256, 512, 2, 4, 2, 1000),
    "llama-2-7b": (4096, 11008, 32, 32, 32, 32000),
    "llama-3-8b": (4096, 14336, 32, 32, 8, 128256),
}


def write_model(folder, shape, length):
    hidden, intermediate, layers, heads, key_heads, vocabulary = SHAPES[shape]
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        LlamaForCausalLM(LlamaConfig(
            vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=length,
            rms_norm_eps=1e-5)).save_pretrained(folder)
    torch.cuda.empty_cache()  # for those that are measured


def rows_of(options, length):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, SHAPES[options.shape][5], (options.steps, length), generator=generator)


def train_ours(options, folder, length, pattern):
    data = folder / f"data-{length}.jsonl"
    data.write_text("".join(json.dumps({"input_ids": row.tolist()}) + "\n" for row in rows_of(options, length)))
    spec = folder / f"spec-{length}-{pattern}.json"
    spec.write_text(json.dumps({
        "base_model": str(folder / "model"), "max_sequence_length": length,
        "dataset": {"training": str(data), "format": "tokens"},
        "method": {"lora": {"rank": RANK, "alpha": ALPHA}, "trainable": ["embed", "norm"],
                   "attention": {"pattern": pattern}},
        "optimizer": {"learning_rate": 2e-5, "warmup_steps": 0},
        "training": {"max_steps": options.steps, "precision": "bf16"}, "resources": {"device": "cuda"}}))
    began = time.monotonic()
    trainer = subprocess.run([TRAINER, "--spec", spec, "--output", folder / f"output-{length}-{pattern}"],
                             capture_output=True, text=True, check=False)
    if trainer.returncode != 0:
        return {"error": f"code {trainer.returncode}: {trainer.stderr[-500:]}"}
    events = [json.loads(line) for line in trainer.stdout.splitlines()]
    steps = [event for event in events if event["type"] == "step"]
    prepared = next(event for event in events if event["type"] == "prepared")
    return {"tokens_per_second": statistics.median(step["tokens_per_second"] for step in steps[1:]),
            "memory": steps[-1]["memory_bytes"], "estimate": prepared["estimated_memory_bytes"],
            "loss": steps[0]["loss"], "seconds": time.monotonic() - began}


def train_peer(options, folder, length):
    """In a process of its own, so that its memory ends with it."""
    peer = subprocess.run([sys.executable, __file__, "--peer", folder / "model", "--shape", options.shape, "--steps",
                           str(options.steps), "--lengths", str(length)], capture_output=True, text=True, check=False)
    if peer.returncode != 0:
        return {"error": peer.stderr[-500:]}
    return json.loads(peer.stdout.splitlines()[-1])


def be_peer(options):
    model = LlamaForCausalLM.from_pretrained(options.peer, dtype=torch.bfloat16, attn_implementation="sdpa").cuda()
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name or "norm" in name:
            parameter.requires_grad_(True)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5)
    length, speeds, losses = options.lengths[0], [], []
    for row in rows_of(options, length):
        torch.cuda.synchronize()
        began = time.monotonic()
        ids = row.unsqueeze(0).cuda()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        speeds.append(length / (time.monotonic() - began))
    print(json.dumps({"tokens_per_second": statistics.median(speeds[1:]), "memory": torch.cuda.max_memory_allocated(),
                      "loss": losses[0]}))


def show(name, result, peer):
    if "error" in result:
        print(f"  {name:<22} failed: {result['error']}", flush=True)
        return
    line = f"  {name:<22} {result['tokens_per_second']:>9,.0f} tokens/s {result['memory'] / 2**30:>6.1f} GiB   first loss {result['loss']:.4f}"
    if "estimate" in result:
        line += f"   estimate {result['estimate'] / 2**30:.1f} GiB ({result['estimate'] / result['memory'] - 1:+.1%}), {result['seconds']:.0f} s in all"
    if peer is not None and "error" not in peer:
        line += f"   ratio {result['tokens_per_second'] / peer['tokens_per_second']:.2f}"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama-2-7b")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--folder", help="where the model is written (default: a temporary folder)")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        be_peer(options)
        return 0
    if not torch.cuda.is_available():
        print("skipped: there is no NVIDIA GPU on this machine")
        return 0
    with tempfile.TemporaryDirectory(prefix="longlora-bench-", dir=options.folder) as temporary:
        folder = pathlib.Path(temporary)
        write_model(folder / "model", options.shape, max(options.lengths))
        print(f"{options.shape}, {torch.cuda.get_device_name()}", flush=True)
        for length in options.lengths:
            print(f"{length:,} tokens a row", flush=True)
            peer = train_peer(options, folder, length)
            show("transformers + peft", peer, None)
            show("shifted sparse", train_ours(options, folder, length, "shifted_sparse"), peer)
            show("dense", train_ours(options, folder, length, "dense"), peer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
