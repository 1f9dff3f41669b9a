"""Which version is the champion: the database decides, `champion.json` tells services.

    ARTIFACTS/MODEL/VERSION/       the files of a version (retrain/artifacts.py)
    ARTIFACTS/MODEL/champion.json  {"model", "version", "artifact", "sha256"}, written as a whole

A process that dies between the two leaves an old champion.json; `publish_champions` writes it again.
"""

import shutil
from pathlib import Path
from typing import Any, Final, Literal

from errata.errors import Malformed
from errata.events import encode_json
from errata.identity import NewId
from errata.resolver import CHAMPION
from errata.settings import AlertKind
from errata.topics import SIGNALS, VERSION_RELEASED
from retrain.artifacts import artifact_sha256, write_atomically
from storage import outbox, releases, runs
from storage.alerts import News, announce, resolve_alerts_of
from storage.database import Database
from storage.errors import Conflict
from storage.records import Release, RunStep, Version

#: What people were told about the champion before: whatever was wrong with it, another version is asked now.
_ENDED: Final[tuple[AlertKind, ...]] = ("drift", "data_drift", "failure")


def register(
    db: Database,
    artifacts: Path,
    *,
    model: str,
    directory: Path,
    version: str | None = None,
    reason: str,
    who: str,
    now_us: int,
    new_id: NewId,
) -> Version:
    """Copy a version that was trained elsewhere, and make it known; a model's first version is its champion.

    `version` is the next number unless given. Raises Malformed when `directory` holds no whole artifact, and
    Conflict when the version exists with other files.
    """
    sha256 = artifact_sha256(directory)
    with db.write() as c:
        releases.lock_versions(c, model)
        name = version or releases.next_version(c, model)
        artifact = f"{model}/{name}"
        _copy(directory, artifacts / artifact, sha256)
        releases.put_version(
            c,
            Version(
                model=model,
                version=name,
                artifact=artifact,
                sha256=sha256,
                run_id=None,
                dataset_hash=None,
                created_us=now_us,
            ),
        )
        stored = releases.get_version(c, model, name)
        if stored.sha256 != sha256:
            raise Conflict(f"{model} {name} exists with other files: register them under another version")
        if releases.champion(c, model) is None:
            release = _release(stored, "register", reason, who, now_us, new_id)
            releases.put_release(c, release)
            outbox.put(
                c, SIGNALS, model, VERSION_RELEASED, _announce(release), release.time_us, new_id(now_us)
            )
    publish_champions(db, artifacts)
    return stored


def promote(
    db: Database,
    artifacts: Path,
    *,
    model: str,
    version: str,
    reason: str,
    who: str,
    now_us: int,
    new_id: NewId,
    judged_against: str | None = None,
) -> Release:
    """Make a registered version the champion; the run that made it is promoted in the same transaction.

    With `judged_against`, only if that is still the champion: an old verdict says nothing about a newer one.
    Raises Conflict then, and where the version is the champion already; Malformed when files are damaged.
    """
    with db.write() as c:
        releases.lock_versions(c, model)
        candidate = releases.get_version(c, model, version)
        _check_files(artifacts, candidate)
        champion = releases.champion(c, model)
        if champion is not None and champion.version == version:
            raise Conflict(f"{model} {version} is the champion already")
        if judged_against is not None and (champion is None or champion.version != judged_against):
            now = champion.version if champion else "none"
            raise Conflict(
                f"{model} {version} was judged against {judged_against}, but the champion is {now} by now"
            )
        release = _release(candidate, "promote", reason, who, _after(champion, now_us), new_id)
        releases.put_release(c, release)
        if candidate.run_id is not None:
            released = {"version": version, "instead_of": champion.version if champion else None, "who": who}
            runs.put_step(
                c, RunStep(run_id=candidate.run_id, step="released", evidence=released, time_us=now_us)
            )
            runs.update_run(c, candidate.run_id, status="promoted", decided_us=now_us)
            news = News(
                key=f"verdict/{candidate.run_id}",
                kind="verdict",
                severity="info",
                title=f"{model} {version} is the champion",
                sentence=f"{reason} Promoted by {who}, run {candidate.run_id}.",
                model=model,
            )
            announce(c, news, now_us, new_id)
        resolve_alerts_of(c, model, _ENDED, _tell_live(release), now_us)
        outbox.put(c, SIGNALS, model, VERSION_RELEASED, _announce(release), release.time_us, new_id(now_us))
    publish_champions(db, artifacts)
    return release


