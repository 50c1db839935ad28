"""Goal: whatever moment a run is killed at, and whatever the disk refuses, resuming gives the final weights of a
run nobody disturbed, bit for bit. Method: the real program; SIGKILL at twenty moments drawn with a fixed seed and
while a checkpoint is being written; a disk that fills up and one that turns read-only, both real file systems in a
mount namespace of the test's own."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from trainer_runs import SUCCEEDED, TrainerTestCase

KILLS = 20
IN_NAMESPACE = "LONGLORA_TEST_MOUNTS"


class CrashTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        self.job = self.spec(training={"max_steps": 60}, checkpoint={"interval_steps": 2, "keep_last": 2},
                             evaluation={"interval_steps": 7})
        self.whole = self.complete(self.job, "whole")

    def assert_equals_undisturbed(self, last, output):
        start = last.of("prepared")[0]["start_step"]
        self.assertEqual(last.steps(), self.whole.steps()[start:])
        self.assertEqual(self.adapter_bytes(output), self.adapter_bytes("whole"))

    def test_killed_at_random_moments(self):
        moments = random.Random(4)
        kills, lives, starts = 0, 0, set()
        while kills < KILLS:
            output = f"killed-{lives}"
            lives += 1
            while True:
                run = self.start(self.job, output, "--resume")
                if kills < KILLS:
                    for _ in range(moments.randrange(14)):
                        line = run.process.stdout.readline()
                        run.events += [json.loads(line)] if line else []
                    time.sleep(moments.random() * 0.02)
                    run.kill()
                code = run.finish()
                if code == SUCCEEDED:
                    break
                self.assertEqual(code, -signal.SIGKILL, run.stderr())
                kills += 1
                starts.update(event["start_step"] for event in run.of("prepared"))
            self.assert_equals_undisturbed(run, output)
        self.assertGreater(len(starts), 3, "the runs were never far apart")

    def test_killed_while_a_checkpoint_is_written(self):
        slices = random.Random(5)
        caught = 0
        while caught < 3:
            run = self.start(self.job, "writing", "--resume")
            run.read_until("step")
            while run.process.poll() is None:  # it runs in slices of time, and is looked at in between
                run.kill(signal.SIGSTOP)
                if self.is_writing("writing"):
                    break
                self.drain(run)
                run.kill(signal.SIGCONT)
                time.sleep(0.001 + 0.004 * slices.random())
            run.kill()
            self.assertEqual(run.process.wait(), -signal.SIGKILL, "no kill met a checkpoint half written")
            caught += self.is_writing("writing")
        self.assert_equals_undisturbed(self.complete(self.job, "writing", "--resume"), "writing")

    def is_writing(self, output):
        checkpoints = self.root / output / "checkpoints"
        return checkpoints.is_dir() and any(name.endswith(".partial") for name in os.listdir(checkpoints))

    @staticmethod
    def drain(run):
        """Takes what the pipe holds, so that the run never waits for its reader."""
        os.set_blocking(run.process.stdout.fileno(), False)
        run.process.stdout.read(4096)
        os.set_blocking(run.process.stdout.fileno(), True)


@unittest.skipUnless(IN_NAMESPACE in os.environ, "runs in the namespace that NamespaceTest makes")
class DiskTest(TrainerTestCase):
    def setUp(self):
        super().setUp()
        self.job = self.spec(training={"max_steps": 60}, checkpoint={"interval_steps": 5})
        self.whole = self.complete(self.job, "whole")
        self.disk = self.root / "disk"
        self.disk.mkdir()

    def mount(self, options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "longlora-test", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", self.disk])

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.disk], check=True)

    def goes_on(self):
        resumed = self.complete(self.job, "disk", "--resume")
        start = resumed.of("prepared")[0]["start_step"]
        self.assertGreater(start, 0)
        self.assertEqual(resumed.steps(), self.whole.steps()[start:])
        self.assertEqual(self.adapter_bytes("disk"), self.adapter_bytes("whole"))

    def assert_told(self, run, *words):
        self.assertNotEqual(run.finish(), SUCCEEDED)
        message = run.of("error")[-1]["message"]
        self.assertTrue(any(word in message for word in words), message)

    def test_a_full_disk_is_told_and_costs_no_checkpoint(self):
        self.mount("size=64m")
        run = self.start(self.job, "disk")
        run.read_until("checkpoint")
        with open(self.disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(b"x" * (1 << 20)):
                pass
        self.assert_told(run, "No space left")
        (self.disk / "filler").unlink()
        self.goes_on()

    def test_a_disk_that_turns_read_only_is_told_and_costs_no_checkpoint(self):
        self.mount("size=64m")
        run = self.start(self.job, "disk")
        run.read_until("checkpoint")
        subprocess.run(["kill", "-STOP", str(run.process.pid)], check=True)
        # Open files forbid it: those of a checkpoint that is just being written are closed soon.
        for _ in range(100):
            if subprocess.run(["mount", "-o", "remount,ro", self.disk], stderr=subprocess.DEVNULL).returncode == 0:
                break
            run.kill(signal.SIGCONT)
            time.sleep(0.005)
            run.kill(signal.SIGSTOP)
        run.kill(signal.SIGCONT)
        self.assert_told(run, "Read-only file system")
        self.remount("rw")
        self.goes_on()


class NamespaceTest(unittest.TestCase):
    @unittest.skipIf(IN_NAMESPACE in os.environ, "is in it")
    def test_disks(self):
        unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        with tempfile.TemporaryDirectory() as disk:
            if subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", disk], stderr=subprocess.DEVNULL).returncode:
                self.skipTest("this machine lets nobody mount a disk: full and read-only ones are not tried")
        done = subprocess.run([*unshare, sys.executable, "-m", "unittest", "-v", "crash_test.DiskTest"],
                              env={**os.environ, IN_NAMESPACE: "1"}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("Ran 2 tests", done.stdout)


if __name__ == "__main__":
    unittest.main()
