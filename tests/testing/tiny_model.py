"""A tiny random Llama with a tokenizer, and data for it: real files in real formats, trained in seconds.

Used by every Python test that needs a base model. Deterministic: the same arguments give the same files.
"""

import json
import pathlib
import random

WORDS = (
    "the a of to and in that it was he she her his with as had for not but at be on they by which you from or"
    " were all this one so would there when what their been could them who will more up into time my very only"
    " some such sister mother house morning letter carriage"
).split()


def make_model(directory, *, tied=False, layers=2, hidden=64, heads=4, kv_heads=2, vocab=384, seed=0,
               max_positions=256, dtype="float32"):
    """Writes a Hugging Face directory: config.json, model.safetensors, tokenizer.json."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=max_positions,
        tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    # Norm weights that are not all one, so that a norm left out would be noticed.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    make_tokenizer(directory, vocab)


def make_tokenizer(directory, vocab):
    """A byte-level BPE trained on sentences of WORDS; token 0 is <|endoftext|>."""
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(sentences(200, seed=0), trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>",
    ).save_pretrained(directory)


def sentences(count, seed):
    """Random sentences, the same for the same seed."""
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(5, 30))).capitalize() + "." for _ in range(count)]


def write_text_dataset(path, documents=12, sentences_each=40, seed=1):
    """JSON lines {"text"}; each document a few hundred tokens."""
    with open(path, "w", encoding="utf-8") as out:
        for index in range(documents):
            text = " ".join(sentences(sentences_each, seed * 1000 + index))
            out.write(json.dumps({"text": text}) + "\n")


def write_tokens_dataset(path, lengths, vocab=384, seed=1):
    """JSON lines {"input_ids"}, one document of each of `lengths`."""
    generator = random.Random(seed)
    with open(path, "w", encoding="utf-8") as out:
        for length in lengths:
            out.write(json.dumps({"input_ids": [generator.randrange(1, vocab) for _ in range(length)]}) + "\n")


def job(training_file, validation_file="", **changes):
    """A job file for the tiny model as a dict; `changes` replaces or merges top-level keys."""
    spec = {
        "display_name": "tiny",
        "base_model": "tiny",
        "dataset": {"training": str(training_file), "validation": str(validation_file), "format": "text"},
        "max_sequence_length": 128,
        "method": {"lora": {"rank": 4, "alpha": 8}, "attention": {"pattern": "shifted_sparse", "group_ratio": 0.25}},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
        "training": {"max_steps": 8, "gradient_accumulation_steps": 1, "precision": "fp32"},
        "checkpoint": {"interval_steps": 4},
        "resources": {"device": "cpu", "devices_per_node": 1},
    }
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(spec.get(key), dict):
            spec[key] = {**spec[key], **value}
        else:
            spec[key] = value
    return {key: value for key, value in spec.items() if value is not None}


if __name__ == "__main__":
    import sys

    make_model(pathlib.Path(sys.argv[1]))
