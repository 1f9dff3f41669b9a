"""`errata demo`: the whole loop on this machine, on real input, told step by step.

Services emit, users correct, the camera changes, a signal opens a run, labelers answer, a candidate is trained and
judged, the service takes it up, and the correction rate falls. What the last line says was read back from the database.
"""

import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errata.command.demo_numbers import MODEL, DemoNumbers, read_numbers
from errata.command.demo_view import View
from errata.command.local_broker import start_local_broker, wait_for_broker
from errata.command.processes import Children, errata_command, raising_on_sigterm, wait_until
from errata.command.serve import dashboard_arguments
from errata.command.session import Session, print_json
from errata.errors import Stop
from errata.redaction import Redaction
from errata.settings import Settings, load_settings

if TYPE_CHECKING:
    from storage.database import Database

MARKER = ".errata-demo"
#: Predictions of the first version, after its reference is complete, before the camera changes.
CALM_PREDICTIONS = 300
#: Predictions of the new version that must be old enough for most customers to have answered.
AFTER_PREDICTIONS = 600
ANSWERED_SECONDS = 15
PATIENCE_SECONDS = 540


@dataclass(frozen=True)
class Demo:
    """One running demo: its files, its settings and the processes it started."""

    directory: Path
    settings: Settings
    children: Children
    database: "Database"
    view: View
    started: float

    def seconds(self) -> float:
        """Time since the command was given."""
        return time.monotonic() - self.started

    def wait(self, condition: Callable[[DemoNumbers], bool], what: str) -> DemoNumbers:
        """Show the numbers until `condition` holds, and return them; Stop when patience ends or a process died."""
        numbers = self.numbers()

        def holds() -> bool:
            nonlocal numbers
            numbers = self.numbers()
            self.view.show(numbers)
            return condition(numbers)

        wait_until(holds, max(1.0, PATIENCE_SECONDS - self.seconds()), what, self.children)
        return numbers

    def numbers(self) -> DemoNumbers:
        """What the database says now."""
        detector = self.settings.models[MODEL].detector
        return read_numbers(self.database, detector, time.time_ns() // 1000, ANSWERED_SECONDS * 1_000_000)


def run_demo(directory: Path, *, headless: bool, settings_path: Path | None) -> int:
    """Run the demo; with `headless` end when the loop has closed, else go on until Ctrl-C. Returns the exit status."""
    started = time.monotonic()
    view = View(is_live=not headless and sys.stderr.isatty(), started=started)
    view.say(start_clean(directory))
    settings_path = settings_path or Path(__file__).parents[2] / "examples" / "errata.toml"
    environ = demo_environ(directory, settings_path, os.environ)
    settings = load_settings(settings_path, environ)
    exports = [
        f"export {name}={shlex.quote(environ[name])}"
        for name in sorted(environ)
        if name.startswith("ERRATA_")
    ]
    (directory / "env").touch(mode=0o600)
    (directory / "env").write_text("\n".join(exports) + "\n", encoding="utf-8")
    children = Children(directory / "log", environ)
    with raising_on_sigterm():
        try:
            return _run(
                Session(settings=settings, settings_path=settings_path, redaction=Redaction()),
                directory,
                children,
                view,
                headless,
            )
        except KeyboardInterrupt:
            view.say("Stopping everything this demo started.")
            return 130
        except Stop as error:
            view.say(f"The demo could not go on: {error}")
            print_json({"loop_closed": False, "seconds": round(time.monotonic() - started, 1)})
            return 1
        finally:
            view.close()
            children.stop_all()
            (directory / MARKER).write_text("", encoding="utf-8")


def _run(session: Session, directory: Path, children: Children, view: View, headless: bool) -> int:
    from storage.database import migrate, open_database

    settings = session.settings
    port = int(settings.broker.bootstrap.rsplit(":", 1)[1])
    log = directory / "log" / "broker.log"
    # It holds nothing that a farewell could save, and is slow to take one.
    children.adopt("broker", start_local_broker(port, log), log, patience_seconds=0)
    migrate(settings.database.url)
    wait_for_broker(settings.broker.bootstrap, 30)
    view.say(f"Broker (in memory) at {settings.broker.bootstrap}; database {settings.database.url}.")
    here = ["--directory", str(directory)]
    children.start("worker", errata_command("worker"))
    if not headless:
        children.start("dashboard", dashboard_arguments(session))
        view.say(f"Dashboard: http://{settings.dashboard.host}:{settings.dashboard.port}")
    children.start("translator", [sys.executable, "-m", "examples.translator.service", *here], may_end=True)
    view.say("The translator replays 2,000 real translations and what post-editors made of them.")
    founding = [sys.executable, "-m", "examples.card_reader.found", *here]
    first = children.start("first-version", founding, may_end=True)
    view.say("The card reader's version 1 is being trained on the founders' cards.")
    database = open_database(settings.database.url)
    demo = Demo(directory, settings, children, database, view, view.started)
    try:
        demo.wait(lambda now: now.events > 0, "the first event in the database")
        view.say(f"First numbers after {demo.seconds():.0f} s.")
        demo.wait(lambda _now: first.process.poll() is not None, "version 1")
        view.say(f"Version 1 is trained and registered, after {demo.seconds():.0f} s.")
        children.start("trainer", errata_command("trainer"))
        children.start("labeler", [sys.executable, "-m", "examples.labeler", *here])
        children.start("card-reader", [sys.executable, "-m", "examples.card_reader.service", *here])
        close_loop(demo)
        if headless:
            return finish(demo)
        view.say("The loop is closed; traffic goes on. Look around on the dashboard.")
        view.say(f"Ask it yourself in another terminal: . {directory / 'env'} && .venv/bin/errata report")
        while True:
            children.check()
            view.show(demo.numbers())
            time.sleep(0.5)
    finally:
        database.close()


def close_loop(demo: Demo) -> None:
    """Wait for each arrow of the loop and say it; raises Stop when one does not come."""
    say = demo.view.say
    numbers = demo.wait(lambda now: now.reference_complete, "the reference rate of version 1")
    demo.wait(lambda now: now.n_before >= numbers.n_before + CALM_PREDICTIONS, "some calm traffic")
    (demo.directory / "camera").write_text("v2", encoding="utf-8")
    say("The camera changes now: blur, rotation, glare.")
    numbers = demo.wait(lambda now: now.signal is not None, "the drift signal")
    assert numbers.signal is not None
    say(f"Signal, {numbers.signal_after_events} predictions after the change: {numbers.signal.reason}")
    demo.wait(lambda now: now.has_step("ordered"), "the labeling batch")
    say("Hard examples are mined and ordered from the labelers.")
    demo.wait(lambda now: now.has_step("labelled"), "the labels")
    say("The labels are delivered and accepted; the trainer has been asked for a run.")
    numbers = demo.wait(lambda now: now.run is not None and now.run.decided_us is not None, "the verdict")
    assert numbers.run is not None
    say(f"Verdict: {numbers.run.verdict_reason}")
    if numbers.run.status != "promoted":
        raise Stop(f"the candidate was not promoted: {numbers.run.verdict_reason or numbers.run.status}")
    demo.wait(lambda now: now.n_after > 0, "the service to take the new version up")
    say(f"The service reads cards with version {numbers.run.candidate} now.")
    numbers = demo.wait(lambda now: now.n_after_answered >= AFTER_PREDICTIONS, "customers to answer")
    rates = ", ".join(
        f"{name} {value:.1%}" for name, value in numbers.correction_rate().items() if value is not None
    )
    say(f"Correction rate: {rates}.")


def finish(demo: Demo) -> int:
    """Stop the services, wait until all they sent is stored, recount, and print the last line."""
    from storage.verify import verify

    demo.view.say("The services close; what they sent is being counted.")
    sent = 0
    for name in ("card-reader", "translator"):
        demo.children.stop_one(name)
        sent += read_sent(demo.directory / f"{name}.json")
    demo.wait(lambda now: now.events >= sent, f"all {sent} events that were sent")
    numbers = demo.numbers()
    found = verify(demo.database, demo.settings.models)
    for difference in found.differences:
        demo.view.say(f"Different: {difference}")
    rates = numbers.correction_rate()
    assert numbers.run is not None
    is_lower = (rates["after"] or 1.0) < (rates["drifted"] or 0.0)
    is_closed = numbers.run.status == "promoted" and is_lower
    print_json(
        {
            "loop_closed": is_closed,
            "correction_rate": {
                name: None if rate is None else round(rate, 4) for name, rate in rates.items()
            },
            "signal_after_events": numbers.signal_after_events,
            "run": numbers.run.id,
            "verdict": numbers.run.verdict,
            "events": numbers.events,
            "dead_letters": numbers.dead_letters,
            "seconds": round(demo.seconds(), 1),
        }
    )
    return 0 if is_closed and not found.differences and numbers.events == sent else 1


def read_sent(report: Path) -> int:
    """How many events a service says it sent."""
    import msgspec

    counters: dict[str, Any] = msgspec.json.decode(report.read_bytes())
    return int(counters["sent"])


def start_clean(directory: Path) -> str:
    """Empty the demo's directory and say so; Stop if it is not the demo's, or another demo runs in it."""
    marker = directory / MARKER
    existed = directory.exists() and any(directory.iterdir())
    if existed:
        if not marker.exists():
            raise Stop(f"{directory} has files that are not the demo's: choose another --directory")
        owner = marker.read_text(encoding="utf-8").strip()
        if owner.isdigit() and _is_alive(int(owner)):
            raise Stop(
                f"another demo (process {owner}) runs in {directory}: stop it, or choose another --directory"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(str(os.getpid()), encoding="utf-8")
    # The broker keeps its records in memory only, so there is nothing that an earlier demo could go on from.
    return f"Starting clean in {directory}" + (
        "; the files of the earlier demo are removed." if existed else "."
    )


def demo_environ(
    directory: Path, settings_path: Path, environ: "os._Environ[str] | dict[str, str]"
) -> dict[str, str]:
    """The environment of every process of the demo; what the caller set already stays."""
    own = {
        "ERRATA_SETTINGS": str(settings_path.resolve()),
        "ERRATA_BROKER__BOOTSTRAP": f"127.0.0.1:{free_port(9092)}",
        "ERRATA_DATABASE__URL": f"sqlite:///{(directory / 'errata.db').resolve()}",
        "ERRATA_ARTIFACTS__DIRECTORY": str((directory / "artifacts").resolve()),
        "ERRATA_DASHBOARD__PORT": str(free_port(8501)),
        "ERRATA_WORKER__METRICS_PORT": str(free_port(9464)),
        "PYTHONUNBUFFERED": "1",
        # Everything shares this machine: threads that wait for each other would cost more than they bring.
        "OMP_NUM_THREADS": "1",
    }
    return own | dict(environ)


def free_port(wanted: int) -> int:
    """`wanted` if it is free on the loopback address, else any port that is."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise Stop("no free port on 127.0.0.1")


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process_id != os.getpid()
