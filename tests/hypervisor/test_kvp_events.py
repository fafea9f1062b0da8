"""KVP events of the steps, read by a reader that was written from the description of the pool's format."""

from __future__ import annotations

import csv
import fcntl
import functools
import json
import multiprocessing
import re
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.clock import Deadline, SystemClock
from azurelite.hypervisor.kvp import Event, event_pairs, rewrite_shared, updated, write
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.system.machine import System

POOL = "var/lib/hyperv/.kvp_pool_1"
RECORD = struct.Struct("512s2048s")
KEY = re.compile(r"AZURELITE\|(\d+)\|finish\|([^|]+)\|([0-9a-f-]{36})\|([0-9a-f-]{36})(?:\|(\d+))?")
STAMP = "2023-11-14T22:13:20+00:00"


def read(pool: bytes) -> list[tuple[str, str]]:
    """The pairs of a pool: fixed records, each field up to its first NUL. Strict, as the host is."""
    assert len(pool) % RECORD.size == 0
    pairs = []
    for fields in RECORD.iter_unpack(pool):
        key, value = (field.partition(b"\0") for field in fields)
        assert not key[2].strip(b"\0")
        assert not value[2].strip(b"\0")
        pairs.append((key[0].decode(), value[0].decode()))
        assert len(pairs[-1][0].encode("utf-16-le")) // 2 <= 254
        assert len(pairs[-1][1].encode("utf-16-le")) // 2 <= 1022
    return pairs


