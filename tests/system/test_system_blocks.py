"""A block of azurelite's own lines in another program's file: put in, replaced, taken out; all else stays."""

from __future__ import annotations

import pytest

from azurelite.system.blocks import Block

END = Block("# begin", "# end")
START = Block("# begin", "# end", first=True)


@pytest.mark.parametrize("block", [END, START], ids=["at the end", "at the start"])
@pytest.mark.parametrize("text", ["", "a\n", "a\nb\n", "a\r\nb\r\n", "a\n\n\nb\n", "a\x0cb\x85c\n"])
def test_what_is_put_in_can_be_read_replaced_and_taken_out(block: Block, text: str) -> None:
    once = block.put(text, ["1", "2"])
    assert block.lines(once) == ["1", "2"]
    assert block.put(once, ["1", "2"]) == once
    assert block.put(block.put(once, ["3"]), ["1", "2"]) == once
    assert block.removed(once) == block.put(once, []) == text
    assert once.startswith("# begin") is (block.first or text == "")
    assert once.count("\r\n") in (0, once.count("\n"))


def test_a_last_line_without_an_end_gets_one() -> None:
    assert END.put("a", ["1"]) == "a\n# begin\n1\n# end\n"
    assert START.put("a", ["1"]) == "# begin\n1\n# end\na"


def test_a_torn_block_loses_its_mark_and_nothing_else() -> None:
    assert END.removed("a\n# begin\n1\nb\n") == "a\n1\nb\n"
    assert END.removed("a\n# end\nb\n") == "a\nb\n"
    assert END.lines("a\n# begin\n1\n") == []
