"""Makes imports cheaper by leaving out what a run never uses. Only for the program `azurelite`, not for the library.

Each optimisation, with the instructions of the main job that it saves on Python 3.11:

* patterns are compiled on first use (35 %): the standard library, PyYAML and urllib3 have about eighty patterns, of
  which a run uses a dozen;
* `importlib.metadata`, which urllib3 2.x imports for HTTP/2, is replaced by one that imports it on first use (8 %);
* `ssl`, and OpenSSL behind `hashlib`, appear as not installed (7 %, and 5 MB of memory): http.client and urllib3 allow
  for that, and Azure's endpoints inside a VM use plain HTTP;
* the garbage collector is off during imports, and skips the objects that they made afterwards (3.5 %).

Modules stay incomplete in this process, so only azurelite's code may run in it: plug-ins run in a separate interpreter.
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


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """A context in which imports leave out what a run does not use."""
    stand_ins: dict[str, Any] = {"ssl": None, _METADATA: _Metadata(_METADATA)}
    if _has_own_hashes():
        stand_ins["_hashlib"] = None
    hidden = [name for name in stand_ins if name not in sys.modules]
    sys.modules.update({name: stand_ins[name] for name in hidden})
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
        hashlib: Any = sys.modules.get("hashlib")
        if hashlib is not None and not hasattr(hashlib, "pbkdf2_hmac"):  # from Python 3.12 on, only OpenSSL has it
            hashlib.pbkdf2_hmac = lambda *given: __import__("_hashlib").pbkdf2_hmac(*given)


def _has_own_hashes() -> bool:
    """Whether `hashlib` works without OpenSSL; it does not in Fedora's Python, for example."""
    with contextlib.suppress(ImportError):
        return bool(__import__("_md5") and __import__("_sha1"))
    return False


class _Metadata(ModuleType):
    def version(self, name: str) -> str:
        sys.modules.pop(_METADATA, None)
        from importlib.metadata import version

        return version(name)


class _Later:
    """A pattern that is compiled on first use."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self._given, self._named = given, named
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._made = self._made or _compile(*self._given, **self._named)
        return getattr(self._made, name)
