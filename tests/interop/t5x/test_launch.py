"""t5x's scripts as a pod starts them: whether t5x is there or not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_jax.interop.t5x.launch import main
from distill_jax.parallel import processes

SCRIPT = """
import sys
from pathlib import Path
from t5x import said
import __main__ as infer_script

def infer():
    Path(sys.argv[1]).write_text(said.WHAT)

infer_script.infer()
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def t5x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of that name, whose script imports itself as its Gin files do."""
    package = tmp_path / "t5x"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "said.py").write_text("WHAT = 'labelled'")
    (package / "infer.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["launch"])
    for name in imported_of_t5x():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in imported_of_t5x():
        del sys.modules[name]


def imported_of_t5x() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "t5x"]


@pytest.mark.usefixtures("t5x")
def test_a_script_of_t5x_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []
    monkeypatch.setattr(processes, "initialize", lambda: connected.append(True))
    assert main(["infer", str(tmp_path / "said")]) == 0
    assert (tmp_path / "said").read_text() == "labelled"
    assert connected == [True]
    with pytest.raises(SystemExit) as ended:
        main(["infer", str(tmp_path / "said"), "3"])
    assert ended.value.code == 3


@pytest.mark.parametrize("arguments", [[], ["precompile"]])
def test_other_scripts(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.endswith("give train, eval, infer\n")


def test_without_t5x(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "t5x", None)
    assert main(["train"]) == 2
    assert "t5x is not on PYTHONPATH" in capsys.readouterr().err
