"""Versions become known, champions, and champions again."""

import json

import pytest
import torch

from errata.topics import RETRAIN
from retrain.weights import write_artifact
from storage.database import open_database
from storage.outbox import read_unsent

MODEL = "translator"


@pytest.fixture
def versions(errata, seeded, tmp_path):
    """Two versions of a model that had none."""
    for number in (1, 2):
        directory = tmp_path / f"trained-{number}"
        directory.mkdir()
        write_artifact(directory, {"weight": torch.full((2,), float(number))}, {"made": number})
        done = errata("release", "register", MODEL, str(directory))
        assert (done.code, done.out) == (0, f"{MODEL} {number} is registered\n")


def champion(tmp_path):
    return json.loads((tmp_path / "artifacts" / MODEL / "champion.json").read_text())["version"]


def test_the_first_version_is_champion_until_another_is_promoted(errata, versions, tmp_path):
    assert champion(tmp_path) == "1"
    done = errata("release", "promote", MODEL, "2", "--reason", "사람이 보았습니다.")
    assert (done.code, done.out) == (0, f"{MODEL} 2 is the champion\n")
    assert champion(tmp_path) == "2"
    done = errata("release", "rollback", MODEL, "--reason", "Latency doubled.")
    assert (done.code, done.out) == (0, f"{MODEL} 1 is the champion again\n")
    assert champion(tmp_path) == "1"
    actions = [row["action"] for row in errata("release", "list", "--model", MODEL, "--json").json()]
    assert actions[:2] == ["rollback", "promote"]
    assert "사람이 보았습니다." in errata("release", "list").out


def test_there_is_nothing_to_roll_back_to_before_the_second(errata, versions):
    refused = errata("release", "rollback", MODEL, "--reason", "Try.")
    assert refused.code == 2
    assert "no champion before this one" in refused.err


def test_a_version_that_is_unknown_or_without_files_is_refused(errata, versions, tmp_path):
    assert errata("release", "promote", MODEL, "9", "--reason", "Try.").code == 2
    (tmp_path / "artifacts" / MODEL / "2" / "weights.safetensors").unlink()
    refused = errata("release", "promote", MODEL, "2", "--reason", "Try.")
    assert refused.code == 2
    assert "is missing" in refused.err
    assert champion(tmp_path) == "1"


def test_a_directory_without_a_version_is_refused(errata, seeded, tmp_path):
    refused = errata("release", "register", MODEL, str(tmp_path / "nothing"))
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1


def test_a_misspelled_model_is_refused_with_the_nearest(errata, seeded, tmp_path):
    assert errata("release", "register", "translater", str(tmp_path)).err.endswith(
        "did you mean translator?\n"
    )


def test_a_run_is_asked_for_and_told_to_the_trainers(errata, versions, seeded):
    done = errata("retrain", MODEL, "--reason", "New words.")
    assert done.code == 0
    run_id = done.out.split()[0]
    [found] = [each["run"] for each in errata("runs", "--json").json() if each["run"]["id"] == run_id]
    assert found["reason"].startswith("New words. (")
    database = open_database(seeded.url)
    with database.read() as c:
        told = [row for row in read_unsent(c, 100) if row.topic == RETRAIN]
    database.close()
    assert [json.loads(row.data)["run_id"] for row in told] == [run_id]


def test_a_run_of_a_misspelled_model_is_refused(errata, seeded):
    refused = errata("retrain", "translater")
    assert refused.code == 2
    assert "did you mean translator?" in refused.err
