"""The shell blocks of the documentation, and a scratch machine on a simulated Azure that runs them.

A block runs as it is written, on a guest that all blocks of its page share. Two things differ from a real machine: the
verbs of azurelite get `--root` of that guest, and every absolute path is below it. Only the programs in TOOLS exist.

A comment in the line before a block changes that: `<!-- not run: REASON -->`, or `<!-- exit code: 4 -->` for a block
whose last command does not end with 0.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from generator.verbs import commands

from azurelite.simulator import Simulator, make_guest

CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "HACKING.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
PAGES += sorted((CHECKOUT / "contrib").glob("*/README.md"))
TOOLS = ["cat", "chmod", "cp", "diff", "grep", "head", "install", "ls", "mkdir", "mv", "rm", "sed", "sh", "sleep"]
TOOLS += ["tail", "tee", "touch", "tr"]
_BUILT_IN = {"[", ":", "cd", "echo", "exec", "exit", "export", "false", "for", "kill", "printf", "set", "test"}
_BUILT_IN |= {"true", "wait"}
_GRAMMAR = {"if", "then", "elif", "else", "while", "until", "do", "!", "{", "(", "sudo", "time"}
_ENDS = {"fi", "done", "}", ")"}
# Why a block that calls one of these is not run as a whole; one that calls none of them must run.
_REASONS = {
    "is itself a run of the tests": "tox pytest",
    "is run by tests/packaging": "contrib/packaging/build.sh",
    "installs from elsewhere; tests/fresh and tests/live/test_example_handler.py do": "pip pip3 git python python3 ln",
    "stands for a program of the reader's": "my-setup",
    "packages of a distribution": "apk apt apt-get dnf dpkg pacman rpm xbps-install zypper",
    "changes how a system boots": "dracut update-initramfs mkinitfs update-grub grub2-mkconfig",
    "needs a running init system": "systemctl rc-update rc-service sv initctl journalctl reboot poweroff",
    "needs Azure, or another machine": "az ssh scp curl wget",
    "works on disks": "qemu-img mount umount losetup chroot truncate dd",
    "changes the machine": "useradd userdel passwd groupadd waagent cloud-init",
}
ELSEWHERE = {program: reason for reason, programs in _REASONS.items() for program in programs.split()}
WORDS = {"NAME": "hostname", "DIR": "guest", "FILE": "saved.json", "KEY": "username"}
_BLOCK = (
    r"(?: *<!-- (?:not run: (?P<reason>.+?)|exit code: (?P<code>\d+)) -->\n)?"
    r"^(?P<indent> *)```(?:sh|bash)\n(?P<text>.*?)^ *```$"
)
_SHIM = """\
import os, sys
words, guest, placed = sys.argv[1:], {guest!r}, {placed!r}
for number, word in enumerate(words):
    if word == "--root":
        words[number + 1] = guest
    elif word.startswith("--root="):
        words[number] = "--root=" + guest
    elif word == "--program":
        words[number + 1] = words[number + 1].replace(guest, "", 1)
plain = [word for word in words if not word.startswith("-")]
if "--root" not in words and any(plain[: len(verb)] == verb for verb in placed):
    words += ["--root", guest]
os.execv(sys.executable, [sys.executable, "-m", "azurelite", *words])
"""


class Block(NamedTuple):
    """A shell block.

    Attributes:
        page: the file.
        line: the number of its first line.
        text: the commands.
        reason: why it is not run, from the comment `not run: REASON` before it; None: it is to run.
        code: the exit code that is expected.
    """

    page: Path
    line: int
    text: str
    reason: Optional[str]
    code: int


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in order. A file that is shown (`#!`) is no command."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(_BLOCK, text, re.MULTILINE | re.DOTALL):
        lines = [line[len(match["indent"]) :] for line in match["text"].splitlines()]
        if not lines[0].startswith("#!"):
            line = text.count("\n", 0, match.start("text")) + 1
            found.append(Block(page, line, "\n".join(lines) + "\n", match["reason"], int(match["code"] or 0)))
    return found


def programs_of(text: str) -> list[str]:
    """The programs that a text of commands calls, without what the shell does itself."""
    text = re.sub(r"<<-?\s*['\"]?(\w+)['\"]?(.*?)\n.*?^\t*\1$", r"\2\n", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "quoted", text)
    text = re.sub(r"(^|\s)#.*", r"\1", text)
    text = re.sub(r"\d?>&\d?-?|&>", " ", text)
    found = []
    for command in re.split(r"&&|\|\||[|;&\n]|\$\(", text):
        words = [word for word in command.split() if word not in _GRAMMAR and not re.match(r"\w+=", word)]
        if words and words[0] not in _BUILT_IN | _ENDS:
            found.append(words[0])
    return found


def hindrance(text: str) -> Optional[str]:
    """Why a text is not run here; None: it is."""
    if re.search(r"^azurelite simulate\b(?!.*&$)", text, re.MULTILINE):
        return "azurelite simulate: serves until it is stopped"
    for program in programs_of(text):
        name = program if program in ELSEWHERE else Path(program).name
        if name in ELSEWHERE:
            return f"{program}: {ELSEWHERE[name]}"
    return None


class Machine:
    """The guest of one page, and a folder beside it in which the commands run."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.guest = make_guest(folder / "guest", simulator)
        self._here = folder
        shutil.copytree(CHECKOUT / "contrib", folder / "contrib", symlinks=True)
        programs = folder / "programs"
        programs.mkdir()
        for tool in TOOLS:
            (programs / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        self._program(programs / "sudo", '#!/bin/sh\nexec "$@"\n')
        placed = [list(one.words) for one in commands() if any("--root" in option.names for option in one.options)]
        shim = _SHIM.format(guest=self.guest.root, placed=placed)
        self._program(programs / "azurelite", f"#!{sys.executable} -I\n{shim}")
        self.guest.put({"usr/lib/systemd/systemd": "", "usr/bin/azurelite": "#!/bin/sh\n"})
        for name in ("usr/lib/systemd/systemd", "usr/bin/azurelite"):
            self.guest.path(name).chmod(0o755)
        for name in ("tmp", "etc/cloud", "etc/azurelite/conf.d", "usr/sbin", "var/log"):
            self.guest.path(name).mkdir(parents=True, exist_ok=True)
        metadata = {"local_hostname": "web-1", "username": "alex", "region": "westeurope"}
        (folder / "saved.json").write_text(json.dumps(metadata))
        self._env = {"PATH": str(programs), "HOME": str(folder), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}

    def run(self, text: str) -> tuple[int, str]:
        """Run commands, and end what they left in the background. Returns exit code and what they printed."""
        with (self._here / "printed").open("w+") as printed:
            shell = subprocess.Popen(
                ["/bin/sh", "-euc", self.placed(text)],
                cwd=self._here,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = shell.wait(timeout=120)
            finally:
                _end_group(shell.pid)
                shell.wait()
            printed.seek(0)
            return code, printed.read()

    def placed(self, text: str) -> str:
        """The commands with the reader's words filled in, and with absolute paths below the guest."""
        text = re.sub(rf"\b({'|'.join(WORDS)})\b(?!=)", lambda match: WORDS[match[1]], text)
        return re.sub(r"(?<![\w./:$}*~-])/(?!dev/null\b)(?=\w)", f"{self.guest.root}/", text)

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
