"""Goal: conversations give the token ids that transformers' apply_chat_template gives, and loss on the same
tokens as its assistant mask. Method: a thousand varied conversations through five templates and three
tokenizers on both sides. Where a template has no {% generation %} block, the mask is made here from rendered
prefixes and the reference's own offsets."""

import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import parity_models  # noqa: E402
import parity_samples  # noqa: E402

NUM_SAMPLES = 1000
# chat_template.h: what the trainer tells templates that ask for the date.
DATE = datetime.datetime(2024, 7, 26, 12)


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return DATE


def prefix_mask(tokenizer, example):
    """Tokens of text that the template writes for an assistant's message after its prompt."""
    messages, tools = example["messages"], example.get("tools")

    def text_of(count, prompt):
        return tokenizer.apply_chat_template(messages[:count], tools=tools, tokenize=False, add_generation_prompt=prompt)

    whole = text_of(len(messages), False)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    mask = [0] * len(encoded["input_ids"])
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        begin, end = len(text_of(index, True)), len(text_of(index + 1, False))
        assert whole.startswith(text_of(index, True)) and whole.startswith(text_of(index + 1, False))
        for token, (left, right) in enumerate(encoded["offset_mapping"]):
            if left < end and right > begin:
                mask[token] = 1
    return encoded["input_ids"], mask


def generation_mask(tokenizer, example):
    encoded = tokenizer.apply_chat_template(
        example["messages"], tools=example.get("tools"), tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return encoded["input_ids"], encoded["assistant_masks"]


def compare(probe, name, directory, samples, mask_of):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    lines = "".join(json.dumps(sample, ensure_ascii=index % 2 == 0) + "\n" for index, sample in enumerate(samples))
    result = subprocess.run([probe, directory, "chat"], input=lines, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    ours = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(ours) == len(samples), (len(ours), len(samples))
    tokens = targets = 0
    for sample, document in zip(samples, ours):
        ids, mask = mask_of(tokenizer, sample)
        direct = tokenizer.apply_chat_template(
            sample["messages"], tools=sample.get("tools"), tokenize=True, return_dict=True)["input_ids"]
        assert ids == direct
        if not any(mask[1:]):
            assert document is None, (name, sample, document)
            continue
        assert document is not None and "error" not in document, (name, sample, document)
        assert document["ids"] == ids, (name, sample, tokenizer.decode(document["ids"]), tokenizer.decode(ids))
        expected = [token if chosen else -100 for token, chosen in zip(ids, mask)]
        assert document["labels"] == expected, (name, sample)
        tokens += len(ids)
        targets += sum(mask)
    assert targets > 10 * len(samples)
    print(f"{name}: {len(samples)} conversations, {tokens} tokens, {targets} targets: equal")


def with_template(make, directory, template, **special_tokens):
    import transformers

    make(directory)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    for key, value in special_tokens.items():
        setattr(tokenizer, key, value)
    if template is not None:
        tokenizer.chat_template = template
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        pathlib.Path(directory, file).unlink(missing_ok=True)
    tokenizer.save_pretrained(directory)


def main(probe):
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = FixedDate
    plain = [parity_samples.conversation(index) for index in range(NUM_SAMPLES)]
    wild = [parity_samples.conversation(index, alternate=False) for index in range(NUM_SAMPLES)]
    texts = [{"messages": [m for m in sample["messages"] if isinstance(m["content"], str)]} for sample in wild]
    cases = [
        ("SmolLM2 as shipped (ChatML)", parity_models.smollm2, None, {}, texts, prefix_mask),
        ("ChatML with generation blocks", parity_models.smollm2, parity_models.CHATML_WITH_GENERATION, {}, texts, generation_mask),
        ("Llama 3 headers", parity_models.tiny, parity_models.HEADERS, {}, wild, prefix_mask),
        ("Mistral instruct", parity_models.pieces, parity_models.INSTRUCT, {}, plain, prefix_mask),
        ("Zephyr blocks", parity_models.pieces, parity_models.BLOCKS, {}, texts, prefix_mask),
        ("features of Jinja2 and Python", parity_models.tiny, parity_models.FEATURES, {}, wild, generation_mask),
    ]
    for name, make, template, special_tokens, samples, mask_of in cases:
        with tempfile.TemporaryDirectory() as directory:
            with_template(make, pathlib.Path(directory), template, **special_tokens)
            compare(probe, name, directory, samples, mask_of)


if __name__ == "__main__":
    main(sys.argv[1])
