import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.ledger import Entry, Ledger

HERE = ("errata.feedback", 0)
THERE = ("errata.feedback", 1)


def test_nothing_is_committable_before_a_run_is_finished():
    ledger = Ledger()
    ledger.hand_out(HERE, 0, 100, 10)
    assert ledger.committable(HERE) is None
    assert ledger.partitions() == []


def test_a_fresh_topic_is_committable_beyond_its_first_run():
    ledger = Ledger()
    for first in (0, 100, 200):
        ledger.finish(ledger.hand_out(HERE, first, first + 100, 10))
        assert ledger.committable(HERE) == first + 100


def test_a_later_run_waits_for_the_ones_before_it():
    ledger = Ledger()
    first, second = ledger.hand_out(HERE, 7, 12, 1), ledger.hand_out(HERE, 12, 14, 1)
    ledger.finish(second)
    assert ledger.committable(HERE) is None
    ledger.finish(first)
    assert ledger.committable(HERE) == 14


def test_a_run_that_finishes_after_its_partition_was_taken_away_commits_nothing():
    ledger = Ledger()
    late = ledger.hand_out(HERE, 200, 250, 1)
    ledger.forget()
    new = ledger.hand_out(HERE, 200, 300, 1)
    assert not ledger.finish(late)
    assert ledger.committable(HERE) is None
    assert ledger.finish(new)
    assert ledger.committable(HERE) == 300


def test_forgetting_one_partition_leaves_the_other():
    ledger = Ledger()
    here, there = ledger.hand_out(HERE, 0, 5, 10), ledger.hand_out(THERE, 0, 5, 20)
    ledger.forget([HERE])
    assert (ledger.unfinished, ledger.unfinished_bytes) == (1, 20)
    assert not ledger.finish(here)
    assert ledger.finish(there)
    assert ledger.partitions() == [THERE]
    ledger.forget()
    assert ledger.committable(THERE) is None


def test_a_run_that_does_not_continue_the_chain_is_refused():
    ledger = Ledger()
    ledger.hand_out(HERE, 0, 5, 1)
    with pytest.raises(ValueError, match="a run from 6 can't follow one to 5"):
        ledger.hand_out(HERE, 6, 9, 1)


def test_finishing_twice_counts_once():
    ledger = Ledger()
    entry = ledger.hand_out(HERE, 0, 5, 10)
    assert ledger.finish(entry)
    assert not ledger.finish(entry)
    assert ledger.unfinished_bytes == 0


class LedgerHistory(RuleBasedStateMachine):
    """Runs are handed out, finished in any order, and forgotten with late finishers, in two partitions."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.next_offset = {HERE: 0, THERE: 0}
        self.started_at = {HERE: 0, THERE: 0}
        self.entries: list[Entry] = []
        self.applied: set[tuple[tuple[str, int], int]] = set()

    @rule(partition=st.sampled_from([HERE, THERE]), n=st.integers(1, 5), size=st.integers(0, 9))
    def hand_out(self, partition, n, size):
        first = self.next_offset[partition]
        self.next_offset[partition] = first + n
        self.entries.append(self.ledger.hand_out(partition, first, first + n, size))

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def finish_any(self, data):
        entry = data.draw(st.sampled_from(self.entries))
        self.applied |= {(entry.partition, each) for each in range(entry.first_offset, entry.next_offset)}
        self.ledger.finish(entry)

    @rule(partition=st.sampled_from([HERE, THERE]), back=st.integers(0, 8))
    def forget_and_read_again(self, partition, back):
        self.ledger.forget([partition])
        start = max(0, self.next_offset[partition] - back)
        self.next_offset[partition] = self.started_at[partition] = start
        # What is before the new start was applied by someone, or else it would not start there.
        self.applied |= {(partition, each) for each in range(start)}

    @invariant()
    def nothing_below_the_committable_offset_is_missing(self):
        for partition in (HERE, THERE):
            for offset in range(self.ledger.committable(partition) or 0):
                assert (partition, offset) in self.applied

    @invariant()
    def what_is_in_flight_adds_up(self):
        in_flight = [each for each in self.entries if each.alive and not each.finished]
        assert self.ledger.unfinished == len(in_flight)
        assert self.ledger.unfinished_bytes == sum(each.size_bytes for each in in_flight)

    def teardown(self):
        """Progress: with every run in flight finished, everything handed out is committable."""
        for entry in self.entries:
            self.ledger.finish(entry)
        for partition, next_offset in self.next_offset.items():
            if next_offset > self.started_at[partition]:
                assert self.ledger.committable(partition) == next_offset


LedgerHistory.TestCase.settings = hypothesis_settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLedgerHistory = LedgerHistory.TestCase
