"""One loop for every model: it resumes to the same bits, and survives what goes wrong."""

import hashlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from oneshot_lib import training
from oneshot_lib.training import Diverged, Interrupted, TrainingConfig, train

CONFIG = TrainingConfig(steps=60, learning_rate=0.05, checkpoint_every=10, warmup=1, window=40, patience=4)


class Line(nn.Module):
    """Its bound is -(w - noise)^2: the best w is the mean of the noise, 3."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(5))


def objective(model, step, generator):
    return -(model.w - 3 - torch.randn(8, 5, generator=generator)).square().sum(1)


def weights(folder):
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def test_it_learns_and_reports(tmp_path):
    model = Line()
    report = train(model, objective, replace(CONFIG, steps=300), tmp_path)
    assert (model.w - 3).abs().max() < 0.3
    assert report.finished and report.step == 300 and report.skipped == 0
    assert report.train_bound == pytest.approx(-5, abs=40)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.safetensors", "progress.json", "weights.safetensors"]


def test_the_same_call_on_a_finished_run_loads_it(tmp_path):
    train(Line(), objective, CONFIG, tmp_path)
    again = Line()
    report = train(again, lambda *_: pytest.fail("a finished run must not train"), CONFIG, tmp_path)
    assert report.finished and (again.w != 0).all()


def test_stopped_by_the_budget_and_resumed_equals_never_stopped(tmp_path):
    train(Line(), objective, CONFIG, tmp_path / "whole")
    calls = 0
    while not (report := train(Line(), objective, CONFIG, tmp_path / "pieces", minutes=0)).finished:
        calls += 1
        assert report.step == calls  # a budget of nothing is one step a call
    assert calls > 50
    assert weights(tmp_path / "whole") == weights(tmp_path / "pieces")


def test_a_loop_that_forgets_adams_moments_would_be_caught(tmp_path, monkeypatch):
    train(Line(), objective, CONFIG, tmp_path / "whole")
    read = training._Training._read

    def forgetful(run, path):
        read(run, path)
        run.optimizer.state.clear()

    monkeypatch.setattr(training._Training, "_read", forgetful)
    for _ in range(3):
        train(Line(), objective, CONFIG, tmp_path / "pieces", minutes=0)
    train(Line(), objective, CONFIG, tmp_path / "pieces")
    assert weights(tmp_path / "whole") != weights(tmp_path / "pieces")


SCRIPT = """
import sys, time, torch
sys.path.insert(0, sys.argv[2])
from test_training import CONFIG, Line, objective
from dataclasses import replace
from oneshot_lib.training import Interrupted, train
def slow(model, step, generator):
    print(step, flush=True)
    time.sleep(0.01)
    return objective(model, step, generator)
try:
    train(Line(), slow, replace(CONFIG, steps=120), sys.argv[1])
except Interrupted as stopped:
    print(stopped, flush=True)
    sys.exit(128 + stopped.signal)
