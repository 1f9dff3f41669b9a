"""Audits confirm what corrections say, speak against it, or alarm by themselves; data drift makes warnings early."""

import dataclasses

import msgspec
import pytest

from errata.identity import NewId
from errata.settings import Mining, Settings, Trigger
from labeling.orders import accept_batch, deliver, draft_batch, order_batch
from quality.audited_drift import AuditState
from storage.alerts import list_open
from storage.audits import AuditDrift, read_audit_drift
from storage.batches import read_items
from storage.data_shifts import put_data_shift
from storage.database import Database
from storage.records import DataShift, Label, Signal
from storage.releases import put_release
from storage.runs import list_runs, open_run
from storage.signals import StoredState, put_detector_states, read_detector_states
from streams.watching import watch
from tests.builders import SECOND_US, START_US
from tests.records import MODEL, make_release, make_run, number_id
from tests.streams.test_watching import DETECTOR, HORIZON_US, SETTINGS, Traffic

ROUTINE = Mining(quantity=400, audit_share=0.9, evaluation_share=0.05, diverse_share=0.0)
AUDITED = Settings(
    models={
        MODEL: msgspec.structs.replace(
            SETTINGS.models[MODEL],
            mining=ROUTINE,
            detector=msgspec.structs.replace(DETECTOR, reference_audits=300, events_per_false_alarm=1e4),
        )
    }
)


@pytest.fixture
def traffic(db: Database) -> Traffic:
    with db.write() as c:
        put_release(c, make_release("1", time_us=START_US))
    return Traffic(db)


def audit(db: Database, now_us: int, new_id: NewId, wrong: float) -> None:
    """A batch of the champion comes back: this share of what nobody corrected turns out to be wrong."""
    batch = draft_batch(db, AUDITED, MODEL, now_us, new_id)
    order_batch(db, batch.id, "For the numbers.", now_us, new_id)
    with db.read() as c:
        items = read_items(c, batch.id)
    labels = [
        Label(
            prediction_id=item.prediction_id,
            label="4111 1117" if (place + 1) * wrong % 1 < place * wrong % 1 else "4111 1111",
            labeler="jane",
            labeled_us=now_us,
        )
        for place, item in enumerate(items)
    ]
    deliver(db, batch.id, labels, now_us)
    accept_batch(db, batch.id, "Good.", now_us, new_id)


def look(db: Database, traffic: Traffic, new_id: NewId, settings: Settings = AUDITED) -> list[Signal]:
    return watch(db, settings, traffic.now_us + HORIZON_US, new_id)


def stand(db: Database) -> AuditDrift:
    with db.read() as c:
        return read_audit_drift(c, model=MODEL, version="1", settings=AUDITED.models[MODEL])


def begin(db: Database, traffic: Traffic, new_id: NewId) -> None:
    """What is usual: one in twenty is corrected, and one in twenty of the others is wrong."""
    traffic.send(1500, edited=0.05)
    assert "No batch" in stand(db).said
    audit(db, traffic.now_us, new_id, wrong=0.05)
    look(db, traffic, new_id)
    found = stand(db)
    assert found.ceiling is not None
    assert 0.1 < found.ceiling < 0.2
    assert found.n_reference >= 300


def test_errors_that_nobody_corrects_open_a_run(db: Database, traffic: Traffic, new_id: NewId) -> None:
    begin(db, traffic, new_id)
    traffic.send(1500, edited=0.05)
    audit(db, traffic.now_us, new_id, wrong=0.5)
    (signal,) = [each for each in look(db, traffic, new_id) if each.detector == "audits"]
    assert (signal.decision, signal.rule, signal.slice) == ("opened", "drift", "all")
    assert "audits of what nobody corrected since" in signal.reason
    assert "Corrections have not risen: users do not tell of it." in signal.reason
    with db.read() as c:
        (run,) = list_runs(c)
        (alert,) = list_open(c)
    assert (run.signal_id, run.reason) == (signal.id, signal.reason)
    assert alert.kind == "drift"
    assert "Audits alarmed since" in stand(db).said
    # It is told once.
    assert look(db, traffic, new_id) == []


def test_an_alarm_of_audits_waits_for_the_run_that_is_open_and_is_told_once(
    db: Database, traffic: Traffic, new_id: NewId
) -> None:
    begin(db, traffic, new_id)
    with db.write() as c:
        open_run(c, make_run(5, status="training"))
    traffic.send(1500, edited=0.05)
    audit(db, traffic.now_us, new_id, wrong=0.5)
    (signal,) = look(db, traffic, new_id)
    assert (signal.decision, signal.rule, signal.detector) == ("suppressed", "run_open", "audits")
    assert look(db, traffic, new_id) == []
    # Labels that find hardly an error end it.
    traffic.send(3000, edited=0.01)
    audit(db, traffic.now_us, new_id, wrong=0.0)
    (calmed,) = [each for each in look(db, traffic, new_id) if each.detector == "audits"]
    assert calmed.decision == "calmed"
    with db.read() as c:
        assert list_open(c) == []


