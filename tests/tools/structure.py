"""Measures whether a person still finds the way through the code, and fails where a bound is missed.

    python tests/tools/structure.py             # a table: measure, value, bound
    python tests/tools/structure.py --verbose   # and what each value consists of

Files are parsed, not imported. What is measured is the table at the end of this file.
"""

import argparse
import ast
import dataclasses
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

READERS_WAY = (
    "gin/runs/distil.gin",
    "gin/runs/common.gin",
    "gin/models/bilstm.gin",
    "distill_jax/jobs/student.py",
    "distill_jax/kinds/bilstm.py",
    "distill_jax/distill/tags.py",
    "distill_jax/models/bilstm.py",
    "distill_jax/train/step.py",
)
"""What is read to see what a step of a BiLSTM student optimises, from the Gin file on."""

KINDS = frozenset(
    {
        # configurations and modules
        "Bert",
        "BertConfig",
        "BertTagger",
        "BiLSTMConfig",
        "BiLSTMTagger",
        "EncoderTagger",
        "EncoderTaggerConfig",
        "T5",
        "T5Config",
        # vocabularies
        "ByteVocabulary",
        "HuggingFaceVocabulary",
        "SentencePieceVocabulary",
        "Vocabulary",
        "WordVocabulary",
        # predictors
        "EncoderPredictor",
        "SentPredictor",
        "WordPredictor",
    }
)
"""Classes of which code outside `distill_jax/kinds/` must not ask whether a value is one."""

MAY_IMPORT_GIN = frozenset({"cli", "jobs", "planning", "study"})
LONG_FILE = 400

_FORWARDING = re.compile(r"^[\w./]+\.\w+[ \t]*=\s*%[\w./]+[ \t]*(?:#.*)?$", re.M)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass(frozen=True)
class Measure:
    """A value that may not exceed a bound, and what it consists of."""

    name: str
    value: int
    bound: int
    details: tuple[str, ...] = ()

    @property
    def missed(self) -> bool:
        """Whether the value is too large."""
        return self.value > self.bound


@dataclasses.dataclass(frozen=True)
class Tree:
    """A checkout; every Python file of the package is parsed."""

    root: Path
    modules: dict[str, ast.Module]  # by path below the root
    lines: dict[str, int]

    @classmethod
    def of(cls, root: Path) -> "Tree":
        """Reads all of `distill_jax/`; raises `FileNotFoundError` where there is none."""
        paths = sorted((root / "distill_jax").rglob("*.py"))
        if not paths:
            raise FileNotFoundError(f"{root} has no distill_jax/**/*.py")
        texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in paths}
        modules = {name: ast.parse(text, name) for name, text in texts.items()}
        return cls(root, modules, {name: len(text.splitlines()) for name, text in texts.items()})


def readers_way(tree: Tree, files: Collection[str], most: int, most_lines: int) -> list[Measure]:
    """How many files, and lines of them, are read on the way to a step; all of them must exist."""
    lines = {name: len((tree.root / name).read_text("utf-8").splitlines()) for name in files}
    details = tuple(f"{name}: {count} lines" for name, count in lines.items())
    return [
        Measure("files from the Gin file to a BiLSTM's step", len(lines), most, details),
        Measure("lines of them", sum(lines.values()), most_lines),
    ]


def questions_of_kind(tree: Tree, names: Collection[str], bound: int) -> Measure:
    """Where code outside `kinds/` asks for the class of a kind or a vocabulary.

    A class may ask for itself, as `__eq__` does.
    """
    found = []
    for path, module in tree.modules.items():
        if path.startswith("distill_jax/kinds/"):
            continue
        aliases, own = _aliases(module), _own_classes(module)
        for node in ast.walk(module):
            asked = _named(_classes_asked(node), aliases) & set(names) - own.get(node, set())
            if asked:
                found.append(f"{path}:{_line(node)}: {', '.join(sorted(asked))}")
    return Measure("questions for a kind's class outside kinds/", len(found), bound, tuple(found))


def _classes_asked(node: ast.AST) -> list[ast.expr]:
    """The classes of `isinstance`, `issubclass`, `type(x) is C` and `case C(...)`."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, classes]):
            return [classes]
        case ast.Compare(left=ast.Call(func=ast.Name(id="type")), comparators=classes):
            return classes
        case ast.MatchClass(cls=one):
            return [one]
    return []


def _named(expressions: Collection[ast.expr], aliases: dict[str, ast.expr]) -> set[str]:
    """Names of classes in `C`, `module.C`, `(C, D)`, `C | D`, and in a constant of these."""
    names: set[str] = set()
    waiting, seen = list(expressions), set()
    while waiting:
        match waiting.pop():
            case ast.Name(id=name):
                names.add(name)
                if name in aliases and name not in seen:
                    seen.add(name)
                    waiting.append(aliases[name])
            case ast.Attribute(attr=name):
                names.add(name)
            case ast.Tuple(elts=several) | ast.List(elts=several):
                waiting += several
            case ast.Starred(value=one):
                waiting.append(one)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.Add(), right=right):
                waiting += [left, right]
    return names


def _own_classes(module: ast.Module) -> dict[ast.AST, set[str]]:
    """The names of the classes that each node is in."""
    found: dict[ast.AST, set[str]] = {}
    for one in ast.walk(module):
        if isinstance(one, ast.ClassDef):
            for node in ast.walk(one):
                found.setdefault(node, set()).add(one.name)
    return found


def _aliases(module: ast.Module) -> dict[str, ast.expr]:
    """The module's constants, and what it imports under another name."""
    found: dict[str, ast.expr] = {}
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found[name] = value
            case ast.ImportFrom(names=imported):
                for alias in imported:
                    if alias.asname:
                        found[alias.asname] = ast.Name(alias.name)
    return found


