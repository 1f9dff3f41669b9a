"""Settings: defaults < file < environment, and errors that name the key and the nearest right one."""

from pathlib import Path

import pytest

from errata.errors import SettingsError
from errata.settings import Channel, Settings, find_model, find_settings, is_loopback, load_settings


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
        ("[models.m.mining]\naudit_days = -1\n", "models.m.mining.audit_days must be a number of days"),
        ("[models.m.mining]\naudit_days = nan\n", "models.m.mining.audit_days must be a number of days"),
        ("[models.m.mining]\naudit_quantity = 0\n", "models.m.mining.audit_quantity must be 1 or more"),
        ("[models.m.mining]\ndrift_audit_factor = 0.5\n", "models.m.mining.drift_audit_factor must be 1"),
        ("[models.m.detector]\nreference_audits = 0\n", "models.m.detector.reference_audits must be 1"),
        ("[models.m.detector]\naudited_ceiling_rate = 1\n", "audited_ceiling_rate must be a share between"),
        ("[models.m.trigger]\ndrift_warning_share = 0\n", "drift_warning_share must be more than 0"),
        ("[models.m.requirements]\nedit_rate = 5\n", "models.m.requirements.edit_rate is a share"),
        ("[models.m.requirements]\nqps = 0\n", "models.m.requirements.qps must be more than 0"),
        (
            "[models.m.detector]\nhorizons_seconds = []\n",
            "models.m.detector.horizons_seconds must be one or more",
        ),
        ("[models.m.detector]\nhorizons_seconds = [60, 10]\n", "ages above 0, the shortest first"),
        ("[models.m.detector]\nhorizons_seconds = [0]\n", "ages above 0, the shortest first"),
        ("[models.m.detector]\nhorizons_seconds = [inf]\n", "ages above 0, the shortest first"),
        ("[models.m.detector]\nhorizon_seconds = 60\n", "did you mean models.m.detector.horizons_seconds"),
        ("[models.m.requirements]\nserved_p95_ms = nan\n", "models.m.requirements.served_p95_ms must be"),
        ("[models.m.requirements]\nserving_mode = 'cloud'\n", "$.models[...].requirements.serving_mode"),
        (
            "[models.m]\nattribution_window_seconds = 0\n",
            "models.m.attribution_window_seconds must be more than 0",
        ),
        ("[models.m]\nattribution_window_seconds = 3e6\n", "at most 30 days"),
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
            "predictions_days = 30\n[models.x.detector]\nhorizons_seconds = [60, 2592000]",
            "more than 30, because models.x.detector.horizons_seconds looks back as far",
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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host, expected):
    assert is_loopback(host) is expected


def test_the_intake_needs_keys_where_other_machines_reach_it():
    assert not load_settings(None, {}).intake.needs_keys
    assert load_settings(None, {"ERRATA_INTAKE__REQUIRE_KEYS": "true"}).intake.needs_keys
    environ = {"ERRATA_INTAKE__HOST": "0.0.0.0", "ERRATA_INTAKE__BEHIND_TLS_PROXY": "true"}
    assert load_settings(None, environ).intake.needs_keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('host = "0.0.0.0"\nrequire_keys = false', "errata keys create"),
        ('host = "0.0.0.0"\nrequire_keys = false\nbehind_tls_proxy = true', "errata keys create"),
        ('host = "0.0.0.0"', "intake.behind_tls_proxy"),
        ('host = "intake.example.com"', "intake.certificate_file"),
        ('certificate_file = "c.pem"', "intake.certificate_key_file"),
        ('certificate_key_file = "k.pem"', "intake.certificate_file"),
        ("keys_refresh_seconds = 0.0", "intake.keys_refresh_seconds"),
    ],
)
def test_an_intake_that_would_take_anybody_or_show_keys_is_refused(tmp_path, text, said):
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, f"[intake]\n{text}\n"), {})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["behind_tls_proxy = true", 'certificate_file = "c.pem"\ncertificate_key_file = "k.pem"']
)
def test_an_intake_with_keys_and_tls_may_be_reached_by_others(tmp_path, text):
    settings = load_settings(written(tmp_path, f'[intake]\nhost = "0.0.0.0"\n{text}\n'), {})
    assert settings.intake.needs_keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("events_per_second = 0.0", "intake.events_per_second"),
        ("bytes_per_second = -1.0", "intake.bytes_per_second"),
        ("burst_events = 9_999", "intake.burst_events"),
        ("batch_bytes = 60_000_000", "intake.burst_bytes"),
        ("event_bytes = 60_000_000", "intake.burst_bytes"),
    ],
)
def test_a_limit_that_some_request_could_never_meet_is_refused(tmp_path, text, said):
    with pytest.raises(SettingsError) as caught:
        load_settings(written(tmp_path, f"[intake]\n{text}\n"), {})
    assert said in str(caught.value)


