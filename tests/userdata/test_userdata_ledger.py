"""The record of scripts that were started in an earlier run."""

from __future__ import annotations

import pytest

from azurelite.userdata.steps import BEGUN, Ledger, ScriptStep

SCRIPT = ScriptStep("runcmd", b"#!/bin/sh\nreboot\n")


@pytest.mark.parametrize("status", [BEGUN, 0, 3, "it did not end in time", None])
def test_the_next_run_knows_how_a_script_ended(status: object) -> None:
    ledger = Ledger(None)
    assert not ledger.knows(SCRIPT)
    ledger.note(SCRIPT, BEGUN)
    ledger.note(SCRIPT, status)  # type: ignore[arg-type]
    again = Ledger(ledger.text)
    assert again.knows(SCRIPT)
    assert again.status(SCRIPT) == status


@pytest.mark.parametrize("other", [ScriptStep("runcmd", b"#!/bin/sh\nls\n"), ScriptStep("part-001", SCRIPT.data)])
def test_another_name_or_content_is_another_script(other: ScriptStep) -> None:
    ledger = Ledger(None)
    ledger.note(SCRIPT, 0)
    assert not Ledger(ledger.text).knows(other)


def test_the_record_does_not_hold_the_content() -> None:
    ledger = Ledger(None)
    ledger.note(ScriptStep("x", b"#!/bin/sh\necho canary\n"), 0)
    assert "canary" not in ledger.text


@pytest.mark.parametrize("text", ["", "x", "[]", '{"runcmd": 0}', '{"runcmd": {}}', '{"runcmd": {"sha256": 1}}'])
def test_a_damaged_record_is_empty(text: str) -> None:
    assert not Ledger(text).knows(SCRIPT)
