"""`./dev demo`: one real LongLoRA fine-tune on this machine, with the real programs, end to end.

Prepares a real model and real books, starts longlora-server and longlora-worker on loopback, and then does
what a user does: `longlora submit --wait`, `longlora download`. Everything lies in .demo/. Needs the build
(`./dev demo` makes it) and no network.
"""

import argparse
import json
import math
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys

import check_adapter
import convert_model
import novels
from services import ServiceError, Services

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = ROOT / "build" / "bin"
DEMO = ROOT / ".demo"
MODEL = DEMO / "models" / convert_model.MODEL_NAME
JOB_FILE = DEMO / "job.yaml"
RESULT = DEMO / "result"
ADAPTER = RESULT / "adapter"
MAX_SEQUENCE_LENGTH = 4096
STEPS = 6

JOB = """\
# A LongLoRA fine-tune of SmolLM2-135M on five novels of Jane Austen; a sixth is held out.
# Every key is explained in README.md. Written by ./dev demo, which overwrites it.
display_name: austen-4k
base_model: {model}          # a folder in the worker's --model-dir
dataset:
  training: data/books.jsonl        # paths count from this file; the client uploads them once
  validation: data/held-out.jsonl
  format: text                      # {{"text": ...}} lines, a book each
  packing: true                     # rows of exactly max_sequence_length tokens
max_sequence_length: {length}
method:
  lora: {{rank: 8, alpha: 16, target_modules: [q_proj, k_proj, v_proj, o_proj]}}
  trainable: [embed, norm]          # with LoRA: what makes it LongLoRA
  attention: {{pattern: shifted_sparse, group_ratio: 0.25}}   # groups of {group} tokens in training
optimizer: {{learning_rate: {learning_rate}, warmup_steps: 0}}   # a short run: no time to warm up
training:
  max_steps: {steps}
  micro_batch_size: 1
  gradient_accumulation_steps: {accumulation}
  precision: {precision}                   # {precision_reason}
evaluation: {{interval_steps: {evaluation_interval}}}     # dense attention, also before the first step
checkpoint: {{interval_steps: {checkpoint_interval}, keep_last: 1}}
resources: {{device: cpu}}
"""


def say(text: str) -> None:
    print(text, flush=True)


