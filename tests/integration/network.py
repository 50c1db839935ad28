"""A cluster whose server and worker live in network namespaces of their own, joined by one wire that can be cut, cut
in one direction, or made to lose packets. Needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN; `missing` says what fails.
"""

import contextlib
import os
import subprocess

from cluster import Cluster

SERVER_ADDRESS, WORKER_ADDRESS = "10.77.0.1", "10.77.0.2"
NOBODY = "02:00:00:00:00:99"  # an Ethernet address that no card has: what is sent to it is lost
DEVICE = "eth0"

# (target, how): weight, as disturbances.PROCESSES.
CUTS = {
    ("network", "cut"): 10,  # both ways, silently: a pulled cable
    ("network", "cut to the server"): 4,
    ("network", "cut to the worker"): 4,
    ("network", "unplug"): 4,  # the worker's interface is down: its calls fail at once
    ("network", "lose packets"): 6,
}

# The first that the kernel has. tbf loses what does not fit into its short queue.
LOSSES = (
    ("netem", "loss", "20%", "25%", "delay", "20ms", "10ms", "reorder", "10%"),
    ("tbf", "rate", "4mbit", "burst", "3000", "limit", "6000"),
)


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if result.returncode != 0:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip() or result.returncode}")


class Network:
    """Use as a context manager."""

    def __init__(self):
        self.names = [f"longlora-{os.getpid()}-{side}" for side in ("server", "worker")]

    def __enter__(self):
        try:
            for name in self.names:
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            server, worker = self.names
            run("ip", "link", "add", DEVICE, "netns", server, "type", "veth", "peer", "name", DEVICE, "netns", worker)
            for name, address in zip(self.names, (SERVER_ADDRESS, WORKER_ADDRESS)):
                run("ip", "-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
                run("ip", "-n", name, "link", "set", DEVICE, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            with contextlib.suppress(OSError):
                run("ip", "netns", "delete", name)

    def inside(self, side):
        return ("ip", "netns", "exec", self.names[side])

    @contextlib.contextmanager
    def deaf(self, *sides):
        """What these sides (0: server, 1: worker) send is lost without a word."""
        peers = (WORKER_ADDRESS, SERVER_ADDRESS)
        for side in sides:
            run("ip", "-n", self.names[side], "neigh", "replace", peers[side], "lladdr", NOBODY, "dev", DEVICE, "nud",
                "permanent")
        yield
        for side in sides:
            run("ip", "-n", self.names[side], "neigh", "del", peers[side], "dev", DEVICE)

    @contextlib.contextmanager
    def unplugged(self):
        run("ip", "-n", self.names[1], "link", "set", DEVICE, "down")
        yield
        run("ip", "-n", self.names[1], "link", "set", DEVICE, "up")

    @contextlib.contextmanager
    def lossy(self):
        for name in self.names:
            run("tc", "-n", name, "qdisc", "replace", "dev", DEVICE, "root", *self.loss())
        yield
        for name in self.names:
            run("tc", "-n", name, "qdisc", "del", "dev", DEVICE, "root")

    def loss(self):
        reasons = []
        for loss in LOSSES:
            try:
                run("tc", "-n", self.names[0], "qdisc", "replace", "dev", DEVICE, "root", *loss)
                return loss
            except OSError as error:
                reasons.append(str(error))
        raise OSError("; ".join(reasons))

    def broken(self, how):
        return {"cut": lambda: self.deaf(0, 1), "cut to the server": lambda: self.deaf(1),
                "cut to the worker": lambda: self.deaf(0), "unplug": self.unplugged, "lose packets": self.lossy}[how]()


def missing():
    """Why there can be no such network here; empty: there can."""
    try:
        with Network() as network, network.lossy():
            return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


class NetworkCluster(Cluster):
    """A Cluster in `network`. Its users are on the server's side, those who watch on the worker's."""

    host = SERVER_ADDRESS
    plaintext = ("--allow-plaintext",)

    def __init__(self, network, **keywords):
        super().__init__(**keywords)
        self.network = network
        self.server_side, self.worker_side = network.inside(0), network.inside(1)

    def disturb(self, disturbance, stay_away):
        if disturbance.target != "network":
            super().disturb(disturbance, stay_away)
            return
        with self.network.broken(disturbance.how):
            stay_away()
