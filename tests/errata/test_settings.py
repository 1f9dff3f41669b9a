"""Settings: defaults < file < environment, and errors that name the key and the nearest right one."""

from pathlib import Path

import pytest

from errata.errors import SettingsError
from errata.settings import Settings, find_model, find_settings, load_settings


def written(directory: Path, text: str) -> Path:
    path = directory / "errata.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_file_and_environment_everything_has_a_default():
    assert load_settings(None, {}) == Settings()


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = written(tmp_path, '[broker]\nbootstrap = "file:1"\npartitions = 7\n')
    settings = load_settings(path, {"ERRATA_BROKER__BOOTSTRAP": "environ:2"})
    assert settings.broker.bootstrap == "environ:2"
    assert settings.broker.partitions == 7
    assert settings.broker.replication == 1


def test_numbers_and_booleans_in_the_environment_are_read_as_toml():
    environ = {"ERRATA_BROKER__PARTITIONS": "12", "ERRATA_MODELS__CARD_READER__GATE__AUTOMATIC": "false"}
    settings = load_settings(None, environ)
    assert settings.broker.partitions == 12
    assert settings.models["card_reader"].gate.automatic is False


def test_a_model_with_a_dash_is_reached_from_the_environment(tmp_path):
    path = written(tmp_path, "[models.card-reader.mining]\nquantity = 10\n")
    settings = load_settings(path, {"ERRATA_MODELS__CARD_READER__MINING__QUANTITY": "99"})
    assert list(settings.models) == ["card-reader"]
    assert settings.models["card-reader"].mining.quantity == 99


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[broker]\nbootstrp = "x"\n', "unknown setting broker.bootstrp: did you mean broker.bootstrap?"),
        ("[brokr]\n", "unknown setting brokr: did you mean broker?"),
        (
            "[models.m.mining]\nquanity = 1\n",
            "unknown setting models.m.mining.quanity: did you mean models.m.mining.quantity?",
        ),
        ("[models.m.task.fields.number]\nknd = 'text'\n", "did you mean models.m.task.fields.number.kind?"),
        ('[broker]\npartitions = "four"\n', "$.broker.partitions"),
        ("[broker]\npartitions = 0\n", "broker.partitions must be 1 or more"),
        ('[database]\nurl = "mysql://x"\n', "sqlite:/// or postgresql+psycopg://"),
        ("broker = [", "not valid TOML"),
        ("[models.m.mining]\naudit_share = 0.9\n", "models.m.mining: the shares"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix(tmp_path, text, said):
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, text), {})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("voc_days = -1", "retention.voc_days must be a number of days, or 0"),
        ("ledger_days = inf", "retention.ledger_days must be a number of days, or 0"),
        (
            "predictions_days = 2",
            "retention.predictions_days must be more than 2, because the pairing of what missed each other",
        ),
        (
            "predictions_days = 7\n[models.x]",
            "retention.predictions_days must be more than 7, because models.x.mining.lookback_seconds",
        ),
        (
            "predictions_days = 30\n[models.x.detector]\nhorizon_seconds = 2592000",
            "more than 30, because models.x.detector.horizon_seconds looks back as far",
        ),
        (
            "voc_days = 90\ntombstones_days = 90",
            "retention.tombstones_days must be more than retention.voc_days",
        ),
    ],
)
def test_nothing_is_removed_that_is_still_needed(tmp_path, text, said):
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, f"[retention]\n{text}"), {})
    assert said in str(caught.value)


def test_an_unknown_environment_variable_is_an_error_too():
    with pytest.raises(SettingsError, match=r"did you mean worker\.batch_records"):
        load_settings(None, {"ERRATA_WORKER__BATCH_RECORD": "5"})


def test_a_password_without_tls_is_refused():
    with pytest.raises(SettingsError, match="in clear"):
        load_settings(None, {"ERRATA_BROKER__PASSWORD": "secret"})


def test_the_file_is_the_one_asked_for_then_the_one_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_settings(None, {}) is None
    assert find_settings(None, {"ERRATA_SETTINGS": "a.toml"}) == Path("a.toml")
    assert find_settings(Path("b.toml"), {"ERRATA_SETTINGS": "a.toml"}) == Path("b.toml")
    written(tmp_path, "")
    assert find_settings(None, {}) == Path("errata.toml")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(SettingsError, match="no settings file at"):
        load_settings(tmp_path / "none.toml", {})


def test_an_unknown_model_names_the_nearest(tmp_path):
    settings = load_settings(written(tmp_path, "[models.card-reader]\n[models.translator]\n"), {})
    with pytest.raises(SettingsError, match="did you mean card-reader"):
        find_model(settings, "cardreader")
    with pytest.raises(SettingsError, match=r"add a \[models.NAME\] table"):
        find_model(load_settings(None, {}), "x")


def test_the_demo_settings_load():
    settings = load_settings(Path(__file__).parents[2] / "examples" / "errata.toml", {})
    assert set(settings.models) == {"card-reader", "translator"}
