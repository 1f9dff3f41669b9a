import json
import threading
from pathlib import Path
from typing import Any

import pytest

from errata.errors import Malformed
from errata.identity import new_id
from errata.resolver import VersionResolver
from retrain.release import promote, publish_champions, register, rollback
from storage.alerts import News, list_alerts, list_open, raise_alert
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.outbox import read_unsent
from storage.records import Release, Version
from storage.releases import champion, get_version, list_releases, list_versions
from tests.records import MODEL
from tests.retrain.fake_trainer import write_network

NOW_US = 1_795_415_400_000_000


def add(db: Database, artifacts: Path, cameras: list[str], now_us: int = NOW_US, **given: Any) -> Version:
    """Register the next version, which knows these cameras."""
    source = artifacts / "made" / "-".join(cameras)
    write_network(source, cameras)
    values: dict[str, Any] = {"model": MODEL, "directory": source, "reason": "Made.", "who": "jane"}
    return register(db, artifacts, **(values | given), now_us=now_us, new_id=new_id)


def crown(db: Database, artifacts: Path, version: str, now_us: int = NOW_US, **given: Any) -> Release:
    values: dict[str, Any] = {"model": MODEL, "version": version, "reason": "It is better.", "who": "jane"}
    return promote(db, artifacts, **(values | given), now_us=now_us, new_id=new_id)


def go_back(db: Database, artifacts: Path, now_us: int = NOW_US) -> Release:
    return rollback(db, artifacts, model=MODEL, reason="Slow.", who="jane", now_us=now_us, new_id=new_id)


