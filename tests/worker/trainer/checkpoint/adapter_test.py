"""Goal: peft and transformers load what we write without a missing or unexpected key and compute what was
trained; we read what peft writes. Method: a tiny random Llama, random LoRA, embedding and norms; the
expected logits come from the base model with the weights put in by hand."""

import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import peft
import safetensors.torch
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))

from tests.testing import tiny_model  # noqa: E402

RANK, ALPHA, FACTOR, LENGTH = 4, 8.0, 2.0, 512
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
ROPE = {"rope_type": "linear", "factor": FACTOR, "rope_theta": 10000.0}


def random_weights(model):
    """As the trainer hands them over: lora/MODULE/a|b and trained/PARAMETER, all fp32."""
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, module in model.named_modules():
        if name.endswith(TARGETS):
            weights[f"lora/{name}/a"] = 0.2 * torch.randn(RANK, module.in_features, generator=generator)
            weights[f"lora/{name}/b"] = 0.2 * torch.randn(module.out_features, RANK, generator=generator)
    for name, parameter in model.named_parameters():
        if "norm" in name or "embed" in name:
            weights[f"trained/{name}"] = parameter.detach() + 0.3 * torch.randn(parameter.shape, generator=generator)
    return weights


def load_base(directory, **changes):
    config = transformers.AutoConfig.from_pretrained(directory)
    for key, value in changes.items():
        setattr(config, key, value)
    return transformers.AutoModelForCausalLM.from_pretrained(directory, config=config)


def expected_logits(directory, weights, ids):
    model = load_base(directory, rope_parameters=dict(ROPE))
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    with torch.no_grad():
        for name in weights:
            kind, target, *part = name.split("/")
            if kind == "trained":
                parameters[target].copy_(weights[name])
            elif part == ["a"]:
                modules[target].weight += ALPHA / RANK * weights[f"lora/{target}/b"] @ weights[name]
        return model(ids).logits


def run(probe, command, facts, directory):
    path = directory / "facts.json"
    path.write_text(json.dumps({key: str(v) if isinstance(v, pathlib.Path) else v for key, v in facts.items()}))
    result = subprocess.run([probe, command, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def check_adapter(facts, ids, expected):
    """PeftModel.from_pretrained on the base with the RoPE scaling the adapter's folder tells."""
    rope = json.loads((facts["adapter"] / "rope_scaling.json").read_text())
    assert rope["rope_parameters"] == ROPE and rope["original_max_position_embeddings"] == 256, rope
    base = load_base(facts["base"], rope_parameters=rope["rope_parameters"],
                     max_position_embeddings=rope["max_position_embeddings"])
    before = base(ids).logits.detach()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(base, facts["adapter"])
    assert not [w for w in said if "missing" in str(w.message) or "unexpected" in str(w.message)], said
    loaded = peft.load_peft_weights(facts["adapter"], device="cpu")
    result = peft.set_peft_model_state_dict(model, loaded)
    adapted = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
    assert not adapted and not result.unexpected_keys, (adapted, result.unexpected_keys)
    with torch.no_grad():
        logits = model(ids).logits
    assert (before - expected).abs().max() > 0.1, "the weights must matter"
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def check_merged(facts, weights, ids, expected):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(facts["merged"], output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    assert model.config.rope_parameters["rope_type"] == "linear", model.config.rope_parameters
    assert model.config.rope_parameters["factor"] == FACTOR
    assert model.config.max_position_embeddings == LENGTH
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)
    config = json.loads((facts["merged"] / "config.json").read_text())
    assert config["rope_scaling"] == {"type": "linear", "factor": FACTOR}, "what transformers 4 reads"
    # A reader that knows only the new spelling must find the same.
    del config["rope_scaling"], config["rope_theta"]
    new_only = transformers.LlamaConfig(**config).rope_parameters
    assert {key: new_only[key] for key in ROPE} == ROPE, new_only
    tokenizer = transformers.AutoTokenizer.from_pretrained(facts["merged"])
    assert tokenizer("the mother")["input_ids"] == transformers.AutoTokenizer.from_pretrained(facts["base"])(
        "the mother")["input_ids"]
    assert (facts["merged"] / "model.safetensors.index.json").exists(), "the probe asks for shards"


def check_import(probe, facts, weights, directory):
    """Our own adapter, and the same weights saved by peft, both come back bit for bit."""
    ours = dict(facts, imported=directory / "ours.safetensors")
    run(probe, "import", ours, directory)
    assert_equal(weights, safetensors.torch.load_file(ours["imported"]))

    saved = sorted({name.split("/")[1].split(".")[-2] for name in weights if name.startswith("trained/")})
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), lora_dropout=0.0,
                             modules_to_save=saved, task_type="CAUSAL_LM")
    model = peft.get_peft_model(load_base(facts["base"]), config)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            kind, target, *part = name.split("/")
            if kind == "lora":
                key = f"base_model.model.{target}.lora_{part[0].upper()}.default.weight"
            else:
                module, leaf = target.rsplit(".", 1)
                key = f"base_model.model.{module}.modules_to_save.default.{leaf}"
            parameters[key].copy_(tensor)
    theirs = dict(facts, adapter=directory / "by-peft", imported=directory / "theirs.safetensors")
    model.save_pretrained(theirs["adapter"])
    run(probe, "import", theirs, directory)
    assert_equal(weights, safetensors.torch.load_file(theirs["imported"]))


def assert_equal(expected, actual):
    assert expected.keys() == actual.keys(), expected.keys() ^ actual.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, actual[name]), name


def main(case, probe):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        base = directory / "base"
        tiny_model.make_model(base, tied=case == "tied")
        weights = random_weights(load_base(base))
        safetensors.torch.save_file(weights, directory / "weights.safetensors")
        facts = {"base": base, "weights": directory / "weights.safetensors", "adapter": directory / "adapter",
                 "merged": directory / "merged", "rank": RANK, "alpha": ALPHA, "tied": case == "tied",
                 "factor": FACTOR, "length": LENGTH}
        run(probe, "export", facts, directory)
        ids = torch.randint(0, 384, (1, 300), generator=torch.Generator().manual_seed(9))
        expected = expected_logits(base, weights, ids)
        check_adapter(facts, ids, expected)
        check_merged(facts, weights, ids, expected)
        check_import(probe, facts, weights, directory)
    print(f"{case}: {len(weights)} tensors through peft and transformers and back: equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