"""


def start(out):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), str(out), str(Path(__file__).parent)],
                            stdout=subprocess.PIPE, text=True)


def read_until(process, step):
    for line in process.stdout:
        if line.strip() == str(step):
            return


@pytest.mark.slow
@pytest.mark.parametrize(("number", "at"), [(signal.SIGKILL, 37), (signal.SIGTERM, 52), (signal.SIGINT, 11)])
def test_a_real_process_stopped_by_a_signal_resumes_to_the_same_bits(tmp_path, number, at):
    train(Line(), objective, replace(CONFIG, steps=120), tmp_path / "whole")
    process = start(tmp_path / "cut")
    read_until(process, at)
    process.send_signal(number)
    said, code = process.stdout.read(), process.wait()
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 128 + number and "the same command goes on" in said
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    process = start(tmp_path / "cut")
    first = int(process.stdout.readline())
    process.stdout.read()
    assert process.wait() == 0
    assert first == (30 if number == signal.SIGKILL else pytest.approx(at + 1, abs=2))
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -1e6])
def test_a_single_bad_step_is_skipped_and_counted(tmp_path, poison):
    model = Line()
    report = train(model, lambda m, s, g: objective(m, s, g) + (poison if s == 45 else 0), CONFIG, tmp_path)
    assert report.skipped == 1 and report.returned == 0
    assert model.w.isfinite().all()


def test_poisoned_weights_are_left_for_the_last_good_checkpoint(tmp_path):
    model, poisoned = Line(), []

    def objective_with_a_fault(m, s, g):
        if s == 37 and not poisoned:
            poisoned.append(s)
            m.w.data.fill_(float("nan"))
        return objective(m, s, g)

    report = train(model, objective_with_a_fault, CONFIG, tmp_path)
    assert report.finished and report.returned == 1 and report.skipped == CONFIG.patience
    assert model.w.isfinite().all() and (model.w - 3).abs().max() < 2  # on its way again


def test_other_noise_is_drawn_after_a_return(tmp_path):
    seen, failures = {}, []

    def recorded(m, s, g):
        noise = torch.randn(1, generator=g).item()
        seen.setdefault(s, []).append(noise)
        if 33 <= s < 37 and len(failures) < 4:
            failures.append(s)
            return torch.full((8,), float("nan")) * m.w.sum()
        return objective(m, s, g)

    train(Line(), recorded, CONFIG, tmp_path)
    assert len(seen[30]) == 2 and seen[30][0] != seen[30][1]


def test_what_cannot_be_survived_is_an_error(tmp_path):
    with pytest.raises(Diverged, match="returns to a good checkpoint"):
        train(Line(), lambda m, s, g: m.w.sum() * torch.full((8,), float("nan")), CONFIG, tmp_path)


# --- probes: what is looked at meanwhile ------------------------------------------------------------------------------


class Noisy(Line):
    """The line with everything that a look could disturb: running averages, and noise from the global stream."""

    def __init__(self):
        super().__init__()
        self.average = nn.BatchNorm1d(5)

    def forward(self, x):
        return self.average(x + torch.randn_like(x))


def noisy_objective(model, step, generator):
    noise = torch.randn(8, 5, generator=generator)
    return -(model(noise) - 3).square().sum(1) + objective(model, step, generator)


def look(model, step):
    assert not model.training and not torch.is_grad_enabled()
    model(torch.randn(4, 5))
    return {"w": model.w.mean().item(), "chance": torch.rand(()).item()}


def histories(folder):
    return hashlib.sha256((folder / "history.safetensors").read_bytes()).hexdigest()


def test_what_a_probe_finds_is_kept_and_given_back(tmp_path):
    torch.manual_seed(0)
    report = train(Noisy(), noisy_objective, CONFIG, tmp_path, probe=look, probe_every=25)
    assert report.probes["step"] == [25, 50, 60]  # the last step too
    assert report.probes["w"][0] != report.probes["w"][1] != report.probes["w"][2]
    assert report.probes["seconds"] == sorted(report.probes["seconds"]) and report.probes["seconds"][0] > 0
    assert report.seconds >= report.probes["seconds"][-1]
    again = train(Noisy(), lambda *_: pytest.fail("trained again"), CONFIG, tmp_path, probe=look, probe_every=25)
    assert again.probes == report.probes


def test_a_probe_leaves_the_training_as_it_is(tmp_path, monkeypatch):
    def weights_with(name, **probes):
        torch.manual_seed(0)
        train(Noisy(), noisy_objective, CONFIG, tmp_path / name, **probes)
        return weights(tmp_path / name)

    plain = weights_with("plain")
    assert weights_with("probed", probe=look, probe_every=7) == plain

    def trace(model, step):
        model.train()  # a look in training mode moves the running averages
        return {"w": model(torch.randn(4, 5)).mean().item()}

    assert weights_with("moved", probe=trace, probe_every=7) != plain


def test_probes_of_a_run_in_pieces_are_those_of_a_whole_one(tmp_path):
    quiet = replace(CONFIG, steps=30)
    train(Line(), objective, quiet, tmp_path / "whole", probe=lambda m, s: {"w": m.w.mean()}, probe_every=4)
    pieces = dict(probe=lambda m, s: {"w": m.w.mean()}, probe_every=4)
    while not train(Line(), objective, quiet, tmp_path / "pieces", minutes=0, **pieces).finished:
        pass
    assert weights(tmp_path / "whole") == weights(tmp_path / "pieces")
    assert histories(tmp_path / "whole") == histories(tmp_path / "pieces")


def test_probes_of_a_process_that_was_killed_are_taken_again(tmp_path):
    def dies(model, step):
        if step == 17:
            raise KeyboardInterrupt  # nothing is saved: the checkpoint is that of step 10
        return {"w": model.w.mean()}

    train(Line(), objective, CONFIG, tmp_path / "whole", probe=lambda m, s: {"w": m.w.mean()}, probe_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(Line(), objective, CONFIG, tmp_path / "cut", probe=dies, probe_every=1)
    report = train(Line(), objective, CONFIG, tmp_path / "cut", probe=lambda m, s: {"w": m.w.mean()}, probe_every=1)
    assert report.probes["step"] == list(range(1, 61))
    assert histories(tmp_path / "whole") == histories(tmp_path / "cut")


def test_a_return_forgets_the_probes_of_what_is_taken_back(tmp_path):
    failed = []

    def fails_once(m, s, g):
        if 33 <= s < 37 and len(failed) < 4:
            failed.append(s)
            return torch.full((8,), float("nan")) * m.w.sum()
        return objective(m, s, g)

    report = train(Line(), fails_once, CONFIG, tmp_path, probe=lambda m, s: {"w": 0.0}, probe_every=5)
    assert report.returned == 1 and report.probes["step"] == list(range(5, 61, 5))


def test_a_probe_that_is_never_due_is_refused(tmp_path):
    with pytest.raises(ValueError, match="probe_every is 0"):
        train(Line(), objective, CONFIG, tmp_path, probe=look, probe_every=0)


def test_another_configuration_is_refused_by_name(tmp_path):
    train(Line(), objective, CONFIG, tmp_path, minutes=0)
    with pytest.raises(ValueError, match="learning_rate=0.05, this one has learning_rate=0.01"):
        train(Line(), objective, replace(CONFIG, learning_rate=0.01), tmp_path)


def test_a_truncated_checkpoint_is_named(tmp_path):
    train(Line(), objective, CONFIG, tmp_path, minutes=0)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="checkpoint.safetensors is not a whole safetensors file"):
        train(Line(), objective, CONFIG, tmp_path)


def test_a_full_disk_and_an_unwritable_folder_are_errors_before_the_first_step(tmp_path, monkeypatch):
    never = lambda *_: pytest.fail("no step must be taken")  # noqa: E731
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="can't be written"):
        train(Line(), never, CONFIG, tmp_path / "file" / "out")
    monkeypatch.setattr(training.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(OSError, match="MB free"):
        train(Line(), never, CONFIG, tmp_path / "out")


def test_a_folder_serves_one_run_at_a_time(tmp_path):
    with training.run_lock(tmp_path), pytest.raises(OSError, match="another run is using"):
        with training.run_lock(tmp_path, timeout=0.1):
            pass
    released = []
    with training.run_lock(tmp_path):
        waiting = threading.Thread(target=lambda: released.append(training.run_lock(tmp_path).__enter__()))
        waiting.start()
        time.sleep(0.1)
        assert not released
    waiting.join(5)
    assert released


def test_plain_lines_in_a_log_say_rate_time_left_and_objective(tmp_path, capsys):
    train(Line(), objective, CONFIG, tmp_path, label="a line", log_seconds=0.0)
    line = capsys.readouterr().out.splitlines()[0]
    for word in ("a line", "step 1 of 60", "steps/s", "min left", "nats"):
        assert word in line


def test_the_learning_rate_rises_and_falls():
    config = TrainingConfig(steps=1000, learning_rate=1.0, warmup=10)
    rates = [config.rate_at(s) for s in range(1000)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3) and max(rates) == pytest.approx(1, abs=1e-3) and rates[-1] < 1e-4
    assert replace(config, schedule="constant").rate_at(999) == 1


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="steps is 0"):
        TrainingConfig(steps=0)
    with pytest.raises(ValueError, match="schedule is 'linear'"):
        TrainingConfig(schedule="linear")


def test_interrupted_carries_its_signal():
    assert Interrupted(signal.SIGTERM, "saved").signal == signal.SIGTERM
