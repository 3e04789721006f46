"""Records survive the disk, and what they share is said once."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from made import DATA, record

from oneshot_lib.runs import places, records

KEYS = """paper item row metric unit kind value error n paper_value preset minutes device seed commit dirty data floor
weights command""".split()


def test_a_record_survives_the_disk_and_its_file_is_named_by_its_run(tmp_path):
    original = record(series=[1.0, 2.0], k=None)
    path = records.write_record(tmp_path, original)
    assert path == tmp_path / "rezende-table3/laptop-seed0.json" and records.read_records(tmp_path) == [original]
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no half file beside it
    assert set(KEYS) <= set(original.to_json()) and original.to_json()["id"] == original.id


@pytest.mark.parametrize(
    "change",
    [
        {"paper": "hewitt"}, {"item": "table1"}, {"row": "ST + CGRU, 20 steps"}, {"metric": "train NLL"}, {"seed": 1},
        {"kind": "iw", "k": 50}, {"preset": "full"}, {"data": DATA | {"name": "glyphs"}},
        {"data": DATA | {"preprocessing": "28-nearest"}}, {"data": DATA | {"split": "30-20"}},
    ],
)  # fmt: skip
def test_whatever_makes_it_another_number_gives_it_another_id(change):
    assert record(**change).id != record().id


def test_running_it_again_replaces_the_file(tmp_path):
    records.write_record(tmp_path, record())
    records.write_record(tmp_path, record(value=97.0, commit="later", minutes=1.0))
    assert [r.value for r in records.read_records(tmp_path)] == [97.0]


@pytest.mark.parametrize("text", [
    "", "[]", '"x"', "{}", '{"paper": "rezende"}', "\x00", '{"rows": []}',
    '{"rows": [], "experiment": "a", "preset": 1}',
    '{"experiment": "rezende-table3", "preset": "laptop", "seed": 0, "shared": {}, "rows": [{"row": "r"}]}',
    '{"experiment": "rezende-table3", "preset": "laptop", "seed": 0, "shared": {}, "rows": [{"row": "r", "shared": {}, '
    '"numbers": [{"value": 1.0}]}]}'])  # fmt: skip
def test_what_is_no_runs_file_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json.*expected (a record|the records of a run)"):
        records.read_records(tmp_path)


@pytest.mark.parametrize(
    "change", [{"value": "98.1"}, {"value": True}, {"seed": 0.5}, {"data": []}, {"data": {}}, {"preset": "lap"},
               {"paper": 3}, {"series": {}}, {"n": 1.5}])  # fmt: skip
def test_a_record_with_values_of_other_types_is_none(change):
    with pytest.raises(ValueError, match="x.json: expected a record"):
        records.parse(asdict(record()) | change, "x.json")


def test_an_unknown_key_is_refused():
    with pytest.raises(ValueError, match="unknown keys \\['colour'\\]"):
        records.parse({**asdict(record()), "colour": "red"}, "x.json")


def test_bad_values_are_refused_by_name():
    with pytest.raises(ValueError, match="preset is 'lap'; expected one of quick, laptop, full"):
        record(preset="lap")
    with pytest.raises(ValueError, match="data has the keys"):
        record(data={"name": "omniglot"})


def test_a_curve_survives_the_disk_as_it_was(tmp_path):
    import numpy as np

    curve = record(item="failure-curves", kind="probe", series=[(np.float64(0.5), 31.25), (1.0, np.float32(0.25))])
    assert curve.series == [[0.5, 31.25], [1.0, 0.25]]
    records.write_record(tmp_path, curve)
    assert records.read_records(tmp_path) == [curve]


def test_every_committed_record_is_whole():
    for r in records.read_records(places.book_results()):
        assert r.value is None or r.kind not in ("bound", "iw") or (r.error is not None and r.n), r.id
        assert r.kind != "iw" or r.k, r.id
        assert r.floor is None or r.value is None or r.value > r.floor, r.id
        assert len(r.weights or "") == 64 and r.command.startswith("oneshot run"), r.id
        assert replace(r).to_json()["id"] == r.id


@pytest.fixture
def several() -> list[records.Record]:
    """Numbers of one run that share much and differ, each somewhere: one was made by another command on another day."""
    return [
        record(), record(metric="train NLL", floor=43.9, paper_value=None), record(kind="iw", k=50, error=None),
        record(row="ST + CGRU, 20 steps", minutes=40.0, weights="cd" * 32, notes="resumed once", dirty=True),
        record(row="ST + CGRU, 20 steps", metric="KL", kind="mean", minutes=40.0, weights="cd" * 32, floor=None,
               series=[1, 2.0, [3, 0.5]], item="figure4", title="KL"),
        record(row="rescued", commit=None, dirty=None, device="cuda: x", data=DATA | {"preprocessing": "28-nearest"},
               command="oneshot run rezende-table3 --preset laptop --seed 0 -p rows=rescued", value=None, error=None,
               n=None, minutes=3, weights=None, notes="failed: diverged")]  # fmt: skip


def test_what_a_run_shares_is_said_once_and_nothing_is_lost(tmp_path, several):
    for made in several:
        path = records.write_record(tmp_path, made)
    assert sorted(records.read_run(path), key=lambda r: r.id) == sorted(several, key=lambda r: r.id)
    text = path.read_text()
    about = json.loads(text)
    for once in ('"command": "oneshot run rezende-table3 --preset laptop --seed 0"', '"commit": "c0ffee"', '"data"'):
        assert text.count(once) <= 2, "the run's, and the one row's that has another"
    assert text.count("ab" * 32) == text.count("cd" * 32) == 1
    assert {row["row"] for row in about["rows"]} == {made.row for made in several}
    assert all("\n" not in json.dumps(number) for row in about["rows"] for number in row["numbers"])
    assert records.contracted(several[:1]).count('"minutes": 31.0') == 1  # of 31 and 31.0, each as it was
    assert json.loads(records.contracted([record(minutes=31)]))["shared"].get("minutes") is None


def test_a_null_that_differs_from_what_is_shared_stays_a_null(tmp_path):
    pair = [record(), record(kind="exact", commit=None, dirty=None, floor=None, minutes=None, weights=None, notes="",
                             title=""), record(kind="iw", k=2), record(kind="iw", k=3)]  # fmt: skip
    path = records.write_records(tmp_path / "records.json", pair)
    assert {r.id: r for r in records.read_run(path)} == {r.id: r for r in pair}


def test_one_file_has_one_run(tmp_path):
    path = records.write_records(tmp_path / "records.json", [record()])
    before = path.read_bytes()
    for other in (record(seed=1), record(preset="full"), record(command="oneshot run rezende-table1")):
        with pytest.raises(ValueError, match="records.json: expected records of one run, found those of"):
            records.write_records(path, [other])
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="command is 'make'; expected oneshot run EXPERIMENT"):
        record(command="make")


def test_the_records_of_an_earlier_version_are_read_a_number_a_file(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(record().to_json()))
    records.write_record(tmp_path, record(seed=1))
    assert records.read_records(tmp_path) == [record(), record(seed=1)]
    later = record(value=97.0, created="2099-01-01T00:00:00+00:00")  # made again by this version
    records.write_record(tmp_path, later)
    assert records.read_records(tmp_path) == [later, record(seed=1)]


def test_a_run_of_an_earlier_version_keeps_its_records(tmp_path):
    assert records.recorded(tmp_path) == []
    (tmp_path / "records").mkdir()
    (tmp_path / "records/old.json").write_text(json.dumps(record().to_json()))
    assert records.recorded(tmp_path) == [record()]
    records.write_records(tmp_path / "records.json", [*records.recorded(tmp_path), record(metric="train NLL")])
    assert {r.metric for r in records.recorded(tmp_path)} == {"test NLL", "train NLL"}


def test_no_number_changed_when_the_records_moved_into_their_runs_files():
    """Every record that is as old as the move is what it was, to the last digit: its digest was taken before."""
    before = dict(line.split() for line in (Path(__file__).parent / "moved_records.txt").read_text().splitlines())
    now = {made.id: made for made in records.read_records(places.book_results())}
    assert len(before) == 364 and not before.keys() - now.keys()
    changed = {name for name, digest in before.items() if digest != digest_of(now[name])}
    assert {name for name in changed if now[name].created < "2026-11-25T21:00:00+00:00"} == set()


def digest_of(made: records.Record) -> str:
    return hashlib.sha256(json.dumps(made.to_json(), sort_keys=True).encode()).hexdigest()[:16]
