"""What a log shows of something that takes long."""

import math
import sys

import pytest

from oneshot_lib.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(Progress, "_time", staticmethod(lambda: now[0]), raising=False)
    return now


def started(clock, **options) -> Progress:
    progress = Progress("a model", **{"total": 600, "unit": "step"} | options)
    progress._time = lambda: clock[0]
    progress.start_t = progress.last_print_t = clock[0]
    return progress


def test_a_line_comes_when_its_time_has_come_and_at_the_end(clock, capsys):
    asked = []
    with started(clock, initial=100) as progress:
        for n in range(101, 601):
            clock[0] += 0.5
            progress.reach(n, lambda: asked.append(1) or "3 skipped")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a model: step 120 of 600, 2.0 steps/s, 4.0 min left, 3 skipped"
    assert lines[-1] == "a model: step 600 of 600, 2.0 steps/s, 0.0 min left, 3 skipped"
    assert len(lines) == 25 and len(asked) == 25, "every ten seconds, and the last of them is the end"


def test_what_is_stopped_says_its_last_word_where_it_is_asked_for(clock, capsys):
    with started(clock, total=3, unit="episode", log_seconds=math.inf) as progress:
        clock[0] += 60
        progress.reach(1)
        progress.tell("all right")
    assert capsys.readouterr().out == "a model: episode 1 of 3, 0.0 episodes/s, 2.0 min left, all right\n"


def test_a_number_that_nobody_knows_is_not_said(clock, capsys):
    with started(clock, total=None, unit="character") as progress:
        clock[0] += 20
        progress.reach(10)
    assert capsys.readouterr().out == "a model: character 10, 0.5 characters/s\n"


def test_what_shall_not_be_shown_is_not(clock, capsys):
    with started(clock, show=False) as progress:
        clock[0] += 20
        progress.reach(600, lambda: pytest.fail("nobody reads it"))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_tqdms_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("a model", 3, "step") as progress:
        progress.reach(3, lambda: "done")
    shown = capsys.readouterr()
    assert shown.out == "" and "3/3" in shown.err and "done" in shown.err
