"""The command line itself: which commands there are, in which order all of them run, and what is refused."""

import os
import signal
import sys
from pathlib import Path

import pytest

import vae_utils.reproduce as package
from vae_utils.files import write_atomically
from vae_utils.reproduce import __main__ as command_line
from vae_utils.reproduce.__main__ import find_commands, main
from vae_utils.reproduce.common import Command

COMMANDS = find_commands()
FAMILIES = {"stored_models", "select", "likelihood"}


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    words = capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert all(name in words for name in [*COMMANDS, "all"])
    assert "inthepaper:up to 4e8 images a curve".replace(" ", "") in words and "stored:" in words


def test_help_goes_on_beside_a_damaged_record(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command_line, "ASSETS", tmp_path)
    (tmp_path / "fig3.json").write_text('{"results": {}}')
    with pytest.raises(SystemExit):
        main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "fig3.json: the record was expected to be as its command wrote it" in words and "all Every command" in words


def test_every_command_is_a_file_with_its_name():
    for name, command in COMMANDS.items():
        module = command.run.__module__.rpartition(".")[2]
        assert name in command.names if module in FAMILIES else module == name.replace("-", "_")
        assert command.run.__name__ == module or module == "stored_models"
        assert command.run.__doc__


def test_a_new_figure_is_one_file(out, capsys, monkeypatch, tmp_path):
    name = f"{package.__name__}.fig_0"
    monkeypatch.setitem(sys.modules, name, None)  # to be taken away afterwards, as is the package's attribute
    monkeypatch.setattr(package, "fig_0", None, raising=False)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    (tmp_path / "fig_0.py").write_text(
        'def fig_0(options):\n    """Figure 0."""\n    print(options.name, options.latents, options.out)\n\n'
        "from vae_utils.reproduce.common import Command\n"
        'COMMAND = Command(fig_0, stage=1, options=("latents",), in_the_paper="nothing")\n'
    )
    main(["fig-0", "--latents", "3", "--out", str(out)])
    assert capsys.readouterr().out == f"fig-0 [3] {out}\n"
    with pytest.raises(SystemExit):
        main(["fig-0", "--samples", "1000"])
    assert "got it with fig-0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "fig-0            Figure 0.\n                   in the paper: nothing\n" in capsys.readouterr().out


def test_all_makes_everything_in_an_order_that_works(out, monkeypatch, capsys):
    called = []
    note = lambda options: called.append((options.name, options.samples))  # noqa: E731
    noted = {name: Command(note, command.stage, command.options) for name, command in COMMANDS.items()}
    monkeypatch.setattr(command_line, "find_commands", lambda: noted)
    main(["all", "--samples", "500", "--out", str(out)])
    names = [name for name, _ in called]
    assert set(names) == {name for name in COMMANDS if not name.startswith("select-")}
    for name, samples in called:  # each gets the options that it knows
        assert samples == (500 if "samples" in COMMANDS[name].options else None)
    assert [line for line in capsys.readouterr().out.splitlines() if line] == [f"--- {name}" for name in names]
    for first, then in (
        ("mlp", "likelihood-mlp"),
        ("conv-iw", "likelihood-conv-iw"),
        ("fig2-frey", "fig4"),
        ("fig2-mnist", "fig5"),
        ("classifier", "replay"),
        ("classifier", "holes"),
        ("manifold", "pictures"),
        ("likelihood-conv", "table"),
        ("full-vb", "table"),
    ):
        assert names.index(first) < names.index(then)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["no-such-command"], "invalid choice"),
        (["mlp", "--epochs", "0"], "a number of epochs above 0 was expected, got 0"),
        (["mlp", "--epochs", "many"], "a number of epochs above 0 was expected, got many"),
        (["table", "--epochs", "3"], "--epochs was expected with classifier or"),
        (["table", "--seed", "1"], "--seed was expected with classifier or"),
        (["mlp", "--held-out"], "--held-out was expected with speed only, got it with mlp"),
        (["mlp", "--samples", "1000"], "--samples was expected with fig2-frey or fig2-frey-search or fig2-frey-sleep"),
        (["fig4", "--latents", "2"], "--latents was expected with fig2-frey or fig2-frey-sleep or fig2-mnist"),
        (["fig2-mnist", "--samples", "none"], "a number of training images of 100 or more was expected, got none"),
        (["fig2-mnist", "--samples", "99"], "a number of training images of 100 or more was expected, got 99"),
        (["fig2-mnist", "--samples", "inf"], "a number of training images of 100 or more was expected, got inf"),
        (["fig2-mnist", "--latents", "0"], "a number of latent dimensions of 1 or more was expected, got 0"),
        (["mlp", "--out", "{file}"], "a folder that exists or can be made was expected"),
    ],
)
def test_a_wrong_command_line_is_refused_before_any_work(arguments, sentence, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    commands = {name: Command(pytest.fail, 1, command.options) for name, command in COMMANDS.items()}
    monkeypatch.setattr(command_line, "find_commands", lambda: commands)
    with pytest.raises(SystemExit) as stop:
        main([argument.format(file=tmp_path / "file") for argument in arguments])
    assert stop.value.code == 2 and sentence in " ".join(capsys.readouterr().err.split())


def test_assets_that_cannot_be_written_are_refused_before_any_work_too(tmp_path, capsys, monkeypatch):
    (tmp_path / "assets").write_text("no folder")
    monkeypatch.setattr(command_line, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(command_line, "find_commands", lambda: {"mlp": Command(pytest.fail, 1)})
    with pytest.raises(SystemExit):
        main(["mlp"])
    assert "a folder that exists or can be made was expected" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def ended_by(monkeypatch, tmp_path):
    """Function of what happens in the middle of a write that returns the words with which the program ends."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins by ignoring it

    def ended_by(happen):
        def main():
            with write_atomically(tmp_path / "record.json"):
                happen()

        monkeypatch.setattr(command_line, "main", main)
        with pytest.raises(SystemExit) as end:
            command_line.run()
        return end.value.code

    yield ended_by
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "number, words", [(signal.SIGINT, "interrupted from the keyboard"), (signal.SIGTERM, "told to end")]
)
def test_a_signal_ends_a_command_with_a_sentence_and_without_litter(number, words, ended_by, tmp_path):
    assert ended_by(lambda: os.kill(os.getpid(), number)) == f"{words}; the same command goes on from what is on disk"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [OSError, ValueError, FloatingPointError])
def test_a_fault_that_the_user_can_mend_ends_a_command_with_its_sentence(fault, ended_by, tmp_path):
    def happen():
        raise fault("one sentence")

    assert ended_by(happen) == "one sentence" and list(tmp_path.iterdir()) == []


def test_every_command_has_a_test_file_of_its_name():
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")} | {"main", "assets"}
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert tests <= modules
    commands = {command.run.__module__.rpartition(".")[2] for command in COMMANDS.values()}
    assert commands - tests == {"likelihood"}  # which test_table runs