@pytest.mark.parametrize(
    ("wrong", "said", "opened"),
    [
        (0.5, "Audited labels agree:", True),
        (0.0, "Audited labels do not agree:", False),
        (None, "No prediction since then was audited.", True),
    ],
    ids=["agree", "do not agree", "no audits"],
)
def test_an_alarm_of_corrections_says_what_audits_say_of_it(
    db: Database, traffic: Traffic, new_id: NewId, wrong: float | None, said: str, opened: bool
) -> None:
    begin(db, traffic, new_id)
    with db.write() as c:
        # What is usual by audits lies far above what is corrected now, so that they can speak against it.
        state = AuditState(
            reference_n=1500, reference_corrected=75, reference_labels=400, ceiling=0.7 if not wrong else 0.13,
            read=tuple(AuditState.from_json(read_detector_states(c, MODEL, "1")["audits"]["all"].state).read),
        )  # fmt: skip
        put_detector_states(c, MODEL, "1", "audits", {"all": StoredState(state.to_json(), 1)}, now_us=1)
    traffic.send(1500, edited=0.4)
    if wrong is not None:
        audit(db, traffic.now_us, new_id, wrong=wrong)
    signals = look(db, traffic, new_id)
    decided = [each for each in signals if each.detector == "1min" and each.slice == "all"]
    (alarm,) = [each for each in decided if each.decision in ("opened", "suppressed")]
    assert said in alarm.reason
    assert (alarm.decision, alarm.rule) == (("opened", "drift") if opened else ("suppressed", "audits"))
    found = stand(db)
    assert found.judgement is not None
    assert said in found.said
    # What audits say is told once, and not read again until there are more.
    assert [each for each in look(db, traffic, new_id) if each.slice == "all"] == []


def test_a_replay_from_what_is_stored_gives_the_same_state(
    db: Database, traffic: Traffic, new_id: NewId
) -> None:
    begin(db, traffic, new_id)
    traffic.send(1500, edited=0.05)
    audit(db, traffic.now_us, new_id, wrong=0.06)
    look(db, traffic, new_id)
    with db.read() as c:
        before = read_detector_states(c, MODEL, "1")["audits"]["all"]
    assert len(AuditState.from_json(before.state).read) == 2
    with db.write() as c:
        put_detector_states(
            c, MODEL, "1", "audits", {"all": StoredState(AuditState().to_json(), 0)}, now_us=1
        )
    look(db, traffic, new_id)
    with db.read() as c:
        assert read_detector_states(c, MODEL, "1")["audits"]["all"] == before


def test_the_next_version_is_held_to_what_was_usual(db: Database, traffic: Traffic, new_id: NewId) -> None:
    begin(db, traffic, new_id)
    ceiling = stand(db).ceiling
    with db.write() as c:
        put_release(c, make_release("2", number=2, time_us=traffic.now_us))
    traffic.send(1500, edited=0.05, version="2")
    audit(db, traffic.now_us, new_id, wrong=0.05)
    look(db, traffic, new_id)
    with db.read() as c:
        state = AuditState.from_json(read_detector_states(c, MODEL, "2")["audits"]["all"].state)
    assert (state.ceiling, len(state.read)) == (ceiling, 1)
    assert state.n == 1500


def test_data_drift_makes_warnings_early_and_alarms_no_sooner(
    db: Database, traffic: Traffic, new_id: NewId
) -> None:
    patient = msgspec.structs.replace(
        SETTINGS.models[MODEL], trigger=Trigger(warning_share=1.0, drift_warning_share=1e-4)
    )
    settings = Settings(models={MODEL: patient})
    shift = DataShift(
        id=number_id(7), model=MODEL, version="1", watched="confidence", time_us=START_US, stage="moved",
        change_us=START_US, n_values=100, log_evidence=14.0, level=13.8, reason="It moved.",
    )  # fmt: skip
    with db.write() as c:
        put_data_shift(c, shift)
    traffic.send(1000, edited=0.05)
    traffic.send(60, edited=0.3)
    signals = watch(db, settings, traffic.now_us + HORIZON_US, new_id)
    assert {each.decision for each in signals} <= {"warned", "calmed"}
    whole = [each for each in signals if each.slice == "all"][-1]
    assert whole.decision == "warned"
    assert "This is a warning: 0.01 % of the evidence that alarms is reached." in whole.reason
    assert "what the version is given or answers has moved (confidence)" in whole.reason
    calm = dataclasses.replace(shift, id=number_id(8), stage="calm", time_us=START_US + SECOND_US)
    with db.write() as c:
        put_data_shift(c, calm)
    traffic.send(60, edited=0.3)
    later = watch(db, settings, traffic.now_us + HORIZON_US, new_id)
    assert "warned" not in {each.decision for each in later}
