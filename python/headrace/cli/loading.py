"""From ``module:Class`` or ``path/file.py:Class`` and ``NAME=VALUE`` to a strategy.

Guarantees: everything that can be wrong with the text, the file or the parameters is a ``Failure`` of exit code 2 with
one line, and the nearest name where there is one. The current folder is searched for modules.

Does not: call anything but the strategy's ``__init__``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace import Strategy
from headrace.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

__all__ = ["load_strategy"]


def load_strategy(spec: str, parameters: Mapping[str, str]) -> Strategy | Callable[..., object]:
    """Import what ``spec`` names and, if it is a class, make its one instance with ``parameters``."""
    target, colon, name = spec.rpartition(":")
    if not colon or not target or not name:
        msg = f"--strategy {spec} names no class: write module:Class or path/file.py:Class"
        raise Failure(msg, exit_code=2)
    module = _module_of(target)
    found = getattr(module, name, None)
    if found is None:
        known = _strategies_in(module)
        msg = f"{target} has no strategy {name!r}{_nearest(name, known) or _listed(known)}"
        raise Failure(msg, exit_code=2)
    if isinstance(found, type) and issubclass(found, Strategy):
        return _instance_of(found, parameters)
    if parameters:
        msg = (
            f"--param {next(iter(parameters))} is for a class, and {spec} is none: write --strategy module:Class first"
        )
        raise Failure(msg, exit_code=2)
    if isinstance(found, Strategy) or inspect.isroutine(found):
        return found
    what = type(found).__name__
    msg = f"{spec} is no strategy but a {what}: derive the class from headrace.Strategy, or name a function"
    raise Failure(msg, exit_code=2)


def _module_of(target: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    is_file = target.endswith(".py") or "/" in target
    try:
        return _file_module(Path(target)) if is_file else importlib.import_module(target)
    except ModuleNotFoundError as error:
        if not is_file and error.name and f"{target}.".startswith(f"{error.name}."):
            known = [path.stem for path in Path.cwd().glob("*.py")]
            msg = f"there is no module {target!r} here or installed{_nearest(target, known)}"
            raise Failure(msg, exit_code=2) from error
        raise _import_failure(target, error) from error
    except Failure:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failure(target, error) from error


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        known = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        msg = f"strategy file {path} is missing{_nearest(str(path), known)}"
        raise Failure(msg, exit_code=2)
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # What stands beside the file can be imported by it.
    if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) == str(path.resolve()):
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        msg = f"strategy file {path} is no Python file: its name ends in .py"
        raise Failure(msg, exit_code=2)
    module = importlib.util.module_from_spec(spec)
    hidden = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        if hidden is not None:
            sys.modules[path.stem] = hidden
        raise
    return module


def _import_failure(target: str, error: BaseException) -> Failure:
    if isinstance(error, SyntaxError):
        return Failure(f"cannot import {target}: line {error.lineno}: SyntaxError: {error.msg}", exit_code=2)
    return Failure(f"cannot import {target}: {_place(error)}{type(error).__name__}: {error}", exit_code=2)


def _place(error: BaseException) -> str:
    """Where the user's own code raised, as ``file.py line 3: ``."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or "importlib" in frames[-1].filename or frames[-1].filename == __file__:
        return ""
    return f"{Path(frames[-1].filename).name} line {frames[-1].lineno}: "


def _strategies_in(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (isinstance(value, Strategy) or inspect.isroutine(value) or inspect.isclass(value))
    ]


def _instance_of(strategy: type[Strategy], parameters: Mapping[str, str]) -> Strategy:
    declared = _declared_parameters(strategy)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in declared.values())
    named = {
        name: parameter
        for name, parameter in declared.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    values: dict[str, object] = {}
    for name, text in parameters.items():
        if name in named:
            values[name] = _value_of(strategy, named[name], text)
        elif takes_any:
            values[name] = text
        else:
            known = f"{_nearest(name, named)}; it has {', '.join(named)}" if named else "; it has none"
            raise Failure(f"{strategy.__name__} has no parameter {name!r}{known}", exit_code=2)
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in values:
            raise Failure(f"{strategy.__name__} needs parameter {name!r}: --param {name}=VALUE", exit_code=2)
    try:
        return strategy(**values)
    except Exception as error:
        msg = f"{strategy.__name__} cannot be made: {_place(error)}{type(error).__name__}: {error}"
        raise Failure(msg, exit_code=2) from error


def _declared_parameters(strategy: type[Strategy]) -> Mapping[str, inspect.Parameter]:
    if strategy.__init__ is object.__init__:
        return {}
    try:
        signature = inspect.signature(strategy.__init__, eval_str=True)
    except Exception:  # noqa: BLE001 - an annotation may evaluate to anything; its text is what is left then
        signature = inspect.signature(strategy.__init__)
    return dict(list(signature.parameters.items())[1:])


def _value_of(strategy: type[Strategy], parameter: inspect.Parameter, text: str) -> object:
    """Read the text as the parameter's annotation says, or as the type of its default, or leave it a text."""
    wanted: object = parameter.annotation
    if isinstance(wanted, str):  # Another annotation beside it could not be evaluated.
        wanted = TYPES_BY_NAME.get(wanted, parameter.empty)
    if wanted is parameter.empty:
        wanted = str if parameter.default in (parameter.empty, None) else type(parameter.default)
    if wanted is bool and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    try:
        return msgspec.convert(text, type=wanted, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        shown = getattr(wanted, "__name__", str(wanted))
        msg = f"--param {parameter.name}={text} does not fit {strategy.__name__}: it takes {shown} ({error})"
        raise Failure(msg, exit_code=2) from error


TYPES_BY_NAME = {kind.__name__: kind for kind in (int, float, bool, str, Decimal)}
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _listed(names: list[str]) -> str:
    return f"; it has {', '.join(names)}" if names else "; it has none"


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean …?`` or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""
