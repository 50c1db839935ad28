"""What a checkpoint costs a run: the real trainer on the demo's job, in turns without and with checkpoints.

    ./dev bench checkpoint_cost [--steps 17] [--interval 4] [--rounds 3] [--length 4096]

A checkpoint costs what the run waits for (the copy of the state, the witness) and what the thread that writes takes
from the cores meanwhile, so whole stretches of steps are compared and not the wait alone. Each round runs the same
steps twice; the cost is the difference by the number of checkpoints, and the ratio printed is the share of the run
that checkpoints take at an interval. Other work on the machine makes the figures worthless.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "demo"))

import convert_model  # noqa: E402
import demo  # noqa: E402
import novels  # noqa: E402

INTERVALS = (20, 50, 100)


def spec(options, interval):
    return {
        "display_name": "checkpoint-cost", "base_model": str(demo.MODEL),
        "dataset": {"training": str(demo.DEMO / "data" / "books.jsonl"), "format": "text"},
        "max_sequence_length": options.length,
        "method": {"lora": {"rank": 8, "alpha": 16}, "trainable": ["embed", "norm"],
                   "attention": {"pattern": "shifted_sparse", "group_ratio": 0.25}},
        "optimizer": {"learning_rate": 4e-4, "warmup_steps": 0},
        "training": {"max_steps": options.steps, "precision": "bf16" if demo.cpu_has_bf16() else "fp32"},
        "checkpoint": {"interval_steps": interval, "keep_last": 1},
        "resources": {"device": "cpu"}}


def run(options, interval, cache):
    """Seconds from the end of the first step to that of the last and of what was being written, seconds of a step
    (median), and the number of checkpoints between."""
    with tempfile.TemporaryDirectory(prefix="longlora-bench-", dir=demo.DEMO) as folder:
        path = pathlib.Path(folder) / "spec.json"
        path.write_text(json.dumps(spec(options, interval)))
        trainer = subprocess.Popen([demo.BINARIES / "longlora-trainer", "--spec", path, "--output", f"{folder}/output",
                                    "--cache-dir", cache], stdout=subprocess.PIPE, text=True)
        ends, saved, end = [], 0, 0.0
        for line in trainer.stdout:
            event = json.loads(line)
            now = time.monotonic()
            if event["type"] == "step":
                ends.append(now)
            if event["type"] == "checkpoint":
                saved += 1
            if event["type"] in ("step", "checkpoint"):
                end = now
        if trainer.wait() != 0:
            raise SystemExit(f"longlora-trainer ended with code {trainer.returncode}")
    steps = [after - before for before, after in zip(ends, ends[1:])]
    return end - ends[0], statistics.median(steps), saved


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=17)
    parser.add_argument("--interval", type=int, default=4, help="steps between checkpoints")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=demo.MAX_SEQUENCE_LENGTH, help="tokens a row")
    options = parser.parse_args()
    demo.prepare()
    cache = demo.DEMO / "cache"
    costs, steps = [], []
    for turn in range(options.rounds):
        # Who goes first changes, so that a machine that warms up favours neither.
        order = (0, options.interval) if turn % 2 == 0 else (options.interval, 0)
        took = {interval: run(options, interval, cache) for interval in order}
        plain, step, _ = took[0]
        saving, _, saved = took[options.interval]
        costs.append((saving - plain) / saved)
        steps.append(step)
        print(f"round {turn + 1}: {options.steps - 1} steps without checkpoints {plain:.1f} s, with {saved} {saving:.1f} s: "
              f"{costs[-1]:.2f} s a checkpoint", flush=True)
    cost, step = statistics.median(costs), statistics.median(steps)
    print(f"A checkpoint costs {cost:.2f} s (from {min(costs):.2f} to {max(costs):.2f}): {cost / step:.2f} steps of "
          f"{step:.2f} s (rows of {options.length} tokens, {os.cpu_count()} cores).")
    for interval in INTERVALS:
        print(f"Every {interval} steps: {100 * cost / (interval * step):.2f} % of the run.")


if __name__ == "__main__":
    sys.exit(main())
