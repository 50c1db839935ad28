"""Goal: clients that nobody here wrote get what the .proto files promise, also many at once. Method: a real server;
ghz loads it, grpcurl provokes every documented error of the public services; both know them by reflection alone. The
worker that some errors need is grpcurl, too.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import urllib.request

import pytest
from cluster import Cluster, ROOT

TOOLS = pathlib.Path(os.environ.get("LONGLORA_TOOLS", ROOT / ".deps" / "tools" / "bin"))
PROTO = ROOT / "proto" / "longlora" / "v1"
JOBS, FILES = "longlora.v1.FineTuneService", "longlora.v1.FileService"
DIRECTORY, SEAM = "longlora.v1.WorkerDirectoryService", "longlora.worker.v1.WorkerService"
QUEUES = "longlora.v1.QueueService"
CONCURRENCY = 50

GOOD = b'{"text": "It is a truth universally acknowledged"}\n'
BROKEN = b'{"text": "fine"}\n{"text": \n'
ABSENT_JOB = "fineTuneJobs/absent-1234"


def file_name(content):
    return "files/" + hashlib.sha256(content).hexdigest()


def upload(content, name=None, size=None, offset=None, pieces=None):
    """The messages of an UploadFile."""
    header = {"name": name or file_name(content), "size_bytes": size or len(content)}
    if offset is not None:
        header["offset"] = offset
    return [{"header": header}, *({"data": base64.b64encode(piece).decode()} for piece in pieces or [content])]


def spec(**changes):
    return {"display_name": "Books", "base_model": "tiny", "dataset": {"training": file_name(GOOD)},
            "max_sequence_length": 64, "training": {"max_steps": 2}, "resources": {"device": "cpu"}, **changes}


class ForeignServer(Cluster):
    """A server alone, called by grpcurl and ghz."""

    def __enter__(self):
        try:
            self.start_server()
            self.synchronize()
            self.ok(FILES, "UploadFile", upload(GOOD))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def grpcurl(self, service, method, messages, flags=()):
        lines = "\n".join(map(json.dumps, messages if isinstance(messages, list) else [messages]))
        return subprocess.run(
            [TOOLS / "grpcurl", "-plaintext", "-format-error", "-max-time", "60", *flags, "-d", "@", self.address,
             f"{service}/{method}"], input=lines, capture_output=True, text=True, timeout=90)

    def ok(self, service, method, messages, flags=()):
        result = self.grpcurl(service, method, messages, flags)
        assert result.returncode == 0, f"{method}: {result.stderr}"
        return json.loads(result.stdout or "{}")

    def error(self, service, method, messages, flags=()):
        """(code, reason, fields that are at fault) of a call that must fail."""
        result = self.grpcurl(service, method, messages, flags)
        assert result.returncode != 0, f"{method} {messages}: was not refused: {result.stdout}"
        return parse_error(result.stderr)

    def synchronize(self, **report):
        """What the worker of this test has, played by hand."""
        devices = [{"id": f"cpu:{number}", "kind": "cpu"} for number in range(2)]
        return self.ok(SEAM, "Synchronize", {
            "worker": "w1", "incarnation": "first", "devices": devices, "models": ["broken", "silent", "tiny"],
            "model_configs": [{"model": "broken", "config_json": base64.b64encode(b'{"model_type": "?"}').decode()}],
            **report})

    def create(self, **request):
        return self.ok(JOBS, "CreateFineTuneJob", {"spec": spec(), **request})

    def ghz(self, method, total, data, concurrency=CONCURRENCY):
        result = subprocess.run(
            [TOOLS / "ghz", "--insecure", "--call", f"{JOBS}.{method}", "-n", str(total), "-c", str(concurrency),
             "-t", "60s", "-O", "json", "-d", json.dumps(data), self.address],
            capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def metric(self, method, code):
        """How many calls of `method` ended with `code`, as the server counts them."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as response:
            text = response.read().decode()
        for line in text.splitlines():
            if (line.startswith("longlora_grpc_server_call_duration_seconds_count{") and f'"{JOBS}/{method}"' in line
                    and f'code="{code}"' in line):
                return int(float(line.split()[-1]))
        return 0


