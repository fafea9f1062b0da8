"""What a type checker tells those who use the library.

mypy checks this file with `warn_unused_ignores`: a line that is no mistake to mypy any more fails that run.
"""

from __future__ import annotations

from typing import Any

import pytest

import azurelite
from azurelite.simulator import FastClock


@pytest.fixture
def metadata() -> azurelite.Metadata:
    return azurelite.Metadata.from_dict({"username": "alex"})


def test_a_misspelt_field_is_a_mistake(metadata: azurelite.Metadata) -> None:
    assert metadata.username == metadata["username"] == metadata.as_dict()["username"] == "alex"
    with pytest.raises(AttributeError):
        metadata.usernam  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(KeyError):
        metadata["usernam"]  # type: ignore[index]
    with pytest.raises(KeyError):
        metadata.as_dict()["usernam"]  # type: ignore[typeddict-item]


def test_the_types_of_fields_are_known(metadata: azurelite.Metadata) -> None:
    name: str = metadata.username  # type: ignore[assignment]  # it may be None
    assert name
    with pytest.raises(TypeError):
        metadata.as_dict()["tags"]["role"]  # type: ignore[index]


class OwnClock:
    """Has what azurelite needs, and no class of azurelite below it."""

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        del seconds

    def now(self) -> float:
        return 0.0

    def jitter(self) -> float:
        return 0.0


class HalfAClock:
    def sleep(self, seconds: float) -> None:
        del seconds


def test_any_object_that_works_like_a_clock_is_one(tmp_path: Any) -> None:
    azurelite.Azure(clock=FastClock())
    azurelite.Azure(clock=OwnClock())
    azurelite.Azure(clock=HalfAClock())  # type: ignore[arg-type]
    with pytest.raises(azurelite.NotAzureError):
        azurelite.crawl(root=tmp_path, clock=OwnClock())


def test_misspelt_options_are_mistakes() -> None:
    with pytest.raises(TypeError):
        azurelite.Azure(rot="/")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        azurelite.Azure().apply(["hostname"], {}, dryrun=True)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        azurelite.Azure().report_redy()  # type: ignore[attr-defined]
