"""Importing other packages without what a run on Azure never uses. For the command line alone, which ends soon after.

Three things are put off, for as long as the imports last (`tox -e bench` measures what that is worth):

* `ssl` looks as if it were not installed, which http.client and urllib3 both provide for: Azure's endpoints inside a VM
  speak plain HTTP. So does OpenSSL behind `hashlib`, where Python has hashes of its own: a few megabytes;
* `importlib.metadata`, which urllib3 2.x imports for HTTP/2 alone, has a stand-in that imports it when it is asked;
* `re.compile` puts compiling off until a pattern is used: of some eighty patterns of the standard library, PyYAML and
  urllib3 a run uses a dozen.

Meanwhile nobody looks for garbage: what an import makes stays, and is not looked at later either.

Whoever runs other people's code in this process (a plug-in) does it in `whole_modules`, where imports give everything.
"""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from types import ModuleType
from typing import Any, Iterator

_METADATA = "importlib.metadata"
_compile = re.compile
_WITHOUT_SSL = ("hashlib", "hmac", "http.client", "urllib3")  # imported by halves then, with all that lies below them
_halves: dict[str, ModuleType] = {}
_wholes: dict[str, ModuleType] = {}
_late: list[tuple[ModuleType, str]] = []


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """For the length of this, imports leave out what a run does not use."""
    before = set(sys.modules)
    stand_ins: dict[str, Any] = {"ssl": None, _METADATA: _Metadata(_METADATA)}
    if _has_own_hashes():
        stand_ins["_hashlib"] = None
    hidden = [name for name in stand_ins if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = stand_ins[name]
    re.compile = _Later  # type: ignore[assignment]
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        re.compile = _compile
        gc.freeze()
        if collecting:
            gc.enable()
        for name in hidden:
            if sys.modules.get(name) is stand_ins[name]:
                del sys.modules[name]
        new = set(sys.modules) - before
        if "ssl" in hidden:
            _halves.update((name, sys.modules[name]) for name in new if name.startswith(_WITHOUT_SSL))
        for module in [sys.modules[name] for name in new if sys.modules[name] is not None]:
            _late.extend((module, name) for name, value in vars(module).items() if isinstance(value, _Later))


@contextlib.contextmanager
def whole_modules() -> Iterator[None]:
    """For the length of this, imports give whole modules, to people's code; azurelite has its halves back afterwards.

    A second time the whole ones are the same again. In a child process it need not end.
    """
    _compile_all()
    with contextlib.nullcontext() if _is_whole() else _swapped(_halves, _wholes):
        yield


@contextlib.contextmanager
def own_modules() -> Iterator[None]:
    """For the length of this, azurelite's own imports find what they found before, amid people's code, too."""
    with _swapped(_wholes, _halves) if _is_whole() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _swapped(out: dict[str, ModuleType], into: dict[str, ModuleType]) -> Iterator[None]:
    _swap(out, into)
    try:
        yield
    finally:
        _swap(into, out)


def _is_whole() -> bool:
    return any(sys.modules.get(name) is not module for name, module in _halves.items())


def _swap(out: dict[str, ModuleType], into: dict[str, ModuleType]) -> None:
    """Take the modules of one kind out of `sys.modules`, keeping those that came to be there, and put the others in."""
    for name in [name for name in sys.modules if _halves and name.startswith(_WITHOUT_SSL)]:
        out[name] = sys.modules.pop(name)
    sys.modules.update(into)
    for name in {*out, *into}:
        package, _, last = name.rpartition(".")
        if package and package in sys.modules and name in into:
            setattr(sys.modules[package], last, into[name])
        elif package and hasattr(sys.modules.get(package), last):
            delattr(sys.modules[package], last)


def _compile_all() -> None:
    """Whoever gets to see a module's patterns may expect patterns."""
    while _late:
        holder, name = _late.pop()
        late = vars(holder).get(name)
        if isinstance(late, _Later):
            setattr(holder, name, late._real())


def _has_own_hashes() -> bool:
    """Fedora's Python, for one, has none but OpenSSL's."""
    try:
        for name in ("_md5", "_sha1"):
            __import__(name)
    except ImportError:
        return False
    return True


class _Metadata(ModuleType):
    """`importlib.metadata`, which imports itself when something of it is used."""

    def version(self, name: str) -> str:
        """As importlib.metadata.version."""
        sys.modules.pop(_METADATA, None)
        from importlib.metadata import version

        return version(name)


class _Later:
    """A pattern that is compiled when it is used. `re` keeps it then, like any other.

    Those that stand in a class stay one of these in `whole_modules`, too: they work, and are no re.Pattern.
    """

    __slots__ = ("_given", "_made")

    def __init__(self, *given: Any, **named: Any) -> None:
        self._given = (given, named)
        self._made: Any = None

    def _real(self) -> Any:
        """The pattern itself. Raises re.error."""
        if self._made is None:
            self._made = _compile(*self._given[0], **self._given[1])
        return self._made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __reduce__(self) -> Any:
        return _compile, (self._real(),)
