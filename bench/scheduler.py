"""What the server bears: a real longlora-server on its own data, and clients, workers and watchers by the thousand.

    ./dev bench scheduler [--jobs 100000] [--workers 1000]
    ./dev bench scheduler --growth

Prints each figure beside what it should be, and the ratio; with --growth a table of how they grow with jobs and
workers. All load comes from this machine, so it takes its share of the cores; other work on the machine makes the
figures worthless.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SERVER = ROOT / "build" / "bin" / "longlora-server"
LOAD = ROOT / "build" / "bench" / "bin" / "scheduler_load"
# All load is of one client, so what holds for each client must not hold it back.
FLAGS = ["--max-creates-per-second", "0", "--max-watches-per-client", "50000", "--max-unfinished-jobs", "200000"]


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
             "--log-level", "warn", *FLAGS], stderr=subprocess.PIPE, text=True)
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

    def busy_percent(self, seconds=10):
        """Of one core."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - before) / seconds

    def idle_percent(self):
        """As busy_percent, once the work of before is done: what is left to place, and the store's log."""
        deadline = time.monotonic() + 60
        while self.busy_percent(1) > 1 and time.monotonic() < deadline:
            pass
        return self.busy_percent()


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
    table.row("submits, 1,500 at a time", load(server, "submit", "--count", 10000, "--in-flight", 1500)["per_second"],
              "1/s", 5000)
    paced = load(server, "submit", "--count", 10000, "--per-second", 1000)
    table.row("submit at 1,000/s, 99th percentile", paced["p99_ms"], "ms", 20, at_least=False)
    load(server, "submit", "--count", max(0, options.jobs - 40000))
    jobs = f"{options.jobs:,} queued jobs"
    table.row(f"resident memory with {jobs}", server.resident_megabytes(), "MB", 500, at_least=False)
    table.row(f"processor while idle with {jobs}", server.idle_percent(), "%", 1, at_least=False)
    with subprocess.Popen([LOAD, "--server", server.address, "idle", "--workers", str(options.workers), "--seconds", "20"],
                          stdout=subprocess.PIPE, text=True) as fleet:
        time.sleep(5)
        busy = server.busy_percent()
        calls = json.loads(fleet.communicate()[0])["calls_per_second"]
    print(f"  the same while {options.workers:,} workers keep in touch, {calls:,.0f} calls/s: {busy:.1f} % of a core",
          flush=True)
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


def growth():
    print(f"{'jobs':>8} {'submit p99':>12} {'memory':>9} {'idle':>7} {'back after':>11}   dispatches/s with 10, 100 and 1,000 "
          "workers of 8")
    for jobs in 1000, 10000, 100000:
        with running_server() as server:
            load(server, "submit", "--count", jobs)
            p99 = load(server, "submit", "--count", 5000, "--per-second", 1000)["p99_ms"]
            memory, idle = server.resident_megabytes(), server.idle_percent()
            server.kill()
            back = server.start()
            dispatches = [load(server, "dispatch", "--workers", workers, "--count", 1000)["per_second"]
                          for workers in (10, 100, 1000)]
            print(f"{jobs:>8,} {p99:>9,.1f} ms {memory:>6,.0f} MB {idle:>5.2f} % {back:>9.2f} s   "
                  + " ".join(f"{rate:>8,.0f}" for rate in dispatches), flush=True)


@contextlib.contextmanager
def running_server():
    with tempfile.TemporaryDirectory(prefix="longlora-bench-", ignore_cleanup_errors=True) as folder:
        server = Server(pathlib.Path(folder))
        try:
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--watchers", type=int, default=10000)
    parser.add_argument("--growth", action="store_true", help="how the figures grow with jobs and workers")
    options = parser.parse_args()
    if options.growth:
        growth()
        return
    with running_server() as server:
        measure(server, options)


if __name__ == "__main__":
    sys.exit(main())
