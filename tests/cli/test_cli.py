"""The contracts of the command line: exit codes, JSON, the nearest name, and never a traceback for a user's mistake."""

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from oneshot_lib import weights
from oneshot_lib.cli import app, errors, main
from oneshot_lib.experiments import EXPERIMENTS
from oneshot_lib.runs import places, records, results

COMMANDS = ("list", "run", "results", "data", "draw", "vary", "classify", "bench", "doctor")
HEAVY = {"torch", "numpy", "matplotlib", "PIL", "oneshot_lib.data", "rich"}


def oneshot(*arguments, **environment) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "oneshot_lib", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | environment)  # fmt: skip


@pytest.fixture
def said(capsys):
    """`said(*arguments)` -> (exit code, standard output, standard error) of a command in this process."""

    def run(*arguments):
        code = main([str(a) for a in arguments])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def tiny_model(tmp_path, monkeypatch):
    """A folder of weights with one untrained model in it, "letters-t12"."""
    import torch
    from safetensors.torch import save_file

    from oneshot_lib.models.sequential import SequentialConfig, SequentialModel

    torch.manual_seed(0)
    model = SequentialModel(SequentialConfig(steps=12, hidden=8, posterior_hidden=8))
    save_file(model.state_dict(), tmp_path / "letters-t12.safetensors")
    entry = {"sha256": weights.sha256(tmp_path / "letters-t12.safetensors"), "config": asdict(model.config),
             "does": ["sample", "strokes"], "data": {"name": "letters", "reduction": "28-area", "split": "none"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"letters-t12": entry}))
    monkeypatch.setattr(weights, "FOLDER", tmp_path)


def test_help_needs_nothing_heavy():
    code = (
        "import sys\nfrom oneshot_lib.cli import main\n"
        f"code = main(['--help'])\nsys.exit(code or (', '.join({HEAVY} & set(sys.modules)) or 0))"
    )
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (p.returncode, p.stderr) == (0, "")
    assert all(name in p.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(said, name):
    code, out, err = said(name, "--help")
    assert code == 0 and not err
    assert f"Example: oneshot {name}" in out and "--json" in out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["lst"], "'list'"),
        (["run", "rezende-tabel3"], "'rezende-table3'"),
        (["run", "rezende-table3", "--preset", "laptob"], "'laptop'"),
        (["run", "rezende-table3", "-p", "batchsize=3"], "'batch_size'"),
        (["run", "rezende-table3", "-p", "batch_size"], "expected KEY=VALUE"),
        (["run", "rezende-table3", "-p", "batch_size=x"], "expected a whole number"),
        (["run", "rezende-table3", "--seed", "x"], "--seed"),
        *[([*command, "--seed", seed], f"--seed is {seed}; expected 0 to 9223372036854775807") for command in (
            ["run", "rezende-table3"], ["draw", "omniglot26-conditional", "-o", "a.png"],
            ["vary", "a.png", "-o", "b.png"], ["classify", "a", "b.png"]) for seed in ("-1", "99999999999999999999")],
        (["run", "rezende-table3", "--minutes", "-1"], "expected a number above 0"),
        (["run"], "name"),
        (["results", "--paper", "rezendes"], "'rezende'"),
        (["results", "--item", "tabel3"], "'table3'"),
        (["results", "--preset", "fulll"], "'full'"),
        (["results", "--keep", "no/such/run"], "expected the folder of a run"),
        (["data", "--download", "omniglott"], "omniglot"),
        (["draw", "letters-t21", "-o", "a.png"], "'letters-t12'"),
        (["draw", "letters-t12", "-o", "a.jpg"], ".png or .gif"),
        (["draw", "letters-t12", "-o", "a.png", "-n", "0"], "expected 1 to"),
        (["draw", "letters-t12", "-o", "no/such/folder/a.png"], "does not exist"),
        (["draw", "letters-t12"], "--out"),
        (["classify", ".", "a.png", "--samples", "1000000"], "samples is 1000000; expected 1 to 1000"),
        (["--versoin"], "--versoin"),
    ],
)
def test_a_mistake_is_answered_in_words_and_with_exit_code_2(said, tiny_model, arguments, hint):
    code, out, err = said(*arguments)
    assert code == 2 and hint in err
    assert "Traceback" not in err and not out


