"""Importing other packages without what a run on Azure never uses. For the command line alone, which ends soon after.

Three things are put off, for as long as the imports last (`tox -e bench` measures what that is worth):

* `ssl` looks as if it were not installed, which http.client and urllib3 both provide for: Azure's endpoints inside a VM
  speak plain HTTP. So does OpenSSL behind `hashlib`, where Python has hashes of its own: a few megabytes;
* `importlib.metadata`, which urllib3 2.x imports for HTTP/2 alone, has a stand-in that imports it when it is asked;
* `re.compile` puts compiling off until a pattern is used: of some eighty patterns of the standard library, PyYAML and
  urllib3 a run uses a dozen.

Meanwhile nobody looks for garbage: what an import makes stays, and is not looked at later either.

Whoever runs other people's code in this process (a plug-in) calls `undo` first, and that code finds everything.
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
_WITHOUT_SSL = (
    "hashlib",
    "hmac",
    "http.client",
    "urllib3",
)  # what is imported by halves then, with all that lies below it
_halves: set[str] = set()


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
    gc.disable()
    try:
        yield
    finally:
        re.compile = _compile
        gc.freeze()
        gc.enable()
        for name in hidden:
            if sys.modules.get(name) is stand_ins[name]:
                del sys.modules[name]
        if "ssl" in hidden:
            new = set(sys.modules) - before
            _halves.update(name for name in new if name.startswith(_WITHOUT_SSL))


def undo() -> None:
    """Forget the modules that were imported by halves; whoever imports them next gets them whole."""
    while _halves:
        sys.modules.pop(_halves.pop(), None)


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
    """A pattern that is compiled when it is used. `re` keeps it then, like any other."""

    __slots__ = ("_given", "_pattern")

    def __init__(self, *given: Any, **named: Any) -> None:
        self._given = (given, named)

    def __getattr__(self, name: str) -> Any:
        if name == "_pattern":
            self._pattern = _compile(*self._given[0], **self._given[1])
            return self._pattern
        return getattr(self._pattern, name)
