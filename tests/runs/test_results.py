"""Records say what they are, and never stand in a column with another preset's."""

import json
from types import SimpleNamespace

import pytest
from made import DATA, record

from oneshot_lib.experiments import EXPERIMENTS
from oneshot_lib.runs import places, records, results
from oneshot_lib.runs.records import Record


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A checkout and a user's store of the test's own: (root of the checkout, the store)."""
    (tmp_path / "checkout/results").mkdir(parents=True)
    monkeypatch.setattr(places, "checkout", lambda: tmp_path / "checkout")
    monkeypatch.setattr(places, "store", lambda: tmp_path / "store")
    return tmp_path / "checkout", tmp_path / "store"


def test_a_broken_record_of_the_users_is_named_and_left_out_and_one_of_the_book_is_an_error(house, capsys):
    root, store = house
    records.write_record(root / "results", record())
    whole = records.write_record(store, record(seed=1)).read_text()
    broken = {"cut.json": whole[: len(whole) // 2], "foreign.json": '{"name": "package.json"}', "empty.json": "",
              "newer.json": whole.replace('"metric"', '"colour": 1, "metric"'),
              "longer.json": json.dumps(json.loads(whole) | {"colour": 1}),
              "strange.json": whole.replace("98.123", '"98"')}  # fmt: skip
    for name, text in broken.items():
        (store / name).write_text(text)
    (store / "latin.json").write_bytes(b"\xff\xfe"), (store / "folder.json").mkdir()
    (store / "._cut.json").write_text("what a file manager left")
    assert [(source, r.seed) for source, r in results.collect()] == [("book", 0), ("own", 1)]
    lines = capsys.readouterr().err.splitlines()
    names = sorted([*broken, "latin.json", "folder.json"])
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        assert line.startswith("oneshot: left out: ") and f"store/{name}: expected " in line
    (root / "results/cut.json").write_text(broken["cut.json"])
    with pytest.raises(ValueError, match="results/cut.json: expected the records of a run"):
        results.collect()


def headlined(*found: Record):
    """An experiment with these records' numbers as its headlines."""
    rows = [SimpleNamespace(key=f"row{i}", name=made.row) for i, made in enumerate(found)]
    return SimpleNamespace(name=found[0].experiment, rows=rows,
                           headlines=[(row.key, made.metric, made.kind) for row, made in zip(rows, found, strict=True)])


def readme_of(*found: Record) -> str:
    return results.render_readme(list(found), f"{results.BEGIN}\n{results.END}", [headlined(*found)])


def test_bounds_are_marked_as_bounds():
    assert record().shown() == "≤ 98.12 ± 0.17"
    assert record(kind="iw", k=50, error=None).shown() == "≤ 98.12"
    assert record(kind="exact").shown() == "98.12 ± 0.17"
    assert records.failed(record(), "diverged").shown() == "failed"
    assert "diverged" in records.failed(record(), "diverged").notes


def test_an_accuracy_is_in_per_cent_and_no_bound():
    found = record(metric="test accuracy, 5-shot 20-way", kind="from all alphabets", unit="%", value=95.12, error=0.64,
                   paper_value=98.8, floor=None)  # fmt: skip
    assert found.shown() == "95.1 ± 0.6 %" and found.published() == "98.8 %"
    assert record().published() == "≤ 96.5" and record(paper_value=None).published() == ""
    for text in (results.to_text(results.table([("book", found)])), readme_of(found), results.render_book([found])):
        assert "98.8 %" in text and "95.1 ± 0.6 %" in text and "≤ 95" not in text


def test_nats_per_pixel_have_four_decimals_and_their_unit():
    found = record(paper="reed", item="inversion", metric="test NLL, 1-shot", kind="exact", unit="nats/dim",
                   value=0.04218, error=0.00061, paper_value=0.9, floor=0.06512)  # fmt: skip
    assert found.shown() == "0.0422 ± 0.0006 nats/dim" and found.published() == "0.9 nats/dim"
    assert found.shown_floor() == "0.0651" and record().shown_floor() == "44.3"
    assert record(floor=None).shown_floor() == "" and records.failed(found, "diverged").shown() == "failed"
    for text in (results.to_text(results.table([("book", found)])), readme_of(found), results.render_book([found])):
        assert "0.0422 ± 0.0006 nats/dim" in text and "0.9 nats/dim" in text and "≤ 0." not in text
        assert "0.0651" in text or text.startswith(results.BEGIN)  # the README has no floors