def events(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The events, with the slices of a text put together."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in pairs:
        match = KEY.fullmatch(key)
        if match is None:
            continue
        told, slice_ = json.loads(value), match[5]
        assert told.get("msg_i") == (None if slice_ is None else int(slice_))
        event = found.setdefault(match[4], {**told, "msg": "", "boot": match[1], "vm_id": match[3]})
        assert (told["name"], match[2]) == (event["name"], event["name"])
        event["msg"] += told["msg"]
    return list(found.values())


def event(name: str = "user", text: str = "fine", result: str = "SUCCESS") -> Event:
    return Event(name, result, STAMP, 0.25, text)


def test_an_event_field_by_field() -> None:
    ((key, value),) = event_pairs(event(), boot=7, vm_id=VM_ID)
    assert key.startswith(f"AZURELITE|7|finish|user|{VM_ID}|")
    assert value == (
        f'{{"name":"user","type":"finish","ts":"{STAMP}","result":"SUCCESS","duration":0.25,"msg":"fine"}}'
    )


@pytest.mark.parametrize(
    "text", ["", "x", "x" * 1022, "x" * 4096, "ä" * 2000, "𝄞" * 1500, '"' * 2000, "\n\\" * 900, "a\x00" * 700], ids=len
)
def test_a_long_text_is_sliced_and_every_slice_is_whole(text: str) -> None:
    pairs = list(event_pairs(event(text=text), boot=7, vm_id=None))
    pool = updated(b"", None, pairs, boot=7)
    ((one),) = events(read(pool))
    assert one["msg"] == text
    assert one["vm_id"] == "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("name", ["a|b", "n" * 300, "ä" * 200])
def test_a_key_stays_within_its_limit(name: str) -> None:
    ((key, _),) = event_pairs(event(name=name), boot=2**40, vm_id=VM_ID)
    assert len(key.encode()) <= 254 - len("|99")
    assert KEY.fullmatch(key)


def record(key: bytes, value: bytes = b"v") -> bytes:
    return RECORD.pack(key, value)


FOREIGN = [b"CLOUD_INIT|1|finish|x", b"azure-init-0.1|x", b"AZURELITE", b"AZURELITES|1|", b"\xff\xfe", b"", b"X" * 512]


@pytest.mark.parametrize("key", FOREIGN, ids=repr)
def test_foreign_records_stay_byte_for_byte(key: bytes) -> None:
    foreign = record(key, b"\xff" * 2048)
    old = record(b"AZURELITE|6|finish|user|x|y")
    now = record(b"AZURELITE|7|finish|user|x|y")
    pool = updated(old + foreign + now + record(b"PROVISIONING_REPORT", b"old") + old, "new", [("k", "v")], boot=7)
    assert pool == foreign + now + record(b"PROVISIONING_REPORT", b"new") + record(b"k")


def test_one_boot_has_one_number_also_when_the_clock_is_set(guest: Guest) -> None:
    files, clock = System(guest.root).files, FastClock()
    guest.put({"proc/uptime": "12.50 3.00\n"})
    write(files, "first", clock=clock, events=[event("a")])
    write(files, "second", clock=FastClock(now=clock.now() + 86400), events=[event("b")])
    told = events(read(guest.path(POOL).read_bytes()))
    assert [one["name"] for one in told] == ["a", "b"]
    guest.path("run/azurelite/kvp-incarnation").unlink()  # the next boot
    write(files, "third", clock=FastClock(now=clock.now() + 3600), events=[event("c")])
    pairs = read(guest.path(POOL).read_bytes())
    assert [one["name"] for one in events(pairs)] == ["c"]
    assert ("PROVISIONING_REPORT", "third") in pairs


def run(guest: Guest, *faults: Fault, **vm: Any) -> list[tuple[str, str]]:
    with Simulator(Scenario(Scenario.default().vm.changed(vm, where="test"), faults)) as fabric:
        later = {"write_files": {"id": "later", "files": [{"path": "/etc/later", "content": "x"}]}}
        handlers = ["hostname", "user", "ssh_keys", "report_ready", later]
        guest.on_azure().configure(fabric, handlers=handlers, datasource={"media": {"device": "none"}})
        provision(Options(root=guest.root, clock=FastClock()))
    return read(guest.path(POOL).read_bytes())


def test_a_run_tells_each_step_once(guest: Guest) -> None:
    pairs = run(guest)
    told = events(pairs)
    names = ["hostname", "user", "ssh_keys", "report_ready", "later"]
    assert [one["name"] for one in told] == names
    assert [one["result"] for one in told] == ["SUCCESS", "SUCCESS", "WARN", "SUCCESS", "SUCCESS"]  # no sshd is here
    assert "check the login by SSH" in told[2]["msg"]
    assert {one["vm_id"] for one in told} == {VM_ID}
    assert pairs[0][1].startswith("result=success|")
    assert len(pairs) == 1 + len(names)


def test_a_failed_step_is_an_event_with_its_message(guest: Guest) -> None:
    pairs = run(guest, username="daemon")
    failed = [one for one in events(pairs) if one["result"] == "FAIL"]
    assert failed[0]["name"] == "user"
    assert "daemon" in failed[0]["msg"]
    (report,) = csv.reader([pairs[0][1]], delimiter="|", quotechar="'")
    assert f"message={failed[0]['msg']}" in report


def test_no_password_gets_into_the_pool(guest: Guest) -> None:
    run(guest, password="canary-5f2a", custom_data="canary-5f2a")
    assert b"canary" not in guest.path(POOL).read_bytes()


def test_no_name_from_user_data_gets_into_the_pool(guest: Guest) -> None:
    """On many systems everybody may read the pool."""
    text = "#cloud-config\nusers: [{name: canary-user, uid: x}]\nhostname: canary_name\n"
    handlers = ["hostname", "user", "ssh_keys", "report_ready", "user_data"]
    with Simulator(Scenario(Scenario.default().vm.changed({"user_data": text}, where="test"), ())) as fabric:
        guest.on_azure().configure(fabric, handlers=handlers, datasource={"media": {"device": "none"}})
        outcome = provision(Options(root=guest.root, clock=FastClock()))
    assert "canary" in str(outcome.as_dict())
    assert b"canary" not in guest.path(POOL).read_bytes()
    (told,) = [one for one in events(read(guest.path(POOL).read_bytes())) if one["name"] == "user_data"]
    assert (told["result"], told["msg"]) == ("FAIL", "a part of it failed")


ROUNDS = 5


def _slowly(added: list[tuple[str, str]], pool: bytes) -> bytes:
    time.sleep(0.02)  # a writer that did not wait for the lock would be overwritten
    return updated(pool, None, added, boot=1)


def _write(root: str, number: int) -> None:
    """One of the writers: azurelite, or a program that takes only one of the two locks and appends."""
    kind = ("both", "flock", "lockf", "both")[number % 4]
    for turn in range(ROUNDS):
        key = f"W{number}|{turn}"
        if kind == "both":
            wait, added = Deadline(SystemClock(), 60), [(key, "v")]
            rewrite_shared(System(root).files, f"/{POOL}", functools.partial(_slowly, added), wait=wait)
            continue
        with Path(root, POOL).open("ab") as pool:
            (fcntl.flock if kind == "flock" else fcntl.lockf)(pool, fcntl.LOCK_EX)
            pool.write(record(key.encode()))
            pool.flush()
        time.sleep(0.01)


@pytest.mark.spawns
def test_eight_writers_at_once_lose_nothing(guest: Guest) -> None:
    guest.path(POOL).write_bytes(record(b"FIRST"))
    # Only programs that share a lock exclude each other: so flock and lockf each run beside azurelite alone.
    for others in ((0, 3, 4, 7, 1, 5, 9, 13), (8, 11, 12, 15, 2, 6, 10, 14)):
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_write, args=(guest.root, number)) for number in others]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
            assert writer.exitcode == 0
    keys = [key for key, _ in read(guest.path(POOL).read_bytes())]
    assert keys[0] == "FIRST"
    assert sorted(keys[1:]) == sorted(f"W{number}|{turn}" for number in range(16) for turn in range(ROUNDS))
