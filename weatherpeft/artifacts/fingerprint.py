"""Digests of the code of stages, computed from the syntax tree without importing anything.

Two modules have the same digest when their syntax trees agree without docstrings, comments,
``if TYPE_CHECKING:`` blocks, ``__all__`` and ``__version__``. The digest of a stage covers every
first-party module that it imports, directly or through others, inside functions too.

An extension package lists its members in ``__init__``. The list counts neither as an import nor as
code. A member counts if ``extensions`` names it or if a module that counts imports it. A changed method
thus reruns the runs that use it, and a new one reruns nothing.

If a module names a file of its folder in a string, such as a template, the file counts as its code.
Digests hold within one minor version of Python, because the syntax tree is the interpreter's.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from weatherpeft.artifacts.code_memory import Import, Memory, Source, files_there

EXTENSION_PACKAGES = ("sources", "tasks", "backbones", "peft")
ROOT = Path(__file__).resolve().parents[2]
"""The directory that contains the package."""

_FILE_NAME = re.compile(r"[\w-][\w/.-]*\.\w+")


def fingerprint(module: str, extensions: Iterable[str] = (), *, root: Path = ROOT) -> str:
    """Digest of the code that a module runs.

    Args:
        module: dotted name, for example ``weatherpeft.stages.regrid``.
        extensions: dotted names of the extensions in use, for example ``spec_modules(spec)``.
        root: directory that contains the package.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.

    Raises:
        ValueError: a module does not exist or cannot be parsed.
    """
    return Code(root).fingerprint(module, extensions)


def modules(module: str, extensions: Iterable[str] = (), *, root: Path = ROOT) -> dict[str, str]:
    """Digest of each first-party module that counts for a module's code.

    Args:
        module: dotted name, for example ``weatherpeft.stages.regrid``.
        extensions: dotted names of the extensions in use, for example ``spec_modules(spec)``.
        root: directory that contains the package.

    Returns:
        Digests by dotted name, sorted by name.

    Raises:
        ValueError: a module does not exist or cannot be parsed.
    """
    return Code(root).modules(module, extensions)


class Code:
    """The code of a package as it is when it is first read.

    Args:
        root: directory that contains the package.
        memory: JSON file for what was found in source files, from one process to the next. It counts for
            files with the same bytes. One that cannot be read or written remembers nothing.
    """

    def __init__(self, root: Path = ROOT, memory: Path | None = None) -> None:
        self._root = root
        self._memory = Memory(memory) if memory else None
        self._path = cache(self._found)
        self._source = cache(self._read)
        self._resolved = cache(self._resolve)

    def fingerprint(self, module: str, extensions: Iterable[str] = ()) -> str:
        """See the function ``fingerprint``."""
        lines = [f"{name} {digest}\n" for name, digest in self.modules(module, extensions).items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    def modules(self, module: str, extensions: Iterable[str] = ()) -> dict[str, str]:
        """See the function ``modules``."""
        found: dict[str, str] = {}
        waiting = [(name, f"{name} is asked for") for name in (module, *extensions)]
        while waiting:
            name, reason = waiting.pop()
            if name in found:
                continue
            path = self._path(name)
            if path is None:
                raise ValueError(f"no module {name} below {self._root}; {reason}")
            source = self._source(name, path)
            found[name] = source.digest
            parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
            targets = {target for imported in source.imports for target in self._resolved(imported)}
            waiting += [(target, f"{name} imports it") for target in (*parents, *targets)]
        if self._memory:
            self._memory.write()
        return dict(sorted(found.items()))

    def _found(self, name: str) -> Path | None:
        base = self._root.joinpath(*name.split("."))
        for path in (base.with_name(base.name + ".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return base if base.is_dir() else None

    def _read(self, name: str, path: Path) -> Source:
        if path.is_dir():  # a namespace package, without code
            return Source("", [], {}, [])
        content = path.read_bytes()
        if not self._memory:
            return _parse(name, path, content)
        if (known := self._memory.get(name, path, content)) is None:
            known = _parse(name, path, content)
            self._memory.put(name, path, content, known)
        return known

    def _resolve(self, imported: Import) -> tuple[str, ...]:
        """The modules that count among those that an import runs."""
        if imported.name is None:
            return (imported.module,)
        member = f"{imported.module}.{imported.name}"
        if self._path(member) is not None:
            return imported.module, member
        if _is_extension_package(imported.module):
            # A name that the package's __init__ imports from a member: the member counts.
            path = self._path(imported.module)
            origin = self._source(imported.module, path).exports.get(imported.name) if path else None
            if origin is not None:
                return imported.module, *self._resolved(origin)
        return (imported.module,)


def spec_modules(spec: object) -> tuple[str, ...]:
    """The first-party modules that define a spec and the specs inside it, sorted.

    Args:
        spec: a pydantic object, or a list, tuple, set or dict of such objects.
    """
    found = set()
    waiting = [spec]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        else:
            fields = getattr(type(value), "model_fields", None)
            if fields is not None:
                found.add(type(value).__module__)
                waiting += [getattr(value, field) for field in fields]
    return tuple(sorted(name for name in found if name.startswith("weatherpeft.")))


@cache
def _parse(name: str, path: Path, content: bytes) -> Source:
    try:
        tree = ast.parse(content)
    except SyntaxError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}") from error
    is_package = path.name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    tree = _Essence().visit(tree)
    exports = {
        bound: imported
        for statement in tree.body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for bound, imported in _imports(statement, package)
    }
    if is_package and _is_extension_package(name):
        tree.body = _without_members(tree.body, name)
    nodes = list(ast.walk(tree))
    imports = [
        imported
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for _, imported in _imports(node, package)
    ]
    digest = hashlib.sha256(ast.dump(tree).encode())
    files = _file_names(nodes)
    for data in files_there(files, path.parent):
        digest.update(data.read_bytes())
    return Source(digest.hexdigest()[:16], imports, exports, files)


class _Essence(ast.NodeTransformer):
    """Removes what does not run: docstrings, blocks for type checkers, ``__all__``, ``__version__``."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        for_checkers = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        return node.orelse if for_checkers else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return None if names & {"__all__", "__version__"} else self.generic_visit(node)


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    """Bound name and first-party import, for each name of an import statement."""
    first_party = package.partition(".")[0]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            anchor = package.rsplit(".", node.level - 1)[0]
            module = f"{anchor}.{module}".rstrip(".")
        found = [(alias.asname or alias.name, Import(module, alias.name)) for alias in node.names]
    else:
        found = [(alias.asname or alias.name, Import(alias.name, None)) for alias in node.names]
    for bound, imported in found:
        if imported.module.partition(".")[0] == first_party:
            yield bound, imported


def _is_extension_package(name: str) -> bool:
    return name.partition(".")[2] in EXTENSION_PACKAGES


def _without_members(body: list[ast.stmt], name: str) -> list[ast.stmt]:
    """The statements of an extension package's ``__init__`` without the list of its members.

    The list is the imports of members at the top and the assignments that mention them. An import stays if
    the remaining code uses it, for example in a function.
    """
    members: dict[ast.stmt, set[str]] = {}
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found = dict(_imports(statement, name))
            if any(f"{imported.module}.".startswith(f"{name}.") for imported in found.values()):
                members[statement] = set(found)
    bound: set[str] = set().union(*members.values())
    assignments = (ast.Assign, ast.AnnAssign, getattr(ast, "TypeAlias", ast.AnnAssign))
    kept = [
        statement
        for statement in body
        if statement not in members and not (isinstance(statement, assignments) and _names(statement) & bound)
    ]
    used: set[str] = set().union(*(_names(statement) for statement in kept))
    return [statement for statement in body if statement in kept or members.get(statement, set()) & used]


def _names(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _file_names(nodes: Iterable[ast.AST]) -> list[str]:
    """The strings that may name a file, such as a template."""
    return sorted(
        {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _FILE_NAME.fullmatch(node.value)
        }
    )
