"""Server and worker as child processes of a Python program: free ports, health, an orderly end.

Used by demo.py. One Services object is one server with one worker, both on loopback.
"""

import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

STOP_SECONDS = 60  # the worker ends its trainers and tells the server


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class ServiceError(RuntimeError):
    """A program did not start or died; the message names its log."""


class Process:
    """A program whose output goes to a log file."""

    def __init__(self, name: str, command: list, log: pathlib.Path):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal must reach us, not it; we end it in order.
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output,
                                             stderr=subprocess.STDOUT, start_new_session=True)

    def check_alive(self) -> None:
        code = self._process.poll()
        if code is not None:
            last_lines = self.log.read_text(errors="replace").splitlines()[-5:]
            raise ServiceError(f"{self.name} ended with code {code}; {self.log} ends:\n  " + "\n  ".join(last_lines))

    def stop(self) -> None:
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def http_get(url: str, timeout: float = 5.0) -> str:
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read().decode()


def metric_value(metrics: str, series: str) -> float | None:
    """The value of `series` (name with labels, as exported) in Prometheus' text format."""
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    return None


class Services:
    """A server and a worker of this checkout's build, with their state below `root`."""

    def __init__(self, binaries: pathlib.Path, root: pathlib.Path, models: pathlib.Path, devices: str = "cpu:1"):
        self.root = root
        grpc_port, server_metrics, worker_metrics = free_ports(3)
        self.address = f"127.0.0.1:{grpc_port}"
        self.server_metrics = f"127.0.0.1:{server_metrics}"
        self.worker_metrics = f"127.0.0.1:{worker_metrics}"
        self.server_command = [binaries / "longlora-server", "--data-dir", root / "server", "--listen", self.address,
                               "--metrics-listen", self.server_metrics]
        self.worker_command = [binaries / "longlora-worker", "--server", self.address, "--name", "local",
                               "--work-dir", root / "worker", "--model-dir", models, "--devices", devices,
                               "--metrics-listen", self.worker_metrics]
        self.processes: list[Process] = []

    @property
    def logs(self) -> pathlib.Path:
        return self.root / "logs"

    def start(self, timeout: float = 60.0) -> None:
        """Returns when the worker has registered; ServiceError if that takes longer than `timeout` seconds."""
        for folder in ("server", "worker"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self._launch("server", self.server_command)
        self._wait(timeout, "the server answers", lambda: http_get(f"http://{self.server_metrics}/metrics"))
        self._launch("worker", self.worker_command)
        self._wait(timeout, "the worker is connected", self._worker_connected)

    def stop(self) -> None:
        while self.processes:
            self.processes.pop().stop()

    def check_alive(self) -> None:
        for process in self.processes:
            process.check_alive()

    def _launch(self, name: str, command: list) -> None:
        self.processes.append(Process(f"longlora-{name}", command, self.logs / f"{name}.log"))

    def _worker_connected(self) -> bool:
        metrics = http_get(f"http://{self.server_metrics}/metrics")
        return (metric_value(metrics, 'longlora_workers{state="connected"}') or 0) >= 1

    def _wait(self, timeout: float, what: str, condition) -> None:
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            try:
                if condition():
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            if time.monotonic() > deadline:
                raise ServiceError(f"waited {timeout:.0f} s until {what}; the logs are in {self.logs}")
            time.sleep(0.1)