def longest_signature(tree: Tree, bound: int) -> Measure:
    """The most parameters of a public function or method, `self` and `cls` aside."""
    counts = {
        f"{path}:{function.lineno}: {name}": _parameters(function, is_method)
        for path, module in tree.modules.items()
        for name, function, is_method in _public_functions(module.body)
    }
    longer = sorted((name for name in counts if counts[name] > bound), key=lambda n: -counts[n])
    details = tuple(f"{name}: {counts[name]}" for name in longer)
    longest = max(counts.values(), default=0)
    return Measure("parameters of a public function, at most", longest, bound, details)


def _public_functions(
    body: list[ast.stmt], prefix: str = "", in_class: bool = False
) -> Iterator[tuple[str, _Function, bool]]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("_") or name.endswith("__"):
                    yield prefix + name, node, in_class and not _is_static(node)
            case ast.ClassDef(name=name):
                if not name.startswith("_"):
                    yield from _public_functions(node.body, f"{prefix}{name}.", in_class=True)
            case ast.If() | ast.Try() | ast.With():
                for inner in (node.body, getattr(node, "orelse", [])):
                    yield from _public_functions(inner, prefix, in_class)


def _is_static(function: _Function) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)


def _parameters(function: _Function, is_method: bool) -> int:
    given = function.args
    named = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    return named + (given.vararg is not None) + (given.kwarg is not None) - is_method


def long_files(tree: Tree, lines: int, bound: int) -> Measure:
    """Files of the package that have more than so many lines."""
    longer = sorted((n for n in tree.lines if tree.lines[n] > lines), key=lambda n: -tree.lines[n])
    details = tuple(f"{name}: {tree.lines[name]} lines" for name in longer)
    return Measure(f"files of more than {lines} lines", len(longer), bound, details)


def importers_of_gin(tree: Tree, allowed: Collection[str], bound: int) -> Measure:
    """Packages that import Gin, those aside that may."""
    found: dict[str, list[str]] = {}
    for path, module in tree.modules.items():
        package = path.split("/")[1].removesuffix(".py")
        if package in allowed:
            continue
        for node in ast.walk(module):
            if any(name.split(".")[0] == "gin" for name in _imported(node)):
                found.setdefault(package, []).append(f"{path}:{_line(node)}")
    details = tuple(place for places in found.values() for place in places)
    name = f"packages that import gin, besides {', '.join(sorted(allowed))}"
    return Measure(name, len(found), bound, details)


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(name), level=0):
            return [name]
        case ast.Call(
            func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
    return []


def forwarding_lines(tree: Tree, bound: int) -> Measure:
    """Lines of `gin/runs/` that only pass a macro on to a parameter of the same meaning."""
    found = []
    for path in sorted((tree.root / "gin/runs").rglob("*.gin")):
        text = path.read_text("utf-8")
        for match in _FORWARDING.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(tree.root).as_posix()}:{line}: {match[0].strip()}")
    return Measure("lines of gin/runs that pass on a macro", len(found), bound, tuple(found))


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


MEASURES: tuple[Callable[[Tree], Measure | list[Measure]], ...] = (
    lambda tree: readers_way(tree, READERS_WAY, most=8, most_lines=1500),
    lambda tree: questions_of_kind(tree, KINDS, bound=0),
    lambda tree: longest_signature(tree, bound=8),
    lambda tree: long_files(tree, LONG_FILE, bound=4),
    lambda tree: importers_of_gin(tree, MAY_IMPORT_GIN, bound=0),
    lambda tree: forwarding_lines(tree, bound=30),
)


def measure(root: Path) -> list[Measure]:
    """All measures of a checkout."""
    tree = Tree.of(root)
    found: list[Measure] = []
    for function in MEASURES:
        one = function(tree)
        found += one if isinstance(one, list) else [one]
    return found


def table(measures: list[Measure], verbose: bool) -> str:
    """Lines of `measure, value, bound`, what is missed marked."""
    width = max(len(one.name) for one in measures)
    lines = [f"{'measure':{width}}  value  bound"]
    for one in measures:
        end = "  missed" if one.missed else ""
        lines.append(f"{one.name:{width}}  {one.value:5}  {one.bound:5}{end}")
        if verbose:
            lines += [f"    {detail}" for detail in one.details]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; 1 where a bound is missed, 2 where a file of the reader's way is gone."""
    parser = argparse.ArgumentParser(description="Measures the structure of the code.")
    parser.add_argument("--verbose", action="store_true", help="list what each value consists of")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="a checkout (this one)")
    options = parser.parse_args(arguments)
    try:
        measures = measure(options.root)
    except FileNotFoundError as error:
        print(f"structure: {error}", file=sys.stderr)
        return 2
    print(table(measures, options.verbose))
    return int(any(one.missed for one in measures))


if __name__ == "__main__":
    sys.exit(main())
