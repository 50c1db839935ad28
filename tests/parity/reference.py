"""The reference side of the parity tests: tiny random models of every family, a `tokens` dataset, a PEFT
adapter to start from, and training with transformers + peft under an explicit (head, i, j) visibility mask."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

IGNORE = -100


@dataclass
class Case:
    """One parity case. group_size 0: dense attention."""

    family: str = "llama"
    tied: bool = False
    heads: int = 6
    kv_heads: int = 2
    head_dim: int | None = 16
    hidden: int = 0  # 0: 16 a head
    row_length: int = 48
    max_positions: int = 48  # of the base model
    group_size: int = 16
    packing: bool = True
    trainable: list = field(default_factory=lambda: ["embed", "norm"])
    targets: list = field(default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"])
    steps: int = 20
    accumulation: int = 2
    config: dict = field(default_factory=dict)  # further keys of the base model's config
    rope: dict = field(default_factory=dict)  # of the base model
    asked: dict | None = None  # method.rope_scaling of the job
    trained_rope: dict | None = None  # what the job must train with; None: the base model's


FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}


def longrope(original, angles=8, **more):
    return {"rope_type": "longrope", "original_max_position_embeddings": original,
            "short_factor": [1.0 + 0.05 * i for i in range(angles)],
            "long_factor": [1.3 + 0.5 * i for i in range(angles)], **more}


CASES = {
    "untied": Case(),
    "tied": Case(tied=True, heads=4, kv_heads=1, targets=["q_proj", "v_proj", "down_proj"]),
    "dense_rows": Case(group_size=0, packing=False, heads=4, kv_heads=4),
    "plain_lora": Case(trainable=[], tied=True, group_size=10),
    "llama_biases": Case(config={"attention_bias": True, "mlp_bias": True}),
    # A window as wide as the row hides nothing.
    "mistral": Case(family="mistral", head_dim=None, config={"sliding_window": 48}),
    "mistral_dense": Case(family="mistral", tied=True, group_size=0, packing=False, heads=4, kv_heads=1,
                          head_dim=24, config={"sliding_window": 48}, targets=["all-linear"]),
    "qwen2": Case(family="qwen2", tied=True, heads=4, kv_heads=2, head_dim=None,
                  config={"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1}),
    "qwen2_dense": Case(family="qwen2", group_size=0, packing=False, heads=4, kv_heads=4, head_dim=None,
                        targets=["all-linear"]),
    "qwen3": Case(family="qwen3", heads=6, kv_heads=2, hidden=72, config={"attention_bias": True}),
    "qwen3_dense": Case(family="qwen3", tied=True, group_size=0, packing=False, heads=4, kv_heads=1, hidden=48,
                        targets=["all-linear"]),
    "phi3": Case(family="phi3", heads=6, kv_heads=3, head_dim=None, targets=FUSED,
                 config={"original_max_position_embeddings": 48}, rope={"partial_rotary_factor": 0.5}),
    "phi3_dense": Case(family="phi3", tied=True, group_size=0, packing=False, heads=4, kv_heads=4, head_dim=None,
                       max_positions=96, targets=["all-linear"],
                       config={"original_max_position_embeddings": 24},
                       rope={**longrope(24, angles=6), "partial_rotary_factor": 0.75}),
    "rope_linear": Case(max_positions=24, heads=9, kv_heads=3, row_length=50,
                        trained_rope={"rope_type": "linear", "factor": 50 / 24}),
    "rope_dynamic": Case(max_positions=24, asked={"type": "dynamic", "factor": 2.0},
                         trained_rope={"rope_type": "dynamic", "factor": 2.0}),
    "rope_dynamic_of_file": Case(max_positions=24, group_size=0, packing=False,
                                 rope={"rope_type": "dynamic", "factor": 3.0}),
    "rope_yarn": Case(max_positions=16, asked={"type": "yarn"},
                      trained_rope={"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 16}),
    "rope_yarn_of_file": Case(family="qwen2", head_dim=None, group_size=0, packing=False,
                              rope={**YARN, "mscale": 0.7, "mscale_all_dim": 0.3, "beta_fast": 4.0, "beta_slow": 0.5,
                                    "truncate": False}),
    "rope_yarn_attention_factor": Case(family="qwen3", rope={**YARN, "attention_factor": 1.25}),
    "rope_llama3": Case(max_positions=128, rope=LLAMA3),
    "rope_longrope_short": Case(max_positions=96, rope=longrope(48, attention_factor=1.5)),
    "rope_longrope_long": Case(max_positions=96, rope=longrope(24, factor=2.5)),
}


def base_config(case, rope=None):
    """The base model's config, or the same with another `rope`."""
    return AutoConfig.for_model(
        case.family,
        vocab_size=131, hidden_size=case.hidden or case.heads * 16, intermediate_size=112, num_hidden_layers=3,
        num_attention_heads=case.heads, num_key_value_heads=case.kv_heads,
        max_position_embeddings=case.max_positions, tie_word_embeddings=case.tied, rms_norm_eps=1e-5,
        initializer_range=0.15, pad_token_id=None, bos_token_id=0, eos_token_id=0,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default", **(case.rope if rope is None else rope)},
        **({"head_dim": case.head_dim} if case.head_dim else {}), **case.config)


def fix_rotation(model, case):
    """Scalings that depend on the length of a text are trained at the row's."""
    rotary = model.model.rotary_emb
    if rotary.rope_type not in ("dynamic", "longrope"):
        return
    inverse, rotary.attention_scaling = ROPE_INIT_FUNCTIONS[rotary.rope_type](model.config, seq_len=case.row_length)
    rotary.inv_freq = inverse
    rotary.rope_type = "default"  # the name under which transformers leaves it alone


def write_inputs(case, directory):
    """Writes model/, adapter/, data.jsonl and spec.json; returns the spec and the documents."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(base_config(case), attn_implementation="eager").float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory / "model")
    targets = "all-linear" if case.targets == ["all-linear"] else case.targets
    adapter = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM"))
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
    if case.asked:
        spec["method"]["rope_scaling"] = case.asked
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
    hidden, documents = torch.finfo(torch.float32).min, row["documents"]
    size, half = case.group_size, case.heads // 2

    def sees(head, i, j):
        shift = 0 if head < half else size // 2
        same_group = not size or (i + shift) // size == (j + shift) // size
        return j <= i and same_group and documents[i] == documents[j]

    length = range(len(documents))
    first, second = ([[0.0 if sees(head, i, j) else hidden for j in length] for i in length] for head in (0, half))
    return torch.tensor([[first] * half + [second] * (case.heads - half)])  # the heads of a half see alike


def logits_of(model, case, row):
    return model(input_ids=torch.tensor([row["input_ids"]]), attention_mask=visibility(case, row),
                 position_ids=torch.tensor([row["position_ids"]]), use_cache=False).logits


def generate(model, prompt, tokens):
    """What transformers' own greedy generation goes on with: always so many tokens, whatever they are."""
    with torch.no_grad():
        output = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False,
                                eos_token_id=[], pad_token_id=0)
    return output[0, len(prompt):].tolist()


def load_reference(case, directory):
    """The adapted model with exactly the case's parameters requiring gradients, by our names."""
    # From the file, so that a key we read otherwise than transformers does is seen.
    config = AutoConfig.from_pretrained(directory / "model")
    if case.trained_rope:
        config = base_config(case, case.trained_rope)
    base = AutoModelForCausalLM.from_pretrained(directory / "model", config=config, dtype=torch.float32,
                                                attn_implementation="eager")
    fix_rotation(base, case)
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
