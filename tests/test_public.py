"""What `import azurelite` offers: the ten functions and the public classes, without importing them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import azurelite
from azurelite import errors
from azurelite.metadata import Secret
from azurelite.outcome import Outcome


def test_the_names_are_there_and_listed() -> None:
    assert {name: getattr(azurelite, name) for name in azurelite.__all__}.keys() <= set(dir(azurelite))
    assert (azurelite.Outcome, azurelite.Secret, azurelite.ConfigError) == (Outcome, Secret, errors.ConfigError)
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert tree <= set(azurelite.__all__)
    values = {"Azure", "Event", "GoalState", "Guest", "Metadata", "Outcome", "Secret"}
    functions = {name for name in azurelite.__all__ if name[0].islower()}
    assert (len(functions), set(azurelite.__all__)) == (10, tree | values | functions)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'azurelite' has no attribute 'Outcom'"):
        azurelite.Outcom  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.spawns
def test_a_class_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, azurelite; dir(azurelite); before = 'azurelite.errors' in sys.modules; azurelite.ConfigError\n"
    code += "print(before, 'azurelite.errors' in sys.modules, 'azurelite.outcome' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False True False\n"
