import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from errata.errors import Fenced, Unavailable
from errata.identity import new_id
from errata.settings import Gate, Requirements, Settings
from errata.topics import VERSION_RELEASED
from retrain import run as run_module
from retrain.release import promote, register
from retrain.run import ARROWS, LEASE_US, MARKER
from storage import runs
from storage.alerts import list_alerts, list_open
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.leases import take_lease
from storage.outbox import read_unsent
from storage.records import Run, Step
from storage.releases import champion, list_releases, list_versions
from tests.records import MODEL, make_run, number_id
from tests.retrain.fake_trainer import trainer, write_network
from tests.retrain.scene import BATCH, RUN, Clock, carry_out_run, make_settings, set_scene

STEPS: list[Step] = [step for step, _ in ARROWS]


class Killed(BaseException):
    """What no code may catch and go on, like SIGKILL."""


def published(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / MODEL / "champion.json").read_bytes())
    return content


def with_gate(settings: Settings, gate: Gate) -> Settings:
    model = settings.models[MODEL]
    return msgspec.structs.replace(settings, models={MODEL: msgspec.structs.replace(model, gate=gate)})


def assert_promoted(db: Database, directory: Path, run: Run) -> None:
    """The whole effect of a run that ended well, once."""
    assert (run.status, run.candidate, run.verdict) == ("promoted", "2", "promote")
    with db.read() as c:
        assert [step.step for step in runs.read_steps(c, RUN)] == STEPS
        assert [version.version for version in list_versions(c, MODEL)] == ["1", "2"]
        assert [release.version for release in list_releases(c, MODEL)] == ["2", "1"]
        assert len(runs.read_scorecards(c, run_id=RUN)) == 6
        assert len(runs.read_cases(c, RUN)) == 180
        told = [
            json.loads(row.data)["version"] for row in read_unsent(c, 100) if row.type == VERSION_RELEASED
        ]
        (verdict,) = list_alerts(c)
    assert verdict.title == f"{MODEL} 2 is the champion"
    assert told == ["1", "2"]
    assert published(directory)["version"] == "2"


