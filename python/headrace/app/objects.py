"""Make an object from ``module:Class`` or ``path/file.py:Class`` and a table of parameters.

Guarantees: an error in the text, the file or the parameters is one ConfigError, with the nearest name where there is
one; modules are searched in the current folder, and for a file also in its folder.
Does not: call anything but the named class.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import tomllib
import traceback
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, TypeVar, Union, get_args, get_origin

import msgspec

from headrace.app.config.form import is_secret
from headrace.errors import ConfigError, HeadraceError
from headrace.market.checks import nearest
from headrace.strategies.spec import StrategySpec
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

__all__ = ["load_object", "load_strategy", "make_object"]

# Where parts of ours are.
PACKAGE = str(Path(__file__).parents[1])

Made = TypeVar("Made")
TYPES_BY_NAME = {kind.__name__: kind for kind in (int, float, bool, str, Decimal)}
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
NOTHING = ("none", "null", "")


def load_object(spec: str, where: str = "") -> object:
    """Import what ``spec`` names. where : a path at the start of error messages. Raises ConfigError."""
    target, colon, name = spec.rpartition(":")
    if not colon or not target or not name:
        raise _error(where, f"{spec} names no class: write module:Class or path/file.py:Class")
    module = _module_of(target, where)
    if not hasattr(module, name):
        known = _names_in(module)
        listed = f"; it has {', '.join(known)}" if known else "; it has none"
        raise _error(where, f"{target} has no {name!r}{nearest(name, known)}{listed}")
    found: object = getattr(module, name)
    return found


def make_object(
    make: Callable[..., Made], parameters: Mapping[str, object], where: str = "", *, given_by: str = "parameters.{}"
) -> Made:
    """Call a class with parameters, converted to their annotation, or else to the type of their default.

    where : a path at the start of error messages. given_by : how a user sets a parameter, ``{}`` for its name.
    Raises ConfigError.
    """
    title = getattr(getattr(make, "func", make), "__name__", str(make))  # of a partial: its function's
    declared = _declared_parameters(make)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in declared.values())
    named = {
        name: parameter
        for name, parameter in declared.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    values: dict[str, object] = {}
    for name, value in parameters.items():
        if name in named:
            try:
                values[name] = _value_of(named[name], value)
            except _UnfitError as error:
                shown = given_by.format(name) + ("" if is_secret(name) else f"={value}")
                raise _error(where, f"{shown} does not fit {title}: it takes {error}") from error.__cause__
        elif takes_any:
            values[name] = value
        else:
            known = f"{nearest(name, named)}; it has {', '.join(named)}" if named else "; it has none"
            raise _error(where, f"{title} has no parameter {name!r}{known}")
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in values:
            raise _error(where, f"{title} needs parameter {name!r}: {given_by.format(name)}=VALUE")
    try:
        return make(**values)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Its constructor may call sys.exit().
        raise _error(where, f"{title} cannot be made: {_said(error)}") from error


def load_strategy(
    use: str, parameters: Mapping[str, object], where: str = "", *, given_by: str = "parameters.{}"
) -> StrategySpec:
    """Import the strategy that ``use`` names: a class, which is made here once, an object, or a function.

    where, given_by : as in ``make_object``. A restart makes a class again in the same way. Raises ConfigError.
    """
    found = load_object(use, where)
    if isinstance(found, type) and issubclass(found, Strategy):
        make = partial(make_object, found, parameters, where, given_by=given_by)
        return StrategySpec(strategy=make(), factory=make, parameters=dict(parameters))
    if not (isinstance(found, Strategy) or inspect.isroutine(found)):
        what = f"a {type(found).__name__}" if not isinstance(found, type) else "a class that is no Strategy"
        advice = "derive the class from headrace.Strategy, or name a function"
        raise _error(where, f"{use} is no strategy but {what}: {advice}")
    if parameters:
        shown = given_by.format(next(iter(parameters)))
        raise _error(where, f"{shown} is for a class, and {use} is none: name a class")
    return StrategySpec(strategy=found)


def _error(where: str, message: str) -> ConfigError:
    return ConfigError(f"{where}: {message}" if where else message, path=where)


def _module_of(target: str, where: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    is_file = target.endswith(".py") or "/" in target
    try:
        return _file_module(Path(target), where) if is_file else importlib.import_module(target)
    except ModuleNotFoundError as error:
        if not is_file and error.name and f"{target}.".startswith(f"{error.name}."):
            known = [path.stem for path in Path.cwd().glob("*.py")]
            msg = f"there is no module {target!r} here or installed{nearest(target, known)}"
            raise _error(where, msg) from error
        raise _import_error(target, where, error) from error
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_error(target, where, error) from error


def _file_module(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        if path.exists():
            raise _error(where, f"{path} is no regular file, and cannot be imported: name a .py file")
        known = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise _error(where, f"the file {path} is missing{nearest(str(path), known)}")
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # The file can import modules beside it.
    if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) == str(path.resolve()):
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise _error(where, f"the file {path} is no Python file: its name ends in .py")
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


def _import_error(target: str, where: str, error: BaseException) -> ConfigError:
    if isinstance(error, SyntaxError):
        return _error(where, f"cannot import {target}: line {error.lineno}: SyntaxError: {error.msg}")
    return _error(where, f"cannot import {target}: {_said(error)}")


def _said(error: BaseException) -> str:
    """Return what an error says, behind the place where the user's own code raised: ``file.py line 3: KeyError: 'x'``.

    What a part of ours refuses says itself what to do; where that part did it is of no use.
    """
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(PACKAGE)]
    if isinstance(error, HeadraceError) and not outside:
        return str(error)
    said = f"{type(error).__name__}: {error}"
    # An error of ours out of the user's own code: the place is where that called us.
    last = (outside if isinstance(error, HeadraceError) else frames)[-1:]
    if not last or "importlib" in last[0].filename or last[0].filename == __file__:
        return said
    return f"{Path(last[0].filename).name} line {last[0].lineno}: {said}"


def _names_in(module: ModuleType) -> list[str]:
    """Return the public names that a module itself defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _declared_parameters(make: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    if isinstance(make, type) and make.__init__ is object.__init__:  # type: ignore[misc]  # compared, not called
        return {}
    try:
        signature = inspect.signature(make, eval_str=True)
    except Exception:  # noqa: BLE001 - an annotation may raise anything; then its text is used
        signature = inspect.signature(make)
    return signature.parameters


class _UnfitError(Exception):
    """A value that does not fit its parameter; the message is the parameter's type."""


def _value_of(parameter: inspect.Parameter, value: object) -> object:
    """Return a value converted to the parameter's annotation, or to its default's type, or unchanged."""
    wanted: object = parameter.annotation
    is_guess = False
    if isinstance(wanted, str):  # This annotation, or another one, could not be evaluated; or it is a text alias.
        wanted = TYPES_BY_NAME.get(wanted, parameter.empty)
        is_guess = wanted is parameter.empty
    if wanted is parameter.empty:
        if parameter.default in (parameter.empty, None) or not isinstance(value, str):
            return value
        # A default of 0 accepts 0.5, too.
        wanted = int | float if type(parameter.default) is int else type(parameter.default)
    refusal: msgspec.ValidationError | None = None
    for candidate in _readings(value, wanted) if isinstance(value, str) else [value]:
        try:
            return msgspec.convert(candidate, type=wanted, strict=not isinstance(value, str), dec_hook=_constructed)
        except msgspec.ValidationError as error:
            refusal = refusal or error
        except TypeError:
            # A union that msgspec cannot choose from, like Decimal | str: the class itself checks the value.
            return value
    if is_guess:  # The default's type is one of the allowed types; the class itself checks the others.
        return value
    shown = wanted.__name__ if isinstance(wanted, type) and not get_args(wanted) else str(wanted)
    raise _UnfitError(f"{shown} ({refusal})") from refusal


def _readings(text: str, wanted: object) -> Iterator[object]:
    """Return what a text may mean: itself, a truth value, nothing, a TOML value, or a list between commas."""
    choices = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    if bool in choices and text.lower() in BOOLEANS:
        yield BOOLEANS[text.lower()]
    yield text
    if NoneType in choices and text.lower() in NOTHING:
        yield None
    with contextlib.suppress(tomllib.TOMLDecodeError):
        yield tomllib.loads(f"value = {text}").get("value")
    if any(issubclass(own, list | tuple | set | frozenset) for own in map(_class_of, choices)):
        yield [part.strip() for part in text.split(",")] if text else []


def _class_of(form: object) -> type:
    found = get_origin(form) or form
    return found if isinstance(found, type) else object


def _constructed(wanted: type, value: object) -> object:
    """Return a value of a type that msgspec does not know: a path, from its text."""
    if issubclass(wanted, Path) and isinstance(value, str):
        return wanted(value)
    if isinstance(value, wanted):
        return value
    msg = f"Expected `{wanted.__name__}`, got `{type(value).__name__}`"
    raise msgspec.ValidationError(msg)