def rollback(
    db: Database, artifacts: Path, *, model: str, reason: str, who: str, now_us: int, new_id: NewId
) -> Release:
    """Make the champion before this one the champion again; raises Conflict where there is none."""
    with db.write() as c:
        releases.lock_versions(c, model)
        history = releases.list_releases(c, model)
        earlier = _earlier_champion(history)
        if earlier is None:
            raise Conflict(f"{model} has no champion before this one to return to")
        target = releases.get_version(c, model, earlier)
        _check_files(artifacts, target)
        release = _release(target, "rollback", reason, who, _after(history[0], now_us), new_id)
        releases.put_release(c, release)
        resolve_alerts_of(c, model, _ENDED, _tell_live(release), now_us)
        outbox.put(c, SIGNALS, model, VERSION_RELEASED, _announce(release), release.time_us, new_id(now_us))
    publish_champions(db, artifacts)
    return release


def publish_champions(db: Database, artifacts: Path) -> list[str]:
    """Write champion.json of each model where it does not name the champion; return these models."""
    with db.read() as c:
        champions = releases.list_champions(c)
    published = []
    for model, version in champions.items():
        if _read(artifacts / model / CHAMPION) == _describe(version):
            continue
        # Two processes could otherwise write an old and a new champion in the wrong order.
        with db.write() as c:
            releases.lock_versions(c, model)
            (artifacts / model).mkdir(parents=True, exist_ok=True)
            write_atomically(artifacts / model / CHAMPION, _describe(releases.list_champions(c)[model]))
        published.append(model)
    return published


def _tell_live(release: Release) -> str:
    return f"Version {release.version} is live. {release.reason}"


def _describe(version: Version) -> bytes:
    return encode_json(
        {
            "model": version.model,
            "version": version.version,
            "artifact": version.artifact,
            "sha256": version.sha256,
        }
    )


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy an artifact so that `target` is whole or not there. Raises Conflict when it holds other files."""
    if target.exists():
        if source.resolve() != target.resolve() and artifact_sha256(target) != sha256:
            raise Conflict(f"{target} holds other files: register these under another version")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    part.rename(target)


def _check_files(artifacts: Path, version: Version) -> None:
    """Raise Malformed unless the files of `version` are those that were registered."""
    if artifact_sha256(artifacts / version.artifact) != version.sha256:
        raise Malformed(
            "artifact", f"the files in {artifacts / version.artifact} are not those of its digest"
        )


def _earlier_champion(history: list[Release]) -> str | None:
    """The champion before the present one; what was rolled back is passed over. `history` is newest first."""
    line: list[str] = []
    for release in reversed(history):
        if release.action == "rollback":
            while line[-1] != release.version:
                line.pop()
        else:
            line.append(release.version)
    return line[-2] if len(line) > 1 else None


def _after(champion: Release | None, now_us: int) -> int:
    """The present, but later than the last release: a clock that went back must not crown an old version."""
    return now_us if champion is None else max(now_us, champion.time_us + 1)


def _release(
    version: Version,
    action: Literal["register", "promote", "rollback"],
    reason: str,
    who: str,
    time_us: int,
    new_id: NewId,
) -> Release:
    return Release(
        id=new_id(time_us),
        model=version.model,
        version=version.version,
        action=action,
        reason=reason,
        who=who,
        time_us=time_us,
    )


def _announce(release: Release) -> dict[str, Any]:
    return {
        "model": release.model,
        "version": release.version,
        "action": release.action,
        "reason": release.reason,
    }