def test_a_correlation_has_no_unit():
    found = record(metric="column correlation", kind="mean", unit="", value=-0.968, error=0.004, paper_value=None,
                   floor=None)  # fmt: skip
    assert found.shown() == "-0.968 ± 0.004"
    assert "| -0.968 ± 0.004 |" in results.to_markdown(results.table([("book", found)]))


def test_numbers_of_shots_are_in_the_order_of_numbers(tmp_path):
    for shots in (10, 2, 1, 4):
        records.write_record(tmp_path, record(metric=f"test NLL, {shots}-shot", kind="exact"))
    assert [r.metric for r in records.read_records(tmp_path)] == [f"test NLL, {n}-shot" for n in (1, 2, 4, 10)]


def test_presets_never_share_a_column():
    found = [("book", record()), ("book", record(preset="quick", value=300.0)), ("book", record(preset="full"))]
    rows = results.table(found)
    assert len(rows) == 1
    names = [name for name, _ in results.columns(rows)]
    assert [n for n in names if n in records.PRESETS] == ["quick", "laptop", "full"]
    read = dict(results.columns(rows))
    assert read["quick"](rows[0]) == "≤ 300.00 ± 0.17" and read["laptop"](rows[0]) == "≤ 98.12 ± 0.17"


def test_other_data_and_other_sources_are_other_rows():
    found = [("book", record()), ("own", record()), ("book", record(data=DATA | {"name": "glyphs"}))]
    assert len(results.table(found)) == 3


def test_every_seed_is_shown():
    cells = results.table([("book", record()), ("book", record(seed=1, value=99.0))])[0]["cells"]
    assert cells["laptop"] == "≤ 98.12 ± 0.17 (seed 0); ≤ 99.00 ± 0.17 (seed 1)"


def test_the_value_stands_beside_the_papers_in_every_rendering():
    found = [("book", record()), ("book", record(kind="iw", k=50, value=95.1, paper_value=None))]
    for text in (results.to_text(results.table(found)), results.to_markdown(results.table(found), "")):
        line = next(line for line in text.splitlines() if "test NLL, bound" in line)
        assert "≤ 96.5" in line and "≤ 98.12 ± 0.17" in line and "44.3" in line
        assert "test NLL, IW K=50" in text and "Rezende, table 3" in text
    assert f"[laptop]({record().file})" in results.to_markdown(results.table(found), "")


def test_tables_come_before_figures_and_small_numbers_before_large(tmp_path):
    for change in ({"item": "figure4"}, {"item": "table10"}, {"item": "table3"}, {"item": "table1"}):
        records.write_record(tmp_path, record(**change))
    assert [r.item for r in records.read_records(tmp_path)] == ["table1", "table3", "table10", "figure4"]


def test_the_books_records_come_first_and_none_twice(house):
    root, store = house
    records.write_record(root / "results", record())
    records.write_record(store, record())  # the same number, kept by the run that made it
    records.write_record(store, record(seed=1))
    assert [(source, r.seed) for source, r in results.collect()] == [("book", 0), ("own", 1)]
    records.write_record(store, record(value=97.0))  # made again: now it differs, and is shown
    assert [(source, r.value) for source, r in results.collect()][1] == ("own", 97.0)


def test_filters(house):
    root, _ = house
    for change in ({}, {"item": "figure4"}, {"paper": "hewitt"}, {"preset": "full"}):
        records.write_record(root / "results", record(**change))
    assert len(results.collect()) == 4
    assert len(results.collect(paper="rezende")) == 3
    assert len(results.collect(paper="rezende", item="table3")) == 2
    assert [r.preset for _, r in results.collect(preset="full")] == ["full"]


def test_keep_copies_a_runs_records(house, tmp_path):
    root, _ = house
    with pytest.raises(ValueError, match="expected the folder of a run"):
        results.keep(tmp_path / "nothing")
    made = record()
    records.write_records(tmp_path / "run/records.json", [made])
    assert results.keep(tmp_path / "run") == [made]
    assert records.read_records(root / "results") == [made]


