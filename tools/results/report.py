"""Writes what run.py measured: docs/results/ablations.json and .svg, and docs/results.md from page.md beside this file.

The words of page.md are a person's, and follow the figures by hand; the table is put where it says so.
"""

import datetime
import json
import math
import pathlib

TABLE_PLACE = "@TABLE@"
PLOTTED = ("base model, not interpolated", "base model, interpolated", "LoRA, S²-Attn", "LoRA + norm, S²-Attn",
           "LoRA + embed, S²-Attn", "LoRA + norm + embed, S²-Attn", "LoRA + norm + embed, dense",
           "LoRA + norm + embed, S²-Attn, last 10% dense")


def machine_class() -> str:
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    cores = cpu.count("processor\t")
    units = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 bf16"), ("avx512f", "AVX-512"))
             if flag in cpu]
    return f"{cores} cores {'with ' + units[0] if units else 'without AVX-512'}"


def table(results: list[dict]) -> str:
    lengths = list(results[0]["perplexity"])
    lines = ["| | trained parameters | " + " | ".join(f"{length:,}" for length in lengths)
             + " | fidelity gap |",
             "|---" * (len(lengths) + 3) + "|"]
    for result in results:
        training = result["training"]
        cells = [result["name"], f"{training['trainable_parameters']:,}" if training else "",
                 *(f"{result['perplexity'][length]:.2f}" for length in lengths), f"{result['fidelity_gap']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: list[dict], path: pathlib.Path, length: int) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "longlora"  # the same figures give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    for result in results:
        if result["name"] not in PLOTTED:
            continue
        middle = [(bucket["begin"] + bucket["end"]) / 2 for bucket in result["buckets"]]
        axes.plot(middle, [math.exp(bucket["loss"]) for bucket in result["buckets"]], marker="o", markersize=3,
                  linestyle="--" if result["name"].startswith("base") else "-", label=result["name"])
    axes.set_xlabel(f"tokens of context before the predicted one (rows of {length:,})")
    axes.set_ylabel("perplexity, dense attention")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.yaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, metadata={"Date": None})


def write_report(results: list[dict], docs: pathlib.Path, steps: int, length: int) -> None:
    folder = docs / "results"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"date": datetime.date.today().isoformat(), "machine": machine_class(), "steps": steps,
             "max_sequence_length": length, "results": results}
    (folder / "ablations.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    plot(results, folder / "ablations.svg", length)

    tokens = results[0]["tokens"].values()
    told = (f"`./dev results`, {facts['date']}, {facts['machine']}; {steps} steps of one row of {length:,} tokens; "
            f"perplexity over {min(tokens):,} to {max(tokens):,} targets.\n\n")
    page = (pathlib.Path(__file__).parent / "page.md").read_text()
    (docs / "results.md").write_text(page.replace(TABLE_PLACE, told + table(results)))
