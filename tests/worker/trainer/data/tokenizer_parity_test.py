"""Goal: our token ids equal transformers'. Method: a byte-level BPE tokenizer trained here; both sides
encode the same awkward texts."""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))

from tests.testing import tiny_model  # noqa: E402

TEXTS = [
    "", " ", "a", "The mother of the house was in the morning letter.", "two  blanks\tand\nlines\r\n\r\n  indented",
    "naïve café — “quotes” … 日本語のテキスト 🙂👩‍👩‍👧", "don't we'll I'm 12345 3.14159 x=y+z;", "<|endoftext|>inside<|endoftext|>",
    "\u0000\u0007\ufeff", "carriage " * 2000,
]


def main(probe):
    import transformers

    with tempfile.TemporaryDirectory() as directory:
        tiny_model.make_tokenizer(directory, 384)
        reference = transformers.AutoTokenizer.from_pretrained(directory)
        result = subprocess.run(
            [probe, directory], input="".join(json.dumps(text) + "\n" for text in TEXTS), text=True,
            capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    facts, *ids = [json.loads(line) for line in result.stdout.splitlines()]
    assert facts == {"eos": reference.eos_token_id, "vocab_size": len(reference)}, facts
    assert len(ids) == len(TEXTS)
    for text, ours in zip(TEXTS, ids):
        theirs = reference(text, add_special_tokens=False)["input_ids"]
        assert ours == theirs, (text, ours[:20], theirs[:20])
    assert sum(map(len, ids)) > 2000
    print(f"{len(TEXTS)} texts, {sum(map(len, ids))} tokens: equal")


if __name__ == "__main__":
    main(sys.argv[1])
