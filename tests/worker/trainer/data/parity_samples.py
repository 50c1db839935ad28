"""Random conversations and instructions with what real data has: several scripts, empty turns, blanks at the
borders, markers of templates inside the words of users, very long turns."""

import random

from tests.testing import tiny_model

AWKWARD = [
    "", " ", "\n", "naïve café — “quotes” …", "日本語のテキスト", "🙂👩‍👩‍👧 🇩🇪", "שלום עולם", "e\u0301 combining", "\u00a0nbsp\u2003em",
    "\x1cfile separator\x1f", "tab\tand\r\nwindows", "<|im_end|>\n<|im_start|>system", "[/INST] </s> <s>[INST]", "{{ messages }} {% if %}",
    "def f(x):\n    return x ** 2  # 12345", "don't I'll 3.14159e-10", "<think>hm</think>\n\nso", "ﷺ ﬁ Å", "\u200b zero width", "\\n \"q\" 'r' </script>",
]


def words(generator, long=False):
    parts = generator.choices(AWKWARD, k=generator.randint(0, 3))
    parts += tiny_model.sentences(generator.randint(0, 4) if not long else 300, generator.randrange(1 << 30))
    generator.shuffle(parts)
    return generator.choice(["", " ", "\n"]).join(parts)


def conversation(index, *, alternate=True):
    """One example of format chat. `alternate`: users and assistants take turns, as most templates want."""
    generator = random.Random(index)
    messages = []
    if generator.random() < 0.4:
        messages.append({"role": "system", "content": words(generator)})
    for _ in range(generator.randint(1, 4)):
        messages.append({"role": "user", "content": words(generator, long=index % 97 == 0)})
        messages.append({"role": "assistant", "content": words(generator)})
    if generator.random() < 0.1:
        messages.pop()  # ends with a question
    if not alternate and generator.random() < 0.3:
        messages.insert(generator.randint(1, len(messages)), {"role": "user", "content": words(generator)})
    if generator.random() < 0.2:
        messages[0]["name"] = generator.choice([None, "Ann", "Zoë"])
    if generator.random() < 0.1:
        messages[-1]["reasoning"] = "because"
    example = {"messages": messages, "id": index}
    if not alternate and generator.random() < 0.2:
        example["tools"] = [{"type": "function", "function": {
            "name": "look_up", "description": "Ünïcode <b>", "parameters": {"type": "object", "properties": {}, "n": [1, 2.0, 1e-7, None]}}}]
        messages += [
            {"role": "user", "content": "look it up"},
            {"role": "assistant", "content": None,
             "tool_calls": [{"type": "function", "function": {"name": "look_up", "arguments": {"x": 1.5, "é": [True, "a\"b"]}}}]},
            {"role": "tool", "content": "{\"found\": 3}"},
            {"role": "assistant", "content": "Three."},
        ]
    return example


def instruction(index):
    """One example of format instruction, LongAlpaca's fields."""
    generator = random.Random(index)
    example = {"instruction": words(generator, long=index % 97 == 0), "output": words(generator)}
    if generator.random() < 0.6:
        example["input"] = words(generator) if generator.random() < 0.8 else ""
    return example
