"""Goal: bad input is refused at submit with an error that names the field and the way out, and nothing is
stored; what only the trainer can see ends the job at PREPARING as the job's fault. Method: the real client
against a real cluster, one table row a mistake.
"""

import json
import struct

import pytest
from cluster import Cluster


@pytest.fixture(scope="module")
def cluster():
    with Cluster(devices="cpu:1") as running:
        yield running


def submit_text(cluster, text):
    path = cluster.directory / "bad.yaml"
    path.write_text(text)
    return cluster.client("submit", "-f", path, check=False)


def nothing_stored(cluster):
    return json.loads(cluster.client("list", "--output", "json").stdout or "{}").get("jobs", []) == []


@pytest.mark.parametrize(("changes", "words"), [
    ({"max_step": 5}, "max_step"),
    ({"training": {"max_steps": "many"}}, "training.max_steps"),
    ({"training": {"max_steps": -1}}, "training.max_steps"),
    ({"optimizer": {"learning_rate": -1e-5}}, "optimizer.learning_rate"),
    ({"optimizer": {"learning_rate": float("nan")}}, "learning_rate"),
    ({"max_sequence_length": 0}, "max_sequence_length"),
    ({"base_model": "no-such-model"}, "no-such-model"),
    ({"base_model": "/etc"}, "/etc"),
    ({"base_model": "../models/tiny"}, "base_model"),
    ({"method": {"initial_adapter": "/etc"}}, "initial_adapter"),
    ({"method": {"lora": {"rank": 0}}}, "method.lora.rank"),
])
def test_spec(cluster, changes, words):
    result = submit_text(cluster, json.dumps(cluster.spec(**changes)))
    assert result.returncode == 2, result.stdout + result.stderr
    assert words in result.stderr
    assert nothing_stored(cluster)


@pytest.mark.parametrize(("content", "words"), [
    ("", "empty"),
    ("\n\n", "empty"),
    ('{"text": "fine"}\n{"text": \n', "line 2"),
    ('{"text": "fine"}\n{"words": "x"}\n', "line 2"),
    ('{"text": 5}\n', "line 1"),
    ('["text"]\n', "line 1"),
])
def test_dataset(cluster, content, words):
    data = cluster.directory / "bad.jsonl"
    data.write_text(content)
    result = submit_text(cluster, json.dumps(cluster.spec(dataset={"training": str(data)})))
    assert result.returncode == 2, result.stdout + result.stderr
    assert words in result.stderr
    assert nothing_stored(cluster)


def test_missing_dataset_file(cluster):
    result = submit_text(cluster, json.dumps(cluster.spec(dataset={"training": "/no/such.jsonl"})))
    assert result.returncode == 2
    assert "dataset.training" in result.stderr
    assert nothing_stored(cluster)


def test_not_yaml(cluster):
    result = submit_text(cluster, "training: [1, 2\n")
    assert result.returncode == 2
    assert "bad.yaml" in result.stderr


def break_truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def break_lying(path):
    """A tensor that claims more bytes than the file has."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name = sorted(key for key in header if key != "__metadata__")[0]
    header[name]["shape"][0] *= 2
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


@pytest.mark.parametrize("damage", [break_truncated, break_lying])
def test_damaged_weights_fail_the_job_at_preparing(damage):
    with Cluster(devices="cpu:1") as cluster:
        damage(cluster.models / "tiny" / "model.safetensors")
        job = cluster.wait(cluster.submit(cluster.spec()))
        assert job["state"] == "FAILED"
        assert job["failure"]["reason"] == "MODEL_INVALID"
        assert job["failure"]["fault"] == "JOB"
        assert "model.safetensors" in job["failure"]["message"]
        assert len(job["attempts"]) == 1, "a fault of the job is not tried again"
        assert "progress" not in job
