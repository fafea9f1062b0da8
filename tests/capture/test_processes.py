"""Whose processes run beside the login that runs azurelite."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from azurelite.capture.processes import processes, users_of


def put(
    proc: Path, pid: int, name: str, *, parent: int, session: int, uid: int, login: int = -1, cgroup: str = ""
) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {session} 0 -1\n")
    (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    (folder / "sessionid").write_text(str(login if login >= 0 else 4294967295))
    (folder / "cgroup").write_text(f"0::{cgroup or '/'}\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """alice over ssh: `sudo azurelite generalize` is process 60."""
    put(tmp_path, 1, "init", parent=0, session=1, uid=0)
    put(tmp_path, 20, "sshd", parent=1, session=20, uid=0)
    put(tmp_path, 30, "sshd", parent=20, session=30, uid=0, login=7)
    put(tmp_path, 31, "sshd) (x", parent=30, session=30, uid=1000, login=7)
    put(tmp_path, 40, "bash", parent=31, session=40, uid=1000, login=7)
    put(tmp_path, 50, "sudo", parent=40, session=40, uid=0, login=7)
    put(tmp_path, 60, "azurelite", parent=50, session=60, uid=0, login=7)
    (tmp_path / "self").mkdir()
    (tmp_path / "99").mkdir()  # it has just ended
    return tmp_path


@pytest.mark.parametrize(
    ("more", "busy"),
    [
        (None, None),
        ({"name": "tee", "parent": 40, "session": 40, "uid": 1000}, None),
        ({"name": "tmux", "parent": 1, "session": 70, "uid": 1000, "login": 7}, None),
        ({"name": "systemd", "parent": 1, "session": 70, "uid": 1000, "cgroup": "/user@1000.service/init.scope"}, None),
        ({"name": "sshd", "parent": 20, "session": 70, "uid": 1000, "login": 8}, 1000),
        ({"name": "nohup", "parent": 1, "session": 70, "uid": 1000}, 1000),
        ({"name": "web", "parent": 1, "session": 70, "uid": 1800}, 1800),
        ({"name": "systemd", "parent": 1, "session": 70, "uid": 1800, "cgroup": "/user@1800.service/init.scope"}, 1800),
    ],
)
def test_processes_outside_the_login_forbid(proc: Path, more: Optional[dict[str, object]], busy: Optional[int]) -> None:
    if more is not None:
        put(proc, 70, **more)  # type: ignore[arg-type]
    mine, others = users_of(processes(str(proc)), 60)
    assert mine == {1000}
    assert list(others) == ([] if busy is None else [busy])
    assert busy is None or f"process 70 ({(more or {})['name']}) runs as it" in others[busy]


def test_a_login_without_the_audit_system(proc: Path) -> None:
    for folder in proc.iterdir():
        (folder / "sessionid").unlink(missing_ok=True)
    assert users_of(processes(str(proc)), 60) == ({1000}, {})