def parse_error(text):
    error = json.loads(text[text.index("{"):])
    codes = ["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
             "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
             "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]
    details = {detail["@type"].rsplit(".", 1)[1]: detail for detail in error.get("details", [])}
    info = details.get("ErrorInfo", {})
    assert info.get("domain") == "longlora", error
    fields = [violation["field"] for violation in details.get("BadRequest", {}).get("field_violations", [])]
    return codes[error["code"]], info["reason"], fields


@pytest.fixture(scope="module", name="server")
def running_server():
    with ForeignServer(lease="1h", server_flags=["--max-file-bytes", "1mb", "--max-message-bytes", "4mb"]) as server:
        yield server


# -- errors


class Jobs:
    """A job in each state that some error needs."""

    def __init__(self, server):
        self.server = server
        self.ended = self.end_with_results(server.create()["name"])
        self.pausing = self.start()
        self.cancelling = self.start()
        server.ok(JOBS, "PauseFineTuneJob", {"name": self.pausing})
        server.ok(JOBS, "CancelFineTuneJob", {"name": self.cancelling})
        self.queued = server.create(request_id="the-first")["name"]

    def start(self):
        name = self.server.create()["name"]
        self.wait_for_attempt(name)
        return name

    def wait_for_attempt(self, name):
        while self.server.ok(JOBS, "GetFineTuneJob", {"name": name})["state"] != "PREPARING":
            pass

    def end_with_results(self, name):
        self.wait_for_attempt(name)
        artifact = {"path": "adapter/weights", "size_bytes": 4, "sha256": hashlib.sha256(b"1234").hexdigest()}
        attempt = {"worker": "w1", "job": name, "attempt": 1}
        self.server.ok(SEAM, "UploadArtifact", [{"header": {"artifact": {**attempt, "artifact": artifact}}},
                                                {"data": base64.b64encode(b"1234").decode()}])
        self.server.ok(SEAM, "CommitArtifacts", {**attempt, "results": {"artifacts": [artifact]}})
        self.server.synchronize(attempts=[{"job": name, "attempt": 1, "state": "SUCCEEDED"}])
        return name


@pytest.fixture(scope="module", name="jobs")
def jobs_in_every_state(server):
    return Jobs(server)


def on_a_job(service, method, field="name"):
    """What every method that names a job may answer."""
    yield service, method, {field: ABSENT_JOB}, "NOT_FOUND", "JOB_NOT_FOUND", []
    yield service, method, {field: "absent"}, "INVALID_ARGUMENT", "NAME_INVALID", [field]


def etag_mismatch(method, job):
    return JOBS, method, {"name": job, "etag": "old"}, "ABORTED", "ETAG_MISMATCH", []


def refused(method, job, reason):
    return JOBS, method, {"name": job}, "FAILED_PRECONDITION", reason, []


def create_errors():
    def row(request, code, reason, fields=(), method="CreateFineTuneJob"):
        return JOBS, method, request, code, reason, list(fields)

    yield row({}, "INVALID_ARGUMENT", "SPEC_INVALID", ["spec"])
    yield row({"spec": spec(max_sequence_length=1, training={"max_steps": -1})}, "INVALID_ARGUMENT", "SPEC_INVALID",
              ["max_sequence_length", "training.max_steps"])
    yield row({"spec": spec(queue="absent")}, "INVALID_ARGUMENT", "SPEC_INVALID", ["queue"])
    yield row({"spec": spec(display_name="x" * (100 << 10))}, "INVALID_ARGUMENT", "SPEC_TOO_LARGE")
    yield row({"spec": spec(display_name="x" * (5 << 20))}, "INVALID_ARGUMENT", "MESSAGE_TOO_LARGE")
    yield row({"spec": spec(), "request_id": "two words"}, "INVALID_ARGUMENT", "REQUEST_ID_INVALID", ["request_id"])
    yield row({"spec": spec(dataset={"training": file_name(BROKEN)})}, "INVALID_ARGUMENT", "FILE_INVALID",
              ["dataset.training"])
    yield row({"spec": spec(dataset={"training": file_name(b"absent")})}, "NOT_FOUND", "FILE_NOT_FOUND")
    yield row({"spec": spec(base_model="absent")}, "FAILED_PRECONDITION", "MODEL_UNAVAILABLE")
    yield row({"spec": spec(display_name="another"), "request_id": "the-first"}, "ALREADY_EXISTS", "REQUEST_ID_REUSED")
    estimate = "EstimateFineTuneJob"
    yield row({"spec": spec(max_sequence_length=1)}, "INVALID_ARGUMENT", "SPEC_INVALID", ["max_sequence_length"],
              estimate)
    reasons = {"absent": "MODEL_UNAVAILABLE", "silent": "MODEL_SHAPE_UNKNOWN", "broken": "MODEL_INVALID"}
    for model, reason in reasons.items():
        yield row({"spec": spec(base_model=model)}, "FAILED_PRECONDITION", reason, (), estimate)


def job_errors(jobs):
    yield from on_a_job(JOBS, "GetFineTuneJob")
    for method in ("CancelFineTuneJob", "PauseFineTuneJob", "ResumeFineTuneJob", "DeleteFineTuneJob"):
        yield from on_a_job(JOBS, method)
        yield etag_mismatch(method, jobs.ended if method == "DeleteFineTuneJob" else jobs.queued)
    for method in ("CancelFineTuneJob", "PauseFineTuneJob", "ResumeFineTuneJob"):
        yield refused(method, jobs.ended, "JOB_FINAL")
    yield refused("PauseFineTuneJob", jobs.cancelling, "JOB_CANCELLING")
    yield refused("ResumeFineTuneJob", jobs.cancelling, "JOB_CANCELLING")
    yield refused("ResumeFineTuneJob", jobs.pausing, "JOB_PAUSING")
    yield refused("DeleteFineTuneJob", jobs.queued, "JOB_NOT_FINAL")
    yield refused("DeleteFineTuneJob", jobs.ended, "JOB_HAS_ARTIFACTS")


def reading_errors(jobs):
    for method, extra in (("ListFineTuneJobs", {}), ("ListJobEvents", {"parent": jobs.ended})):
        for request, field in (({"page_size": -1}, "page_size"), ({"page_token": "foreign"}, "page_token")):
            yield JOBS, method, {**extra, **request}, "INVALID_ARGUMENT", "PAGE_INVALID", [field]
    for method in ("ListJobEvents", "ListCheckpoints", "ListArtifacts", "DownloadArtifact"):
        yield from on_a_job(JOBS, method, "parent")
    yield from on_a_job(JOBS, "WatchFineTuneJob")
    yield (JOBS, "WatchFineTuneJob", {"name": jobs.ended, "after_sequence": 1000}, "OUT_OF_RANGE", "SEQUENCE_AHEAD", [])
    weights = {"parent": jobs.ended, "path": "adapter/weights"}
    yield JOBS, "DownloadArtifact", {**weights, "path": "adapter/absent"}, "NOT_FOUND", "ARTIFACT_NOT_FOUND", []
    yield JOBS, "DownloadArtifact", {**weights, "offset": 5}, "OUT_OF_RANGE", "OFFSET_BEYOND_END", []


def file_errors():
    def row(messages, code, reason, fields=()):
        return FILES, "UploadFile", messages, code, reason, list(fields)

    yield FILES, "GetFile", {"name": file_name(b"absent")}, "NOT_FOUND", "FILE_NOT_FOUND", []
    yield FILES, "GetFile", {"name": "files/x"}, "INVALID_ARGUMENT", "NAME_INVALID", ["name"]
    yield row(upload(b"other", name="x"), "INVALID_ARGUMENT", "NAME_INVALID", ["name"])
    yield row(upload(b"other", pieces=[b"damag"]), "INVALID_ARGUMENT", "DIGEST_MISMATCH")
    yield row(upload(b"other", size=4), "INVALID_ARGUMENT", "SIZE_MISMATCH")
    yield row(upload(b"other", size=6), "INVALID_ARGUMENT", "SIZE_MISMATCH")
    yield row(upload(b"other", size=-1), "INVALID_ARGUMENT", "SIZE_MISMATCH")
    yield row([{"data": ""}], "INVALID_ARGUMENT", "UPLOAD_INVALID")
    yield row(upload(b"other") + upload(b"other")[:1], "INVALID_ARGUMENT", "UPLOAD_INVALID")
    yield row(upload(b"other", offset=3), "OUT_OF_RANGE", "OFFSET_INVALID")
    yield row(upload(b"other", size=2 << 20), "RESOURCE_EXHAUSTED", "FILE_TOO_LARGE")


def directory_errors():
    for method in ("CordonWorker", "DrainWorker", "UncordonWorker"):
        yield DIRECTORY, method, {"name": "workers/absent"}, "NOT_FOUND", "WORKER_NOT_FOUND", []
        yield DIRECTORY, method, {"name": "absent"}, "INVALID_ARGUMENT", "NAME_INVALID", ["name"]


def queue_errors():
    def row(request, code, reason, field=None):
        return QUEUES, "ListQueuedJobs", request, code, reason, [field] if field else []

    yield row({"queue": "queues/absent"}, "NOT_FOUND", "QUEUE_NOT_FOUND")
    yield row({"queue": "absent"}, "INVALID_ARGUMENT", "NAME_INVALID", "queue")
    yield row({"page_size": -1}, "INVALID_ARGUMENT", "PAGE_INVALID", "page_size")


def all_errors(jobs):
    return [*create_errors(), *job_errors(jobs), *reading_errors(jobs), *file_errors(), *directory_errors(),
            *queue_errors()]


# Documented, and not to be had from a server that is well and has room, at its --listen.
NOT_PROVOKED = {"READ_ONLY", "SERVER_STOPPING", "STORAGE_UNAVAILABLE", "STORAGE_FULL", "TOO_MANY_TRANSFERS",
                "TOO_MANY_WATCHES", "TOO_MANY_CALLS", "TOO_MANY_CREATES", "QUEUE_FULL", "UPLOAD_BUSY", "EVENTS_DROPPED"}


def pairs(text):
    """{(code, reason)} of a comment: CODE (REASON: why; REASON, REASON)."""
    found = set()
    for code, reasons in re.findall(r"\b([A-Z_]{5,}) \(([^()]*)\)", text):
        found |= {(code, reason) for reason in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", reasons)}
    return found


def documented():
    """{(service, method): {(code, reason)}} of the public services, as their comments promise."""
    errors, every_call = {}, set()
    for path in sorted(PROTO.glob("*_service.proto")):
        lines = [line.strip() for line in path.read_text().splitlines()]
        comment, service = [], ""
        for line in lines:
            if line.startswith("//"):
                comment.append(line[2:].strip())
                continue
            text = " ".join(comment)
            if line.startswith("package"):
                every_call |= pairs(text)
            elif line.startswith("service"):
                service = f"longlora.v1.{line.split()[1]}"
            elif line.startswith("rpc"):
                method = re.match(r"rpc (\w+)", line)[1]
                other = re.search(r"Errors: as (\w+)\.", text)
                errors[service, method] = errors[service, other[1]] if other else pairs(text)
            comment = []
    return {key: own | every_call for key, own in errors.items()}, every_call


def test_every_documented_error_comes_with_its_code_reason_and_fields(server, jobs):
    server.error(FILES, "UploadFile", upload(BROKEN, pieces=[BROKEN[:3]]))  # a part of it is there now
    server.ok(FILES, "UploadFile", upload(BROKEN))
    promised, every_call = documented()
    provoked, wrong = set(), []
    for service, method, messages, code, reason, fields in all_errors(jobs):
        got = server.error(service, method, messages)
        if got != (code, reason, fields):
            wrong.append(f"{method} {str(messages)[:200]}: {got}, not {code, reason, fields}")
        if (code, reason) not in promised[service, method]:
            wrong.append(f"{method} does not document {code} ({reason})")
        provoked.add((service, method, code, reason))
    assert not wrong, "\n".join(wrong)
    missing = {(service, method, *error) for (service, method), own in promised.items() for error in own - every_call
               if error[1] not in NOT_PROVOKED} - provoked
    assert not missing, "documented and not provoked by this test"
    assert {reason for _, reason in every_call} <= NOT_PROVOKED | {reason for *_, reason in provoked}


# -- load


def all_jobs(server):
    """Names of all jobs, page by page."""
    names, token = [], ""
    while True:
        page = server.ok(JOBS, "ListFineTuneJobs", {"page_size": 1000, "page_token": token})
        names += [job["name"] for job in page.get("jobs", [])]
        token = page.get("next_page_token", "")
        if not token:
            return names


def check_counts(server, method, report, code, count, before):
    """ghz and the server have counted the same calls, and all of them ended so."""
    assert report["statusCodeDistribution"] == {code: count}, report.get("errorDistribution")
    counted = {"OK": "OK", "NotFound": "NOT_FOUND"}[code]
    assert server.metric(method, counted) - before == count


def test_many_creates_at_once_make_each_job_once():
    total = 2000
    with ForeignServer(lease="1h", server_flags=["--max-creates-per-second", "0"]) as server:
        report = server.ghz("CreateFineTuneJob", total, {"spec": spec(), "request_id": "{{.UUID}}"})
        check_counts(server, "CreateFineTuneJob", report, "OK", total, 0)
        names = all_jobs(server)
        assert len(names) == len(set(names)) == total

        same = server.ghz("CreateFineTuneJob", total, {"spec": spec(), "request_id": "the-same-for-all"})
        check_counts(server, "CreateFineTuneJob", same, "OK", total, total)
        assert len(all_jobs(server)) == total + 1

        server.kill_server()
        server.start_server()
        assert set(names) < set(all_jobs(server)), "what was acknowledged under load is durable"


def test_many_reads_at_once_are_all_answered(server, jobs):
    for method, request in (("GetFineTuneJob", {"name": jobs.ended}), ("ListFineTuneJobs", {"page_size": 10})):
        before = server.metric(method, "OK")
        check_counts(server, method, server.ghz(method, 2000, request), "OK", 2000, before)


def test_many_errors_at_once_are_all_the_documented_one(server, jobs):
    before = server.metric("GetFineTuneJob", "NOT_FOUND")
    report = server.ghz("GetFineTuneJob", 2000, {"name": ABSENT_JOB})
    check_counts(server, "GetFineTuneJob", report, "NotFound", 2000, before)
    (message,) = report["errorDistribution"]
    assert ABSENT_JOB in message
    assert server.error(JOBS, "GetFineTuneJob", {"name": ABSENT_JOB}) == ("NOT_FOUND", "JOB_NOT_FOUND", [])
    assert server.ok(JOBS, "GetFineTuneJob", {"name": jobs.ended})["state"] == "SUCCEEDED"
