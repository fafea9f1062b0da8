"""The base class of azurelite's values: frozen, compared field by field, and cheap to define.

Dataclasses compile five methods per class at each start: 59 % more instructions. Type checkers see dataclasses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Self, dataclass_transform
else:
    dataclass_transform = lambda **_: lambda cls: cls  # noqa: E731 - only type checkers use it
MISSING: Any = object()


class Field:
    """A field: name, type (annotation), default, whether it is required and in `repr`; `value()` makes the default."""

    def __init__(self, default: Any = MISSING, default_factory: Any = MISSING, *, repr: bool = True) -> None:  # noqa: A002
        self.name, self.type, self.repr, self.default = "", MISSING, repr, default
        self.required = default is MISSING and default_factory is MISSING
        self.value = default_factory if default is MISSING else lambda: default


def field(*, default: Any = MISSING, default_factory: Any = MISSING, repr: bool = True) -> Any:  # noqa: A002
    """Declare a field with a default factory, or hide it in `repr`."""
    return Field(default, default_factory, repr=repr)


def _field(cls: type[Record], name: str, kind: Any) -> Field:
    given = cls.__dict__.get(name, MISSING)
    one = given if isinstance(given, Field) else Field(given)
    one.name, one.type, where = name, kind, f"{cls.__qualname__}.{name}"
    if any(word in str(kind) for word in ("ClassVar", "InitVar", "KW_ONLY")):
        raise TypeError(f"{where}: a Record has plain fields only, not {kind}")
    if one.default is not MISSING and type(one.default).__hash__ is None:
        raise TypeError(f"{where}: all values would share its default; use field(default_factory=...)")
    if one.required and cls.FIELDS and not cls.FIELDS[-1].required:
        raise TypeError(f"{where} has no default, and {cls.FIELDS[-1].name} before it has one")
    if one.default is not MISSING:
        setattr(cls, name, one.default)
    elif given is one:  # its default is made for each value: the class has none
        delattr(cls, name)
    return one


class _Signature:
    def __get__(self, _: object, cls: type[Record]) -> Any:  # for `help()` and `inspect.signature`
        from inspect import Parameter, Signature

        made = [(x.name, x.type, Parameter.empty if x.required else x.value()) for x in cls.FIELDS]
        return Signature([Parameter(x, Parameter.POSITIONAL_OR_KEYWORD, annotation=y, default=z) for x, y, z in made])


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """A frozen value. Subclasses list their fields as annotations, and cannot be subclassed again."""

    FIELDS = tuple[Field, ...]()
    __signature__ = _Signature()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # Generic's, where it is a base, too
        if bases := [base.__qualname__ for base in cls.__mro__[1:] if getattr(base, "FIELDS", ())]:
            raise TypeError(f"{cls.__qualname__}: {bases[0]} has fields and cannot be extended")
        lazy = hasattr(cls, "__annotate__")  # Python 3.14; before 3.10 the attribute may be that of a base
        for name, kind in (cls.__annotations__ if lazy else vars(cls).get("__annotations__", {})).items():
            cls.FIELDS += (_field(cls, name, kind),)

    def __init__(self, /, *given: Any, **named: Any) -> None:
        found, own = self.FIELDS, self.__dict__
        own.update(zip([one.name for one in found], given))
        for one in found[len(given) :]:
            if one.required and one.name not in named:
                raise TypeError(f"{type(self).__name__}() needs a value for {one.name!r}")
            own[one.name] = named.pop(one.name) if one.name in named else one.value()
        if named or len(given) > len(found):
            raise TypeError(f"{type(self).__name__}() takes {[one.name for one in found]}, each once")
        getattr(self, "__post_init__", bool)()

    def __replace__(self, **changes: Any) -> Self:
        return type(self)(**{**self.__dict__, **changes})

    def __repr__(self) -> str:
        shown = [f"{one.name}={self.__dict__[one.name]!r}" for one in self.FIELDS if one.repr]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __setattr__(self, name: str, *_: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen: `replace` makes another value")

    __delattr__ = __setattr__


replace = Record.__replace__
