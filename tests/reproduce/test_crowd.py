"""Learners that train at once are compared with their fair share of the machine."""

import pytest

from vae_utils.reproduce import crowd


def test_the_slowest_learner_is_held_against_the_fair_share(run, monkeypatch):
    monkeypatch.setattr(crowd.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)

    def milliseconds(loop, plan):
        rounds = [plan[at : at + 4] for at in range(0, len(plan), 4)]
        return [
            10.0 / threads * max(1, learners / 2)  # so many of the two cores, or a part of one
            if isinstance(threads, int)
            else {"shared": 11.0, None: 40.0}[threads] * learners / 2 * (1 + slower)
            for slower, entries in zip((0, 0.1, 0.2, -0.1, -0.2, 3.0, -0.9), rounds, strict=True)
            for learners, threads in entries
        ]

    monkeypatch.setattr(crowd, "milliseconds", milliseconds)
    rows = run("crowd")["results"]["rows"]
    assert [row["loop"] for row in rows] == [loop for loop in crowd.LOOPS for _ in crowd.LEARNERS]
    assert [row["fair_ms"] for row in rows[:3]] == [5, 10, 20]
    assert [row["shared_ratio"] for row in rows[:3]] == pytest.approx([1.1, 1.1, 1.1])
    assert [(row["shared_low"], row["shared_high"]) for row in rows[:3]] == [(0.88, 1.32)] * 3
    assert [row["torch_ms"] for row in rows[:3]] == [20, 40, 80]
    assert [row["single_ratio"] for row in rows[:3]] == [2, 1, 1]


@pytest.mark.slow
def test_learners_begin_together_and_each_tells_its_pace():
    one, two, alone = crowd.milliseconds("the loop written out", [(2, "shared"), (2, None), (1, 1)], seconds=0.3)
    assert all(0 < milliseconds < 5000 for milliseconds in (one, two, alone))
    assert len(crowd.milliseconds("fit", [(1, 1)], seconds=0.3)) == 1
