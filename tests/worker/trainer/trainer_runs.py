"""What the whole-trainer tests share: tiny random Llamas and token datasets written without torch, specs, and
running longlora-trainer with its events read as they come."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy
from safetensors.numpy import save_file

TRAINER = os.environ.get("LONGLORA_TRAINER", "")

# common/trainer_protocol/exit_code.h
SUCCEEDED, INTERNAL, INVALID_JOB, STOPPED, OUT_OF_MEMORY, NON_FINITE, RESOURCE = range(7)

VOCABULARY = 64
HIDDEN = 32
LAYERS = 2
HEADS = 4
KV_HEADS = 2
HEAD_SIZE = HIDDEN // HEADS
INTERMEDIATE = 48


def write_model(directory, seed=1, tied=False):
    """A random Llama as Hugging Face lays it out."""
    random = numpy.random.default_rng(seed)
    directory.mkdir(parents=True)

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns)) * 0.1).astype(numpy.float32)

    tensors = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN),
               "model.norm.weight": numpy.ones(HIDDEN, numpy.float32)}
    if not tied:
        tensors["lm_head.weight"] = matrix(VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "input_layernorm.weight"] = numpy.ones(HIDDEN, numpy.float32)
        tensors[prefix + "post_attention_layernorm.weight"] = numpy.ones(HIDDEN, numpy.float32)
        for name, rows, columns in (("self_attn.q_proj", HIDDEN, HIDDEN),
                                    ("self_attn.k_proj", KV_HEADS * HEAD_SIZE, HIDDEN),
                                    ("self_attn.v_proj", KV_HEADS * HEAD_SIZE, HIDDEN),
                                    ("self_attn.o_proj", HIDDEN, HIDDEN),
                                    ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
                                    ("mlp.up_proj", INTERMEDIATE, HIDDEN),
                                    ("mlp.down_proj", HIDDEN, INTERMEDIATE)):
            tensors[f"{prefix}{name}.weight"] = matrix(rows, columns)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_act": "silu",
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied,
        "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}))
    return directory


def write_tokens(path, documents=24, seed=2):
    """Documents of uneven length; some labels are no targets, so that micro-batches count differently. Only a
    quarter of the vocabulary occurs, which is quickly learnt."""
    random = numpy.random.default_rng(seed)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(documents):
            ids = random.integers(0, VOCABULARY // 4, int(random.integers(5, 60))).tolist()
            labels = [-100 if random.random() < 0.3 else token for token in ids[:-1]] + [ids[-1]]
            file.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Run:
    """One trainer process. Its standard output is a pipe of one page that is read byte by byte, so that the
    trainer is at most some twenty events ahead of the test: what a signal meets does not depend on speed."""

    def __init__(self, spec, output, *flags, rank=None, world_size=1, port=0, wrapper=()):
        spec_path = Path(tempfile.mkdtemp(prefix="spec-", dir=Path(output).parent)) / "spec.json"
        spec_path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        # One thread a rank, so that every run rounds alike whatever the number of ranks.
        environment["OMP_NUM_THREADS"] = "1"
        if rank is not None:
            environment.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size),
                               MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        self.events = []
        self.stderr_path = spec_path.parent / "stderr"
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [*wrapper, TRAINER, "--spec", str(spec_path), "--output", str(output), *flags],
                stdout=subprocess.PIPE, stderr=stderr, env=environment, bufsize=0)
        fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, 4096)

    def read_until(self, kind, step=None):
        """Reads events up to the first of that type (and step); fails at the end of the stream."""
        for line in self.process.stdout:
            event = json.loads(line)
            self.events.append(event)
            if event["type"] == kind and step in (None, event.get("step")):
                return event
        raise AssertionError(f"no {kind} {step}: {self.events[-3:]}\n{self.stderr()}")

    def finish(self):
        """Reads the other events and returns the exit code."""
        for line in self.process.stdout:
            self.events.append(json.loads(line))
        self.process.stdout.close()
        return self.process.wait()

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)

    def stderr(self):
        return self.stderr_path.read_text()

    def of(self, kind):
        return [event for event in self.events if event["type"] == kind]

    def warnings(self):
        return [event["message"] for event in self.of("warning")]

    def steps(self):
        """What must not change between equal runs: all of a step but its speed and memory."""
        return [tuple(event[key] for key in ("step", "loss", "learning_rate", "grad_norm", "tokens"))
                for event in self.of("step")]


class TrainerTestCase(unittest.TestCase):
    """A folder with a model and data, and a spec over them."""

    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="longlora-trainer-")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        write_model(self.root / "model")
        write_tokens(self.root / "training.jsonl")
        write_tokens(self.root / "validation.jsonl", documents=6, seed=3)

    def spec(self, **changes):
        """A spec of forty steps in fp32; `changes` replace keys, one level deep for objects."""
        spec = {
            "display_name": "test", "base_model": str(self.root / "model"),
            "dataset": {"training": str(self.root / "training.jsonl"),
                        "validation": str(self.root / "validation.jsonl"), "format": "tokens"},
            "max_sequence_length": 32,
            "method": {"lora": {"rank": 4, "alpha": 8}, "attention": {"group_size": 8}},
            "optimizer": {"learning_rate": 1e-2, "warmup_steps": 2, "schedule": "cosine"},
            "training": {"max_steps": 40, "gradient_accumulation_steps": 2, "precision": "fp32"},
            "evaluation": {"interval_steps": 10},
            "checkpoint": {"interval_steps": 0},
            "resources": {"device": "cpu"}}
        for key, value in changes.items():
            spec[key] = {**spec.get(key, {}), **value} if isinstance(value, dict) else value
        return spec

    def start(self, spec, output="output", *flags, **options):
        run = Run(spec, self.root / output, *flags, **options)

        def end():
            run.process.kill()
            run.process.stdout.close()
            run.process.wait()
        self.addCleanup(end)
        return run

    def complete(self, spec, output="output", *flags, **options):
        """Runs to the end, which must be good."""
        run = self.start(spec, output, *flags, **options)
        code = run.finish()
        self.assertEqual(code, SUCCEEDED, run.stderr())
        return run

    def adapter_bytes(self, output):
        return (self.root / output / "adapter" / "adapter_model.safetensors").read_bytes()
