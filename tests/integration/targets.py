"""Processes of a cluster that are killed or stopped together, and how they come back."""

import contextlib
import signal


class Target:
    """`pids` tells whom it is about, at the moment; `revive` starts what was killed."""

    def __init__(self, cluster, pids, revive=lambda: None):
        self.cluster, self.pids, self.revive = cluster, pids, revive

    def kill(self):
        pids = self.pids()
        self.cluster.signal(pids, signal.SIGKILL)
        for process in self.cluster.daemons:
            if process.pid in pids:
                process.wait()

    @contextlib.contextmanager
    def stopped(self):
        pids = self.pids()
        self.cluster.signal(pids, signal.SIGSTOP)
        yield
        self.cluster.signal(pids, signal.SIGCONT)


def targets_of(cluster, choose):
    """By their names in disturbances.py. `choose` picks one of several trainers."""
    def server():
        return [cluster.server.pid]

    def worker():
        return [cluster.worker.pid]

    def one_trainer():
        trainers = cluster.trainers()
        return [choose(trainers)] if trainers else []

    def revive_all():
        cluster.start_server()
        cluster.start_worker()

    return {
        "server": Target(cluster, server, cluster.start_server),
        "worker": Target(cluster, worker, cluster.start_worker),
        "trainer": Target(cluster, one_trainer),
        "worker and trainers": Target(cluster, lambda: worker() + cluster.trainers(), cluster.start_worker),
        "everything": Target(cluster, lambda: server() + worker() + cluster.trainers(), revive_all),
        **cluster.more_targets(),
    }
