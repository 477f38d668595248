"""The public names: `headrace.__all__` lists exactly what `headrace` offers, once, in order."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types

import headrace


def test_all_names_exactly_what_is_public() -> None:
    offered = {
        name
        for name, value in ((name, getattr(headrace, name)) for name in dir(headrace))
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "TYPE_CHECKING"
    }
    assert set(headrace.__all__) - {"__version__"} == offered


def test_all_has_no_name_twice() -> None:
    """Their order is ruff's business (RUF022)."""
    assert len(headrace.__all__) == len(set(headrace.__all__))


def test_the_version_is_the_one_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert headrace.__version__ == version("headrace")


def test_no_function_shares_its_name_with_a_module() -> None:
    clashes = {
        f"{package.__name__}.{name}"
        for package in packages()
        for name in {module.name for module in pkgutil.iter_modules(package.__path__)}
        if inspect.isroutine(vars(package).get(name))
    }
    assert not clashes


def test_every_public_name_has_a_docstring() -> None:
    """Constants of a plain type cannot carry one; classes and functions can."""
    silent = {
        name
        for name in headrace.__all__
        if (inspect.isclass(value := getattr(headrace, name)) or inspect.isroutine(value))
        and not (value.__doc__ or "").strip()
    }
    assert not silent


def packages() -> list[types.ModuleType]:
    """The package and the packages in it."""
    inner = [module.name for module in pkgutil.walk_packages(headrace.__path__, "headrace.") if module.ispkg]
    return [headrace, *(importlib.import_module(name) for name in inner)]
