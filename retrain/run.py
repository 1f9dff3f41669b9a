"""One run from the request to the release.

    requested ─► frozen ─► trained ─► scored ─► judged ─► released

Every arrow ends with a row in `run_steps` that is written in one transaction with what it decided. Killed at any
arrow and called again, a run goes on with the first arrow that has no row; training goes on from its checkpoint.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import torch

from errata.errors import Fenced, Malformed, Unavailable
from errata.identity import NewId
from errata.settings import Model, Settings, find_model
from quality.requirements import list_requirements
from retrain.artifacts import artifact_sha256
from retrain.datasets import freeze, split_samples
from retrain.gate import Held, Pairs, is_graded, judge
from retrain.release import promote, publish_champions
from retrain.scorecard import check_offline, make_cases, make_scorecards, measure
from retrain.trainer import Progress, Trainer, load_trainer
from storage import examples, leases, releases, runs
from storage.alerts import News, announce, raise_alert, resolve_alert
from storage.database import Database
from storage.errors import Conflict
from storage.records import Run, RunStep, Step, Version

log = logging.getLogger(__name__)

#: Who dies while carrying out a run blocks it for this long.
LEASE_US: Final = 30_000_000
#: In the directory of a candidate: the run that trains it.
MARKER: Final = "run_id"


@dataclass(frozen=True)
class Work:
    """What every arrow needs."""

    db: Database
    artifacts: Path
    model: Model
    trainer: Trainer
    device: torch.device
    now_us: Callable[[], int]
    new_id: NewId
    progress: Progress


def carry_out(
    db: Database,
    settings: Settings,
    run_id: str,
    *,
    device: torch.device,
    now_us: Callable[[], int],
    new_id: NewId,
    holder: str,
    progress: Progress,
) -> Run:
    """Take all arrows that a requested run has not taken yet, and return the run, which is decided then.

    What goes wrong for good ends the run as failed, with the reason in a sentence. Raises Unavailable (call again
    later; also when `progress` raises it to stop), Fenced (another trainer, not `holder`, carries the run out),
    Conflict (it waits for labels) and NotFound.
    """
    artifacts = Path(settings.artifacts.directory)
    with Lease(db, f"run:{run_id}", holder, now_us) as lease:
        run = _begin(db, run_id)
        if run.status == "training":

            def report(share: float, figures: Mapping[str, float]) -> None:
                lease.check()
                progress(share, figures)

            step: Step = "requested"
            try:
                model = find_model(settings, run.model)
                trainer = load_trainer(model.training.trainer)
                work = Work(db, artifacts, model, trainer, device, now_us, new_id, report)
                for step, take in ARROWS:
                    lease.check()
                    if step not in _taken(db, run_id):
                        take(work, _get(db, run_id))
            except (Unavailable, Fenced):
                raise
            except Exception as error:
                log.exception("run %s failed at the step %s", run_id, step)
                _fail(db, run, f"At the step {step}: {type(error).__name__}: {error}", now_us(), new_id)
        publish_champions(db, artifacts)
        return _get(db, run_id)


def _freeze(work: Work, run: Run) -> None:
    """Choose the examples, and the number of the version that will learn from them."""
    dataset = freeze(work.db, run, work.now_us())
    with work.db.write() as c:
        rows = examples.read_dataset(c, dataset.hash)
        releases.lock_versions(c, run.model)
        candidate = releases.next_version(c, run.model)
        runs.update_run(c, run.id, dataset_hash=dataset.hash, candidate=candidate)
        evidence = {
            "dataset": dataset.hash,
            "candidate": candidate,
            "training": dataset.n_training,
            "evaluation": dataset.n_evaluation,
            "new": sum(is_new for _, _, is_new in rows),
        }
        runs.put_step(c, _step(work, run, "frozen", evidence))


def _train(work: Work, run: Run) -> None:
    """Train the candidate from the champion, in the directory where it will be served from."""
    with work.db.read() as c:
        rows = examples.read_dataset(c, _present(run.dataset_hash))
        champion = releases.get_version(c, run.model, run.champion)
    new, old = split_samples(rows)
    artifact = f"{run.model}/{_present(run.candidate)}"
    directory = work.artifacts / artifact
    _claim(directory, run.id)
    started_us = work.now_us()
    work.trainer.train(
        new,
        old,
        work.artifacts / champion.artifact,
        directory,
        work.model.training,
        seed=run.seed,
        device=work.device,
        progress=work.progress,
    )
    version = Version(
        model=run.model,
        version=_present(run.candidate),
        artifact=artifact,
        sha256=artifact_sha256(directory),
        run_id=run.id,
        dataset_hash=run.dataset_hash,
        created_us=work.now_us(),
    )
    evidence = {
        "candidate": version.version,
        "sha256": version.sha256,
        "new": len(new),
        "old": len(old),
        "steps": work.model.training.steps,
        "device": str(work.device),
        "seconds": round((work.now_us() - started_us) / 1e6, 3),
    }
    with work.db.write() as c:
        releases.put_version(c, version)
        runs.put_step(c, _step(work, run, "trained", evidence))


def _score(work: Work, run: Run) -> None:
    """Let champion and candidate answer the same frozen examples."""
    with work.db.read() as c:
        rows = examples.read_dataset(c, _present(run.dataset_hash))
        champion = releases.get_version(c, run.model, run.champion)
        candidate = releases.get_version(c, run.model, _present(run.candidate))
    frozen = [example for example, role, _ in rows if role == "evaluation"]
    is_new = np.array([new for _, role, new in rows if role == "evaluation"], dtype=bool)
    measured = {}
    for version in (champion, candidate):
        network = work.trainer.load(work.artifacts / version.artifact, work.device)
        measured[version.version] = measure(network, frozen, work.model.task)
    cards = [
        card
        for name, of_version in measured.items()
        for card in make_scorecards(run.id, name, of_version, is_new)
    ]
    required = list_requirements(work.model.requirements)
    groups = np.array([example.group for example in frozen], dtype=np.str_)
    checked = [
        check_offline(
            required, measured[version.version], groups, is_graded=is_graded(work.model.task), seed=run.seed
        )
        for version in (champion, candidate)
    ]
    cases = make_cases(run.id, frozen, measured[champion.version], measured[candidate.version])
    evidence = {
        "n": len(frozen),
        "champion_wrong": sum(case.champion_ppm > 0 for case in cases),
        "candidate_wrong": sum(case.candidate_ppm > 0 for case in cases),
        "requirements": [
            asdict(
                Held(
                    of_champion.requirement.name,
                    of_champion.judgement,
                    of_champion.sentence,
                    of_candidate.judgement,
                    of_candidate.sentence,
                )
            )
            for of_champion, of_candidate in zip(*checked, strict=True)
        ],
    }
    with work.db.write() as c:
        runs.put_scorecards(c, cards)
        runs.put_cases(c, cases)
        runs.put_step(c, _step(work, run, "scored", evidence))


def _judge(work: Work, run: Run) -> None:
    """Decide whether the candidate is better on what is new and not worse on what was known."""
    with work.db.read() as c:
        rows = examples.read_dataset(c, _present(run.dataset_hash))
        cases = {case.example_id: case for case in runs.read_cases(c, run.id)}
        scored = next(step for step in runs.read_steps(c, run.id) if step.step == "scored")

    def pairs(wanted_new: bool) -> Pairs:
        chosen = [e for e, role, is_new in rows if role == "evaluation" and is_new is wanted_new]
        return Pairs(
            np.array([cases[example.id].champion_ppm for example in chosen], dtype=np.int64),
            np.array([cases[example.id].candidate_ppm for example in chosen], dtype=np.int64),
            np.array([example.group for example in chosen], dtype=np.str_),
        )

    verdict = judge(
        pairs(False),
        pairs(True),
        work.model.task,
        work.model.gate,
        held=[Held(**each) for each in scored.evidence.get("requirements", [])],
        champion=run.champion,
        candidate=_present(run.candidate),
        seed=run.seed,
    )
    said = "promote" if verdict.promote else "keep"
    with work.db.write() as c:
        runs.update_run(c, run.id, verdict=said, verdict_reason=verdict.reason)
        evidence = {"verdict": said, "reason": verdict.reason, **verdict.evidence}
        runs.put_step(c, _step(work, run, "judged", evidence))


def _release(work: Work, run: Run) -> None:
    """Make the candidate champion if the verdict says so and nothing has happened meanwhile."""
    if run.verdict == "keep":
        _keep(work, run, "the verdict is to keep the champion")
    elif not work.model.gate.automatic:
        _keep(work, run, f"a person decides: errata release promote {run.model} {run.candidate}")
    else:
        try:
            promote(
                work.db,
                work.artifacts,
                model=run.model,
                version=_present(run.candidate),
                reason=_present(run.verdict_reason),
                who="the gate",
                now_us=work.now_us(),
                new_id=work.new_id,
                judged_against=run.champion,
            )
        except Conflict as conflict:
            _keep(work, run, str(conflict))


ARROWS: Final[tuple[tuple[Step, Callable[[Work, Run], None]], ...]] = (
    ("frozen", _freeze),
    ("trained", _train),
    ("scored", _score),
    ("judged", _judge),
    ("released", _release),
)


class Lease:
    """The right to carry out a run, prolonged in the background while the block lasts.

    Entering raises Fenced where another holder has it.
    """

    def __init__(self, db: Database, name: str, holder: str, now_us: Callable[[], int]) -> None:
        self._db = db
        self._name = name
        self._holder = holder
        self._now_us = now_us
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._prolong, name=f"lease {name}", daemon=True)

    def check(self) -> None:
        """Raise Fenced when the lease was lost."""
        if self._lost.is_set():
            raise Fenced(f"another trainer has taken over {self._name}")

    def __enter__(self) -> "Lease":
        if not leases.take_lease(self._db, self._name, self._holder, self._now_us(), LEASE_US):
            raise Fenced(f"another trainer is at {self._name}")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if not self._lost.is_set():
            with suppress(Unavailable):
                leases.take_lease(self._db, self._name, self._holder, self._now_us(), 0)

    def _prolong(self) -> None:
        prolonged_us = self._now_us()
        while not self._ended.wait(LEASE_US / 3e6):
            now_us = self._now_us()
            try:
                kept = leases.take_lease(self._db, self._name, self._holder, now_us, LEASE_US)
            except Unavailable:
                kept = now_us < prolonged_us + LEASE_US
            else:
                prolonged_us = now_us
            if not kept:
                self._lost.set()
                return


def _begin(db: Database, run_id: str) -> Run:
    with db.write() as c:
        run = runs.lock_run(c, run_id)
        if run.status == "waiting":
            raise Conflict(f"run {run_id} waits for the labels of its batch: accept the batch first")
        if run.status == "requested":
            runs.update_run(c, run_id, status="training")
        return runs.get_run(c, run_id)


def _claim(directory: Path, run_id: str) -> None:
    """Make `directory` this run's; what another run left there (of another database) is removed."""
    marker = directory / MARKER
    if directory.exists() and not (marker.exists() and marker.read_text() == run_id):
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(run_id)


