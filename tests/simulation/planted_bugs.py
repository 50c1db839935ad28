#!/usr/bin/env python3
"""Shows that the simulation finds bugs: applies each patch of planted_bugs/ alone to a copy of the sources, builds
longlora-simulation there and runs seeds until one fails. Not part of ./dev test, for it builds once a bug.

    tests/simulation/planted_bugs.py [NAME...]        needs what ./dev build needs
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUGS = pathlib.Path(__file__).with_name("planted_bugs")
COPY = ROOT / "build" / "planted_bugs"
SEEDS = 10_000


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def copy_sources():
    """What is tracked or new, so that uncommitted work is tried, too. Unchanged files keep their times."""
    listed = run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", capture_output=True, text=True).stdout
    for name in listed.splitlines():
        source, target = ROOT / name, COPY / name
        if not source.is_file() or (target.exists() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def build():
    environment = os.environ | {"CCACHE_BASEDIR": str(COPY)}
    if not (COPY / ".deps").exists():
        (COPY / ".deps").symlink_to(ROOT / ".deps")
    if not (COPY / "build" / "build.ninja").exists():
        run("cmake", "-S", COPY, "--preset", "release", "-DLONGLORA_COMPONENTS=server;worker", "-DLONGLORA_CUDA=OFF",
            cwd=COPY, env=environment, stdout=subprocess.DEVNULL)
    run("ninja", "-C", COPY / "build", "longlora-simulation", env=environment, stdout=subprocess.DEVNULL)


def find(seeds):
    """(seed, violation, seconds) of the first seed that fails, or None."""
    start = time.monotonic()
    result = subprocess.run([COPY / "build/bin/longlora-simulation", "--count", str(seeds)], capture_output=True,
                            text=True, errors="replace", check=False)
    failed = re.search(r"^FAILED: seed (\d+): (.*)$", result.stdout, re.M)
    if failed:
        return int(failed[1]), failed[2], time.monotonic() - start
    if result.returncode != 0:
        return -1, (result.stderr.strip().splitlines() or ["crashed"])[0], time.monotonic() - start
    return None


def main():
    names = sorted(path.stem for path in BUGS.glob("*.patch"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bugs", nargs="*", choices=[[], *names], metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    missed = 0
    for name in arguments.bugs or names:
        copy_sources()
        run("patch", "-p1", "--quiet", "-d", COPY, "-i", BUGS / f"{name}.patch")
        build()
        found = find(arguments.seeds)
        if found is None:
            missed += 1
            print(f"{name}: NOT FOUND in {arguments.seeds} seeds", flush=True)
        else:
            print(f"{name}: seed {found[0]}, {found[2]:.1f} s: {found[1]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
