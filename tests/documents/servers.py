"""A NATS server and a MariaDB server on free ports, for commands that want one."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

SECONDS = 60
# What the quickstart expects to be there.
DATABASE = """
CREATE DATABASE IF NOT EXISTS knapscen CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS knapscen@'%' IDENTIFIED BY 'password';
GRANT ALL ON knapscen.* TO knapscen@'%';
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, look):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {SECONDS} s for {what}")


def answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(command, **settings):
    """A process that ends with the test."""
    process = subprocess.Popen(command, **settings)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def server(name):
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path, f"{name} is missing: tests/run installs it"
    return path


@contextlib.contextmanager
def nats(folder):
    """The port of a server with JetStream."""
    port, log = free_port(), folder / "nats.log"
    command = [server("nats-server"), "--jetstream", "--addr", "127.0.0.1", "--port", str(port), "--store_dir", folder / "nats"]
    with log.open("wb") as output, running(command, stdout=output, stderr=output) as process:
        until("NATS", lambda: process.poll() is None and answers(port))
        yield port


@contextlib.contextmanager
def mariadb(folder):
    """The port of a server with the database and the user of the quickstart."""
    port, data, log = free_port(), folder / "mariadb", folder / "mariadb.log"
    (folder / "database.sql").write_text(DATABASE)
    user = ["--user=root"] if os.geteuid() == 0 else []
    options = ["--no-defaults", f"--datadir={data}", *user]
    with log.open("wb") as output:
        subprocess.run(
            [server("mariadb-install-db"), *options, "--auth-root-authentication-method=normal", "--skip-test-db"],
            stdout=output, stderr=output, check=True, timeout=SECONDS,
        )
        command = [
            server("mariadbd"), *options, f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
            f"--socket={folder}/mariadb.sock", f"--init-file={folder}/database.sql", "--innodb-flush-log-at-trx-commit=2",
        ]
        with running(command, stdout=output, stderr=output) as process:
            # It listens only after the file was executed.
            until("MariaDB", lambda: process.poll() is None and answers(port))
            yield port