def _keep(work: Work, run: Run, why: str) -> None:
    now_us = work.now_us()
    news = News(
        key=f"verdict/{run.id}",
        kind="verdict",
        # The drift that it was to end goes on, or a person is asked to decide.
        severity="warning",
        title=f"{run.model} keeps its champion {run.champion}",
        sentence=f"{run.verdict_reason} {why[0].upper()}{why[1:]}. Run {run.id}.",
        model=run.model,
    )
    with work.db.write() as c:
        runs.update_run(c, run.id, status="kept", decided_us=now_us)
        runs.put_step(c, _step(work, run, "released", {"version": None, "why": why}))
        resolve_alert(c, _failure_key(run.model), f"Run {run.id} came to its verdict.", now_us)
        announce(c, news, now_us, work.new_id)


def _fail(db: Database, run: Run, why: str, now_us: int, new_id: NewId) -> None:
    news = News(
        key=_failure_key(run.model),
        kind="failure",
        severity="warning",
        title=f"A run of {run.model} failed",
        sentence=f"{why}. Run {run.id}.",
        model=run.model,
    )
    with db.write() as c:
        runs.update_run(c, run.id, status="failed", verdict_reason=why, decided_us=now_us)
        raise_alert(c, news, now_us, new_id)


def _failure_key(model: str) -> str:
    return f"failure/{model}"


def _taken(db: Database, run_id: str) -> set[Step]:
    with db.read() as c:
        return {step.step for step in runs.read_steps(c, run_id)}


def _get(db: Database, run_id: str) -> Run:
    with db.read() as c:
        return runs.get_run(c, run_id)


def _step(work: Work, run: Run, step: Step, evidence: dict[str, Any]) -> RunStep:
    return RunStep(run_id=run.id, step=step, evidence=evidence, time_us=work.now_us())


def _present(value: str | None) -> str:
    """What an earlier arrow has written."""
    if value is None:
        raise Malformed("incomplete_run", "a step is recorded without what it decided: ask for a new run")
    return value
