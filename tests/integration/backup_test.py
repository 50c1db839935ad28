"""Goal: a server restored from a backup that was made in mid-job goes on with the job to the same weights. Method: a
real cluster; the data directory is lost after the backup.
"""

import shutil
import subprocess

from cluster import BIN, Cluster, wait_for

LONG = {"max_steps": 60, "precision": "fp32"}


def data_command(*arguments):
    return subprocess.run([str(BIN / "longlora-server"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, check=True).stdout


def test_server_restored_from_a_backup_goes_on_with_its_jobs():
    with Cluster(devices="cpu:1") as cluster:
        data, backup = cluster.directory / "data", cluster.directory / "backup"
        undisturbed, name, trainers = cluster.start_with_a_twin(LONG)
        wait_for(lambda: cluster.checkpoints(name), "a checkpoint is stored")
        assert "2 job(s)" in data_command("backup", "--data-dir", data, "--to", backup)
        cluster.thaw(trainers)
        cluster.wait_for_step(name, 20)  # which the backup does not know of

        cluster.kill_server()
        shutil.rmtree(data)
        data_command("restore", "--from", backup, "--data-dir", data)
        cluster.start_server()
        job = cluster.wait(name)
        assert job["state"] == "SUCCEEDED", job
        assert cluster.adapter(name) == cluster.adapter(undisturbed)
        assert cluster.get(undisturbed)["state"] == "SUCCEEDED"
