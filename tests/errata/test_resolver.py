import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from errata.resolver import Resolved, VersionResolver


def release(artifacts, version, *, model="card-reader", weights=None):
    """Write the files of a version and make it the champion; return its digest."""
    directory = artifacts / model / version
    directory.mkdir(parents=True)
    weights = weights or version.encode()
    (directory / "weights.safetensors").write_bytes(weights)
    description = json.dumps(
        {"weights_sha256": hashlib.sha256(weights).hexdigest(), "version": version}
    ).encode()
    (directory / "network.json").write_bytes(description)
    digest = hashlib.sha256(description).hexdigest()
    promote(artifacts, version, digest, model=model)
    return digest


def promote(artifacts, version, digest, *, model="card-reader"):
    champion = {"model": model, "version": version, "artifact": f"{model}/{version}", "sha256": digest}
    part = artifacts / model / "champion.part"
    part.write_text(json.dumps(champion))
    part.rename(artifacts / model / "champion.json")


def test_there_is_no_champion_before_the_first_release(tmp_path):
    assert VersionResolver(tmp_path, "card-reader").current() is None


def test_a_release_is_followed_while_the_service_runs(tmp_path):
    resolver = VersionResolver(str(tmp_path), "card-reader")
    first = release(tmp_path, "1")
    assert resolver.current() == Resolved("1", tmp_path / "card-reader" / "1", first)
    second = release(tmp_path, "2")
    assert resolver.current() == Resolved("2", tmp_path / "card-reader" / "2", second)
    promote(tmp_path, "1", first)
    assert resolver.current().version == "1"


def test_nothing_is_read_while_nothing_changes(tmp_path, monkeypatch):
    release(tmp_path, "1")
    resolver = VersionResolver(tmp_path, "card-reader")
    champion = resolver.current()
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: pytest.fail("read again"))
    assert resolver.current() is champion


@pytest.mark.parametrize("file", ["weights.safetensors", "network.json"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_files_do_not_replace_the_version_that_works(tmp_path, file, damage):
    release(tmp_path, "1")
    resolver = VersionResolver(tmp_path, "card-reader")
    assert resolver.current().version == "1"
    release(tmp_path, "2")
    path = tmp_path / "card-reader" / "2" / file
    whole = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(whole + b" ")
    assert resolver.current().version == "1"
    path.write_bytes(whole)
    assert resolver.current().version == "2"


def test_a_champion_file_that_is_no_json_changes_nothing(tmp_path):
    release(tmp_path, "1")
    resolver = VersionResolver(tmp_path, "card-reader")
    assert resolver.current().version == "1"
    (tmp_path / "card-reader" / "champion.json").write_text("{")
    assert resolver.current().version == "1"


@pytest.fixture
def served(tmp_path):
    """An HTTP server that answers with champion.json, its address, and the paths it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            path = tmp_path / "card-reader" / "champion.json"
            self.send_response(200 if path.exists() else 404)
            self.end_headers()
            if path.exists():
                self.wfile.write(path.read_bytes())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_intake_is_asked_now_and_then(tmp_path, served):
    url, asked = served
    now = [0.0]
    resolver = VersionResolver(
        url, "card-reader", artifacts=tmp_path, every_seconds=5, monotonic=lambda: now[0]
    )
    assert resolver.current() is None
    digest = release(tmp_path, "1")
    assert resolver.current() is None
    now[0] = 5.0
    assert resolver.current() == Resolved("1", tmp_path / "card-reader" / "1", digest)
    assert asked == ["/v1/models/card-reader/champion"] * 2


def test_an_intake_that_is_away_changes_nothing(tmp_path, served):
    url, _ = served
    release(tmp_path, "1")
    resolver = VersionResolver(url, "card-reader", artifacts=tmp_path, every_seconds=0)
    assert resolver.current().version == "1"
    away = VersionResolver("http://127.0.0.1:9", "card-reader", artifacts=tmp_path)
    assert away.current() is None


def test_a_url_needs_to_know_where_the_files_are():
    with pytest.raises(ValueError, match="artifacts"):
        VersionResolver("http://127.0.0.1:9", "card-reader")
