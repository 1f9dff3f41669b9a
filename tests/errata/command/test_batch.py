"""A batch from the order to the decision, as a person carries it between Errata and Label Studio."""

import json
import time

import pytest

from labeling.exchange import import_batch
from storage.batches import get_batch
from tests.dashboard.seeded import MODEL


@pytest.fixture
def draft_id(errata, seeded):
    [batch] = [each for each in errata("batch", "list", "--json").json() if each["status"] == "draft"]
    return batch["id"]


def answer(tasks, **changed):
    """The tasks as Label Studio exports them after a person answered all."""
    fields = {"number": "4111 1111 1111 1183", "expiry": "08/27"} | changed
    annotation = {
        "completed_by": {"email": "kim@vendor.example"},
        "was_cancelled": False,
        "created_at": "2026-11-23T06:30:00Z",
        "updated_at": "2026-11-23T06:31:00Z",
        "result": [
            {"from_name": f"label.{name}", "to_name": "input", "type": "textarea", "value": {"text": [text]}}
            for name, text in fields.items()
        ],
    }
    return [task | {"annotations": [annotation]} for task in tasks]


def test_batches_are_listed_with_their_progress(errata, seeded):
    lines = errata("batch", "list").out.splitlines()
    assert len(lines) == 2
    assert any("accepted  60 of 60 labelled" in line for line in lines)
    assert errata("batch", "list", "--model", "translator", "--json").json() == []


def test_a_batch_is_shown_with_its_items_and_their_reasons(errata, seeded):
    shown = errata("batch", "show", seeded.batch_id).json()
    assert shown["batch"]["status"] == "accepted"
    assert len(shown["items"]) == 60
    assert all(item["reasons"] for item in shown["items"])


def test_a_draft_goes_all_the_way_to_acceptance(errata, draft_id, tmp_path):
    assert "ordered: 20 examples" in errata("batch", "order", draft_id).out
    assert errata("batch", "export", draft_id, "tasks.json").out == "written to tasks.json\n"
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert len(tasks) == 20
    (tmp_path / "labels.json").write_text(json.dumps(answer(tasks), ensure_ascii=False), encoding="utf-8")
    assert "delivered: 20 of 20 labelled" in errata("batch", "import", draft_id, "labels.json").out
    accepted = errata("batch", "accept", draft_id, "--reason", "0 defects in 5 checked.")
    assert (accepted.code, accepted.out) == (0, f"{draft_id} is accepted\n")
    again = errata("batch", "accept", draft_id, "--reason", "Again.")
    assert again.code == 2
    assert "is accepted: only a delivered batch becomes accepted" in again.err


def test_a_delivery_can_be_rejected(errata, draft_id, tmp_path):
    errata("batch", "order", draft_id)
    (tmp_path / "labels.json").write_text(json.dumps(answer(errata("batch", "export", draft_id).json())))
    errata("batch", "import", draft_id, "labels.json")
    assert (
        errata("batch", "reject", draft_id, "--reason", "5 defects in 5.").out == f"{draft_id} is rejected\n"
    )


def test_a_decision_needs_its_reason(errata, draft_id):
    refused = errata("batch", "accept", draft_id)
    assert refused.code == 2
    assert refused.err == "errata: Missing option '--reason'. See errata batch accept --help\n"


def test_an_export_leaves_out_what_the_model_and_the_user_said(errata, draft_id):
    written = errata("batch", "export", draft_id).out
    assert "output" not in written
    assert "corrected" not in written
    assert errata("batch", "export", draft_id, "--config").out.lstrip().startswith("<View>")


def test_an_export_of_another_batch_is_refused_and_nothing_is_stored(
    errata, seeded, draft_id, database, tmp_path
):
    errata("batch", "order", draft_id)
    others = answer(errata("batch", "export", seeded.batch_id).json())
    (tmp_path / "labels.json").write_text(json.dumps(others[:5]))
    refused = errata("batch", "import", draft_id, "labels.json")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    with database.read() as c:
        assert get_batch(c, draft_id).n_labelled == 0


@pytest.mark.parametrize("content", [b"", b"id,label\n1,2\n", b"{}", b"\xff\xfe", b"[1]", b"[{}]", b"null"])
def test_a_file_that_is_no_export_is_refused_in_a_sentence(errata, draft_id, tmp_path, content):
    errata("batch", "order", draft_id)
    (tmp_path / "labels").write_bytes(content)
    refused = errata("batch", "import", draft_id, "labels")
    assert refused.code == 2
    assert refused.err.startswith("errata: ")
    assert len(refused.err.splitlines()) == 1


def test_a_file_that_is_not_there_is_named(errata, draft_id):
    refused = errata("batch", "import", draft_id, "nothing.json")
    assert (refused.code, refused.err) == (2, "errata: nothing.json: No such file or directory\n")


def test_a_person_orders_hard_examples_of_the_champion(errata, seeded, database):
    ordered = errata("batch", "order", MODEL, "--reason", "새 시즌 전에.")
    assert ordered.code == 0
    batch_id, _, said = ordered.out.partition("  ")
    assert said.startswith("ordered: ")
    with database.read() as c:
        assert get_batch(c, batch_id).status == "ordered"
    drafted = errata("batch", "order", MODEL, "--draft").out
    assert "draft: " in drafted


@pytest.mark.parametrize("verb", ["show", "export", "order"])
def test_a_batch_that_is_not_there_is_named(errata, seeded, verb):
    refused = errata("batch", verb, "0193a5b0-0000-7000-8000-000000000000")
    assert refused.code == 2
    assert refused.err == "errata: there is no batch 0193a5b0-0000-7000-8000-000000000000\n"


def test_an_order_for_a_misspelled_model_names_the_nearest(errata, seeded):
    assert errata("batch", "order", "card-raeder").err.endswith("did you mean card-reader?\n")


def test_a_batch_is_delivered_without_the_items_that_were_erased(errata, draft_id, database, tmp_path):
    from errata.settings import load_settings
    from storage.tables import predictions

    errata("batch", "order", draft_id)
    tasks = errata("batch", "export", draft_id).json()
    gone = tasks[3]["data"]["ext_id"]
    with database.write() as c:
        c.execute(predictions.delete().where(predictions.c.id == gone))
    left = errata("batch", "export", draft_id).json()
    assert len(left) == len(tasks) - 1
    done = import_batch(
        database,
        load_settings(tmp_path / "errata.toml", {}),
        draft_id,
        json.dumps(answer(left)),
        time.time_ns() // 1000,
    )
    assert (done.status, done.n_labelled) == ("delivered", 19)
