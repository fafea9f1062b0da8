"""Frozen dataclasses that cost nothing to define.

`dataclasses.dataclass` writes the source of five methods and compiles it, for each class, at each start of the process:
half a millisecond a class, and a first boot needs some sixty of them. Here the methods are shared by all classes and
look their fields up. What a reader, mypy and other programs see is a dataclass: `dataclasses.fields`, `replace`,
`asdict` and `is_dataclass` take these classes too. A test holds the two side by side.

It knows nothing of what the classes mean.
"""

from __future__ import annotations

__all__ = ["dataclass", "field", "fields", "is_dataclass", "replace"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields, is_dataclass, replace
else:
    _MARK = "__dataclass_fields__"  # by which the standard library knows a dataclass, and so do we
    _OURS = "__frozen_fields__"
    _MISSING = object()

    class _Field:
        """One field, with the attributes of `dataclasses.Field` that are used here."""

        __slots__ = ("compare", "default", "default_factory", "name", "repr", "type")

        def __init__(self, default, default_factory, repr, compare):  # noqa: A002
            self.name = self.type = None
            self.default = default
            self.default_factory = default_factory
            self.repr = repr
            self.compare = compare

    class _AsStandard:
        """What the standard library asks a dataclass for, made when it asks: a twin from its own hands."""

        def __init__(self, attribute):
            self.attribute = attribute

        def __get__(self, instance, cls):
            from dataclasses import dataclass as standard
            from dataclasses import field as standard_field

            given = {"__annotations__": {}, "__module__": cls.__module__}
            for one in fields(cls):
                given["__annotations__"][one.name] = one.type
                words = {"default": one.default, "default_factory": one.default_factory}
                words = {name: value for name, value in words.items() if value is not _MISSING}
                given[one.name] = standard_field(repr=one.repr, compare=one.compare, **words)
            twin = standard(frozen=True)(type(cls.__name__, (), given))
            for attribute in (_MARK, "__dataclass_params__"):
                setattr(cls, attribute, getattr(twin, attribute))
            return getattr(cls, self.attribute)

    def field(*, default=_MISSING, default_factory=_MISSING, repr=True, compare=True):  # noqa: A002
        """As `dataclasses.field`."""
        return _Field(default, default_factory, repr, compare)

    def fields(owner):
        """As `dataclasses.fields`, of these classes and of the standard library's."""
        found = getattr(owner, _OURS, None)
        if found is None:
            from dataclasses import fields as standard_fields

            return standard_fields(owner)
        return found

    def is_dataclass(thing):
        """As `dataclasses.is_dataclass`."""
        cls = thing if isinstance(thing, type) else type(thing)
        return hasattr(cls, _OURS) or hasattr(cls, _MARK)

    def replace(value, **changes):
        """As `dataclasses.replace`."""
        for one in fields(value):
            if one.name not in changes:
                changes[one.name] = getattr(value, one.name)
        return type(value)(**changes)

    def dataclass(*, frozen):
        """As `dataclasses.dataclass(frozen=True)`, of classes without a dataclass above them."""
        if not frozen:
            raise TypeError("azurelite.record makes frozen classes only")
        return _freeze

    def _freeze(cls):
        found = []
        for name, kind in getattr(cls, "__annotations__", {}).items():
            given = cls.__dict__.get(name, _MISSING)
            one = given if isinstance(given, _Field) else _Field(given, _MISSING, True, True)
            one.name, one.type = name, kind
            if one.default is not _MISSING:
                setattr(cls, name, one.default)
            elif given is not _MISSING:
                delattr(cls, name)  # a field() without a default; a default of a factory is no attribute of the class
            found.append(one)
        for name in ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"):
            if cls.__dict__.get(name) is None:  # a class with an __eq__ of its own has None for __hash__
                setattr(cls, name, _Methods.__dict__[name])
        cls.__match_args__ = tuple(one.name for one in found)
        cls.__frozen_fields__ = tuple(found)
        cls.__dataclass_fields__ = _AsStandard(_MARK)
        cls.__dataclass_params__ = _AsStandard("__dataclass_params__")
        return cls

    class _Methods:
        """What all these classes have in common; each gets these very functions."""

        def __init__(self, *given, **named):
            own = self.__dict__
            found = self.__frozen_fields__
            if len(given) > len(found):
                raise TypeError(f"{type(self).__name__}() takes {len(found)} values and was given {len(given)}")
            for one, value in zip(found, given):
                own[one.name] = value
            for one in found[len(given) :]:
                if one.name in named:
                    own[one.name] = named.pop(one.name)
                elif one.default is not _MISSING:
                    own[one.name] = one.default
                elif one.default_factory is not _MISSING:
                    own[one.name] = one.default_factory()
                else:
                    raise TypeError(f"{type(self).__name__}() misses the value {one.name!r}")
            if named:
                raise TypeError(f"{type(self).__name__}() has no value {next(iter(named))!r}, or it was given twice")
            if hasattr(self, "__post_init__"):
                self.__post_init__()

        def __repr__(self):
            shown = (f"{one.name}={getattr(self, one.name)!r}" for one in self.__frozen_fields__ if one.repr)
            return f"{type(self).__qualname__}({', '.join(shown)})"

        def __eq__(self, other):
            return _key(self) == _key(other) if type(other) is type(self) else NotImplemented

        def __hash__(self):
            return hash(_key(self))

        def __setattr__(self, name, value):
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name):
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _key(value):
        return tuple([getattr(value, one.name) for one in value.__frozen_fields__ if one.compare])