def test_keep_puts_no_number_in_the_place_of_another_unless_it_is_told_to(house, tmp_path):
    root, _ = house
    for made in (record(), record(metric="train NLL")):
        records.write_records(tmp_path / "run/records.json", [made])
    results.keep(tmp_path / "run")
    results.keep(tmp_path / "run")  # the same numbers
    for change in ({"value": 97.0}, {"weights": "cd" * 32}, {"error": None}):
        records.write_records(tmp_path / "run/records.json", [record(value=1.0)])  # before the other by its id
        records.write_record(root / "results", record(value=1.0))
        records.write_records(tmp_path / "run/records.json", [record(metric="train NLL", **change)])
        before = {p: p.read_bytes() for p in (root / "results").rglob("*.json")}
        with pytest.raises(ValueError, match="holds another number as .*train-nll.*, ≤ 98.12 ± 0.17.*--replace"):
            results.keep(tmp_path / "run")
        assert {p: p.read_bytes() for p in (root / "results").rglob("*.json")} == before
    results.keep(tmp_path / "run", over=True)
    assert records.read_records(root / "results") == records.read_run(tmp_path / "run/records.json")
    (root / "results" / record().file).write_text("notes")
    for told in (False, True):
        with pytest.raises(ValueError, match="expected the records of a run"):
            results.keep(tmp_path / "run", over=told)


def test_tables_that_somebody_wrote_are_left_alone(house):
    root, _ = house
    (root / "results/RESULTS.md").write_text("# My results\n")
    with pytest.raises(ValueError, match="RESULTS.md: expected the generated tables"):
        results.write_tables([headlined(record())])
    assert (root / "results/RESULTS.md").read_text() == "# My results\n"


def test_writing_the_tables_twice_changes_nothing(house):
    root, _ = house
    records.write_record(root / "results", record())
    records.write_record(root / "results", record(metric="train NLL"))
    (root / "README.md").write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.write_tables([headlined(record())])
    first = [(root / name).read_text() for name in ("README.md", "results/RESULTS.md")]
    results.write_tables([headlined(record())])
    assert first == [(root / name).read_text() for name in ("README.md", "results/RESULTS.md")]
    readme, book = first
    assert readme.startswith("before\n") and readme.endswith("after\n") and "old" not in readme
    assert f"(results/{record().file})" in readme and "train NLL" not in readme
    assert f"({record().file})" in book and "train NLL" in book


def test_the_readme_has_the_headlines_alone_of_the_largest_preset_and_the_first_seed():
    found = [record(preset="quick", value=300.0), record(seed=1, value=99.0), record(), record(metric="train NLL"),
             record(row="another")]  # fmt: skip
    experiment = headlined(record())
    text = results.render_readme(found, f"{results.BEGIN}\n{results.END}", [experiment])
    (line,) = [line for line in text.splitlines() if line.startswith("| Rezende")]
    assert line == (f"| Rezende, table 3 | {record().row} | test NLL, bound | ≤ 96.5 | [≤ 98.12 ± 0.17](results/"
                    f"{record().file}) | laptop |")
    found.append(record(preset="full", value=96.0))
    full = results.render_readme(found, f"{results.BEGIN}\n{results.END}", [experiment])
    assert "≤ 96.00" in full and "98.12" not in full


def test_every_headline_is_a_number_that_can_be_and_the_book_has_it():
    found = records.read_records(places.book_results())
    wanted = [headline for e in EXPERIMENTS.values() for headline in e.headlines]
    assert len(results.headlines(found, EXPERIMENTS.values())) == len(wanted) == 12


def test_a_readme_with_broken_markers_is_refused():
    with pytest.raises(ValueError, match="README.md: expected one"):
        results.render_readme([], f"{results.BEGIN}\n{results.BEGIN}", [])


def test_the_committed_tables_are_those_of_the_committed_records():
    root = places.checkout()
    if root is None or not (root / "results/RESULTS.md").is_file():
        pytest.skip("no checkout with a RESULTS.md here")
    found = records.read_records(root / "results")
    assert (root / "results/RESULTS.md").read_text() == results.render_book(found), "run: oneshot results --write"
    readme = (root / "README.md").read_text() if (root / "README.md").is_file() else ""
    if results.BEGIN in readme:
        assert readme == results.render_readme(found, readme, EXPERIMENTS.values()), "run: oneshot results --write"


def test_outside_of_a_checkout_there_is_nothing_to_write(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "checkout", lambda: None)
    assert places.book_results() == places.PACKAGE / "_results"
    for call in (lambda: results.write_tables([]), lambda: results.keep(tmp_path)):
        with pytest.raises(ValueError, match="without"):
            call()


