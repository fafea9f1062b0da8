"""Fences as text: what nft shows of one is told from what is no longer one."""

from __future__ import annotations

from typing import Callable

import pytest

from azurelite.record import replace
from azurelite.system.network.firewall import Fence, nft_has, nft_script

FENCE = Fence(("168.63.129.16",), (0, 5))


def shown(fence: Fence) -> str:
    """A table as nft 1.0 shows it, made from the commands that set it."""
    lines = ["table ip azurelite {"]
    for command in nft_script(fence).split("; "):
        words = command.split()
        if words[:2] == ["add", "chain"]:
            lines += ["\t}", f"\tchain {words[4]} {{", "\t\ttype filter hook output priority security; policy accept;"]
        elif words[:2] == ["add", "rule"]:
            lines.append("\t\t" + " ".join(words[5:]))
    return "\n".join([*lines, "\t}", "}", ""])


@pytest.mark.parametrize(
    "fence", [FENCE, replace(FENCE, forward=True), replace(FENCE, addresses=("1.2.3.4", "5.6.7.8"), action="reject")]
)
def test_a_whole_fence_is_known_again(fence: Fence) -> None:
    assert nft_has(shown(fence), fence)


DAMAGES: dict[str, Callable[[str], str]] = {
    "gone": lambda _: "",
    "empty": lambda text: "\n".join(line for line in text.split("\n") if "ip daddr" not in line),
    "a rule is missing": lambda text: "\n".join(line for line in text.split("\n") if "skuid" not in line),
    "another rule": lambda text: text.replace("\t\tip daddr", "\t\taccept\n\t\tip daddr", 1),
    "another order": lambda text: text.replace(' 0"', ' x"').replace(' 2"', ' 0"').replace(' x"', ' 2"'),
    "twice": lambda text: text + text,
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_fence_is_none(damage: str) -> None:
    assert not nft_has(DAMAGES[damage](shown(FENCE)), FENCE)


@pytest.mark.parametrize(
    "change",
    [
        {"uids": (0,)},
        {"action": "reject"},
        {"forward": True},
        {"guarded": FENCE.addresses},
        {"addresses": ("1.1.1.1",)},
    ],
)
def test_a_fence_with_other_rules_is_another_one(change: dict[str, object]) -> None:
    other = replace(FENCE, **change)
    assert not nft_has(shown(other), FENCE)
    assert other.digest() != FENCE.digest()


def test_an_address_that_another_program_keeps_is_only_fenced_against_what_is_passed_on() -> None:
    assert replace(FENCE, guarded=FENCE.addresses).hooks() == [("forward", "168.63.129.16")]
    assert replace(FENCE, guarded=FENCE.addresses, forward=True).hooks() == []
