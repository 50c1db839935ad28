"""Loads the downloaded adapter with peft on the converted model and evaluates it: `./dev demo --check`.

The proof that the adapter is what it says: transformers and peft know nothing of this project, and must
find the validation loss that the trainer reported. Rows are cut as the trainer cuts them: every document
with its end-of-text token, in pieces of max_sequence_length; attention is dense, positions start at 0.
"""

import json
import pathlib
import warnings

TOLERANCE = 1e-2  # nats; the trainer evaluates in bf16 where the job says so, peft here likewise


def validation_rows(tokenizer, path: pathlib.Path, max_sequence_length: int):
    """Token ids of each row. One document a file: a row then never holds a document's border."""
    import torch

    lines = [line for line in path.read_text().splitlines() if line.strip()]
    if len(lines) != 1:
        raise ValueError(f"{path} has {len(lines)} documents; this check cuts rows of a single one")
    ids = tokenizer.encode(json.loads(lines[0])["text"], add_special_tokens=False) + [tokenizer.eos_token_id]
    for begin in range(0, len(ids), max_sequence_length):
        row = ids[begin : begin + max_sequence_length]
        if len(row) > 1:
            yield torch.tensor([row])


def mean_loss(model, rows) -> tuple[float, int]:
    """Mean cross-entropy over all targets, and their number."""
    import torch
    from torch.nn.functional import cross_entropy

    total, targets = 0.0, 0
    with torch.no_grad():
        for row in rows:
            hidden = model.get_decoder()(input_ids=row).last_hidden_state[0, :-1]
            # In pieces: the logits of a whole row would take gigabytes.
            for states, labels in zip(hidden.split(512), row[0, 1:].split(512)):
                logits = model.get_output_embeddings()(states).float()
                total += cross_entropy(logits, labels, reduction="sum").item()
            targets += row.shape[1] - 1
    return total / targets, targets


def adapter_loss(model_path: pathlib.Path, adapter: pathlib.Path, validation: pathlib.Path,
                 max_sequence_length: int, precision: str) -> tuple[float, int]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # peft warns of tied weights in an adapter: ours holds both with the same values, on purpose.
    warnings.simplefilter("ignore")
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.model_max_length = max_sequence_length * 1000  # rows are cut here, do not warn
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype)
    model = PeftModel.from_pretrained(base, adapter).eval()
    return mean_loss(model.get_base_model(), validation_rows(tokenizer, validation, max_sequence_length))


def base_loss(model_path: pathlib.Path, validation: pathlib.Path, max_sequence_length: int,
              precision: str) -> tuple[float, int]:
    """The same of a model alone: the base before training, or a merged one after."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype).eval()
    return mean_loss(model, validation_rows(tokenizer, validation, max_sequence_length))
