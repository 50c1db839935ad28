"""Goal: examples of format instruction give the tokens and targets that LongLoRA's supervised-fine-tune.py
trains on. Method: its prompts and tokenization written down again in Python, on a thousand varied examples and
two tokenizers, one of which adds <s>."""

import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import parity_models  # noqa: E402
import parity_samples  # noqa: E402

NUM_SAMPLES = 1000
SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information.\n")


def prompt_of(example):
    if example.get("input", "") != "":
        return "[INST] <<SYS>>\n" + SYSTEM + "<</SYS>> \n\n " + "{instruction} \n{input} [/INST]".format_map(example)
    return "[INST]{instruction}[/INST]".format_map(example)


def expected(tokenizer, example):
    """Ids and labels; the labels by offsets, since a token may hold the end of the prompt and a first character
    of the answer. The original masks as many tokens as the prompt alone has: the same, but for such a token."""
    prompt = prompt_of(example)
    encoded = tokenizer(prompt + example["output"] + tokenizer.eos_token, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    labels = [token if right > len(prompt) and right > left else -100
              for token, (left, right) in zip(ids, encoded["offset_mapping"])]
    source = tokenizer(prompt)["input_ids"]
    if ids[:len(source)] == source:
        assert labels == [-100] * len(source) + ids[len(source):]
    return ids, labels, ids[:len(source)] == source


def compare(probe, name, directory):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    samples = [parity_samples.instruction(index) for index in range(NUM_SAMPLES)]
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    for flags in [], ["train_on_prompt"]:
        result = subprocess.run(
            [probe, directory, "instruction", *flags], input=lines, text=True, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
        ours = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(ours) == len(samples)
        as_original = 0
        for sample, document in zip(samples, ours):
            ids, labels, original = expected(tokenizer, sample)
            as_original += original
            assert document["ids"] == ids, (name, sample)
            # Every token is its own label when there are none.
            assert document["labels"] == ([] if flags else labels), (name, sample)
            assert document["ids"][-1] == tokenizer.eos_token_id
        assert as_original > NUM_SAMPLES // 2
    print(f"{name}: {len(samples)} examples equal, {as_original} of them masked exactly as the original does")


def main(probe):
    for name, make in (("tiny", parity_models.tiny), ("pieces", parity_models.pieces), ("SmolLM2", parity_models.smollm2)):
        with tempfile.TemporaryDirectory() as directory:
            make(pathlib.Path(directory))
            compare(probe, name, directory)


if __name__ == "__main__":
    main(sys.argv[1])
