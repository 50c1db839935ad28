"""Goal: while a server stands by, its --read-listen tells users all that the leader would, live and through a takeover,
and changes nothing. Method: a real PostgreSQL, a leader, a standby, a worker; the client at the standby's address.
"""

import json
import subprocess

from cluster import Cluster, assert_gapless, free_port, wait_for
from postgres import Postgres

LONG = {"max_steps": 60, "precision": "fp32"}


class ReadCluster(Cluster):
    """A Cluster whose leader has a standby that answers reads at `read_address`."""

    def __init__(self, postgres):
        super().__init__(devices="cpu:1", lease="20s", server_flags=["--store", postgres.url])
        self.read_address = f"127.0.0.1:{free_port()}"

    def start_standby(self):
        standby = self.spawn_server("standby", "--standby", "--read-listen", self.read_address)
        wait_for(lambda: "standing by" in (self.directory / "standby.log").read_text(), "the second server stands by")
        return standby

    def read(self, *arguments, check=True):
        return self.client(*arguments, check=check, server=self.read_address)

    def read_json(self, *arguments):
        return json.loads(self.read(*arguments, "--output", "json").stdout)


def events_of(output):
    return [event for event in map(json.loads, output.splitlines()) if "sequence" in event]


def test_standby_tells_of_a_running_job_and_its_result():
    with Postgres() as postgres, ReadCluster(postgres) as cluster:
        cluster.start_standby()
        name = cluster.submit(cluster.spec(training=LONG))
        trainers = cluster.freeze_at_step(name, 10)
        assert [job["name"] for job in cluster.read_json("list")["jobs"]] == [name]
        assert cluster.read_json("get", name)["state"] == "RUNNING"
        [worker] = cluster.read_json("workers")["workers"]
        assert worker["state"] == "UNKNOWN" and worker["devices"][0]["job"] == name, worker
        cluster.thaw(trainers)
        assert cluster.wait(name)["state"] == "SUCCEEDED"
        assert cluster.read_json("get", name) == cluster.get(name)
        assert cluster.read_json("checkpoints", name)["checkpoints"] == cluster.checkpoints(name)
        target = cluster.directory / "from-standby"
        cluster.read("download", name, "--to", target)
        assert next(target.rglob("adapter_model.safetensors")).read_bytes() == cluster.adapter(name)


def test_watch_at_a_standby_goes_on_through_its_takeover():
    with Postgres() as postgres, ReadCluster(postgres) as cluster:
        standby = cluster.start_standby()
        name = cluster.submit(cluster.spec(training=LONG))
        trainers = cluster.freeze_at_step(name, 10)
        # Without a second try: one stream from beginning to end, or an error.
        command = cluster.client_command("watch", name, "--output", "json", "--reconnect-timeout", "0",
                                         server=cluster.read_address)
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        cluster.daemons.append(watch)  # so that it ends with the cluster
        cluster.kill_server()
        cluster.server = standby
        wait_for(lambda: cluster.client("list", check=False).returncode == 0, "the standby leads")
        cluster.thaw(trainers)
        output, errors = watch.communicate(timeout=180)
        assert watch.returncode == 0, errors
        events = events_of(output)
        assert_gapless(events)
        assert events[-1]["state_changed"]["state"] == "SUCCEEDED"
        assert events == cluster.events(name)


def test_changes_at_a_standby_are_refused():
    with Postgres() as postgres, ReadCluster(postgres) as cluster:
        cluster.start_standby()
        name = cluster.submit(cluster.spec(training=LONG))
        job_file = cluster.job_file(cluster.spec(training=LONG))
        for arguments in (["submit", "-f", job_file], ["estimate", "-f", job_file], ["cancel", name], ["pause", name],
                          ["resume", name], ["delete", name], ["queue"], ["cordon", "w1"], ["drain", "w1"]):
            refused = cluster.read(*arguments, check=False)
            assert refused.returncode == 2 and "--read-listen" in refused.stderr, (arguments, refused)
        assert len(cluster.read_json("list")["jobs"]) == 1
        assert cluster.wait(name)["state"] == "SUCCEEDED"


def test_standby_says_when_there_is_no_store_yet():
    with Postgres() as postgres:
        cluster = ReadCluster(postgres)
        try:
            with postgres.lock_held():
                cluster.server = cluster.start_standby()
                early = cluster.read("list", check=False)
                assert early.returncode != 0 and "the first server that leads makes it" in early.stderr, early
            wait_for(lambda: cluster.read("list", check=False).returncode == 0, "the store is there")
        finally:
            cluster.__exit__(None, None, None)