def test_a_mistake_keeps_its_traceback_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("ONESHOT_DEBUG", "1")
    with pytest.raises(ValueError, match="rezende-table3"):
        main(["run", "rezende-tabel3"])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("x is 3;\nexpected 4"), 2, "oneshot: x is 3; expected 4\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 2, "oneshot: a/b: no such file or directory\n"),
        (OSError("the disk is full"), 2, "oneshot: the disk is full\n"),
        (KeyboardInterrupt(), 130, "oneshot: interrupted\n"),
        (ZeroDivisionError("by zero"), 1, "oneshot: ZeroDivisionError: by zero; ONESHOT_DEBUG=1 shows where\n"),
    ],
)
def test_every_error_ends_as_one_line_and_a_code(monkeypatch, capsys, error, code, line):
    def app(**_):
        raise error

    monkeypatch.setattr(errors, "app", app)
    assert main([]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_is_one_line_in_every_command(monkeypatch, said, name):
    def interrupted():
        raise KeyboardInterrupt

    (command,) = [c for c in app.registered_commands if (c.name or c.callback.__name__) == name]
    monkeypatch.setattr(command, "callback", interrupted)
    monkeypatch.setattr(command, "name", name)
    assert said(name) == (130, "", "oneshot: interrupted\n")


def test_ctrl_c_of_a_process_is_one_line(tmp_path):
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "a.png")
    code = ("import os, signal, sys\nfrom oneshot_lib.cli import main, vary\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
            "vary.vary_files = lambda *a: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.exit(main(['vary', 'a.png', '-o', 'b.png']))")  # fmt: skip
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (p.returncode, p.stdout, p.stderr) == (130, "", "oneshot: interrupted\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_stream_that_lacks_a_sign_gets_the_answer_all_the_same(monkeypatch, tmp_path, encoding):
    record = next(r for r in records.read_records(places.book_results()) if (r.item, r.kind) == ("table3", "bound"))
    odd = replace(record, row="name \udcff of \u4e00 caf\u00e9")
    monkeypatch.setattr(results, "collect", lambda *_: [("book", record), ("own", odd)])
    for arguments in (["results"], ["results", "--json"]):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(arguments) == 0
        text = stream.buffer.getvalue().decode(encoding)
        if "--json" in arguments:
            assert [r["row"] for r in json.loads(text)] == [record.row, odd.row]
        else:
            sign = "≤ " if encoding == "utf-8" else "<="
            assert f"{sign}{record.value:.2f}" in text and "\\udcff of" in text
            lines = [line for line in text.splitlines() if f"{record.value:.2f}" in line]
            assert len({line.index("omniglot 28-area") for line in lines if "name" not in line}) == 1


def test_a_closed_stream_is_no_error(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
        assert main(["list"]) == 0 and main(["lst"]) == 2


def test_list_has_every_experiment_and_every_model(said, tiny_model):
    code, out, _ = said("list", "--json")
    found = json.loads(out)
    assert code == 0
    assert [e["name"] for e in found if e["kind"] == "experiment"] == list(EXPERIMENTS)
    assert [m["name"] for m in found if m["kind"] == "model"] == ["letters-t12"]
    text = said("list")[1]
    assert "letters-t12" in text and "rezende-table3" in text and "55 min" in text
    line = next(line for line in text.splitlines() if line.startswith("hewitt-table2"))
    assert "one-shot classification" in line and "120 min" in line


def test_results_as_json_have_every_key(said, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "checkout", lambda: tmp_path)
    monkeypatch.setattr(places, "store", lambda: tmp_path / "store")
    assert said("results", "--json")[:2] == (0, "[]\n")
    assert "No records" in said("results")[1]
    record = records.Record(
        paper="rezende", item="table3", row="r", metric="test NLL", unit="nats", kind="bound", value=98.0, error=0.2,
        n=24_000, paper_value=96.5, preset="laptop", minutes=30.0, device="cpu", seed=0, commit="c", dirty=False,
        data={"name": "omniglot", "preprocessing": "28-area", "split": "s", "hash": "h"}, floor=44.3, weights="w",
        command="oneshot run rezende-table3")  # fmt: skip
    records.write_record(tmp_path / "results", record)
    (found,) = json.loads(said("results", "--json")[1])
    assert found["source"] == "book" and found["id"] == record.id
    keys = """paper item row metric unit kind value error n paper_value preset minutes device seed commit dirty
    data floor weights command""".split()
    assert set(keys) <= set(found)
    text = said("results", "--paper", "rezende", "--item", "table3", "--preset", "laptop")[1]
    assert "≤ 98.00 ± 0.20" in text and "≤ 96.5" in text
    assert said("results", "--preset", "full", "--json")[1] == "[]\n"


def test_data_says_what_is_here(said):
    code, out, _ = said("data", "--json")
    assert code == 0 and {"omniglot", "mnist", "glyphs"} <= {d["name"] for d in json.loads(out)}
    assert "omniglot" in said("data")[1]


def test_doctor_says_what_this_machine_can_run(said):
    code, out, _ = said("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and set(found["presets"]) == {"quick", "laptop", "full"}
    assert found["bfloat16"]["speedup"] > 0 and found["cores"] >= 1 and found["memory_gb"] > 0


def test_bench_calls_what_it_finds(said, monkeypatch):
    from oneshot_lib import benchmarks
    from oneshot_lib.benchmarks import few_shot, sequential

    row = {"name": "sequential T=3", "value": 0.1, "unit": "s", "reference": 0.2, "ratio": 0.5, "target": 1.0}
    assert benchmarks.names() == ["attention", "classification", "few_shot", "homoencoder", "sampling", "sequential"]
    monkeypatch.setattr(sequential, "measure", lambda seconds: [row])
    monkeypatch.setattr(few_shot, "measure", lambda seconds: [row | {"name": "other", "ratio": None, "target": None}])
    monkeypatch.setattr(benchmarks, "names", lambda: ["few_shot", "sequential"])
    assert json.loads(said("bench", "sequential", "--json")[1]) == [row]
    assert len(json.loads(said("bench", "--json")[1])) == 2
    assert "yes" in said("bench", "sequential")[1] and "matrix units" not in said("bench", "sequential")[1]
    row["note"] = "not on matrix units"
    assert said("bench", "sequential")[1].splitlines()[-1] == f"{row['name']}: not on matrix units"
    code, _, err = said("bench", "sequentail")
    assert code == 2 and "'sequential'" in err


def test_draw_writes_a_picture_or_a_moving_one(said, tiny_model, tmp_path):
    from PIL import Image, ImageSequence

    code, out, _ = said("draw", "letters-t12", "-n", 5, "-o", tmp_path / "a.gif", "--json")
    assert code == 0 and json.loads(out)["frames"] == 13
    with Image.open(tmp_path / "a.gif") as picture:
        frames = [frame.convert("L").tobytes() for frame in ImageSequence.Iterator(picture)]
    assert len(frames) == 13 and len(set(frames)) > 0.7 * len(frames)
    assert said("draw", "letters-t12", "-n", 5, "-o", tmp_path / "a.png")[0] == 0
    first = (tmp_path / "a.png").read_bytes()
    said("draw", "letters-t12", "-n", 5, "-o", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == first  # the same seed, the same drawings
    said("draw", "letters-t12", "-n", 5, "-o", tmp_path / "a.png", "--seed", 1)
    assert (tmp_path / "a.png").read_bytes() != first


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_draw_replaces_its_own_picture_and_nobody_elses(said, tiny_model, tmp_path, monkeypatch, name):
    from PIL import Image

    file = tmp_path / name
    for n in (2, 3):
        assert said("draw", "letters-t12", "-n", n, "-o", file)[0] == 0
    with Image.open(file) as picture:
        picture.copy().save(file)  # as an editor would
    before = file.read_bytes()
    monkeypatch.setattr(weights, "load", lambda name: pytest.fail("it drew before it looked"))
    code, out, err = said("draw", "letters-t12", "-n", 2, "-o", file)
    assert code == 2 and not out and f"{name}, which is there and which `oneshot draw` did not write" in err
    assert file.read_bytes() == before and err.count("\n") == 1


@pytest.mark.slow
def test_the_quick_preset_makes_table_3(tmp_path, monkeypatch):
    home = {"ONESHOT_DATA": "", "XDG_DATA_HOME": str(tmp_path / "data")}
    monkeypatch.chdir(tmp_path)
    p = oneshot("run", "rezende-table3", "--json", **home)
    assert p.returncode == 0, p.stderr
    report, folder = json.loads(p.stdout), tmp_path / "runs/rezende-table3-quick-seed0"
    assert report["status"] == "done" and (folder / "DONE").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert "step 24 of 24" in p.stderr  # the training is watched
    by_kind = {(r["row"], r["metric"], r["kind"]): r for r in report["records"]}
    for row in ("ST + additive, 20 steps", "ST + CGRU, 20 steps"):
        bound, iw = by_kind[row, "test NLL", "bound"], by_kind[row, "test NLL", "iw"]
        assert bound["value"] > bound["floor"] > 0 and bound["error"] > 0 and bound["n"] > iw["n"] and iw["k"] > 1
        assert bound["data"] | {"hash": ""} == {
            "name": "glyphs", "preprocessing": "28-area", "split": "random-drawings", "hash": ""}  # fmt: skip
        assert len(by_kind[row, "KL of all steps", "mean"]["series"]) == 20
        assert by_kind[row, "train NLL", "running bound"]["weights"] == bound["weights"]
    assert by_kind["ST + additive, 20 steps", "test NLL", "bound"]["paper_value"] == 96.5
    files = {f.relative_to(folder).as_posix() for f in folder.rglob("*.safetensors")}
    assert {"st-additive-t20/weights.safetensors", "st-cgru-t20/weights.safetensors"} <= files
    assert not any("checkpoint" in f for f in files)
    assert not (tmp_path / "data").exists()  # a quick run is nobody's record
    other = oneshot("run", "rezende-table3", "--out", folder, "--seed", 1, **home)
    assert other.returncode == 2 and "seed 0, not 1" in other.stderr and "Traceback" not in other.stderr


def test_a_critic_draws_nothing(said, tmp_path):
    code, _, err = said("draw", "critic-contrastive", "-o", tmp_path / "a.png")
    assert code != 0 and "judges drawings and makes none" in err and not (tmp_path / "a.png").exists()


def test_a_model_over_sets_is_drawn_as_it_writes():
    import torch

    from oneshot_lib.cli.drawing import every_row, invented
    from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig

    torch.manual_seed(0)
    model = PixelCNNHomoencoder(PixelCNNHomoencoderConfig(image_size=8, class_channels=2, channels=4)).eval()
    steps = every_row(invented(model, 3, seed=0))
    assert steps.shape == (9, 3, 1, 8, 8) and set(steps.flatten()) <= {0.0, 1.0}
    assert not steps[0].any() and steps[-1].any()
    for t, (before, after) in enumerate(zip(steps, steps[1:], strict=False)):  # one row more, and no other changed
        assert (before[..., :t, :] == after[..., :t, :]).all() and not after[..., t + 1 :, :].any()
