"""A run's folder: whose it is, and what it was made with."""


import pytest
from made import LETTERS

from oneshot_lib import experiments
from oneshot_lib.experiments.rezende.tables import TABLE3
from oneshot_lib.runs import folder
from oneshot_lib.runs.folder import claim, configuration, differences


def wanted(**changes) -> dict:
    chosen = experiments.experiment("rezende-table3")
    settings = chosen.settings("quick", changes.pop("overrides", {}))
    values = dict(preset="quick", seed=0, device="cpu") | changes
    return configuration(chosen, values["preset"], values["seed"], settings, values["device"], LETTERS)


def test_the_same_command_goes_on_in_its_folder(tmp_path):
    claim(tmp_path / "new/run", wanted(), TABLE3)
    before = (tmp_path / "new/run/run.json").read_bytes()
    claim(tmp_path / "new/run", wanted(), TABLE3)
    assert (tmp_path / "new/run/run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "seed 0, not 3"),
        ({"preset": "laptop"}, "preset quick, not laptop"),
        ({"overrides": {"batch_size": "48"}}, "settings.batch_size 8, not 48"),
        ({"device": "cuda"}, "device cpu, not cuda"),
    ],
)
def test_another_configuration_is_refused_by_its_difference(tmp_path, changes, message):
    claim(tmp_path, wanted(), TABLE3)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(ValueError) as error:
        claim(tmp_path, wanted(**changes), TABLE3)
    assert message in str(error.value) and (tmp_path / "run.json").read_bytes() == before


def test_other_data_is_another_run(tmp_path):
    claim(tmp_path, wanted(), TABLE3)
    other = wanted()
    other["data"]["hash"] = "5678"
    with pytest.raises(ValueError, match="data.hash 1234, not 5678"):
        claim(tmp_path, other, TABLE3)


@pytest.mark.parametrize("name", ["thesis.tex", ".git", ".bashrc"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=f"holds files that are no run .{name}."):
        claim(tmp_path, wanted(), TABLE3)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_file_manager_or_a_killed_run_left_is_nobodys(tmp_path):
    for name in (".DS_Store", ".lock", ".command.lock", ".partial-x"):
        (tmp_path / name).write_text("")
    claim(tmp_path, wanted(), TABLE3)
    with pytest.raises(ValueError, match="a folder whose name is UTF-8"):
        claim(tmp_path / "run-\udcff", wanted(), TABLE3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"configuration": 3}', "null"])
def test_a_spoiled_description_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json: expected the description of a run"):
        claim(tmp_path, wanted(), TABLE3)


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        claim(tmp_path / "file/run", wanted(), TABLE3)


def test_differences_are_named_one_by_one():
    found, asked = {"a": 1, "b": {"c": 2, "d": [1, 2]}}, {"a": 1, "b": {"c": 3, "d": [1]}}
    assert differences(found, asked) == ["b.c 2, not 3", "b.d 1,2, not 1"]
    assert differences(found, found) == []


def test_every_commit_that_worked_on_a_run_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "revision", lambda experiment: ("aa", False))
    claim(tmp_path, wanted(), TABLE3)
    monkeypatch.setattr(folder, "revision", lambda experiment: ("bb", False))
    assert claim(tmp_path, wanted(), TABLE3)["revisions"] == [["aa", False], ["bb", False]]


def test_a_folder_of_before_is_this_configuration_still():
    known = """rows learning_rate schedule warmup checkpoint_every threads products training_steps batch_size
    train_images test_images test_draws iw_images iw_samples gated_share""".split()
    settings = wanted()["settings"]
    before = wanted() | {"settings": {key: settings[key] for key in known}}
    assert set(settings) - set(known) == {"data"}
    assert differences(before, wanted()) == []
    assert differences(before, wanted(overrides={"data": "glyphs"})) == ["settings.data None, not glyphs"]
