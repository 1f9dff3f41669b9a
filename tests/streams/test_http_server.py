"""What a connection may take of the intake, on real sockets."""

import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from errata.errors import SettingsError
from errata.settings import Intake
from streams import http_server
from streams.http_server import serving
from tests.servers import free_port


@dataclass
class Served:
    port: int
    asked: int = 0

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 10)


@contextmanager
def served(**intake):
    """An app that answers without reading the body, served as the intake is."""
    found = Served(free_port())

    async def answer(_):
        found.asked += 1
        return PlainTextResponse("answered")

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    server = uvicorn.Server(serving(Intake(port=found.port, **intake), app, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield found
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def server():
    patch = pytest.MonkeyPatch()
    patch.setattr(http_server._Connection, "head_seconds", 0.8)
    with served() as found:
        yield found
    patch.undo()


def read_all(connection):
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def is_given_up(connection, text):
    """Send `text` again and again; whether the other side has had enough of it."""
    try:
        for _ in range(200):
            connection.sendall(text)
            time.sleep(0.05)
    except OSError:
        return True
    return False


def test_a_head_that_never_ends_is_given_up(server):
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert is_given_up(connection, b"x-more: 1\r\n")


def test_a_connection_that_says_nothing_is_given_up(server):
    with server.connect() as connection:
        assert read_all(connection) == b""


def test_a_body_that_goes_on_after_the_answer_is_given_up(server):
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert is_given_up(connection, b"x")


def test_a_connection_serves_several_requests_with_pauses(server):
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"answered"):
                answer += connection.recv(65536)
            time.sleep(0.3)


def test_a_head_that_is_too_large_is_refused(server):
    asked = server.asked
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-more: " + b"x" * 20_000)
        assert read_all(connection).startswith(b"HTTP/1.1 400")
    assert server.asked == asked


def test_nothing_tells_what_serves(server):
    assert "server" not in httpx.get(f"http://127.0.0.1:{server.port}/").headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificate")
    files = {
        "certificate_file": str(directory / "certificate.pem"),
        "certificate_key_file": str(directory / "key.pem"),
    }
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-out", files["certificate_file"], "-keyout", files["certificate_key_file"]),
        ],
        check=True,
        capture_output=True,
    )
    return files


def test_with_a_certificate_it_speaks_tls_alone(certificate):
    trusting = ssl.create_default_context(cafile=certificate["certificate_file"])
    with served(**certificate) as server:
        assert httpx.get(f"https://localhost:{server.port}/", verify=trusting).text == "answered"
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{server.port}/")


def test_a_certificate_that_cannot_be_read_is_named(tmp_path):
    missing = Intake(certificate_file=str(tmp_path / "no.pem"), certificate_key_file="key.pem")
    with pytest.raises(SettingsError, match=r"intake\.certificate_file .*no\.pem"):
        serving(missing, Starlette())
