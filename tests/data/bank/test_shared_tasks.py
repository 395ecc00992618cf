"""Which process does which task of a build, and that none is done twice."""

import json

import pytest

from aird_plugin.data.bank.shared_tasks import Task, run_tasks


def tasks_in(folder, done, count=4):
    """Tasks that append their numbers to `done` and write their results."""

    def task(number):
        result = folder / f"shard-{number}" / "manifest.json"

        def work():
            done.append(number)
            result.write_text(json.dumps({"inputs": {"number": number}}))

        result.parent.mkdir(exist_ok=True)
        return Task(result, {"number": number}, work)

    return [task(number) for number in range(count)]


@pytest.mark.parametrize(("rank", "order"), [(0, [0, 1, 2, 3]), (1, [2, 3, 0, 1])])
def test_each_rank_begins_at_another_task(tmp_path, monkeypatch, rank, order):
    monkeypatch.setenv("RANK", str(rank)), monkeypatch.setenv("WORLD_SIZE", "2")
    done = []
    run_tasks(tasks_in(tmp_path, done))
    assert done == order


def test_a_result_of_other_inputs_is_made_again(tmp_path):
    done = []
    tasks = tasks_in(tmp_path, done)
    run_tasks(tasks)
    tasks[1].result.write_text(json.dumps({"inputs": {"number": 7}}))
    tasks[2].result.write_text("{damaged")
    run_tasks(tasks)
    assert done == [0, 1, 2, 3, 1, 2]
