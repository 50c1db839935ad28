"""A cluster of two servers over one PostgreSQL, on one address: a leader and a standby. Whichever ends is started again
as a standby, as systemd would.
"""

import signal
import time

from cluster import Cluster, wait_for
from targets import Target

# (target, how): weight, as disturbances.PROCESSES. `server` there is the leader.
SERVERS = {
    ("standby", "kill"): 4,
    ("both servers", "kill"): 4,
    ("database", "end sessions"): 4,
    ("database", "depose"): 4,  # the leader is stopped and loses its session, as one whose machine hangs
    ("database", "crash"): 4,
}


class TwoServers(Cluster):
    """A Cluster in which `server` is the leader."""

    def __init__(self, postgres, server_flags=(), **keywords):
        super().__init__(server_flags=[*server_flags, "--store", postgres.url], **keywords)
        self.postgres = postgres
        self.servers = {}  # process: its log
        self.resignations = 0  # leaders that ended because the other server had the store

    def start_server(self):
        """Starts what has ended, and waits until one of the two serves."""
        self.servers = {process: log for process, log in self.servers.items() if process.poll() is None}
        while len(self.servers) < 2:
            name = f"server-{len(self.daemons)}"
            self.servers[self.spawn_server(name, "--standby")] = self.directory / f"{name}.log"
        wait_for(self.find_leader, "one of the servers leads")
        wait_for(lambda: self.client("list", check=False).returncode == 0, "the leader answers")

    def find_leader(self):
        for process, log in self.servers.items():
            if process.poll() is None and "ready, gRPC" in log.read_text():
                self.server = process
                return True
        return False

    def more_targets(self):
        def both():
            return [process.pid for process in self.servers]

        def standby():
            return [pid for pid in both() if pid != self.server.pid]

        return {"standby": Target(self, standby, self.start_server),
                "both servers": Target(self, both, self.start_server)}

    def check_alive(self):
        """A server may end by itself only because another has the store, and then with status 1."""
        ended = [process for process in self.servers if process.poll() is not None]
        for process in ended:
            text = self.servers[process].read_text()
            assert process.returncode == 1 and "another longlora-server" in text, text[-3000:]
        self.resignations += len(ended)
        if ended:
            self.start_server()
        self.check_worker()

    def disturb(self, disturbance, stay_away):
        if disturbance.target != "database":
            super().disturb(disturbance, stay_away)
        elif disturbance.how == "end sessions":
            self.postgres.end_sessions()
        elif disturbance.how == "depose":
            self.depose(stay_away)
        else:
            self.postgres.crash()
            stay_away()
            self.postgres.start()
        wait_for(self.serves_again, "a server serves again")

    def depose(self, stay_away):
        leader = self.server
        leader.send_signal(signal.SIGSTOP)
        self.postgres.end_leader()
        # The standby has the store now, but not yet the address, which the stopped one holds.
        time.sleep(1)
        stay_away()
        leader.send_signal(signal.SIGCONT)

    def serves_again(self):
        self.check_alive()
        return self.find_leader() and self.client("list", check=False).returncode == 0
