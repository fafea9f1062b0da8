"""`random_seed`: add the random bytes that the host offers to the kernel's entropy pool.

A new VM has little entropy of its own, and its keys must not be guessable: list this before `ssh_host_keys`. Mixing in
bytes is always safe. Counting them as entropy (`credit`) is for those who trust the host. The same bytes are added
only once.
"""

from __future__ import annotations

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.entropy import mix_in

SUMMARY = "add the host's random bytes to the kernel's entropy pool"
NEEDS = ("random_seed",)
FREQUENCY: Frequency = "instance"
REQUIRED = False

_MEMORY = "random_seed"


class Options(Record):
    """Options of `random_seed`.

    Attributes:
        credit: count the bytes as entropy, so that programs early in the boot do not block while waiting for it.
    """

    credit: bool = False


def apply(ctx: Context, options: Options) -> None:
    """Add the bytes, on the running system only. Raises MachineError: the kernel refused them."""
    if ctx.metadata.random_seed is None or not ctx.system.root.is_host:
        return
    import hashlib

    seed = ctx.metadata.random_seed.reveal_bytes()
    digest = hashlib.sha256(b"azurelite seed" + seed).hexdigest()[:32]
    if not seed or ctx.memory.recall(_MEMORY) == digest:
        return
    mix_in(ctx.system, seed, credit=options.credit)
    ctx.memory.remember(_MEMORY, digest)
