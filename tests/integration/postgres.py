"""A real PostgreSQL server in a directory of its own, on a Unix socket there. Root runs it as the user `postgres`,
because PostgreSQL refuses root.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
LOCK = int.from_bytes(b"longlora", "big")  # postgres_job_store.cc


class Postgres:
    """Use as a context manager."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="longlora-postgres-"))
        self.url = f"postgresql://longlora@/longlora?host={self.directory}"

    def __enter__(self):
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
        self._run("initdb", "-D", self.directory / "data", "-A", "trust", "-U", "longlora", "--locale=C", "--no-sync")
        self.start()
        self._run("createdb", "-h", self.directory, "-U", "longlora", "longlora")
        return self

    def __exit__(self, *_):
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        self._run("pg_ctl", "-D", self.directory / "data", "-l", self.directory / "log", "-w", "-o",
                  f"-k {self.directory} -c listen_addresses=", "start")

    def crash(self):
        """Ends it without a checkpoint, as a kill would; `start` recovers what was committed."""
        self._run("pg_ctl", "-D", self.directory / "data", "-m", "immediate", "-w", "stop")

    def sql(self, statement):
        return self._run("psql", "-qtA", "-h", self.directory, "-U", "longlora", "-d", "longlora", "-c", statement)

    def end_leader(self):
        """Ends the session that holds the lock of the job store."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")

    def end_sessions(self):
        """Ends every session of others, as an administrator may, or a network that breaks."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE datname = 'longlora' AND pid <> pg_backend_pid()")

    @contextlib.contextmanager
    def lock_held(self):
        """The lock of the job store is held, as by a server that has just begun to lead."""
        command = self._command("psql", "-qtA", "-h", self.directory, "-U", "longlora", "-d", "longlora")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as session:
            session.stdin.write(f"SELECT pg_advisory_lock({LOCK}), 'held';\n")
            session.stdin.flush()
            assert "held" in session.stdout.readline()
            yield
            session.stdin.close()

    def _command(self, program, *arguments):
        command = [str(BIN / program), *map(str, arguments)]
        return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command

    def _run(self, program, *arguments):
        command = self._command(program, *arguments)
        # Its own files: a server that goes on must not hold the test's pipe open.
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False, timeout=120)
            output.seek(0)
            text = output.read()
        assert result.returncode == 0, f"{program}: {text}"
        return text
