"""A whole longlora on this machine: real server, worker, trainers and client, on free ports of loopback.

Nothing in here is a stand-in. Each Cluster lives in its own temporary directory; whatever it started is
killed when it closes, and `stray_processes` tells whether a trainer outlived its job. With LONGLORA_KEEP in the
environment the directory of a test that failed stays.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "testing"))
import tiny_model  # noqa: E402

BIN = pathlib.Path(os.environ.get("LONGLORA_BIN", ROOT / "build" / "bin"))
FINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}


def free_port():
    """Below those that the system gives to outgoing connections, which would take it while its server is dead."""
    end = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10000, end)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(condition, what, timeout=60.0):
    """Polls until `condition()` is true and returns its value; fails the test with `what` otherwise."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout:.0f} s in vain: {what}")


class Cluster:
    """Use as a context manager. `devices` is the worker's --devices."""

    host = "127.0.0.1"  # where the server listens
    # What the commands of the server and its users, and of the worker, begin with: see network.py.
    server_side = worker_side = ()
    plaintext = ()  # the flag that allows it beyond loopback

    def __init__(self, devices="cpu:2", lease="4s", worker_flags=(), server_flags=(), model=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="longlora-cluster-"))
        self.models = self.directory / "models"
        self.devices, self.lease = devices, lease
        self.worker_flags, self.server_flags = list(worker_flags), list(server_flags)
        self.port, self.metrics_port, self.worker_metrics_port = free_port(), free_port(), free_port()
        self.server = self.worker = None
        self.daemons = []  # every process that was started here, dead ones too
        tiny_model.make_model(self.models / "tiny", **(model or {}))
        self.training = self.directory / "training.jsonl"
        self.validation = self.directory / "validation.jsonl"
        tiny_model.write_text_dataset(self.training)
        tiny_model.write_text_dataset(self.validation, documents=2, seed=2)

    def __enter__(self):
        try:
            self.start_server()
            self.start_worker()
            self.wait_for_worker()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, traceback):
        for process in self.daemons:
            process.kill()
            process.wait()
        self.signal(self.stray_processes(), signal.SIGKILL)
        if kind is not None:
            for log in sorted(self.directory.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}", file=sys.stderr)
        if kind is None or not os.environ.get("LONGLORA_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    # -- processes

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def _spawn(self, name, *arguments):
        with open(self.directory / f"{name}.log", "ab") as log:
            # LONGLORA_TEST_CLUSTER marks all descendants, however they are re-parented.
            environment = {**os.environ, "LONGLORA_TEST_CLUSTER": str(self.directory)}
            self.daemons.append(
                subprocess.Popen([str(a) for a in arguments], stdout=log, stderr=log, env=environment))
        return self.daemons[-1]

    def spawn_server(self, name, *flags):
        """A server on the cluster's address and data, whose log is NAME.log."""
        return self._spawn(
            name, *self.server_side, BIN / "longlora-server", "--data-dir", self.directory / "data", "--listen",
            self.address, "--metrics-listen", f"127.0.0.1:{self.metrics_port}", "--lease-duration", self.lease,
            *self.plaintext, *self.server_flags, *flags)

    def start_server(self):
        self.server = self.spawn_server("server")
        wait_for(lambda: self.client("list", check=False).returncode == 0, "the server answers")

    def start_worker(self):
        self.worker = self._spawn(
            "worker", *self.worker_side, BIN / "longlora-worker", "--server", self.address, "--name", "w1",
            "--work-dir", self.directory / "work", "--model-dir", self.models, "--metrics-listen",
            f"127.0.0.1:{self.worker_metrics_port}", "--devices", self.devices, *self.plaintext, *self.worker_flags)

    def wait_for_worker(self):
        def connected():
            workers = json.loads(self.client("workers", "--output", "json").stdout).get("workers", [])
            return any(worker.get("state") == "CONNECTED" for worker in workers)

        wait_for(connected, "the worker is connected")

    def kill_server(self):
        self.server.kill()
        self.server.wait()

    def kill_worker(self):
        self.worker.kill()
        self.worker.wait()

    def processes(self):
        """{pid: command line} of the living processes of this cluster that its servers and workers started."""
        own = {process.pid for process in self.daemons}
        mark = f"LONGLORA_TEST_CLUSTER={self.directory}".encode()
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in own:
                continue
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    if (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def trainers(self):
        return sorted(pid for pid, line in self.processes().items() if "longlora-trainer" in line)

    def stray_processes(self):
        return sorted(self.processes())

    def more_targets(self):
        """Beside server, worker and trainers: see targets.py."""
        return {}

    def disturb(self, disturbance, stay_away):
        """What only this kind of cluster knows; `stay_away` takes the time that it is to last."""
        raise AssertionError(f"nobody knows how to {disturbance.how} {disturbance.target}")

    def check_alive(self):
        """Nothing ends by itself."""
        assert self.server.poll() is None, f"the server ended by itself with status {self.server.returncode}"
        self.check_worker()

    def check_worker(self):
        assert self.worker.poll() is None, f"the worker ended by itself with status {self.worker.returncode}"

    # -- client

    def client_command(self, *arguments, server=None):
        return [str(BIN / "longlora"), *map(str, arguments), "--server", server or self.address, *self.plaintext]

    def client(self, *arguments, check=True, timeout=300, server=None):
        """`server`: an address beside the cluster's own."""
        result = subprocess.run([*self.server_side, *self.client_command(*arguments, server=server)],
                                capture_output=True, text=True, timeout=timeout)
        if check and result.returncode != 0:
            raise AssertionError(f"longlora {arguments} exits {result.returncode}: {result.stderr}{result.stdout}")
        return result

    def job_file(self, spec):
        path = self.directory / "job.json"
        path.write_text(json.dumps(spec))
        return path

    def spec(self, **changes):
        return tiny_model.job(self.training, self.validation, **changes)

    def submit(self, spec, *flags):
        result = self.client("submit", "-f", self.job_file(spec), "--output", "json", *flags)
        return json.loads(result.stdout)["name"]

    def get(self, name):
        return json.loads(self.client("get", name, "--output", "json").stdout)

    def checkpoints(self, name):
        return json.loads(self.client("checkpoints", name, "--output", "json").stdout).get("checkpoints", [])

    def wait(self, name, states=FINAL, timeout=180):
        def reached():
            job = self.get(name)
            return job if job["state"] in states else None

        job = wait_for(reached, f"{name} becomes {'/'.join(sorted(states))}", timeout)
        return job

    def wait_for_step(self, name, step, timeout=120):
        def reached():
            job = self.get(name)
            if job["state"] in FINAL:
                raise AssertionError(f"{name} ended before step {step}: {job}")
            return int(job.get("progress", {}).get("step", 0)) >= step

        wait_for(reached, f"{name} makes step {step}", timeout)

    def freeze_at_step(self, name, step):
        """SIGSTOPs the job's trainers once it made `step` and returns them: what the test does next finds the
        job half done, however fast the machine is. SIGKILL works on them as ever; `thaw` lets them go on."""
        self.wait_for_step(name, step)
        trainers = self.trainers()
        self.signal(trainers, signal.SIGSTOP)
        job = self.get(name)
        assert job["state"] == "RUNNING", f"the job was too short for this test: {job}"
        return trainers

    def start_with_a_twin(self, training, step=10):
        """A job that nobody disturbs, to its end, and then the same once more, frozen at `step` with its trainers."""
        undisturbed = self.submit(self.spec(training=training))
        assert self.wait(undisturbed)["state"] == "SUCCEEDED"
        name = self.submit(self.spec(training=training))
        return undisturbed, name, self.freeze_at_step(name, step)

    def wait_for_sigterm(self, trainers):
        """Until the worker has sent SIGTERM to frozen trainers, which get it when they are thawed."""
        def pending(pid):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            return int(status.split("ShdPnd:")[1].split()[0], 16) & 1 << (signal.SIGTERM - 1)

        wait_for(lambda: all(pending(pid) for pid in trainers), "the worker asks the trainers to stop")

    def thaw(self, trainers):
        self.signal(trainers, signal.SIGCONT)

    @staticmethod
    def signal(pids, number):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def events(self, name):
        """All events of a job that has ended, oldest first."""
        lines = self.client("watch", name, "--output", "json", check=False).stdout.splitlines()
        return [event for event in map(json.loads, lines) if "sequence" in event]

    def adapter(self, name):
        """The bytes of the adapter of a job that SUCCEEDED, as a user downloads it."""
        target = self.directory / f"download-{pathlib.Path(name).name}"
        self.client("download", name, "--to", target)
        return next(target.rglob("adapter_model.safetensors")).read_bytes()

    def wait_until_no_trainer_is_left(self):
        wait_for(lambda: not self.stray_processes(), "every process of the job is gone", 60)


def steps(events, attempt=None):
    """[(attempt, step, loss)] of the step events."""
    return [(event["attempt"], int(event["step"]["step"]), event["step"]["loss"]) for event in events
            if "step" in event and attempt in (None, event["attempt"])]


def assert_gapless(events):
    """Every event once, none missing."""
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
