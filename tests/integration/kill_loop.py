#!/usr/bin/env python3
"""Jobs on a real cluster whose processes are killed and stopped at random moments, and what must be true of them
afterwards: all SUCCEEDED, each event once and in order, the bytes of the adapters those of jobs nobody disturbed, no
process left.

    kill_loop.py --kills 200 --jobs 20 [--seed N] [--store postgresql] [--network]

prints its seed; the same seed draws the same disturbances again. The tests kill*_test.py run short forms of it.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

from cluster import Cluster, FINAL, assert_gapless, steps, wait_for
from disturbances import PROCESSES, draw
from network import CUTS, Network, NetworkCluster
from postgres import Postgres
from targets import targets_of
from two_servers import SERVERS, TwoServers

LEASE_SECONDS = 3
GRACE_SECONDS = 15  # of the server, after a lease, before it gives jobs away
MOMENT_SECONDS = 8  # the longest wait for the moment of a disturbance
# Faults of the system, as here, may end many attempts in a row before one makes a checkpoint.
SERVER_FLAGS = ["--failed-attempts-max", "100000"]

# The jobs by kind; what differs is what a resumed attempt has to get right.
KINDS = {
    "plain": {},
    "two ranks": {"resources": {"devices_per_node": 2}},
    "random": {
        "method": {"lora": {"rank": 4, "alpha": 8, "dropout": 0.1}}, "training": {"seed": 7},
        "evaluation": {"interval_steps": 10}, "checkpoint": {"interval_steps": 5, "keep_best": True},
        "export": {"weights": "best"}},
    "two ranks, merged": {
        "resources": {"devices_per_node": 2}, "training": {"gradient_accumulation_steps": 2},
        "checkpoint": {"interval_steps": 3, "keep_last": 1}, "export": {"merged": True}},
    "schedule": {"optimizer": {"schedule": "cosine"}, "checkpoint": {"interval_steps": 7}},
}


def print_now(line):
    print(line, flush=True)


def spec_of(cluster, kind, max_steps):
    changes = {key: dict(value) for key, value in KINDS[kind].items()}
    changes["training"] = {"gradient_accumulation_steps": 4, **changes.get("training", {}), "max_steps": max_steps}
    changes["display_name"] = kind.replace(",", "").replace(" ", "-")
    return cluster.spec(**changes)


class WatchedJob:
    """A job and the `longlora watch` that follows it from the beginning to the end, through all that happens."""

    def __init__(self, cluster, name, kind):
        self.cluster, self.name, self.kind = cluster, name, kind
        self.output = cluster.directory / f"watch-{name.split('/')[1]}"
        self.watcher = self._watch()

    def _watch(self):
        command = [*self.cluster.worker_side, *self.cluster.client_command("watch", self.name, "--output", "json")]
        with open(self.output, "wb") as out, open(f"{self.output}.log", "wb") as log:
            return subprocess.Popen(command, stdout=out, stderr=log)

    def close(self):
        self.watcher.kill()
        self.watcher.wait()

    def check(self, undisturbed):
        """Everything that is promised of it, now that it has ended."""
        job = self.cluster.get(self.name)
        assert job["state"] == "SUCCEEDED", job
        events = self.cluster.events(self.name)
        assert_gapless(events)
        self._check_watcher(events)
        check_states(events)
        check_attempts(job, events)
        losses = {step: loss for _, step, loss in steps(events)}
        assert losses == undisturbed["losses"]
        assert self.cluster.adapter(self.name) == undisturbed["adapter"]

    def _check_watcher(self, events):
        status = self._wait_for_watcher()
        if status == 4 and self.output.stat().st_size == 0:
            # It began while the server was dead, and is to give up soon then: the address may be wrong.
            self.watcher = self._watch()
            status = self._wait_for_watcher()
        log = (self.output.parent / f"{self.output.name}.log").read_text()
        assert status == 0, f"the watch of {self.name} exits {status}: {log}"
        seen = [line for line in map(json.loads, self.output.read_text().splitlines()) if "sequence" in line]
        assert seen == events, "whoever watched live saw something else than the log says"

    def _wait_for_watcher(self):
        try:
            return self.watcher.wait(timeout=60)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the watch of {self.name} does not end") from error


def check_states(events):
    """Each change of the state starts where the one before ended."""
    changes = [event["state_changed"] for event in events if "state_changed" in event]
    assert [change.get("previous") for change in changes[1:]] == [change["state"] for change in changes[:-1]]
    assert changes[-1]["state"] == "SUCCEEDED"
    assert "state_changed" in events[-1], "nothing follows the end"


def check_attempts(job, events):
    """One result, of the last attempt; no word of an attempt after the next began; no step twice, none left out."""
    states = [attempt["state"] for attempt in job["attempts"]]
    assert states[-1] == "SUCCEEDED"
    assert set(states[:-1]) <= {"FAILED", "EVICTED"}, states
    for attempt in job["attempts"][:-1]:
        assert attempt["state"] == "EVICTED" or attempt["failure"]["fault"] == "SYSTEM", attempt
    numbers = [event.get("attempt", 0) for event in events]
    assert numbers == sorted(numbers), "a stale attempt has got a word in"
    for attempt in job["attempts"]:
        made = [step for _, step, _ in steps(events, attempt["number"])]
        start = int(attempt.get("start_step", 0))
        assert made == list(range(start + 1, start + 1 + len(made))), f"{made} of {attempt}"


class NetworkTwoServers(NetworkCluster, TwoServers):
    """Two servers on one side of the wire."""


class KillLoop:
    """Carries a plan out on a running cluster while it works on at least `job_count` jobs."""

    def __init__(self, cluster, plan, job_count, max_steps, log=print_now):
        self.cluster, self.plan, self.job_count, self.max_steps, self.log = cluster, plan, job_count, max_steps, log
        self.jobs = []
        self.counts = collections.Counter()
        self.random = random.Random("trainers")
        self.targets = targets_of(cluster, lambda trainers: self.random.choice(trainers))

    # -- jobs

    def run(self):
        """Undisturbed jobs first, then disturbed ones; ends with all of them checked."""
        try:
            kinds = list(KINDS)[:self.job_count]
            undisturbed = {kind: self.undisturbed(kind) for kind in kinds}
            begin = time.monotonic()
            for disturbance in self.plan:
                self.submit_as_planned(disturbance.number)
                self.disturb(disturbance)
            while len(self.jobs) < self.job_count:
                self.submit()
            for job in self.jobs:
                self.cluster.wait(job.name, timeout=900)
                job.check(undisturbed[job.kind])
            self.check_nothing_is_left(undisturbed)
            self.report(time.monotonic() - begin)
        finally:
            for job in self.jobs:
                job.close()

    def undisturbed(self, kind):
        name = self.cluster.submit(spec_of(self.cluster, kind, self.max_steps))
        job = self.cluster.wait(name)
        assert job["state"] == "SUCCEEDED" and len(job["attempts"]) == 1, job
        return {"name": name, "losses": {step: loss for _, step, loss in steps(self.cluster.events(name))},
                "adapter": self.cluster.adapter(name)}

    def submit_as_planned(self, number):
        """Spread over the plan; early, and more than `job_count`, when nothing would be left to disturb."""
        planned = min(self.job_count, 2 + number * self.job_count // max(1, len(self.plan)))
        while len(self.jobs) < planned or not self.live_jobs():
            self.submit()

    def submit_command(self):
        number = len(self.jobs)
        kind = list(KINDS)[number % len(KINDS)]
        path = self.cluster.directory / f"job-{number}.json"
        path.write_text(json.dumps(spec_of(self.cluster, kind, self.max_steps)))
        return kind, ["submit", "-f", path, "--output", "json", "--request-id", f"job-{number}"]

    def submit(self):
        """Until the server has acknowledged it; the request id makes the repeats harmless."""
        kind, command = self.submit_command()
        result = wait_for(lambda: self.acknowledged(command), "a submit is acknowledged")
        self.jobs.append(WatchedJob(self.cluster, json.loads(result.stdout)["name"], kind))

    def acknowledged(self, command):
        result = self.cluster.client(*command, check=False)
        if result.returncode == 0:
            return result
        assert result.returncode in (4, 6), result.stderr  # unreachable, or gone in the middle of a call
        return None

    def states(self):
        """The jobs as the server tells them; the server must run."""
        result = self.cluster.client("list", "--output", "json", check=False, timeout=60)
        found = json.loads(result.stdout or "{}").get("jobs", []) if result.returncode == 0 else []
        ours = {job.name for job in self.jobs}
        return [job for job in found if job["name"] in ours]

    def live_jobs(self):
        return [job for job in self.states() if job["state"] not in FINAL]

    # -- disturbances

    def disturb(self, disturbance):
        self.cluster.check_alive()
        met = self.wait_for_moment(disturbance)
        live = len(self.live_jobs())
        self.log(f"{disturbance}{'' if met else ' (moment did not come)'}; {live} live job(s)")
        self.counts[disturbance.how, disturbance.target] += 1
        self.counts["", "while no job was live"] += not live
        self.random = disturbance.choices
        how = {"kill": self.kill, "stop": self.stop, "leave": self.leave}.get(disturbance.how)
        if disturbance.target == "submit":
            self.kill_around_submit(disturbance)
        elif how is not None:
            how(disturbance)
        else:
            self.cluster.disturb(disturbance, lambda: self.stay_away(disturbance))
            self.revive(disturbance)

    def wait_for_moment(self, disturbance):
        if disturbance.moment == "once":
            time.sleep(disturbance.choices.uniform(0, 2))
            return True
        before = self.progress()
        some_steps = disturbance.choices.randint(1, self.max_steps // 4)
        conditions = {
            "preparing": lambda: self.cluster.trainers() and any(job["state"] == "PREPARING" for job in self.states()),
            "step": lambda: self.some_job_made(some_steps, before),
            "delivery": self.some_job_delivers,
        }
        met = True
        try:
            wait_for(conditions[disturbance.moment], disturbance.moment, MOMENT_SECONDS)
        except AssertionError:
            met = False
        time.sleep(disturbance.choices.choice([0, disturbance.choices.uniform(0, 0.5)]))
        return met

    def progress(self):
        return {job["name"]: (len(job.get("attempts", [])), int(job.get("progress", {}).get("step", 0)))
                for job in self.states()}

    def some_job_made(self, some_steps, before):
        for name, (attempt, step) in self.progress().items():
            was_attempt, was_step = before.get(name, (0, 0))
            if step >= (was_step if attempt == was_attempt else 0) + some_steps:
                return True
        return False

    def some_job_delivers(self):
        return any(int(job.get("progress", {}).get("step", 0)) == self.max_steps for job in self.live_jobs())

    def stay_away(self, disturbance):
        """The time for which the target is stopped or dead; another may die in the middle of it."""
        time.sleep(disturbance.away / 2)
        if disturbance.also:
            self.counts["kill", disturbance.also] += 1
            self.targets[disturbance.also].kill()
        time.sleep(disturbance.away / 2)

    def revive(self, disturbance):
        for name in (disturbance.target, disturbance.also):
            if name in self.targets:
                self.targets[name].revive()

    def kill(self, disturbance):
        self.targets[disturbance.target].kill()
        if disturbance.target != "trainer":
            self.stay_away(disturbance)
        self.revive(disturbance)

    def stop(self, disturbance):
        with self.targets[disturbance.target].stopped():
            self.stay_away(disturbance)
        if disturbance.also:
            self.targets[disturbance.also].revive()

    def leave(self, disturbance):
        """As an operator ends a worker."""
        self.cluster.worker.terminate()
        if disturbance.also:
            self.stay_away(disturbance)
            self.targets[disturbance.also].revive()
        status = self.cluster.worker.wait(timeout=120)
        assert status == 0, f"a worker that is told to leave exits {status}"
        self.cluster.start_worker()

    def kill_around_submit(self, disturbance):
        """The server dies while a submit is under way, or right after it was acknowledged."""
        server = self.targets["server"]
        if len(self.jobs) >= self.job_count:
            server.kill()
        elif disturbance.choices.random() < 0.5:
            self.submit()
            server.kill()
        else:
            _, command = self.submit_command()
            with subprocess.Popen([*self.cluster.server_side, *self.cluster.client_command(*command)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
                time.sleep(disturbance.choices.uniform(0, 0.1))
                server.kill()
                client.wait()
            self.stay_away(disturbance)
            server.revive()
            self.submit()  # the same request: one job, whether the first was heard or not
            return
        self.stay_away(disturbance)
        server.revive()

    # -- the end

    def check_nothing_is_left(self, undisturbed):
        names = {job.name for job in self.jobs} | {twin["name"] for twin in undisturbed.values()}
        listed = json.loads(self.cluster.client("list", "--output", "json").stdout)["jobs"]
        assert {job["name"] for job in listed} == names, "a job was made twice, or a failed submit made one"
        self.cluster.check_alive()
        self.cluster.wait_until_no_trainer_is_left()
        attempts = self.cluster.directory / "work" / "attempts"
        wait_for(lambda: not any(attempts.iterdir()), "the worker has forgotten every attempt")
        for log in self.cluster.directory.glob("server*.log"):
            assert "INTERNAL" not in log.read_text(), f"{log.name}: the server calls something its own bug"

    def report(self, seconds):
        ends = collections.Counter()
        for job in self.jobs:
            for attempt in self.cluster.get(job.name)["attempts"]:
                ends[attempt.get("failure", {}).get("reason", attempt["state"])] += 1
        self.log(f"all {len(self.jobs)} jobs SUCCEEDED as if undisturbed, after {len(self.plan)} disturbances in"
                 f" {seconds:.0f} s")
        for (how, target), count in sorted(self.counts.items()):
            self.log(f"  {count:4} {how} {target}")
        for end, count in sorted(ends.items()):
            self.log(f"  {count:4} attempt(s) ended: {end}")


def run(options):
    """Runs the loop on the cluster that `options` describe."""
    print(f"seed {options.seed}", flush=True)
    kinds, keywords = dict(PROCESSES), {"devices": "cpu:2", "lease": f"{LEASE_SECONDS}s", "server_flags": SERVER_FLAGS}
    with contextlib.ExitStack() as stack:
        make = Cluster
        if options.store == "postgresql":
            kinds |= SERVERS
            keywords["postgres"] = stack.enter_context(Postgres())
            make = TwoServers
        if options.network:
            kinds |= CUTS
            keywords["network"] = stack.enter_context(Network())
            make = NetworkTwoServers if options.store == "postgresql" else NetworkCluster
        plan = draw(options.seed, options.kills, LEASE_SECONDS, options.grace, kinds)
        cluster = stack.enter_context(make(**keywords))
        KillLoop(cluster, plan, options.jobs, options.steps).run()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="disturbances")
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100, help="of each job")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31), help="default: random")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite",
                        help="postgresql: with two servers, leader and standby")
    parser.add_argument("--network", action="store_true", help="server and worker in network namespaces, the wire cut")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS,
                        help="0: nothing is away for so long that jobs are given away, which takes long")
    return parser.parse_args(arguments)


def short_form(*more):
    """What the tests run, in two to three minutes. LONGLORA_KILL_SEED repeats a run that failed."""
    seed = os.environ.get("LONGLORA_KILL_SEED")
    run(parse(["--kills", "25", "--jobs", "6", "--steps", "60", "--grace", "0", *(["--seed", seed] if seed else []),
               *more]))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing stays behind
    run(parse(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
