#!/usr/bin/env python3
"""Goal: the real longlora-server serves foreign tools: grpcurl by reflection, probes, Prometheus.
Method: one process on port 0; grpcurl plays a user and a worker; promtool reads /metrics; signals.
Usage: server_binary_test.py SERVER GRPCURL
"""

import base64
import contextlib
import hashlib
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

SERVER, GRPCURL = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
DATASET = b'{"text": "It is a truth universally acknowledged"}\n'
DATASET_NAME = "files/" + hashlib.sha256(DATASET).hexdigest()
SPEC = {
    "display_name": "Books", "base_model": "tiny", "dataset": {"training": DATASET_NAME},
    "max_sequence_length": 64, "training": {"max_steps": 2}, "resources": {"device": "cpu"},
}


class Server:
    """A longlora-server on free ports; `with` ends it."""

    def __init__(self, directory, *flags):
        self.process = subprocess.Popen(
            [SERVER, "--data-dir", directory, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", *flags],
            stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            ready = re.search(r"ready, gRPC on port (\d+) .* metrics on port (\d+)", line)
            if ready:
                self.port, self.metrics_port = ready.groups()
                return
        raise AssertionError(f"the server did not start: {''.join(self.log)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def call(self, *arguments, data=None, flags=(), check=True):
        """grpcurl; `data` is a message, or a list of them for a stream."""
        command = [GRPCURL, "-plaintext", *flags]
        messages = data if isinstance(data, list) else [data]
        if data is not None:
            command += ["-d", "@"]
        result = subprocess.run(
            [*command, f"127.0.0.1:{self.port}", *arguments], text=True, capture_output=True, timeout=60,
            input="\n".join(json.dumps(message) for message in messages) if data is not None else None)
        if check and result.returncode != 0:
            raise AssertionError(f"{arguments}: {result.stderr}")
        return result

    def json(self, method, data=None):
        return json.loads(self.call(method, data=data if data is not None else {}).stdout)

    def create(self):
        self.json("longlora.worker.v1.WorkerService/Synchronize",
                  {"worker": "w1", "incarnation": "first", "models": ["tiny"],
                   "devices": [{"id": "cpu:0", "kind": "cpu"}]})
        stored = self.json("longlora.v1.FileService/UploadFile",
                           [{"header": {"name": DATASET_NAME, "size_bytes": len(DATASET)}},
                            {"data": base64.b64encode(DATASET).decode()}])
        assert stored["complete"], stored
        return self.json("longlora.v1.FineTuneService/CreateFineTuneJob", {"spec": SPEC})

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as response:
            return response.read().decode()


class ServerBinaryTest(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longlora-")))
        self.data = self.directory / "data"

    def test_grpcurl_lists_and_describes_the_services_by_reflection(self):
        with Server(self.data) as server:
            services = server.call("list").stdout.split()
            for service in ("grpc.health.v1.Health", "longlora.v1.FineTuneService", "longlora.v1.FileService",
                            "longlora.v1.WorkerDirectoryService", "longlora.worker.v1.WorkerService"):
                self.assertIn(service, services)
                self.assertIn("rpc", server.call("describe", service).stdout)

    def test_health_answers_for_the_server_and_each_service(self):
        with Server(self.data) as server:
            for service in ("", "longlora.v1.FineTuneService", "longlora.worker.v1.WorkerService"):
                answer = server.json("grpc.health.v1.Health/Check", {"service": service})
                self.assertEqual(answer, {"status": "SERVING"})
            refused = server.call("grpc.health.v1.Health/Check", data={"service": "no.Such"}, check=False)
            self.assertIn("NotFound", refused.stderr)

    def test_grpcurl_creates_a_job_and_a_killed_server_still_has_it(self):
        with Server(self.data) as server:
            job = server.create()
            self.assertRegex(job["name"], r"^fineTuneJobs/books-[a-z0-9]+$")
            self.assertEqual(job["spec"]["dataset"], SPEC["dataset"])
            server.process.kill()
        with Server(self.data) as server:
            again = server.json("longlora.v1.FineTuneService/GetFineTuneJob", {"name": job["name"]})
            self.assertEqual(again["spec"], job["spec"])

    def test_promtool_finds_nothing_wrong_with_the_metrics(self):
        with Server(self.data) as server:
            job = server.create()
            assigned = {}
            while not assigned.get("assignments"):
                assigned = server.json("longlora.worker.v1.WorkerService/Synchronize",
                                       {"worker": "w1", "incarnation": "first", "models": ["tiny"],
                                        "devices": [{"id": "cpu:0", "kind": "cpu"}]})
            server.json("longlora.worker.v1.WorkerService/ReportEvents",
                        {"worker": "w1", "job": job["name"], "attempt": 1, "events": [
                            {"sequence": 1, "event": {"prepared": {"total_steps": 2}}},
                            {"sequence": 2, "event": {"step": {"step": 1, "loss": 2.5, "tokens": 64}}}]})
            server.call("longlora.v1.NoSuchService/Invented", check=False)
            text = server.metrics()
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
            self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))
            job_id = job["name"].split("/")[1]
            for line in (f'longlora_job_step{{job="{job_id}"}} 1', f'longlora_job_loss{{job="{job_id}"}} 2.5',
                         'longlora_workers{state="connected"} 1', 'longlora_devices{state="busy"} 1',
                         'longlora_events_total{type="step"} 1', "longlora_tokens_total 64",
                         'longlora_build_info{version="0.1.0"} 1'):
                self.assertIn(line + "\n", text)
            self.assertIn('method="longlora.v1.FineTuneService/CreateFineTuneJob"', text)
            self.assertNotIn("Invented", text)

    def test_token_is_asked_for_also_by_reflection_but_not_by_health(self):
        token = self.directory / "token"
        token.write_text("secret\n")
        token.chmod(0o600)
        with Server(self.data, "--token-file", token) as server:
            self.assertIn("Unauthenticated", server.call("list", check=False).stderr)
            bearer = ("-H", "authorization: Bearer secret")
            self.assertIn("longlora.v1.FineTuneService", server.call("list", flags=bearer).stdout)
            # Reflection is closed, so the probe brings the description of the service itself.
            proto = pathlib.Path(__file__).parents[3] / "server/api/health"
            health = server.call("grpc.health.v1.Health/Check",
                                 flags=("-import-path", proto, "-proto", "health.proto"))
            self.assertIn("SERVING", health.stdout)

    def test_termination_ends_watchers_and_exits_0(self):
        with Server(self.data) as server:
            job = server.create()
            watcher = subprocess.Popen(
                [GRPCURL, "-plaintext", "-d", json.dumps({"name": job["name"]}), f"127.0.0.1:{server.port}",
                 "longlora.v1.FineTuneService/WatchFineTuneJob"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(watcher.stdout.readline(), "{\n")
            server.process.send_signal(signal.SIGTERM)
            _, error = watcher.communicate(timeout=60)
            self.assertIn("Unavailable", error)
            self.assertIn("SERVER_STOPPING", error)
            self.assertEqual(server.process.wait(timeout=60), 0)

    def test_mistakes_at_start_name_the_flag(self):
        def run(*flags):
            result = subprocess.run([SERVER, *flags], capture_output=True, text=True, timeout=60)
            return result.returncode, result.stderr

        code, error = run("--data-dir", self.data, "--listen", "0.0.0.0:0", "--metrics-listen", "127.0.0.1:0")
        self.assertEqual(code, 2)
        self.assertIn("--allow-plaintext", error)
        with Server(self.data) as server:
            code, error = run("--data-dir", self.data)
            self.assertEqual(code, 1)
            self.assertIn("another longlora-server", error)
            code, error = run("--data-dir", self.directory / "other", "--listen", f"127.0.0.1:{server.port}",
                              "--metrics-listen", "127.0.0.1:0")
            self.assertEqual(code, 1)
            self.assertIn("--listen", error)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
