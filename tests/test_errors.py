"""The tree of errors: what each class tells a person in general."""

from __future__ import annotations

import re

import pytest

from azurelite import errors
from azurelite.errors import AzureliteError, FabricError

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, AzureliteError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_each_has_a_remedy_in_one_sentence(kind: type[AzureliteError]) -> None:
    assert re.fullmatch(r"[A-Z].{20,110}\.", kind.remedy)


def test_the_kinds_that_need_another_one_have_it() -> None:
    own = {kind.remedy for kind in CLASSES if "remedy" in vars(kind)}
    assert len(own) == sum("remedy" in vars(kind) for kind in CLASSES) >= 14


@pytest.mark.parametrize("kind", [AzureliteError, FabricError])
def test_one_comes_back_as_it_went_out(kind: type[AzureliteError]) -> None:
    error = kind("no answer: try again", reason="silent", data={"url": "x"})
    back = kind.read(error.as_dict())
    assert (type(back), back.message, back.reason, back.data) == (kind, error.message, error.reason, error.data)


@pytest.mark.parametrize("told", [None, [], {}, {"message": 7}, {"message": None, "reason": "x"}])
def test_what_is_no_error_is_refused(told: object) -> None:
    with pytest.raises(ValueError, match="a message"):
        AzureliteError.read(told)


def test_odd_details_of_an_error_are_left_out_or_made_text() -> None:
    assert AzureliteError.read({"message": "m", "reason": 7, "data": [1]}).data == {}
    assert AzureliteError.read({"message": "m", "data": {"a": 1}}).data == {"a": "1"}
