"""Settings of every process: defaults < `errata.toml` < environment `ERRATA_*`; unknown keys are errors.

`ERRATA_BROKER__BOOTSTRAP=kafka:9092` sets `[broker] bootstrap`; two underscores separate levels. A value that is
TOML (a number, a boolean, a list) is read as TOML, anything else as a string.
"""

import difflib
import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

import msgspec

from errata.errors import SettingsError
from errata.wire import RECORD_EVENTS

#: Names in the environment that begin with `ERRATA_` and are no settings: where the settings file is, the client's off
#: switch, and where tests put screenshots.
NOT_SETTINGS = frozenset({"ERRATA_SETTINGS", "ERRATA_ENABLED", "ERRATA_SCREENSHOTS"})

DAY_SECONDS = 86_400

#: As SQLAlchemy reads the URL of a server.
_SERVER_URL = re.compile(
    r"[\w+]+://(?:[^:/]*(?::(?P<password>[^@]*))?@)?(?P<host>\[[^/?]+\]|[^/:?]*)(?::[^/?]*)?"
    r"(?:/[^?]*)?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
#: What makes PostgreSQL's client refuse a connection without TLS; its own choice, `prefer`, does not.
_TLS_MODES = ("require", "verify-ca", "verify-full")

Severity = Literal["info", "warning", "critical"]
#: What an alert is about: the correction rate of a model, what it is given and answers, the verdict of a run, a run
#: that failed, a partition that dead letters flood, a number that does not follow from facts, or a trial.
AlertKind = Literal["drift", "data_drift", "verdict", "failure", "flood", "difference", "test"]

#: The longest name of a channel.
CHANNEL_NAME_CHARACTERS = 64
_QUIET_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a corrected output is from the shown one: the kind of output and the knobs of its distance."""

    #: What the output is, and so how its distance is measured (quality/distances.py).
    kind: Literal["exact", "text", "translation", "number", "set", "fields", "boxes"] = "exact"
    #: `text`: what is counted; `jamo` takes Hangul syllables apart first.
    unit: Literal["character", "jamo"] = "character"
    #: `number`: differences up to this are no error.
    tolerance: float = 0.0
    #: `boxes`: the overlap (intersection over union) from which two boxes are the same object.
    iou: float = 0.5
    #: `fields`: the task of each named field.
    fields: dict[str, "Task"] = {}


class Detector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the correction rate counts as drifted (quality/drift.py)."""

    #: The ages at which a prediction's outcome is read, each by a detector of its own, the shortest first. Short
    #: horizons see drift soonest, long ones see what users correct late.
    horizons_seconds: tuple[float, ...] = (3600.0, 21_600.0, 86_400.0, 604_800.0)
    #: Matured predictions of a version that set its reference rate before detection starts.
    reference_predictions: int = 2000
    #: One false alarm is expected in this many predictions of a slice, and so many of all slices of a tag together;
    #: horizons share it.
    events_per_false_alarm: float = 1_000_000.0
    #: False alarms allowed in a week, over all slices and horizons: sets the above from the traffic of the last seven
    #: days.
    false_alarms_per_week: float | None = None
    #: A rate up to (1 + tolerance) x the reference ceiling is no drift.
    tolerance: float = 0.0
    #: The rate that is allowed (a service level), for every slice and from the first prediction; learnt unless given.
    ceiling_rate: float | None = None
    #: Labels of audits that say which share of wrong outputs is usual, before audits alarm.
    reference_audits: int = 500
    #: The share of wrong outputs that is allowed, as audits find it; learnt unless given.
    audited_ceiling_rate: float | None = None
    #: Whether sessions stand or fall together (of predictions without one: those of a subject). Evidence then takes the
    #: mean of each session, an hour at a time, so that a user who edits everything is one case.
    by_session: bool = False
    #: Slices that are watched beside the whole, at most; those that come first.
    slices: int = 200

    @property
    def horizons_us(self) -> tuple[int, ...]:
        """The horizons in microseconds."""
        return tuple(round(seconds * 1_000_000) for seconds in self.horizons_seconds)


#: What `data_drift` watches, beside each named number in a prediction's features, which is `features.NAME`.
WATCHED = ("confidence", "latency", "input_length", "output_length", "outputs", "embedding")
FEATURE = "features."
#: The fewest values that say what is usual.
LEAST_REFERENCE = 100


class DataDrift(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When what a version is given or answers counts as drifted (quality/data_drift.py); that alone opens no run."""

    #: Predictions that are looked at, of each minute the first so many; 0 watches nothing.
    predictions_per_minute: int = 1000
    #: Values of a version that say what is usual, before detection starts; five times as many embeddings.
    reference_predictions: int = 2000
    #: One false alarm is expected in this many values of each that is watched.
    events_per_false_alarm: float = 1_000_000.0
    #: Changes up to this (the total variation of two distributions: 0 to 1) are no drift. A mean that moves by 0.1
    #: standard deviations is 0.04.
    tolerance: float = 0.005
    #: What is not watched, of `confidence`, `latency`, `input_length`, `output_length`, `outputs`, `embedding` and
    #: `features.NAME`.
    ignored: list[str] = []


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a run is opened without a person (quality/trigger.py)."""

    #: A warning is noted at this share of the evidence that alarms; 1 notes none.
    warning_share: float = 0.01
    #: The same while what the version is given or answers has moved (data drift): a warning comes sooner then, an alarm
    #: takes as much evidence as ever.
    drift_warning_share: float = 0.001
    #: Corrections since the change that a run needs as evidence.
    minimum_corrections: int = 30
    #: Matured predictions since the change that a run needs.
    minimum_predictions: int = 200
    #: Subjects with predictions since the change that a run needs; a prediction without a subject counts as one.
    minimum_subjects: int = 20
    #: How long the change must have lasted.
    minimum_seconds: float = 7200.0
    #: Time after a run was decided during which no other is opened; doubled for each candidate that failed its gate.
    cooldown_seconds: float = 86_400.0
    #: Runs that are opened without a person in any seven days, at most.
    runs_per_week: int = 2
    #: A run is opened after so many days without a run or a release; 0 turns that off.
    scheduled_days: float = 30.0


class Mining(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a labeling batch is composed and ordered (labeling/mining.py)."""

    #: Predictions in one batch.
    quantity: int = 500
    #: Share drawn at random from all predictions that nobody corrected, for unbiased numbers.
    audit_share: float = 0.10
    #: How audits are drawn: `uniform`, or `active`: three quarters of them more often where an error is in doubt, with
    #: known probabilities, so that numbers stay unbiased and vary less.
    audit_draw: Literal["uniform", "active"] = "uniform"
    #: A batch of audits alone is ordered every so many days, of what was predicted since the one before; 0 orders none,
    #: since labels cost money.
    audit_days: float = 0.0
    #: Labels in such a batch.
    audit_quantity: int = 100
    #: While what the version is given or answers has moved (data drift), such batches come so many times as often, and
    #: other batches have so many times the share of audits, at the expense of up to half of their hard examples.
    drift_audit_factor: float = 2.5
    #: Share drawn uniformly from held-out groups, which judges the candidate.
    evaluation_share: float = 0.25
    #: Share taken for being far from everything labelled.
    diverse_share: float = 0.05
    #: Percentage of groups (subjects) whose examples never train.
    evaluation_groups_percent: int = 30
    #: How far back predictions are considered.
    lookback_seconds: float = 604_800.0
    #: Time after the signal before mining, so that corrections can arrive.
    settle_seconds: float = 600.0
    #: What one label costs, as a decimal number.
    unit_price: str = "0.05"
    #: The currency of the price (ISO 4217).
    currency: str = "USD"
    #: What labelers are told to do.
    guide: str = "Write down what is really in the input. If it cannot be read, flag it as bad_data."
    #: Raised whenever the guide changes, so that labels made under different guides can be told apart.
    guide_version: str = "1"


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a candidate must show on frozen examples before it is released (retrain/gate.py)."""

    #: Significance of the paired test against the champion.
    alpha: float = 0.05
    #: Frozen examples that a verdict needs.
    minimum_examples: int = 100
    #: On the examples from before the change the candidate may be worse by at most this share.
    tolerated_loss: float = 0.03
    #: Whether a verdict to promote releases by itself; otherwise a person promotes.
    automatic: bool = True


class Requirements(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked of a model, before a release and in the service (quality/requirements.py); all may be left out."""

    #: From input to output, the latency that 95 % of predictions keep, at most.
    served_p95_ms: float | None = None
    #: From capture to display, the latency that 95 % of shown predictions keep, at most.
    shown_p95_ms: float | None = None
    #: Share of predictions that users edit, at most.
    edit_rate: float | None = None
    #: Mean edit distance in 0..1, at most.
    edit_distance: float | None = None
    #: Predictions in a second that the service bears, at least.
    qps: float | None = None
    #: How it is served; for people to read.
    serving_mode: Literal["online", "batch", "edge"] | None = None
    #: What it is served on; for people to read.
    device: str | None = None


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a candidate is trained (retrain/training.py)."""

    #: `package.module:attribute` of an object that satisfies retrain.trainer.Trainer.
    trainer: str = ""
    #: Optimiser steps of a run.
    steps: int = 1500
    #: Examples in one minibatch.
    batch_examples: int = 64
    #: Share of each minibatch drawn from examples older than this run's batch.
    replay_share: float = 0.5


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One named ML feature of a service and how Errata improves it."""

    task: Task = Task()
    #: The label configuration of Label Studio; a text area over the input unless given.
    label_config: str = ""
    #: The age at which a prediction's outcome is taken as final; learnt (98 % of the corrections, 1 to 30 days) unless
    #: given. What comes later still counts.
    attribution_window_seconds: float | None = None
    detector: Detector = Detector()
    data_drift: DataDrift = DataDrift()
    trigger: Trigger = Trigger()
    mining: Mining = Mining()
    training: Training = Training()
    gate: Gate = Gate()
    requirements: Requirements = Requirements()

    @property
    def attribution_window_us(self) -> int | None:
        """The attribution window that is set, if one is."""
        seconds = self.attribution_window_seconds
        return None if seconds is None else round(seconds * 1_000_000)


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where Kafka is and how to reach it."""

    #: One or more `HOST:PORT`, separated by commas.
    bootstrap: str = "127.0.0.1:9092"
    #: Partitions of each topic that Errata creates; the most workers that can share the work.
    partitions: int = 4
    #: Copies of each topic that Errata creates.
    replication: int = 1
    #: A worker that is silent for this long loses its partitions to the others; one that was killed, within seconds.
    session_timeout_seconds: float = 10.0
    #: The time that workers have to give up partitions when one joins or leaves.
    rebalance_timeout_seconds: float = 60.0
    #: How the connection is protected; a password needs `SASL_SSL`.
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "PLAINTEXT"
    #: How the password is proved.
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-512"
    #: Who we are to the broker.
    username: str = ""
    #: Better given by the environment than by a file.
    password: str = ""
    #: Certificates (PEM) that the broker's is checked against; those of the system if empty.
    ca_file: str = ""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Broker(bootstrap={self.bootstrap!r}, security_protocol={self.security_protocol!r}, ...)"


class Database(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where Errata remembers: `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/NAME`."""

    #: The address of the database; give one with a password by the environment.
    url: str = "sqlite:///var/errata.db"
    #: Set it where nobody else is on the network to the database: the password may then travel without TLS.
    trusted_network: bool = False

    def __repr__(self) -> str:
        """Without the password."""
        return f"Database({self.url.partition('://')[0]!r}, ...)"


class Artifacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the files of released versions lie: `DIRECTORY/MODEL/VERSION/`, and `DIRECTORY/MODEL/champion.json`."""

    #: Shared by trainers and by the services that load what is released.
    directory: str = "var/artifacts"


class Worker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The stream worker."""

    #: The consumer group of the workers.
    group: str = "errata-intake"
    #: Records fetched from a partition that share one transaction, at most.
    batch_records: int = 2000
    #: Bytes fetched and not yet stored, at most, over all partitions.
    bytes_in_flight: int = 64 * 1024 * 1024
    #: On SIGTERM, the time to finish a transaction before giving it up.
    drain_seconds: float = 10.0
    #: Without progress for this long although records wait, the worker ends itself.
    watchdog_seconds: float = 300.0
    #: A partition of whose events so many were dead letters within `flood_seconds` is paused, if they are also
    #: `flood_share` of all; 0 pauses none.
    flood_dead_letters: int = 1000
    #: The share of dead letters from which a partition is paused.
    flood_share: float = 0.5
    #: How far back dead letters are counted for a flood, and how long a flood must be over to be a new one.
    flood_seconds: float = 600.0
    #: Without an answer of the broker to fetches for this long, `/healthz` answers 503.
    reads_stalled_seconds: float = 90.0
    #: Values of one tag per model and hour before further ones are counted as `__other__`.
    slice_values_per_hour: int = 200
    #: The address that the metrics are served on; `0.0.0.0` is every one of this machine.
    metrics_host: str = "127.0.0.1"
    #: Where Prometheus finds the metrics; 0 turns them off.
    metrics_port: int = 9464
    #: How often the timers look for work.
    timer_seconds: float = 1.0
    #: Share of its time that one worker spends on comparing what was counted with the facts, on and on; 0 turns it off.
    verify_share: float = 0.05


class Intake(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP intake for services that cannot speak Kafka."""

    #: The address it listens on; `0.0.0.0` is every one of this machine.
    host: str = "127.0.0.1"
    #: The port it listens on.
    port: int = 8080
    #: A larger event is refused.
    event_bytes: int = 262_144
    #: A larger request is refused.
    batch_bytes: int = 5_242_880
    #: Whether senders show a key that `errata keys create` made. Unless set, they do where `host` is not loopback.
    require_keys: bool | None = None
    #: With which certificate (PEM) the intake speaks TLS by itself.
    certificate_file: str = ""
    #: The private key (PEM) of the certificate.
    certificate_key_file: str = ""
    #: Set it where a proxy speaks TLS to senders, and nobody else can reach the intake.
    behind_tls_proxy: bool = False
    #: How often keys are read from the database: a revoked one works for so long, a new one begins to.
    keys_refresh_seconds: float = 5.0
    #: While the database does not answer, the keys that were read last go on working for so long.
    keys_outage_seconds: float = 3600.0
    #: Events that a key (an address, where no keys are asked for) may send in a second in the long run.
    events_per_second: float = 5_000.0
    #: Events that it may send at once after a rest.
    burst_events: int = 50_000
    #: Bytes, uncompressed, that it may send in a second in the long run.
    bytes_per_second: float = 10_485_760.0
    #: Bytes that it may send at once after a rest.
    burst_bytes: int = 52_428_800
    #: The address that the metrics are served on; `0.0.0.0` is every one of this machine.
    metrics_host: str = "127.0.0.1"
    #: Where Prometheus finds the metrics; 0 turns them off.
    metrics_port: int = 9465

    @property
    def needs_keys(self) -> bool:
        """Whether senders have to show a key."""
        return not is_loopback(self.host) if self.require_keys is None else self.require_keys


class Trainer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The training process."""

    #: The consumer group of the trainers.
    group: str = "errata-trainer"
    #: `auto` takes a GPU if there is one.
    device: str = "auto"


class Dashboard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The screens for people."""

    #: The address it listens on; `0.0.0.0` is every one of this machine.
    host: str = "127.0.0.1"
    #: The port it listens on.
    port: int = 8501
    #: Times are stored in UTC and shown in this zone.
    time_zone: str = "Asia/Seoul"


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long what came in is kept, in days; 0 keeps it for ever. Windows are kept for ever."""

    #: Predictions and what users did to them, from the time of the prediction.
    predictions_days: float = 0.0
    #: What customers said.
    voc_days: float = 0.0
    #: What could not be used, from its arrival.
    dead_letters_days: float = 0.0
    #: The ledger run by run; older rows become one per partition and day.
    ledger_days: float = 0.0
    #: Ids of what was removed. An older event that is not known is refused as `too_late`, so that it can't count twice.
    tombstones_days: float = 0.0
    #: Where `errata erase` writes down whom it erased: not where backups of the database go.
    erasures_file: str = "var/erasures.jsonl"


class Logs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What processes write to standard error (errata/command/logs.py)."""

    #: `json` is one object a line, with time, level, logger, message, and trace where there is one.
    format: Literal["text", "json"] = "text"
    #: What Errata itself logs, at least; of its libraries it is always warnings.
    level: Literal["debug", "info", "warning", "error"] = "info"


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One way by which alerts reach people: a chat room, a mailbox, a webhook."""

    #: Where it leads, as [Apprise](https://appriseit.com) writes it: `slack://...`, `mailtos://...`, `jsons://...`. It
    #: holds secrets: give it by the environment, `ERRATA_ALERTS__CHANNELS__NAME__URL`.
    url: str = ""
    #: Alerts that are less severe do not go there.
    severity: Severity = "info"
    #: Only these kinds of alerts go there; every kind if empty.
    kinds: list[AlertKind] = []
    #: Only alerts about these models go there, and those about no model; about every model if empty.
    models: list[str] = []
    #: When nobody wants to be woken, `HH:MM-HH:MM`: what is not critical waits for the end, and comes as one message.
    quiet_hours: str = ""
    #: The zone of the quiet hours, and of the times in its messages.
    time_zone: str = "Asia/Seoul"

    def __repr__(self) -> str:
        """Without the URL."""
        return f"Channel({self.url.partition('://')[0]!r}, ...)"


class Alerts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom Errata tells what goes wrong, and what it did about it."""

    #: An alert that is open for so long is told again, and so on; 0: never.
    remind_seconds: float = 86_400.0
    #: Where people find the dashboard, `https://...`: messages end with a link to it.
    dashboard_url: str = ""
    channels: dict[str, Channel] = {}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings; every process takes the part it needs."""

    broker: Broker = Broker()
    database: Database = Database()
    artifacts: Artifacts = Artifacts()
    worker: Worker = Worker()
    intake: Intake = Intake()
    trainer: Trainer = Trainer()
    dashboard: Dashboard = Dashboard()
    retention: Retention = Retention()
    logs: Logs = Logs()
    alerts: Alerts = Alerts()
    models: dict[str, Model] = {}


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Merge defaults, the TOML file at `path` (if not None) and `ERRATA_*` of `environ`.

    Raises SettingsError that names the offending key, and the nearest right one where a key is unknown.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"no settings file at {path}: create it or leave out --settings") from None
        except OSError as error:
            raise SettingsError(f"{path} can't be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML: {error}") from error
    for name, value in sorted(environ.items()):
        if name.startswith("ERRATA_") and name not in NOT_SETTINGS:
            _put(raw, name.removeprefix("ERRATA_").lower().split("__"), _read_value(value), name)
    _reject_unknown_keys(raw, Settings, "")
    try:
        settings = msgspec.convert(raw, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise SettingsError(f"wrong setting: {error}") from error
    _check(settings)
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, as far as its name tells."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def password_in(database_url: str) -> str:
    """The password in the URL of a database, as it is written there; empty if there is none."""
    url = _SERVER_URL.fullmatch(database_url)
    if url is None:
        return ""
    return url["password"] or parse_qs(url["query"] or "").get("password", [""])[-1]


def find_settings(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file to read: `path`, else `$ERRATA_SETTINGS`, else `errata.toml` here if there is one."""
    if path is not None:
        return path
    if named := environ.get("ERRATA_SETTINGS"):
        return Path(named)
    return Path("errata.toml") if Path("errata.toml").exists() else None


def find_model(settings: Settings, name: str) -> Model:
    """The settings of model `name`; SettingsError names the nearest model there is."""
    if name in settings.models:
        return settings.models[name]
    near = difflib.get_close_matches(name, settings.models, n=1, cutoff=0.0)
    hint = f"did you mean {near[0]}?" if near else "add a [models.NAME] table to errata.toml"
    raise SettingsError(f"unknown model {name}: {hint}")


def _read_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(raw: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    """Set a nested value; names of models and channels in the environment write `_` for `-`."""
    level = raw
    for depth, key in enumerate(keys[:-1]):
        is_name = keys[:depth] in (["models"], ["alerts", "channels"])
        known = next((each for each in level if is_name and each.replace("-", "_") == key), key)
        level = level.setdefault(known, {})
        if not isinstance(level, dict):
            raise SettingsError(f"{name}: {known} is a value, not a group of settings")
    level[keys[-1]] = value


def _reject_unknown_keys(raw: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str) -> None:
    hints = get_type_hints(kind)
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            raise SettingsError(f"unknown setting {name}: did you mean {prefix}{near[0]}?")
        hint = hints[key]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and isinstance(value, dict):
            _reject_unknown_keys(value, hint, f"{name}.")
        elif get_origin(hint) is dict and isinstance(value, dict):
            inner = get_args(hint)[1]
            for item, table in value.items():
                if isinstance(table, dict):
                    _reject_unknown_keys(table, inner, f"{name}.{item}.")


def _check(settings: Settings) -> None:
    """Refuse combinations that would lose or expose data."""
    if settings.broker.partitions < 1:
        raise SettingsError("broker.partitions must be 1 or more")
    for name in ("verify_share", "flood_share"):
        if not 0 <= getattr(settings.worker, name) <= 1:
            raise SettingsError(f"worker.{name} must be 0 to 1")
    if settings.broker.password and settings.broker.security_protocol != "SASL_SSL":
        raise SettingsError(
            "broker.password is set but broker.security_protocol is not SASL_SSL: "
            "credentials would cross the network in clear"
        )
    _check_database(settings.database)
    _check_intake(settings.intake)
    _check_alerts(settings)
    for name, model in settings.models.items():
        _check_detector(f"models.{name}", model)
        _check_data_drift(f"models.{name}.data_drift", model.data_drift)
        share = model.mining.audit_share + model.mining.evaluation_share + model.mining.diverse_share
        if not 0 < share < 1:
            raise SettingsError(
                f"models.{name}.mining: the shares must add up to more than 0 and less than 1"
            )
        _check_audits(f"models.{name}.mining", model.mining)
        _check_requirements(name, model.requirements)
    _check_retention(settings)


def _check_audits(name: str, mining: Mining) -> None:
    if not 0 <= mining.audit_days < math.inf:
        raise SettingsError(
            f"{name}.audit_days must be a number of days, or 0 to order no audits by themselves"
        )
    if mining.audit_quantity < 1:
        raise SettingsError(f"{name}.audit_quantity must be 1 or more")
    if not 1 <= mining.drift_audit_factor <= 10:
        raise SettingsError(f"{name}.drift_audit_factor must be 1 (data drift changes nothing) to 10")


def _check_retention(settings: Settings) -> None:
    """Refuse to remove what is still looked at, or to forget ids of what is not removed yet."""
    kept = settings.retention
    for name in ("predictions", "voc", "dead_letters", "ledger", "tombstones"):
        days = getattr(kept, f"{name}_days")
        if not 0 <= days < math.inf:
            raise SettingsError(f"retention.{name}_days must be a number of days, or 0 to keep it for ever")
    if kept.predictions_days:
        looks_back: dict[str, float] = {"the pairing of what missed each other": 2 * DAY_SECONDS}
        for name, model in settings.models.items():
            looks_back[f"models.{name}.mining.lookback_seconds"] = model.mining.lookback_seconds
            looks_back[f"models.{name}.detector.horizons_seconds"] = max(model.detector.horizons_seconds)
        what = max(looks_back, key=lambda each: looks_back[each])
        if kept.predictions_days * DAY_SECONDS <= looks_back[what]:
            raise SettingsError(
                f"retention.predictions_days must be more than {looks_back[what] / DAY_SECONDS:g}, "
                f"because {what} looks back as far"
            )
    for name in ("predictions", "voc"):
        days = getattr(kept, f"{name}_days")
        if kept.tombstones_days and days >= kept.tombstones_days:
            raise SettingsError(
                f"retention.tombstones_days must be more than retention.{name}_days: "
                "ids have to be known for longer than what they belong to"
            )


def _check_detector(name: str, model: Model) -> None:
    detector, trigger = model.detector, model.trigger
    if detector.events_per_false_alarm < 1:
        raise SettingsError(f"{name}.detector.events_per_false_alarm must be 1 or more")
    if detector.false_alarms_per_week is not None and not detector.false_alarms_per_week > 0:
        raise SettingsError(f"{name}.detector.false_alarms_per_week must be more than 0")
    for rate in ("ceiling_rate", "audited_ceiling_rate"):
        value = getattr(detector, rate)
        if value is not None and not 0 < value < 1:
            raise SettingsError(f"{name}.detector.{rate} must be a share between 0 and 1")
    if detector.reference_audits < 1:
        raise SettingsError(f"{name}.detector.reference_audits must be 1 or more")
    ages = detector.horizons_seconds
    if not ages or not all(0 < each < math.inf for each in ages) or list(ages) != sorted(set(ages)):
        raise SettingsError(
            f"{name}.detector.horizons_seconds must be one or more ages above 0, the shortest first: [3600, 86400]"
        )
    window = model.attribution_window_seconds
    if window is not None and not 0 < window <= 30 * DAY_SECONDS:
        raise SettingsError(
            f"{name}.attribution_window_seconds must be more than 0 and at most 30 days (2592000)"
        )
    for share in ("warning_share", "drift_warning_share"):
        if not 0 < getattr(trigger, share) <= 1:
            raise SettingsError(f"{name}.trigger.{share} must be more than 0 and at most 1")


def _check_data_drift(name: str, data_drift: DataDrift) -> None:
    if data_drift.predictions_per_minute < 0:
        raise SettingsError(f"{name}.predictions_per_minute must be 0 (nothing is watched) or more")
    if data_drift.reference_predictions < LEAST_REFERENCE:
        raise SettingsError(f"{name}.reference_predictions must be {LEAST_REFERENCE} or more")
    if not 1 <= data_drift.events_per_false_alarm < math.inf:
        raise SettingsError(f"{name}.events_per_false_alarm must be 1 or more")
    if not 0 <= data_drift.tolerance < 1:
        raise SettingsError(f"{name}.tolerance must be a share of 0 or more, and less than 1")
    for ignored in data_drift.ignored:
        if ignored not in WATCHED and not ignored.startswith(FEATURE):
            near = difflib.get_close_matches(ignored, WATCHED, n=1, cutoff=0.0)[0]
            raise SettingsError(f"{name}.ignored: nothing watched is called {ignored}: did you mean {near}?")


def _check_requirements(model: str, requirements: Requirements) -> None:
    for name in ("served_p95_ms", "shown_p95_ms", "qps"):
        bound = getattr(requirements, name)
        if bound is not None and not 0 < bound < math.inf:
            raise SettingsError(f"models.{model}.requirements.{name} must be more than 0, not {bound}")
    for name in ("edit_rate", "edit_distance"):
        bound = getattr(requirements, name)
        if bound is not None and not 0 < bound < 1:
            raise SettingsError(
                f"models.{model}.requirements.{name} is a share between 0 and 1, such as 0.05 for 5 %, not {bound}"
            )


def _check_database(database: Database) -> None:
    if not database.url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise SettingsError("database.url must start with sqlite:/// or postgresql+psycopg://")
    if not password_in(database.url) or database.trusted_network:
        return
    url = _SERVER_URL.fullmatch(database.url)
    asked = parse_qs(url["query"] or "") if url else {}
    hosts = [
        *(host for each in asked.get("host", []) + asked.get("hostaddr", []) for host in each.split(",")),
        *([url["host"]] if url and url["host"] else []),
    ]
    if all(_is_local(host) for host in hosts) or asked.get("sslmode", [""])[-1] in _TLS_MODES:
        return
    raise SettingsError(
        "database.url has a password but no sslmode=verify-full (or verify-ca, or require): it would cross the "
        "network in clear. Add ?sslmode=verify-full, or set database.trusted_network where nobody else is on it"
    )


def _is_local(host: str) -> bool:
    """Whether PostgreSQL reaches `host`, perhaps with a port or a directory of sockets, without a network."""
    with_port = re.fullmatch(r"(\[[^\]]+\]|[^:]+):[0-9]*", host)
    return host.startswith("/") or is_loopback(with_port[1] if with_port else host)


def _check_intake(intake: Intake) -> None:
    if intake.keys_refresh_seconds <= 0:
        raise SettingsError("intake.keys_refresh_seconds must be more than 0")
    if bool(intake.certificate_file) != bool(intake.certificate_key_file):
        raise SettingsError(
            "intake.certificate_file and intake.certificate_key_file belong together: set both"
        )
    for name in ("events_per_second", "bytes_per_second"):
        if not getattr(intake, name) > 0:
            raise SettingsError(f"intake.{name} must be more than 0")
    # A request that does not fit into a whole burst could never be sent.
    if intake.burst_events < RECORD_EVENTS:
        raise SettingsError(f"intake.burst_events must be {RECORD_EVENTS} or more: a batch may have so many")
    if intake.burst_bytes < max(intake.batch_bytes, intake.event_bytes):
        raise SettingsError("intake.burst_bytes must be intake.batch_bytes or more")
    if is_loopback(intake.host):
        return
    if not intake.needs_keys:
        raise SettingsError(
            f"intake.require_keys is false, but other machines can reach intake.host {intake.host}: "
            "leave it out and give each source a key (errata keys create), or listen on 127.0.0.1"
        )
    if not intake.certificate_file and not intake.behind_tls_proxy:
        raise SettingsError(
            f"other machines can reach intake.host {intake.host}, and their keys would cross the network in clear: "
            "set intake.certificate_file and intake.certificate_key_file, or intake.behind_tls_proxy where a proxy "
            "speaks TLS"
        )


def quiet_minutes(quiet_hours: str) -> tuple[int, int] | None:
    """The minutes of the day at which quiet hours begin and end; None where there are none, or for another text."""
    written = _QUIET_HOURS.fullmatch(quiet_hours)
    if written is None:
        return None
    hour, minute, end_hour, end_minute = (int(part) for part in written.groups())
    return 60 * hour + minute, 60 * end_hour + end_minute


def _check_alerts(settings: Settings) -> None:
    # Here, because it looks for the zones of this machine, which a service that only emits events does not need.
    from zoneinfo import available_timezones

    if settings.alerts.remind_seconds < 0:
        raise SettingsError("alerts.remind_seconds must be 0 (never) or more")
    for name, channel in settings.alerts.channels.items():
        where = f"alerts.channels.{name}"
        if len(name) > CHANNEL_NAME_CHARACTERS:
            raise SettingsError(f"{where}: a name has at most {CHANNEL_NAME_CHARACTERS} characters")
        if channel.quiet_hours and quiet_minutes(channel.quiet_hours) is None:
            raise SettingsError(f"{where}.quiet_hours must be like 22:00-07:00, not {channel.quiet_hours}")
        if channel.time_zone not in available_timezones():
            raise SettingsError(f"{where}.time_zone: there is no zone {channel.time_zone}")
        for model in channel.models:
            if model not in settings.models:
                raise SettingsError(f"{where}.models: there is no [models.{model}]")
