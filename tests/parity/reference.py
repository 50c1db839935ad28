"""The reference side of the parity tests: tiny random Llamas, a `tokens` dataset, a PEFT adapter to start
from, and training with transformers + peft under an explicit (head, i, j) visibility mask."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

IGNORE = -100


@dataclass
class Case:
    """One parity case. group_size 0: dense attention."""

    tied: bool = False
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 16
    row_length: int = 48
    max_positions: int = 48  # of the base model; shorter than the row: linear RoPE scaling
    group_size: int = 16
    packing: bool = True
    trainable: list = field(default_factory=lambda: ["embed", "norm"])
    targets: list = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"])
    steps: int = 20
    accumulation: int = 2

    @property
    def rope_factor(self):
        return max(1.0, self.row_length / self.max_positions)


CASES = {
    "untied": Case(),
    "tied": Case(tied=True, heads=4, kv_heads=1, targets=["q_proj", "v_proj", "down_proj"]),
    "rope_linear": Case(max_positions=24, heads=9, kv_heads=3, row_length=50),
    "dense_rows": Case(group_size=0, packing=False, heads=4, kv_heads=4),
    "plain_lora": Case(trainable=[], tied=True, group_size=10),
}


def base_config(case, factor=1.0):
    rope = {"rope_theta": 10000.0, "rope_type": "default"}
    if factor > 1.0:
        rope = {"rope_theta": 10000.0, "rope_type": "linear", "factor": factor}
    return LlamaConfig(
        vocab_size=131, hidden_size=case.heads * 16, intermediate_size=112, num_hidden_layers=3,
        num_attention_heads=case.heads, num_key_value_heads=case.kv_heads, head_dim=case.head_dim,
        max_position_embeddings=case.max_positions, tie_word_embeddings=case.tied, rms_norm_eps=1e-5,
        initializer_range=0.15, rope_parameters=rope, attn_implementation="eager", pad_token_id=None,
        bos_token_id=0, eos_token_id=0)


def write_inputs(case, directory):
    """Writes model/, adapter/, data.jsonl and spec.json; returns the spec and the documents."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(base_config(case)).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory / "model")
    adapter = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=case.targets,
                                               task_type="CAUSAL_LM"))
    with torch.no_grad():  # B is not zero, so that A has gradients from the first step on
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    adapter.save_pretrained(directory / "adapter")

    generator = torch.Generator().manual_seed(2)
    documents = []
    while sum(len(ids) for ids, _ in documents) < case.row_length * case.accumulation * case.steps:
        length = int(torch.randint(3, case.row_length * 3 // 2, (1,), generator=generator))
        ids = torch.randint(1, 131, (length,), generator=generator).tolist()
        masked = [IGNORE if i % 7 == 3 else token for i, token in enumerate(ids)]
        documents.append((ids, masked))
    with open(directory / "data.jsonl", "w") as file:
        for ids, labels in documents:
            file.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")

    attention = {"pattern": "dense"}
    if case.group_size:
        attention = {"pattern": "shifted_sparse", "group_size": case.group_size}
    spec = {
        "display_name": "parity", "base_model": str(directory / "model"),
        "dataset": {"training": str(directory / "data.jsonl"), "format": "tokens",
                    "packing": case.packing, "shuffle": False},
        "max_sequence_length": case.row_length,
        "method": {
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": case.targets},
            "trainable": case.trainable, "attention": attention,
            "initial_adapter": str(directory / "adapter")},
        "optimizer": {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8,
                      "weight_decay": 0.0, "schedule": "constant", "warmup_steps": 3,
                      "max_grad_norm": 1.0},
        "training": {"max_steps": case.steps, "micro_batch_size": 1,
                     "gradient_accumulation_steps": case.accumulation, "seed": 0,
                     "precision": "fp32"},
        "resources": {"device": "cpu", "nodes": 1, "devices_per_node": 1}}
    (directory / "spec.json").write_text(json.dumps(spec, indent=1))
    return spec, documents


def rows_of(case, documents):
    """Rows as dicts of lists. Packed: documents joined and cut every row_length, the rest left out.
    A document's first token in a row is no target, and positions restart there."""
    if case.packing:
        tokens = [(i, t, l) for i, (ids, labels) in enumerate(documents) for t, l in zip(ids, labels)]
        pieces = [tokens[i:i + case.row_length]
                  for i in range(0, len(tokens) - case.row_length + 1, case.row_length)]
    else:
        pieces = [[(i, t, l) for t, l in zip(ids[b:b + case.row_length], labels[b:b + case.row_length])]
                  for i, (ids, labels) in enumerate(documents)
                  for b in range(0, len(ids), case.row_length)]
    rows = []
    for piece in pieces:
        starts = [t for t in range(len(piece)) if t == 0 or piece[t][0] != piece[t - 1][0]]
        row = {"input_ids": [t for _, t, _ in piece], "labels": [l for _, _, l in piece],
               "position_ids": [], "document_starts": starts, "documents": [d for d, _, _ in piece]}
        for t in range(len(piece)):
            row["position_ids"].append(t - max(s for s in starts if s <= t))
        for start in starts:
            row["labels"][start] = IGNORE
        if any(label != IGNORE for label in row["labels"]):
            rows.append(row)
    return rows


def visibility(case, row):
    """[1, H, T, T] additive mask: the rule of the method, written out pair by pair."""
    length = len(row["input_ids"])
    mask = torch.full((1, case.heads, length, length), torch.finfo(torch.float32).min)
    for head in range(case.heads):
        shift = 0 if head < case.heads // 2 else case.group_size // 2
        for i in range(length):
            for j in range(i + 1):
                same_group = not case.group_size or \
                    (i + shift) // case.group_size == (j + shift) // case.group_size
                if same_group and row["documents"][i] == row["documents"][j]:
                    mask[0, head, i, j] = 0.0
    return mask


def logits_of(model, case, row):
    return model(input_ids=torch.tensor([row["input_ids"]]), attention_mask=visibility(case, row),
                 position_ids=torch.tensor([row["position_ids"]]), use_cache=False).logits


def load_reference(case, directory):
    """The adapted model with exactly the case's parameters requiring gradients, by our names."""
    config = base_config(case, case.rope_factor)
    base = LlamaForCausalLM.from_pretrained(directory / "model", config=config, dtype=torch.float32,
                                            attn_implementation="eager")
    model = PeftModel.from_pretrained(base, directory / "adapter", is_trainable=True)
    trained = {}
    for name, parameter in model.named_parameters():
        short = name.removeprefix("base_model.model.").replace(".default", "").replace(".base_layer", "")
        wanted = "lora_" in name or ("embed" in case.trainable and "embed_tokens" in name) or \
            ("norm" in case.trainable and "norm" in name)
        parameter.requires_grad_(wanted)
        if wanted:
            trained[short] = parameter
    return model.train(), trained


def step_loss(model, case, rows, backward=True):
    """Mean over the targets of all rows, as one optimizer step sees it."""
    targets = sum(label != IGNORE for row in rows for label in row["labels"][1:])
    total = 0.0
    for row in rows:
        logits = logits_of(model, case, row)[0, :-1]
        loss = F.cross_entropy(logits, torch.tensor(row["labels"][1:]), ignore_index=IGNORE,
                               reduction="sum") / targets
        if backward:
            loss.backward()
        total += loss.item()
    return total


def rows_of_step(case, rows, step):
    """Rows of update `step` (from 1), in the order of the file."""
    first = (step - 1) * case.accumulation
    return rows[first:first + case.accumulation]


def train(model, trained, case, spec, rows):
    """Loss of each update."""
    options = spec["optimizer"]
    optimizer = torch.optim.AdamW(trained.values(), lr=options["learning_rate"],
                                  betas=(options["beta1"], options["beta2"]), eps=options["epsilon"],
                                  weight_decay=options["weight_decay"])
    warmup = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, step / options["warmup_steps"]))
    losses = []
    for step in range(1, case.steps + 1):
        losses.append(step_loss(model, case, rows_of_step(case, rows, step)))
        torch.nn.utils.clip_grad_norm_(trained.values(), options["max_grad_norm"])
        optimizer.step()
        warmup.step()
        optimizer.zero_grad()
    return losses


def write_rows(rows, path):
    tensors = {}
    for i, row in enumerate(rows):
        for key in ("input_ids", "labels", "position_ids"):
            tensors[f"row.{i}.{key}"] = torch.tensor([row[key]])
        tensors[f"row.{i}.document_starts"] = torch.tensor(row["document_starts"])
    save_file(tensors, path)
