"""What the server bears: a real longlora-server on its own data, and clients, workers and watchers by the thousand.

    ./dev bench scheduler [--jobs 100000] [--workers 1000]

Prints each figure beside what it should be, and the ratio. All load comes from this machine, so it takes its share of
the cores; other work on the machine makes the figures worthless.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SERVER = ROOT / "build" / "bin" / "longlora-server"
LOAD = ROOT / "build" / "bench" / "bin" / "scheduler_load"


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.process, self.address = None, None
        self.ready_seconds = self.start()

    def start(self):
        """Seconds until it serves."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            [SERVER, "--data-dir", self.folder / "data", "--listen", "127.0.0.1:0", "--metrics-listen", "",
             "--log-level", "warn"], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "ready, gRPC on port" in line:
                self.address = f"127.0.0.1:{line.split('gRPC on port ')[1].split()[0]}"
                return time.monotonic() - began
        raise RuntimeError("the server did not start")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def resident_megabytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1000
        raise RuntimeError("the server is gone")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def idle_percent(self, seconds=10):
        before = self.cpu_seconds()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - before) / seconds


class Table:
    def __init__(self):
        self.missed = 0

    def row(self, what, value, unit, target, at_least=True):
        ratio = value / target
        met = ratio >= 1 if at_least else ratio <= 1
        self.missed += not met
        bound = "at least" if at_least else "at most"
        print(f"{what:<58} {value:>12,.1f} {unit:<9} {bound} {target:>9,.0f}   ratio {ratio:6.2f}{'' if met else '   MISSED'}",
              flush=True)


def load(server, *arguments):
    result = subprocess.run([LOAD, "--server", server.address, *map(str, arguments)], capture_output=True, text=True,
                            check=False)
    if result.returncode != 0:
        raise RuntimeError(f"scheduler_load {arguments}: {result.stderr}")
    report = json.loads(result.stdout)
    if report.get("failures"):
        print(f"  {report['failures']} call(s) of {arguments[0]} failed: {report.get('first_error', '')}", flush=True)
    return report


def measure(server, options):
    table = Table()
    table.row("submits, as fast as they are taken", load(server, "submit", "--count", 20000)["per_second"], "1/s", 5000)
    paced = load(server, "submit", "--count", 10000, "--per-second", 1000)
    table.row("submit at 1,000/s, 99th percentile", paced["p99_ms"], "ms", 20, at_least=False)
    load(server, "submit", "--count", max(0, options.jobs - 30000))
    jobs = f"{options.jobs:,} queued jobs"
    table.row(f"resident memory with {jobs}", server.resident_megabytes(), "MB", 500, at_least=False)
    table.row(f"processor while idle with {jobs}", server.idle_percent(), "%", 1, at_least=False)
    server.kill()
    table.row(f"back after SIGKILL with {jobs}", server.start(), "s", 2, at_least=False)
    report = load(server, "dispatch", "--workers", options.workers, "--count", 5000)
    table.row(f"dispatches with {jobs}, {options.workers:,} workers of 8", report["per_second"], "1/s", 1000)
    table.row("steps taken in, 32 jobs at once", load(server, "events")["events_per_second"], "1/s", 100000)
    watched = load(server, "watch", "--count", options.watchers)
    table.row(f"{options.watchers:,} watchers: from an event to the last of them", watched["deliver_seconds"], "s", 5,
              at_least=False)
    table.row("resident memory at the end", server.resident_megabytes(), "MB", 500, at_least=False)
    print(f"{table.missed} of the bounds missed ({os.cpu_count()} cores, load included).")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--watchers", type=int, default=10000)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="longlora-bench-"))
    try:
        server = Server(folder)
        try:
            measure(server, options)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
