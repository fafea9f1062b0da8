"""`random_seed`: the random bytes that the host offers go into the kernel's pool.

A fresh VM has little randomness of its own, and keys made then must not be guessable: list it ahead of
`ssh_host_keys`. The bytes are mixed in, which never does harm; that the kernel counts on them (`credit`) is for those
who trust the host's word. The same bytes are not given twice.
"""

from __future__ import annotations

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.entropy import mix_in

SUMMARY = "give the host's random bytes to the kernel"
NEEDS = ("random_seed",)
FREQUENCY: Frequency = "instance"
REQUIRED = False

_MEMORY = "random_seed"


class Options(Record):
    """Options of `random_seed`.

    Attributes:
        credit: the kernel counts the bytes as random, so that nobody waits for more at an early boot.
    """

    credit: bool = False


def apply(ctx: Context, options: Options) -> None:
    """Mix the bytes in, on the running system only. Raises MachineError: the kernel refused."""
    if ctx.metadata.random_seed is None or not ctx.system.root.is_host:
        return
    import hashlib

    seed = ctx.metadata.random_seed.reveal_bytes()
    digest = hashlib.sha256(b"azurelite seed" + seed).hexdigest()[:32]
    if not seed or ctx.memory.recall(_MEMORY) == digest:
        return
    mix_in(ctx.system, seed, credit=options.credit)
    ctx.memory.remember(_MEMORY, digest)
