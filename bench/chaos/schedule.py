"""The faults of a campaign, made from its seed before anything runs, and saved as JSON."""

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from bench.chaos.traffic import PERSONS

#: Where a process can be made to kill itself (bench/chaos/failpoints.py).
STORING_FAILPOINTS: Final = (
    "store: before begin",
    "store: after events",
    "store: before commit",
    "store: after commit",
    "kafka: in commit",
    "sweep: in transaction",
)
VERB_FAILPOINTS: Final = ("replay: after sending", "replay: before commit", "verify: in snapshot")
ERASING_FAILPOINTS: Final = ("erase: in transaction", "erase: before commit")
FAILPOINTS: Final = (*STORING_FAILPOINTS, *VERB_FAILPOINTS, *ERASING_FAILPOINTS)

SLOTS: Final = 2
#: A worker whose failpoint is not reached by then is killed from outside.
_LIFE_SECONDS: Final = 25.0
#: Kills of one cell; then it is drained, judged, and another one begins with nothing.
KILLS_PER_CELL: Final = 20
_CLOCK_SKEWS: Final = (0.0, 0.0, 0.0, -3600.0, 3600.0)

Database = Literal["sqlite", "postgresql"]
DATABASES: Final[tuple[Database, ...]] = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Life:
    """How one worker process lives and ends: killed after a time, or by itself at the nth hit of a failpoint."""

    skew_seconds: float
    kill_after_seconds: float
    failpoint: str | None = None
    hit: int = 1


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happens to a worker, the database or the network, at a time since the cell's start."""

    at_seconds: float
    kind: str
    lasts_seconds: float
    slot: int = 0
    #: Whom it is about, and how the process lives that does it.
    subject: str = ""
    life: Life | None = None


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One cell: a broker, a database and two workers of their own, and all that happens to them."""

    seed: int
    database: Database
    #: Whether PostgreSQL may forget its last commits when it is stopped at once.
    forgets_commits: bool
    #: Workers are killed in turn, and each time the other one's take-over is waited for and timed.
    measures_failover: bool
    #: Predictions that are older than half a day after the oldest are removed while others come.
    purges: bool
    lives: tuple[tuple[Life, ...], ...]
    troubles: tuple[Trouble, ...]
    verb_lives: tuple[Life, ...]
    #: In place of a worker of ours: stock Faust, whose run has to fail.
    is_control: bool = False

    def n_kills(self) -> int:
        """How many times a process of it is killed."""
        n_erasing = sum(trouble.kind == "erase" for trouble in self.troubles)
        return sum(len(lives) for lives in self.lives) + len(self.verb_lives) + n_erasing


def session_seconds(measures_failover: bool) -> float:
    """How long the broker waits for a worker that is silent: short, but where the take-over itself is timed."""
    return 10.0 if measures_failover else 6.0


def plan_campaign(
    seed: int, kills: int, pauses: int, restores: int, databases: tuple[Database, ...]
) -> list[CellPlan]:
    """The cells of a campaign. The same arguments give the same plan."""
    rng = Random(seed)
    # Each database has its turn, however few the kills are.
    n_cells = max(1, -(-kills // KILLS_PER_CELL), min(len(databases), kills // 4))
    return [
        _plan_cell(
            rng.getrandbits(32),
            databases[number % len(databases)],
            kills=_share(kills, n_cells, number),
            pauses=_share(pauses, n_cells, number),
            restores=_share(restores, n_cells, number),
            measures_failover=number % 5 == 2,
        )
        for number in range(n_cells)
    ]


def plan_control(seed: int) -> CellPlan:
    """A short cell of the naive worker."""
    rng = Random(seed)
    lives = tuple(tuple(Life(0.0, rng.uniform(8.0, 13.0)) for _ in range(2)) for _ in range(SLOTS))
    return CellPlan(seed, "sqlite", False, False, False, lives, (), (), is_control=True)


def _share(total: int, n_cells: int, number: int) -> int:
    return total * (number + 1) // n_cells - total * number // n_cells


def _plan_cell(
    seed: int, database: Database, *, kills: int, pauses: int, restores: int, measures_failover: bool
) -> CellPlan:
    rng = Random(seed)
    n_verbs = min(len(VERB_FAILPOINTS), kills // 5)
    n_erasures = 0 if measures_failover else min(3, kills // 4)
    n_lives = kills - n_verbs - n_erasures
    lives = tuple(
        tuple(_plan_life(rng, measures_failover) for _ in range(_share(n_lives, SLOTS, slot)))
        for slot in range(SLOTS)
    )
    seconds = max(12.0, n_lives * (16.0 if measures_failover else 4.5))
    shortest = 1.25 * session_seconds(measures_failover)
    troubles = [
        Trouble(rng.uniform(4.0, seconds), "pause", rng.uniform(shortest, shortest + 2), rng.randrange(SLOTS))
        for _ in range(pauses)
    ]
    for subject in rng.sample(PERSONS, n_erasures):
        life = Life(0.0, _LIFE_SECONDS, rng.choice(ERASING_FAILPOINTS), rng.randint(1, 2))
        troubles.append(Trouble(rng.uniform(4.0, seconds), "erase", 0.0, subject=subject, life=life))
    for _ in range(restores):
        saved = rng.uniform(3.0, 0.6 * seconds)
        kind = rng.choice(["restore", "restore while running"])
        troubles.append(Trouble(saved, "backup", 0.0))
        troubles.append(Trouble(rng.uniform(saved + 2.0, seconds), kind, 0.0))
    if not measures_failover:
        kinds = _OF_POSTGRES if database == "postgresql" else _OF_SQLITE
        troubles += [
            Trouble(rng.uniform(4.0, seconds), kind, rng.uniform(0.5, 4.0), rng.randrange(SLOTS))
            for kind in rng.sample(kinds, min(len(kinds), kills // 5))
        ]
    return CellPlan(
        seed=seed,
        database=database,
        forgets_commits=database == "postgresql" and rng.random() < 0.5,
        measures_failover=measures_failover,
        purges=rng.random() < 0.5,
        lives=lives,
        troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at_seconds)),
        verb_lives=tuple(
            Life(0.0, _LIFE_SECONDS, name, rng.randint(1, 3) if name == "replay: after sending" else 1)
            for name in rng.sample(VERB_FAILPOINTS, n_verbs)
        ),
    )


_OF_NETWORK: Final = ["broker reset", "broker black hole"]
_OF_SQLITE: Final = [*_OF_NETWORK, "disk full"]
_OF_POSTGRES: Final = [
    *_OF_NETWORK,
    "database reset",
    "database black hole",
    "database stopped",
    "backend killed",
]


def _plan_life(rng: Random, measures_failover: bool) -> Life:
    if measures_failover:
        return Life(0.0, rng.uniform(0.5, 3.0))
    skew = rng.choice(_CLOCK_SKEWS)
    if rng.random() < 0.4:
        return Life(skew, rng.uniform(0.5, 14.0))
    return Life(skew, _LIFE_SECONDS, rng.choice(STORING_FAILPOINTS), rng.randint(1, 6))