def cpu_has_bf16() -> bool:
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def write_job(steps: int, precision: str | None) -> str:
    """Writes the job file and returns its precision."""
    precision = precision or ("bf16" if cpu_has_bf16() else "fp32")
    reason = "this CPU multiplies bf16" if cpu_has_bf16() else "this CPU has no bf16 multiplication"
    JOB_FILE.parent.mkdir(parents=True, exist_ok=True)
    JOB_FILE.write_text(JOB.format(
        model=convert_model.MODEL_NAME, length=MAX_SEQUENCE_LENGTH, group=MAX_SEQUENCE_LENGTH // 4,
        learning_rate="4.0e-4", steps=steps, accumulation=1, precision=precision, precision_reason=reason,
        evaluation_interval=steps, checkpoint_interval=max(1, steps // 2)))
    return precision


class Client:
    """The command-line client, aimed at one server."""

    def __init__(self, address: str):
        self.environment = {**os.environ, "LONGLORA_SERVER": address}

    def run(self, *words, **options) -> int:
        """Runs `longlora WORD...` with its output on this terminal; returns its exit code."""
        say("$ longlora " + shlex.join(str(word) for word in words))
        return subprocess.run([BINARIES / "longlora", *words], env=self.environment, **options).returncode

    def query(self, *words):
        """The parsed answer of `longlora WORD... --output json`."""
        finished = subprocess.run([BINARIES / "longlora", *words, "--output", "json"], env=self.environment,
                                  stdout=subprocess.PIPE, check=True)
        return json.loads(finished.stdout)

    def newest_job(self) -> str | None:
        """Its short name."""
        jobs = self.query("list").get("jobs", [])
        return jobs[0]["name"].removeprefix("fineTuneJobs/") if jobs else None


def evaluations(client: Client, job: str) -> list[dict]:
    """The validation results of a finished job, in order."""
    output = subprocess.run([BINARIES / "longlora", "watch", job, "--output", "json"], env=client.environment,
                            stdout=subprocess.PIPE, check=True).stdout.decode()
    # One event a line; whole numbers of 64 bits are strings in protobuf's JSON, and zeros are left out.
    found = [json.loads(line).get("evaluation") for line in output.splitlines()]
    return [{"step": int(entry.get("step", 0)), "tokens": int(entry["tokens"]), "loss": entry["loss"],
             "perplexity": entry["perplexity"]} for entry in found if entry]


def prepare() -> None:
    say(f"Model: {convert_model.packaged_gguf().name} -> {MODEL.relative_to(ROOT)}")
    convert_model.convert(convert_model.packaged_gguf(), MODEL)
    say(f"Books: Debian's r-cran-janeaustenr -> {(DEMO / 'data').relative_to(ROOT)}")
    novels.write_novels(DEMO / "data")


def train(client: Client) -> str:
    """Submits the job, waits for its end, downloads the adapter; returns the job's name."""
    code = client.run("submit", "-f", JOB_FILE, "--wait")
    job = client.newest_job()
    if code != 0 or job is None:
        raise ServiceError(f"longlora submit ended with code {code}")
    shutil.rmtree(RESULT, ignore_errors=True)
    if client.run("download", job, "--to", RESULT) != 0:
        raise ServiceError(f"the adapter of {job} could not be downloaded")
    return job


def report(client: Client, job: str) -> dict:
    results = evaluations(client, job)
    if len(results) < 2:
        raise ServiceError(f"{job} reported {len(results)} evaluations; before and after were expected")
    before, after = results[0], results[-1]
    say("")
    say(f"Validation on the held-out novel, dense attention, {after['tokens']:,} tokens:")
    for label, result in (("before", before), (f"after {after['step']} steps", after)):
        say(f"  {label:16} loss {result['loss']:.4f}   perplexity {result['perplexity']:.2f}")
    say(f"Adapter (PEFT format): {ADAPTER}")
    return after


def check(after: dict, precision: str) -> None:
    """The adapter in peft and transformers gives the trainer's validation loss."""
    say("\nLoading the adapter with peft.PeftModel.from_pretrained and evaluating it with transformers ...")
    loss, targets = check_adapter.adapter_loss(MODEL, ADAPTER, DEMO / "data" / "held-out.jsonl",
                                               MAX_SEQUENCE_LENGTH, precision)
    say(f"  peft {loss:.4f} over {targets:,} targets, trainer {after['loss']:.4f}, "
        f"difference {abs(loss - after['loss']):.5f} (allowed {check_adapter.TOLERANCE})")
    if targets != after["tokens"] or not math.isclose(loss, after["loss"], abs_tol=check_adapter.TOLERANCE):
        raise ServiceError("the adapter does not give the trainer's validation loss")


def say_next(services: Services, job: str, kept: bool) -> None:
    say("\nTry next:")
    if not kept:
        say("  ./dev demo --keep        # leaves server and worker running; or start them by hand:")
        for command in (services.server_command, services.worker_command):
            say("  " + shlex.join(str(word) for word in command) + " &")
    say(f"  export LONGLORA_SERVER={services.address} PATH=$PATH:{BINARIES}")
    say(f"  longlora list; longlora workers; longlora get {job}; longlora checkpoints {job}")
    say(f"  longlora submit -f {JOB_FILE.relative_to(ROOT)} --wait")
    say(f"  curl http://{services.server_metrics}/metrics")
    say("  ./dev demo --check       # the adapter in peft and transformers, against the trainer's loss")


def cancel_unfinished(client: Client) -> None:
    """After Ctrl-C or an error: a job left behind would go on when the demo starts again."""
    try:
        job = client.newest_job()
        if job and client.query("get", job)["state"] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
            client.run("cancel", job)
    except (OSError, subprocess.CalledProcessError, json.JSONDecodeError):
        pass  # the server is not there: nothing of it runs on


def run(arguments: argparse.Namespace) -> None:
    prepare()
    precision = write_job(arguments.steps, arguments.precision)
    services = Services(BINARIES, DEMO, DEMO / "models")
    client = Client(services.address)
    finished = False
    try:
        services.start()
        say(f"Server on {services.address}, worker connected; logs in {services.logs.relative_to(ROOT)}\n")
        job = train(client)
        after = report(client, job)
        if arguments.check:
            check(after, precision)
        finished = True
        say_next(services, job, arguments.keep)
        if arguments.keep:
            say("\nServer and worker are running; Ctrl-C ends them.")
            signal.pause()
    finally:
        if not finished and services.processes:
            cancel_unfinished(client)
        services.stop()


def stop_like_ctrl_c(*_) -> None:
    """A CI job that is ended must stop server and worker, too."""
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description="A real LongLoRA fine-tune on this machine.")
    parser.add_argument("--keep", action="store_true", help="leave server and worker running until Ctrl-C")
    parser.add_argument("--check", action="store_true", help="also evaluate the adapter with peft and transformers")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps (default: {STEPS})")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="default: bf16 where the CPU multiplies it")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except KeyboardInterrupt:
        say(f"\nStopped. Logs: {DEMO / 'logs'}")
        return 130
    except (ServiceError, subprocess.CalledProcessError, OSError) as error:
        print(f"\nThe demo failed: {error}\nLogs: {DEMO / 'logs'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_like_ctrl_c)
    sys.exit(main())
