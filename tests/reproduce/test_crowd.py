"""Learners that train at once are compared with their fair share of the machine."""

import pytest

from vae_utils.reproduce import crowd


def test_the_slowest_learner_is_held_against_the_fair_share(run, monkeypatch):
    monkeypatch.setattr(crowd.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)

    def milliseconds(loop, learners, threads):
        if isinstance(threads, int):  # so many of the two cores, or a part of one
            return [10.0 / threads * max(1, learners / 2)] * learners
        return [{"shared": 11.0, None: 40.0}[threads] * learners / 2 - share for share in range(learners)][::-1]

    monkeypatch.setattr(crowd, "milliseconds", milliseconds)
    rows = run("crowd")["results"]["rows"]
    assert [row["loop"] for row in rows] == [loop for loop in crowd.LOOPS for _ in crowd.LEARNERS]
    assert [row["fair_ms"] for row in rows[:3]] == [5, 10, 20]
    assert [row["shared_ratio"] for row in rows[:3]] == pytest.approx([1.1, 1.1, 1.1])
    assert [row["torch_ms"] for row in rows[:3]] == [20, 40, 80]
    assert [row["single_ratio"] for row in rows[:3]] == [2, 1, 1]


@pytest.mark.slow
def test_learners_begin_together_and_each_tells_its_pace():
    found = crowd.milliseconds("the loop written out", 2, "shared", seconds=0.3)
    assert len(found) == 2 and all(0 < milliseconds < 5000 for milliseconds in found)
    assert len(crowd.milliseconds("fit", 1, 1, seconds=0.3)) == 1
