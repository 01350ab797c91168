"""Digest of the code that decides a result: the import closure of an entry, without comments and docstrings."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# What a result rests on: every module of the package that these import, directly or not.
PACKAGE = "fcos"
ENTRIES: Mapping[str, str] = {"train": "fcos.training_run", "coverage": "fcos.coverage.run"}
# Modules and packages from which no number follows: they draw pictures, save what was evaluated, or fetch files, for
# whose content the digest of the data stands.
PRESENTING = (
    "fcos.drawing",
    "fcos.evaluation.samples",
    "fcos.evaluation.saved.save_evaluations",
    "fcos.evaluation.saved.saved_evaluation",
    "fcos.evaluation.saved.thumbnails",
    "fcos.coverage.picture",
    f"{PACKAGE}.data.bucket_source",
    "fcos.storage.bucket",
)
# To be raised where the code decides the same but results must count as new, such as after a changed preset file.
RESULTS_VERSION = 1


def code_digest(root: Path, entry: str) -> str:
    """Return the SHA-256 over the code of all modules that decide the results of an entry.

    Docstrings, comments, blank lines and what only draws, saves results or fetches data do not count; neither does
    any module that the entry does not import.
    """
    total = hashlib.sha256(f"{RESULTS_VERSION}\n".encode())
    for module, file in deciding_modules(root, entry).items():
        total.update(f"{module} {_read(file).digest}\n".encode())
    return total.hexdigest()


def deciding_modules(root: Path, entry: str) -> dict[str, Path]:
    """Return the modules of the package that an entry imports, directly or not, with their files, by name."""
    modules: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        # The package itself only offers names to other programs; it imports them all.
        if name in seen or name == PACKAGE or _presents(name):
            continue
        seen.add(name)
        file = _file_of(root, name)
        if file is not None:
            modules[name] = file
            waiting += [name.rpartition(".")[0], *_read(file).imports]
    return dict(sorted(modules.items()))


def _presents(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in PRESENTING)


def _file_of(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if module and file.exists()), None)


@dataclass(frozen=True)
class _FileCode:
    """What counts of one file."""

    # Of its code without comments and docstrings.
    digest: str
    # Names that it imports from the package.
    imports: tuple[str, ...]


def _read(file: Path) -> _FileCode:
    return _read_content(file.read_bytes())


@lru_cache(maxsize=1024)
def _read_content(content: bytes) -> _FileCode:
    """Read a file's content, which a process meets more than once: before and after it loads the code."""
    source = content.decode(errors="replace")
    tree = _parsed(source)
    code = _without_comments(source, tree)
    return _FileCode(hashlib.sha256(code.encode()).hexdigest(), tuple(_imports(tree)))


def _imports(tree: ast.Module) -> Iterator[str]:
    """Iterate over the names that a file imports from the package; those of functions and classes are among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_comments(source: str, tree: ast.Module) -> str:
    """Return Python source without comments, docstrings and blank lines; as it is where it does not parse."""
    lines = source.splitlines()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                # Alone on its lines, or followed by code that is kept with it.
                end = first.end_lineno or first.lineno
                if lines[end - 1].encode()[first.end_col_offset :].strip() == b"":
                    lines[first.lineno - 1 : end] = [""] * (end - first.lineno + 1)
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            row, column = token.start
            if token.type == tokenize.COMMENT and lines[row - 1]:
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError):
        return source
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _parsed(source: str) -> ast.Module:
    """Parse a file; one that is being edited may not parse, and imports nothing then."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])