SERVER = "postgresql+psycopg://errata:p%40ss@"


@pytest.mark.parametrize(
    "url",
    [
        f"{SERVER}db.example.com/errata",
        f"{SERVER}db.example.com:5432/errata?sslmode=prefer",
        f"{SERVER}db/errata?sslmode=disable",
        f"{SERVER}/errata?host=db",
        f"{SERVER}localhost/errata?hostaddr=10.0.0.1",
        f"{SERVER}/errata?host=127.0.0.1:5432&host=db:5432",
        f"{SERVER}[2001:db8::1]/errata",
        f"{SERVER}/errata?host=::1:abcd",
        "postgresql+psycopg://errata@db/errata?password=secret",
        "postgresql+psycopg://errata:p/a?s#s@db/errata",
    ],
)
def test_a_password_that_would_cross_a_network_in_clear_is_refused(url):
    with pytest.raises(SettingsError, match="sslmode=verify-full") as caught:
        load_settings(None, {"ERRATA_DATABASE__URL": url})
    assert "p%40ss" not in str(caught.value)
    assert load_settings(None, {"ERRATA_DATABASE__URL": url, "ERRATA_DATABASE__TRUSTED_NETWORK": "true"})


@pytest.mark.parametrize(
    "url",
    [
        f"{SERVER}db.example.com/errata?sslmode=verify-full",
        f"{SERVER}db/errata?connect_timeout=5&sslmode=require",
        f"{SERVER}127.0.0.1/errata",
        f"{SERVER}localhost:5432/errata",
        f"{SERVER}[::1]:5432/errata",
        f"{SERVER}/errata",
        f"{SERVER}/errata?host=/run/postgresql",
        f"{SERVER}/errata?host=127.0.0.1:5432&host=[::1]:5433",
        "postgresql+psycopg://errata@db/errata",
        "sqlite:///var/errata.db",
    ],
)
def test_a_password_with_tls_or_without_a_network_and_no_password_at_all_are_taken(url):
    assert load_settings(None, {"ERRATA_DATABASE__URL": url}).database.url == url


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_a_password_of_the_broker_needs_sasl_with_tls(protocol):
    environ = {"ERRATA_BROKER__PASSWORD": "secret", "ERRATA_BROKER__SECURITY_PROTOCOL": protocol}
    with pytest.raises(SettingsError, match="in clear") as caught:
        load_settings(None, environ)
    assert "secret" not in str(caught.value)


def test_settings_that_are_printed_hold_no_password():
    environ = {
        "ERRATA_DATABASE__URL": f"{SERVER}127.0.0.1/errata",
        "ERRATA_BROKER__PASSWORD": "canary",
        "ERRATA_BROKER__SECURITY_PROTOCOL": "SASL_SSL",
    }
    printed = repr(load_settings(None, environ))
    assert "canary" not in printed
    assert "p%40ss" not in printed


def test_a_channel_is_named_by_the_environment_too(tmp_path):
    file = tmp_path / "errata.toml"
    file.write_text('[alerts.channels.team-chat]\nkinds = ["drift"]\n')
    settings = load_settings(file, {"ERRATA_ALERTS__CHANNELS__TEAM_CHAT__URL": "slack://a/b/c"})
    assert settings.alerts.channels == {"team-chat": Channel(url="slack://a/b/c", kinds=["drift"])}
    assert "a/b/c" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALERTS__REMIND_SECONDS", "-1", "alerts.remind_seconds must be 0"),
        (
            "ALERTS__CHANNELS__CHAT__QUIET_HOURS",
            "22-7",
            "alerts.channels.chat.quiet_hours must be like 22:00-07:00",
        ),
        ("ALERTS__CHANNELS__CHAT__QUIET_HOURS", "24:00-07:00", "quiet_hours must be like"),
        (
            "ALERTS__CHANNELS__CHAT__TIME_ZONE",
            "Seoul",
            "alerts.channels.chat.time_zone: there is no zone Seoul",
        ),
        ("ALERTS__CHANNELS__CHAT__MODELS", '["card-raeder"]', r"there is no \[models.card-raeder\]"),
        ("ALERTS__CHANNELS__CHAT__KINDS", '["drifts"]', "kinds"),
        ("ALERTS__CHANNELS__CHAT__SEVERITY", "fatal", "severity"),
        ("ALERTS__CHANNELS__CHAT__URI", "x", "did you mean alerts.channels.chat.url"),
        (f"ALERTS__CHANNELS__{'C' * 65}__URL", "x", "at most 64 characters"),
    ],
)
def test_a_channel_that_cannot_be_meant_is_refused(name, value, said):
    with pytest.raises(SettingsError, match=said):
        load_settings(None, {f"ERRATA_{name}": value})
