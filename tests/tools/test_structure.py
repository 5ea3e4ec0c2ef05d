"""The structural measures on small trees made for the purpose."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.tools import structure

MakeTree = Callable[[dict[str, str]], structure.Tree]


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    def make(files: dict[str, str]) -> structure.Tree:
        for name, text in {"distill_jax/__init__.py": "", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return structure.Tree.of(tmp_path)

    return make


def test_questions_of_kind(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            "distill_jax/a.py": """\
                from m import A as Renamed
                BOTH = (A, C)
                def f(x, y):
                    isinstance(x, A)
                    isinstance(x, (int, m.B))
                    isinstance(x, C | B)
                    isinstance(x, BOTH)
                    isinstance(x, Renamed)
                    if type(x) is A or type(y) == C: ...
                    match x:
                        case B(): ...
                """,
            "distill_jax/b.py": "isinstance(x, C)\nA(1)\nhint: A | B\ng(isinstance, A)\n",
            "distill_jax/c.py": "class A:\n    def __eq__(self, x):\n        isinstance(x, A)\n",
            "distill_jax/kinds/a.py": "isinstance(x, A)\n",
        }
    )
    found = structure.questions_of_kind(tree, {"A", "B"}, bound=0)
    places = {4: "A", 5: "B", 6: "B", 7: "A", 8: "A", 9: "A", 11: "B"}
    assert sorted(found.details) == sorted(f"distill_jax/a.py:{n}: {c}" for n, c in places.items())
    assert found.value == 7 and found.missed


def test_longest_signature(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            "distill_jax/a.py": """\
                def three(a, /, b, *, c): ...
                def _private(a, b, c, d, e, f): ...
                class Public:
                    many: int
                    def __init__(self, a, b, *c, **d): ...
                    def _private(self, a, b, c, d, e): ...
                    @classmethod
                    def made(cls, a, b, c): ...
                    @staticmethod
                    def static(a, b, c, d, e):
                        def inner(a, b, c, d, e, f): ...
                class _Private:
                    def method(self, a, b, c, d, e, f): ...
                if True:
                    async def later(a, b, c, d): ...
                """
        }
    )
    found = structure.longest_signature(tree, bound=3)
    assert found.value == 5
    assert found.details == (
        "distill_jax/a.py:10: Public.static: 5",
        "distill_jax/a.py:5: Public.__init__: 4",
        "distill_jax/a.py:15: later: 4",
    )


def test_long_files(make_tree: MakeTree) -> None:
    tree = make_tree({"distill_jax/a.py": "a\n" * 4, "distill_jax/b/c.py": "a\n" * 5})
    found = structure.long_files(tree, 4, bound=1)
    assert found.details == ("distill_jax/b/c.py: 5 lines",)
    assert found.value == 1 and not found.missed


def test_importers_of_gin(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            "distill_jax/cli/a.py": "import gin\n",
            "distill_jax/train/a.py": "import ginger\nfrom .gin import a\nfrom distill_jax import gin\n",
            "distill_jax/data/a.py": "def f():\n    from gin import config\n",
            "distill_jax/data/b.py": "import os, gin.config\n",
            "distill_jax/tagger.py": "import importlib\nimportlib.import_module('gin')\n",
        }
    )
    found = structure.importers_of_gin(tree, {"cli"}, bound=0)
    assert found.value == 2
    assert found.details == (
        "distill_jax/data/a.py:2",
        "distill_jax/data/b.py:1",
        "distill_jax/tagger.py:2",
    )


def test_forwarding_lines(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            "gin/runs/a.gin": """\
                # f.a = %A
                A = 1
                B = %A
                f.a = %A
                scope/m.f.b = %gin.REQUIRED  # said
                f.c = @g()
                f.d = [%A]
                """,
            "gin/runs/deep/b.gin": "f.a=%A",
            "gin/models/c.gin": "f.a = %A\n",
        }
    )
    found = structure.forwarding_lines(tree, bound=2)
    assert found.details == (
        "gin/runs/a.gin:4: f.a = %A",
        "gin/runs/a.gin:5: scope/m.f.b = %gin.REQUIRED  # said",
        "gin/runs/deep/b.gin:1: f.a=%A",
    )
    assert found.value == 3 and found.missed


def test_readers_way(make_tree: MakeTree) -> None:
    tree = make_tree({"gin/a.gin": "1\n2\n", "distill_jax/b.py": "1\n"})
    files, lines = structure.readers_way(tree, ("gin/a.gin", "distill_jax/b.py"), 1, 3)
    assert (files.value, files.missed) == (2, True)
    assert (lines.value, lines.missed) == (3, False)
    assert files.details == ("gin/a.gin: 2 lines", "distill_jax/b.py: 1 lines")
    with pytest.raises(FileNotFoundError):
        structure.readers_way(tree, ("gone.py",), 1, 3)


def test_exit_codes_and_table(
    make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_tree({"gin/runs/a.gin": "f.a = %A\n"}).root
    monkeypatch.setattr(structure, "READERS_WAY", ("gin/runs/a.gin",))
    assert structure.main(["--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["measure", "value", "bound"]
    assert lines[-1].split()[-2:] == ["1", "30"]
    (root / "distill_jax/a.py").write_text("isinstance(x, T5)\n")
    assert structure.main(["--root", str(root), "--verbose"]) == 1
    assert "    distill_jax/a.py:1: T5" in capsys.readouterr().out.splitlines()
    monkeypatch.setattr(structure, "READERS_WAY", ("gone",))
    assert structure.main(["--root", str(root)]) == 2
    assert "gone" in capsys.readouterr().err


def test_every_kind_exists() -> None:
    """A class that was renamed would no longer be looked for."""
    tree = structure.Tree.of(structure.REPOSITORY)
    classes = {
        node.name
        for module in tree.modules.values()
        for node in structure.ast.walk(module)
        if isinstance(node, structure.ast.ClassDef)
    }
    assert classes >= structure.KINDS
