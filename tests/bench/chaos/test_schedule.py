from collections import Counter

from bench.chaos.schedule import FAILPOINTS, plan_campaign

BOTH = ("sqlite", "postgresql")


def test_a_seed_gives_the_same_plan_again_and_another_one_another():
    assert plan_campaign(7, 100, 10, 10, BOTH) == plan_campaign(7, 100, 10, 10, BOTH)
    assert plan_campaign(7, 100, 10, 10, BOTH) != plan_campaign(8, 100, 10, 10, BOTH)


def test_as_much_is_planned_as_was_asked_for():
    for kills, pauses, restores in [(1, 0, 0), (10, 1, 1), (137, 20, 31)]:
        plans = plan_campaign(7, kills, pauses, restores, BOTH)
        happening = Counter(trouble.kind for plan in plans for trouble in plan.troubles)
        assert sum(plan.n_kills() for plan in plans) == kills
        assert happening["pause"] == pauses
        assert happening["restore"] + happening["restore while running"] == restores


def test_a_failover_is_measured_in_a_campaign_of_fifty_kills():
    assert sum(plan.measures_failover for plan in plan_campaign(7, 50, 5, 5, BOTH)) == 1


def test_a_restore_follows_its_backup():
    for plan in plan_campaign(7, 200, 0, 60, BOTH):
        n_copies = 0
        for trouble in plan.troubles:
            n_copies += trouble.kind == "backup"
            assert n_copies or not trouble.kind.startswith("restore")


def test_a_long_campaign_plans_every_failpoint_and_both_databases():
    plans = plan_campaign(7, 400, 0, 0, BOTH)
    lives = [life for plan in plans for lives in (*plan.lives, plan.verb_lives) for life in lives]
    lives += [trouble.life for plan in plans for trouble in plan.troubles if trouble.life is not None]
    assert {life.failpoint for life in lives} == {None, *FAILPOINTS}
    assert {plan.purges for plan in plans} == {True, False}
    assert {plan.database for plan in plans} == set(BOTH)
    assert any(plan.measures_failover for plan in plans)