def test_a_run_goes_from_the_request_to_the_release(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    run = carry_out_run(db, make_settings(tmp_path), clock)
    assert_promoted(db, tmp_path, run)
    assert run.verdict_reason == (
        "Promote 2: on 60 examples from after the change it is wrong on 0 instead of 60 "
        "(fixes 60, breaks 0, p < 0.001); on 120 from before it is wrong on 0.0 % instead of 0.0 %, "
        "within the tolerated 3.0 points."
    )
    with db.read() as c:
        steps = {step.step: step.evidence for step in runs.read_steps(c, RUN)}
        cards = {(card.version, card.part): card for card in runs.read_scorecards(c, run_id=RUN)}
        assert len(runs.read_cases(c, RUN, change="fixed")) == 60
    assert steps["frozen"] == {
        "dataset": run.dataset_hash,
        "candidate": "2",
        "training": 40,
        "evaluation": 180,
        "new": 80,
    }
    assert (steps["trained"]["new"], steps["trained"]["old"]) == (20, 20)
    assert (cards["1", "after"].n, cards["1", "after"].n_wrong) == (60, 60)
    assert (cards["2", "before"].n, cards["2", "before"].n_wrong) == (120, 0)


@pytest.mark.parametrize("killed_at", STEPS)
@pytest.mark.parametrize("moment", ["before it is recorded", "after it is recorded"])
def test_killed_at_any_arrow_a_run_goes_on_and_makes_one_candidate(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: Step, moment: str
) -> None:
    clock = Clock()
    settings = make_settings(tmp_path)
    set_scene(db, tmp_path, clock)
    put_step, publish = runs.put_step, run_module.publish_champions

    def put_step_or_die(c: Any, step: Any) -> None:
        put_step(c, step)
        if step.step == killed_at and moment == "before it is recorded":
            raise Killed  # The transaction is rolled back.

    def take_or_die(step: Step, take: Any) -> Any:
        def take_it(*arguments: Any) -> None:
            take(*arguments)
            if step == killed_at:
                raise Killed

        return take_it

    with monkeypatch.context() as killing:
        killing.setattr(runs, "put_step", put_step_or_die)
        if moment == "after it is recorded":
            killing.setattr(run_module, "ARROWS", [(step, take_or_die(step, take)) for step, take in ARROWS])
            # Killed before the champion is published, too.
            killing.setattr("retrain.release.publish_champions", lambda db, artifacts: [])
        with pytest.raises(Killed):
            carry_out_run(db, settings, clock)
    assert publish is run_module.publish_champions

    with db.read() as c:
        taken = [step.step for step in runs.read_steps(c, RUN)]
    at = STEPS.index(killed_at)
    assert taken == STEPS[: at + (moment == "after it is recorded")]
    assert_promoted(db, tmp_path, carry_out_run(db, settings, clock, holder="trainer-2"))


def test_what_is_done_is_not_done_again(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    before = trainer.trainings
    first = carry_out_run(db, make_settings(tmp_path), clock)
    assert carry_out_run(db, make_settings(tmp_path), clock) == first
    assert trainer.trainings == before + 1
    assert_promoted(db, tmp_path, first)


def test_examples_that_come_while_a_run_is_under_way_are_left_for_the_next(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)

    def interrupt(share: float, figures: Any) -> None:
        raise Unavailable("the trainer is leaving")

    with pytest.raises(Unavailable, match="leaving"):
        carry_out_run(db, make_settings(tmp_path), clock, progress=interrupt)
    with db.write() as c:
        assert runs.get_run(c, RUN).status == "training"
        from storage.examples import put_examples
        from tests.records import make_example

        put_examples(c, [make_example(9000, role="evaluation", input={"camera": "third", "number": 9000})])
    assert_promoted(db, tmp_path, carry_out_run(db, make_settings(tmp_path), clock))


def test_a_candidate_that_forgets_is_kept_back(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    run = carry_out_run(db, make_settings(tmp_path, trainer="forgetful"), clock)
    assert (run.status, run.verdict) == ("kept", "keep")
    assert run.verdict_reason is not None
    assert run.verdict_reason.startswith("Keep 1:")
    assert "wrong on 100.0 % instead of 0.0 %, more than the tolerated 3.0 points" in run.verdict_reason
    assert run.decided_us is not None
    assert published(tmp_path)["version"] == "1"


def test_a_candidate_that_is_no_better_is_kept_back(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    run = carry_out_run(db, make_settings(tmp_path, trainer="useless"), clock)
    assert (run.status, run.verdict) == ("kept", "keep")
    assert "2 is wrong on 60 instead of 60 (fixes 0, breaks 0, p = 1.000), which may be chance" in str(
        run.verdict_reason
    )
    with db.read() as c:
        (alert,) = list_alerts(c)
    assert (alert.kind, alert.title) == ("verdict", f"{MODEL} keeps its champion 1")
    assert alert.sentence == f"{run.verdict_reason} The verdict is to keep the champion. Run {RUN}."


def test_a_failure_is_told_until_a_run_comes_to_its_verdict(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    carry_out_run(db, make_settings(tmp_path, trainer="broken"), clock)
    with db.write() as c:
        (alert,) = list_open(c)
        runs.update_run(c, RUN, status="requested", decided_us=None)
    assert alert.key == f"failure/{MODEL}"
    assert "the GPU is on fire" in alert.sentence
    carry_out_run(db, make_settings(tmp_path, trainer="useless"), clock)
    with db.read() as c:
        assert list_open(c) == []


def test_what_goes_wrong_is_a_sentence_and_no_version(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    run = carry_out_run(db, make_settings(tmp_path, trainer="broken"), clock)
    assert run.status == "failed"
    assert run.verdict_reason == "At the step trained: RuntimeError: the GPU is on fire"
    with db.read() as c:
        assert [version.version for version in list_versions(c, MODEL)] == ["1"]
    assert carry_out_run(db, make_settings(tmp_path), clock).status == "failed", "it is decided"


def test_a_model_without_settings_fails_with_the_fix(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    settings = msgspec.structs.replace(make_settings(tmp_path), models={})
    assert "unknown model card-reader" in str(carry_out_run(db, settings, clock).verdict_reason)


def test_an_old_verdict_does_not_replace_a_newer_champion(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    settings = make_settings(tmp_path)
    set_scene(db, tmp_path, clock)

    def promote_another(*arguments: Any) -> None:
        write_network(tmp_path / "other", ["old", "other"])
        register(
            db,
            tmp_path,
            model=MODEL,
            directory=tmp_path / "other",
            reason="Made by hand.",
            who="a person",
            now_us=clock(),
            new_id=new_id,
        )
        promote(
            db,
            tmp_path,
            model=MODEL,
            version="3",
            reason="It is urgent.",
            who="a person",
            now_us=clock(),
            new_id=new_id,
        )

    judge = dict(ARROWS)["judged"]
    monkeypatch.setattr(
        run_module,
        "ARROWS",
        [
            (step, (lambda *a: (judge(*a), promote_another())) if step == "judged" else take)
            for step, take in ARROWS
        ],
    )
    run = carry_out_run(db, settings, clock)
    assert (run.status, run.verdict) == ("kept", "promote")
    with db.read() as c:
        assert runs.read_steps(c, RUN)[-1].evidence["why"] == (
            "card-reader 2 was judged against 1, but the champion is 3 by now"
        )
    assert published(tmp_path)["version"] == "3"


def test_without_an_automatic_gate_a_person_promotes(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    settings = with_gate(make_settings(tmp_path), Gate(automatic=False))
    run = carry_out_run(db, settings, clock)
    assert (run.status, run.verdict) == ("kept", "promote")
    assert published(tmp_path)["version"] == "1"
    promote(
        db,
        tmp_path,
        model=MODEL,
        version="2",
        reason="Looked at the cases.",
        who="jane",
        now_us=clock(),
        new_id=new_id,
    )
    with db.read() as c:
        assert runs.get_run(c, RUN).status == "promoted"
    assert published(tmp_path)["version"] == "2"


def test_a_run_is_carried_out_by_one_trainer_and_taken_over_when_that_one_dies(
    db: Database, tmp_path: Path
) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    assert take_lease(db, f"run:{RUN}", "dead trainer", clock(), LEASE_US)
    with pytest.raises(Fenced, match="another trainer"):
        carry_out_run(db, make_settings(tmp_path), clock)
    clock.now_us += LEASE_US
    assert_promoted(db, tmp_path, carry_out_run(db, make_settings(tmp_path), clock))


def test_a_run_that_waits_for_labels_is_not_carried_out(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock, run=make_run(1, batch_id=BATCH))
    with pytest.raises(Conflict, match="accept the batch"):
        carry_out_run(db, make_settings(tmp_path), clock)
    with pytest.raises(NotFound):
        carry_out_run(db, make_settings(tmp_path), clock, run_id=number_id(5))


def test_files_that_another_life_left_are_not_taken_for_the_candidate(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    write_network(tmp_path / MODEL / "2", ["nothing"])
    (tmp_path / MODEL / "2" / "old-checkpoint").write_text("")
    run = carry_out_run(db, make_settings(tmp_path), clock)
    assert_promoted(db, tmp_path, run)
    assert (tmp_path / MODEL / "2" / MARKER).read_text() == RUN
    assert not (tmp_path / MODEL / "2" / "old-checkpoint").exists()


def test_the_next_run_learns_from_what_the_one_before_learnt_from(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    settings = make_settings(tmp_path)
    set_scene(db, tmp_path, clock)
    carry_out_run(db, settings, clock)
    with db.write() as c:
        runs.open_run(c, replace(make_run(2), status="requested", champion="2"))
    run = carry_out_run(db, settings, clock, run_id=number_id(2))
    assert (run.candidate, run.status) == ("3", "kept")
    assert "on 180 examples that were there before 3 is wrong on 0 instead of 0" in str(run.verdict_reason)
    with db.read() as c:
        assert champion(c, MODEL).version == "2"  # type: ignore[union-attr]


def test_a_candidate_that_fails_a_requirement_is_kept_out_with_the_reason(
    db: Database, tmp_path: Path
) -> None:
    clock = Clock()
    set_scene(db, tmp_path, clock)
    settings = make_settings(tmp_path, trainer="forgetful")
    model = msgspec.structs.replace(settings.models[MODEL], requirements=Requirements(edit_rate=0.5, qps=10))
    run = carry_out_run(db, msgspec.structs.replace(settings, models={MODEL: model}), clock)
    assert (run.status, run.verdict) == ("kept", "keep")
    assert run.verdict_reason is not None
    assert run.verdict_reason.startswith(
        "Keep 1: 2 fails what 1 does not fail (Wrong, which stands for edited: 66.7 % ("
    )
    assert "at most 50.0 % is required, which is not met)" in run.verdict_reason
    with db.read() as c:
        steps = {step.step: step.evidence for step in runs.read_steps(c, RUN)}
    [held] = steps["scored"]["requirements"]
    assert (held["requirement"], held["champion"], held["candidate"]) == ("edit_rate", "pass", "fail")
    assert steps["judged"]["requirements"] == [held]