def published(artifacts: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((artifacts / MODEL / "champion.json").read_bytes())
    return content


def test_the_first_version_is_the_champion_and_services_find_it(db: Database, tmp_path: Path) -> None:
    version = add(db, tmp_path, ["old"])
    with db.read() as c:
        assert get_version(c, MODEL, "1") == version
        assert champion(c, MODEL).action == "register"  # type: ignore[union-attr]
        (message,) = read_unsent(c, 10)
    assert (message.topic, message.key, message.type) == (
        "errata.signals",
        MODEL,
        "errata.version.released.v1",
    )
    assert json.loads(message.data) == {
        "model": MODEL,
        "version": "1",
        "action": "register",
        "reason": "Made.",
    }
    assert published(tmp_path) == {
        "model": MODEL,
        "version": "1",
        "artifact": f"{MODEL}/1",
        "sha256": version.sha256,
    }
    resolved = VersionResolver(tmp_path, MODEL).current()
    assert resolved is not None
    assert (resolved.version, resolved.directory) == ("1", tmp_path / MODEL / "1")


def test_another_version_is_known_but_not_champion(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    assert add(db, tmp_path, ["old", "new"]).version == "2"
    assert published(tmp_path)["version"] == "1"


def test_registering_the_same_files_again_changes_nothing(db: Database, tmp_path: Path) -> None:
    first = add(db, tmp_path, ["old"], version="1")
    assert add(db, tmp_path, ["old"], version="1", now_us=NOW_US + 5) == first
    with db.read() as c:
        assert len(list_versions(c)) == len(list_releases(c)) == 1


def test_other_files_under_the_same_version_are_refused(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"], version="1")
    with pytest.raises(Conflict, match="another version"):
        add(db, tmp_path, ["new"], version="1")


def test_half_an_artifact_is_refused(db: Database, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    with pytest.raises(Malformed, match="not written to its end"):
        add(db, tmp_path, ["old"], directory=tmp_path / "half")


def test_promoting_makes_a_version_champion_and_tells_it(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    add(db, tmp_path, ["old", "new"])
    release = crown(db, tmp_path, "2", judged_against="1")
    with db.read() as c:
        assert champion(c, MODEL) == release
        assert [json.loads(row.data)["version"] for row in read_unsent(c, 10)] == ["1", "2"]
    assert published(tmp_path)["version"] == "2"


def test_another_version_ends_what_was_told_about_the_one_before(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    add(db, tmp_path, ["old", "new"])
    news = News(key="drift", kind="drift", severity="warning", title="Drift", sentence="", model=MODEL)
    for act in (lambda: crown(db, tmp_path, "2"), lambda: go_back(db, tmp_path)):
        with db.write() as c:
            raise_alert(c, news, NOW_US, new_id)
        release = act()
        with db.read() as c:
            assert list_open(c) == []
            assert list_alerts(c)[0].resolution == f"Version {release.version} is live. {release.reason}"


def test_an_old_verdict_a_second_promotion_and_an_unknown_version_are_refused(
    db: Database, tmp_path: Path
) -> None:
    add(db, tmp_path, ["old"])
    add(db, tmp_path, ["second"])
    add(db, tmp_path, ["third"])
    crown(db, tmp_path, "2")
    with pytest.raises(Conflict, match="judged against 1, but the champion is 2"):
        crown(db, tmp_path, "3", judged_against="1")
    with pytest.raises(Conflict, match="2 is the champion already"):
        crown(db, tmp_path, "2")
    with pytest.raises(NotFound, match="card-reader 9"):
        crown(db, tmp_path, "9")
    assert published(tmp_path)["version"] == "2"


def test_a_version_whose_files_are_damaged_is_never_released(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    add(db, tmp_path, ["new"])
    (tmp_path / MODEL / "2" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(Malformed):
        crown(db, tmp_path, "2")
    write_network(tmp_path / MODEL / "2", ["another"])
    with pytest.raises(Malformed, match="not those of its digest"):
        crown(db, tmp_path, "2")
    assert published(tmp_path)["version"] == "1"


def test_a_clock_that_goes_back_does_not_bring_an_old_champion_back(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    add(db, tmp_path, ["new"])
    crown(db, tmp_path, "2", now_us=NOW_US - 3_600_000_000)
    with db.read() as c:
        assert champion(c, MODEL).version == "2"  # type: ignore[union-attr]


def test_rolling_back_goes_to_the_champion_before_each_time(db: Database, tmp_path: Path) -> None:
    for number, cameras in enumerate((["1"], ["2"], ["3"])):
        add(db, tmp_path, cameras)
        if number:
            crown(db, tmp_path, str(number + 1))
    assert go_back(db, tmp_path).version == "2"
    assert go_back(db, tmp_path).version == "1"
    with pytest.raises(Conflict, match="no champion before"):
        go_back(db, tmp_path)
    crown(db, tmp_path, "3")
    assert published(tmp_path)["version"] == "3"
    assert go_back(db, tmp_path).version == "1", "2 was rolled back"
    with db.read() as c:
        assert [release.action for release in list_releases(c)][:2] == ["rollback", "promote"]


def test_what_a_dead_process_left_unpublished_is_published(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    (tmp_path / MODEL / "champion.json").unlink()
    assert publish_champions(db, tmp_path) == [MODEL]
    assert published(tmp_path)["version"] == "1"
    before = (tmp_path / MODEL / "champion.json").stat().st_mtime_ns
    assert publish_champions(db, tmp_path) == []
    assert (tmp_path / MODEL / "champion.json").stat().st_mtime_ns == before


def test_of_two_promotions_at_once_one_is_told_it_is_late(db: Database, tmp_path: Path) -> None:
    add(db, tmp_path, ["old"])
    add(db, tmp_path, ["second"])
    add(db, tmp_path, ["third"])
    together = threading.Barrier(2)
    outcomes: list[str] = []

    def run(version: str) -> None:
        together.wait()
        try:
            outcomes.append(crown(db, tmp_path, version, judged_against="1").version)
        except Conflict:
            outcomes.append("late")

    threads = [threading.Thread(target=run, args=[version]) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1] == "late"
    with db.read() as c:
        assert len(list_releases(c)) == 2
        assert published(tmp_path)["version"] == champion(c, MODEL).version  # type: ignore[union-attr]
