"""Find a function by its qualified name, wherever it lives in the sources.

    method                  OrderManager.submit    Stream::judge    <Drop for Registration>::drop
    function of a module    audit._lines           columns::view
    inside a function       main.report            run::stop

Guarantees: types are always part of a name, modules only where the name is ambiguous without them; no match and two
matches are errors. Braces in Rust strings, characters and comments do not count.
Does not: expand macros, or look into tests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Block comments nest, which a regular expression cannot follow: `without_opaque` looks for their ends.
BLOCK_COMMENT = "/*"
OPAQUE = re.compile(
    r"""(?P<line>//[^\n]*)
      | (?P<block>/\*)
      | (?P<raw>(?<![A-Za-z0-9_])[bc]?r(?P<hashes>\#*)".*?"(?P=hashes))
      | (?P<text>"(?:\\.|[^"\\])*")
      | (?P<char>'(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'\n])')""",
    re.VERBOSE | re.DOTALL,
)
BLOCK_EDGE = re.compile(r"/\*|\*/")
# An item may follow its attributes, but `impl` inside a signature is a type.
ITEM = re.compile(
    r"\bfn\s+(?P<fn>\w+)|\b(?P<kind>mod|trait)\s+(?P<name>\w+)|(?<![^;{}\]\s])impl\b(?P<impl>[^;{}]*)(?=\{)|[{}]"
)
MODULE_OF_ITS_FOLDER = {"mod", "lib", "main", "__init__"}


class LookupFailedError(Exception):
    """No function has this name, or several have."""


@dataclass(frozen=True)
class Function:
    """Where a function stands: its lines from the signature to the end, counted from 0, `stop` excluded."""

    path: Path
    modules: tuple[str, ...]
    name: tuple[str, ...]
    start: int
    stop: int

    def is_called(self, wanted: tuple[str, ...]) -> bool:
        """Return whether a qualified name means this function; the name may omit modules."""
        names = {self.name, tuple(self_type(part) for part in self.name)}
        for name in names:
            modules = wanted[: -len(name)]
            if wanted[-len(name) :] == name and modules == self.modules[len(self.modules) - len(modules) :]:
                return True
        return False


class Sources:
    """All functions of the package and of the crates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.functions = [
            *(found for path in sorted(root.glob("rust/*/src/**/*.rs")) for found in functions_of_rust(path)),
            *(found for path in sorted(root.glob("python/**/*.py")) for found in functions_of_python(path)),
        ]

    def find(self, name: str) -> Function:
        """Return the one function of this name; raise LookupFailedError for none and for several."""
        endings = {".rs"} if "::" in name else {".py"} if "." in name else {".rs", ".py"}
        wanted = parts_of(name)
        found = [each for each in self.functions if each.path.suffix in endings and each.is_called(wanted)]
        if not found:
            raise LookupFailedError(f"no function is called {name}; write the types that it stands in, too")
        if len(found) > 1:
            places = ", ".join(f"{each.path.relative_to(self.root)}:{each.start + 1}" for each in found)
            raise LookupFailedError(f"{len(found)} functions are called {name}; write the module before it: {places}")
        return found[0]


def parts_of(name: str) -> tuple[str, ...]:
    """Split a qualified name at `::` or `.`, but not inside of `<Trait for Type>`."""
    separator = "::" if "::" in name else "."
    trait = re.match(r"<[^>]*>", name)
    head = (trait.group(),) if trait else ()
    rest = name[trait.end() :].removeprefix(separator) if trait else name
    return (*head, *rest.split(separator))


def self_type(part: str) -> str:
    """Turn `<Trait for Type>` into `Type`, and leave any other part of a name alone."""
    return part[1:-1].partition(" for ")[2] if part.startswith("<") else part


def modules_of(path: Path) -> tuple[str, ...]:
    """Return the modules of a file, from its folders; only the end of the list is compared."""
    stem = () if path.stem in MODULE_OF_ITS_FOLDER else (path.stem,)
    return (*(part for part in path.parent.parts if part != "src"), *stem)


def functions_of_python(path: Path) -> Iterator[Function]:
    """Yield each function of a Python file, methods and functions inside functions included."""

    def inside(node: ast.AST, name: tuple[str, ...]) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                own = (*name, child.name)
                if not isinstance(child, ast.ClassDef):
                    yield Function(path, modules_of(path), own, child.lineno - 1, child.end_lineno or child.lineno)
                yield from inside(child, own)
            else:
                yield from inside(child, name)

    yield from inside(ast.parse(path.read_text()), ())


def functions_of_rust(path: Path) -> Iterator[Function]:
    """Yield each function with a body of a Rust file."""
    source = path.read_text()
    text = without_opaque(source)
    # One entry for each open brace: the name that it adds, and where its function began.
    scopes: list[tuple[str, int | None]] = []
    position = 0
    while item := ITEM.search(text, position):
        position = item.end()
        if item["fn"] or item["kind"] or item["impl"] is not None:
            opened = body_of(text, item.end())
            if opened is not None:
                name = item["fn"] or item["name"] or implemented(item["impl"])
                scopes.append((name, item.start() if item["fn"] else None))
                position = opened + 1
        elif item.group() == "{":
            scopes.append(("", None))
        else:
            name, began = scopes.pop()
            if began is not None:
                outer = tuple(part for part, _ in scopes if part)
                start, stop = text.count("\n", 0, began), text.count("\n", 0, item.end()) + 1
                yield Function(path, modules_of(path), (*outer, name), start, stop)


def body_of(text: str, position: int) -> int | None:
    """Return where the body of an item opens, None for a declaration without one."""
    depth = 0
    for offset in range(position, len(text)):
        letter = text[offset]
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif depth == 0 and letter in ";{":
            return offset if letter == "{" else None
    return None


def implemented(header: str) -> str:
    """Name what stands between `impl` and `{`: `Type`, or `<Trait for Type>`, without generics and paths."""
    bare = " ".join(header.split()).partition(" where ")[0]
    while "<" in bare:
        bare, before = re.sub(r"<(?:[^<>]|->)*>", "", bare), bare
        if bare == before:
            break
    names = [re.sub(r"^&?(mut |dyn )?(\w+::)*", "", part.strip()) for part in re.split(r"\bfor\b", bare)]
    return names[0] if len(names) == 1 else f"<{names[0]} for {names[1]}>"


def without_opaque(source: str) -> str:
    """Blank comments, strings and characters, since their braces and keywords do not count."""
    blanked: list[str] = []
    position = 0
    while found := OPAQUE.search(source, position):
        end = found.end()
        if found["block"]:
            depth = 1
            while depth and (edge := BLOCK_EDGE.search(source, end)):
                depth += 1 if edge.group() == BLOCK_COMMENT else -1
                end = edge.end()
        blanked += [source[position : found.start()], re.sub(r"[^\n]", " ", source[found.start() : end])]
        position = end
    return "".join(blanked) + source[position:]
