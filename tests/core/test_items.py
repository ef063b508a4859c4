import multiprocessing
import multiprocessing.connection
import os
import subprocess
import sys

import pytest

from stroma.core.clock import StageClock, running_clock, stage
from stroma.core.errors import InvalidData
from stroma.core.items import Done, Failed, map_items


def work(item):
    if item == "die":
        os._exit(9)
    with stage("read"), stage("decode"):
        if item == "bad":
            raise InvalidData("is broken", where="bad.png", next_step="Repair it")
        if item == "bug":
            raise ZeroDivisionError("oops")
    return item.upper()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_a_failure_stops_no_other(workers):
    outcomes = list(map_items(work, ["a", "bad", "b", "bug", "c"], workers=workers))
    assert [o.item for o in outcomes] == ["a", "bad", "b", "bug", "c"]
    assert [o.result for o in outcomes if isinstance(o, Done)] == ["A", "B", "C"]
    bad, bug = (o for o in outcomes if isinstance(o, Failed))
    assert (bad.stage, bad.error, bad.message) == ("decode", "InvalidData", "bad.png: is broken. Repair it.")
    assert (bug.error, bug.message) == ("ZeroDivisionError", "ZeroDivisionError: oops")


def test_a_dying_worker_fails_its_own_item_only():
    outcomes = list(map_items(work, ["a", "die", "b", "c"], workers=2))
    assert [o.result for o in outcomes if isinstance(o, Done)] == ["A", "B", "C"]
    assert [(o.item, o.error) for o in outcomes if isinstance(o, Failed)] == [("die", "WorkerDied")]


def die_at_once(item):
    if item == "die":
        os._exit(9)
    return item


def test_a_worker_that_died_before_the_next_item_was_handed_over_fails_its_own_item_only():
    def source():
        yield from ("a", "b", "die", "c")
        while children := multiprocessing.active_children():  # until the pool has noticed
            multiprocessing.connection.wait([child.sentinel for child in children])
        yield from ("d", "e")

    outcomes = list(map_items(die_at_once, source(), workers=2))
    assert [o.item for o in outcomes] == ["a", "b", "die", "c", "d", "e"]
    assert [(o.item, o.error) for o in outcomes if isinstance(o, Failed)] == [("die", "WorkerDied")]


def append_or_die(task):
    path, kind = task
    if kind == "die":
        while not path.read_text():
            pass
        os._exit(9)
    with path.open("a") as handle:
        handle.write(kind)
    return kind


def test_what_was_finished_before_a_worker_died_is_not_done_again(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    tasks = [(tmp_path / "a", "die"), (tmp_path / "b", "quick"), (tmp_path / "a", "other"), (tmp_path / "b", "last")]
    outcomes = list(map_items(append_or_die, tasks, workers=2))
    assert [o.result for o in outcomes if isinstance(o, Done)] == ["quick", "other", "last"]
    assert [o.error for o in outcomes if isinstance(o, Failed)] == ["WorkerDied"]
    assert (tmp_path / "b").read_text().count("quick") == 1


def test_items_are_consumed_lazily():
    seen = []

    def source():
        for name in "abcdef":
            seen.append(name)
            yield name

    iterator = map_items(work, source())
    next(iterator)
    assert seen == ["a"]


def test_ctrl_c_is_not_swallowed():
    def interrupted(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_items(interrupted, ["a"]))


def test_inner_stages_do_not_count_twice(monkeypatch):
    ticks = iter([10.0, 11.0, 13.0, 17.0, 20.0, 28.0])  # read from 10 to 17, decode in it from 11 to 13, write
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    with running_clock(StageClock()) as clock:
        with stage("read"), stage("decode"):
            pass
        with stage("write"):
            pass
    assert clock.seconds == {"read": 5.0, "decode": 2.0, "write": 8.0}
    clock.add({"read": {"seconds": 2.0, "calls": 3}, "other": {"seconds": 1.0, "calls": 1}})
    assert clock.to_dict()["read"] == {"seconds": 7.0, "calls": 4}
    assert str(clock) == "read 7.0 s, decode 2.0 s, write 8.0 s, other 1.0 s"
    assert str(StageClock()) == "no stages"


def test_a_stage_outside_a_verb_is_harmless():
    with stage("read"):
        reached = True
    assert reached


WAITING_FOR_EVER = """
import threading
from stroma.core.items import map_items
def wait(item):
    print("started", flush=True)
    threading.Event().wait()
if __name__ == "__main__":
    list(map_items(wait, [1, 2], workers=2))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WAITING_FOR_EVER)
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline().strip() == b"started"
    process.kill()
    process.communicate(timeout=60)  # the end of the output: no worker holds it open any more
    assert process.returncode != 0
