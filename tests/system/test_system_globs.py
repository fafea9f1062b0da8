"""Glob patterns as OpenSSH's Include reads them. The last test asks sshd itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from azurelite.system.globs import expand

NAMES = ["x.conf", "x*.conf", "xy.conf", "x\\y.conf", "[x].conf", "x y.conf", ".h.conf", "z?.conf", "b.conf"]
NAMES += ["]", "5", "^"]

# The last part of a pattern -> the names that it finds; as sshd reads it, a part without wildcards need not exist
PATTERNS: dict[str, list[str]] = {
    "b.conf": ["b.conf"],
    "nothing": ["nothing"],
    "?.conf": ["b.conf", "x.conf"],
    "x?.conf": ["x*.conf", "xy.conf"],
    r"x\*.conf": ["x*.conf"],
    r"x\**.conf": ["x*.conf"],
    r"?\*.conf": ["x*.conf"],
    r"x\y.conf": ["xy.conf"],
    r"x\\y.conf": ["x\\y.conf"],
    r"x\\*.conf": ["x\\y.conf"],
    r"\[x].conf": ["[x].conf"],
    r"\[x\].c*": ["[x].conf"],
    "[x].conf": ["x.conf"],
    r"[\x].conf": ["x.conf"],
    r"[b\]].conf": ["b.conf"],
    "[]b].conf": ["b.conf"],
    "[]]": ["]"],
    "[a-c].conf": ["b.conf"],
    "[c-a].conf": [],
    "[!c-a].conf": ["b.conf", "x.conf"],
    "[!b].conf": ["x.conf"],
    "[^b]": ["^"],
    "[[:alpha:]].conf": ["b.conf", "x.conf"],
    "[[:digit:]]": ["5"],
    "[![:digit:]]": ["]", "^"],
    "[[:punct:]]": ["]", "^"],
    "[x.conf": ["[x.conf"],
    r"[\]": [r"[]"],
    r"z\?.conf": ["z?.conf"],
    r"z\?*": ["z?.conf"],
    "*h.conf": [],
    ".*.conf": [".h.conf"],
    r"\.*.conf": [".h.conf"],
    "{b,x}.conf": ["{b,x}.conf"],
    "x *": ["x y.conf"],
    "x\\": ["x\\"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern(pattern: str) -> None:
    found = expand(f"/a/{pattern}", lambda folder: NAMES if folder == "/a" else [])
    assert found == [f"/a/{name}" for name in PATTERNS[pattern]]


def test_each_part_is_a_pattern() -> None:
    tree = {"/": ["a1", "a2", "b"], "/a1": ["x"], "/a2": ["x", "y"], "/b": ["x"]}
    assert expand("/a?/[xy]", lambda folder: tree.get(folder, [])) == ["/a1/x", "/a2/x", "/a2/y"]
    assert expand(r"/\a1//x", lambda folder: tree.get(folder, [])) == ["/a1/x"]


@pytest.mark.spawns
@pytest.mark.namespaces
@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server")
@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if " " not in pattern and pattern != "x\\"])
def test_sshd_finds_the_same(tmp_path: Path, pattern: str) -> None:
    """Each file sets another value, and sshd takes the first. A backslash in its configuration is doubled."""
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    folder = tmp_path / "a"
    folder.mkdir()
    for number, name in enumerate(NAMES, 1):
        (folder / name).write_text(f"ClientAliveInterval {number}\n")
    doubled = pattern.replace("\\", "\\\\")
    (tmp_path / "config").write_text(f"Include {folder}/{doubled}\n")
    script = (
        "mount -t tmpfs t /run && mkdir /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /run/key && "
        'exec /usr/sbin/sshd -T -h /run/key -f "$1"'
    )
    words = ["unshare", "--mount", "--fork", "sh", "-c", script, "sh", str(tmp_path / "config")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (value,) = [line.split()[1] for line in done.stdout.split("\n") if line.startswith("clientaliveinterval ")]
    there = [name for name in PATTERNS[pattern] if name in NAMES]
    assert int(value) == (NAMES.index(there[0]) + 1 if there else 0)
