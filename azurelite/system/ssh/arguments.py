"""The arguments that sshd is started with, by systemd's units, scripts of other init systems and files of variables.

They come before sshd's configuration: `-o` sets a value, `-f` names another file. Which of several units is used is not
known here, so what one of them says is possible, not certain.
"""

from __future__ import annotations

import posixpath
import re
from typing import Iterable, Iterator

from azurelite.errors import FileError
from azurelite.record import Record, replace
from azurelite.system.files import Files
from azurelite.system.ssh.sshd_config import Setting, SshdConfig, keyword_of, line_words

PROGRAMS = ("sshd", "/usr/lib/ssh/sshd", "/usr/libexec/sshd", "/usr/lib/openssh/sshd")
# Files with variables that hold arguments, and scripts. The last has those of a crypto policy.
_FILES = (
    "/etc/default/ssh",
    "/etc/default/sshd",
    "/etc/sysconfig/sshd",
    "/etc/sysconfig/ssh",
    "/etc/conf.d/sshd",
    "/etc/init.d/ssh",
    "/etc/init.d/sshd",
    "/etc/sv/sshd/run",
    "/etc/sv/sshd/conf",
    "/etc/crypto-policies/back-ends/opensshserver.config",
)
_UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_UNIT_NAMES = ("ssh", "sshd", "ssh@", "sshd@")
_VALUED = "CEbcfghkopu"  # sshd's options that take a value
_ASSIGNED = r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)"
_PREFIXES = "-@:+!|"  # before the program of ExecStart


class Arguments(Record):
    """All arguments that were found.

    Attributes:
        settings: what `-o` sets, as sshd would read it from a file.
        files: the absolute paths that `-f` names, or a variable such as OpenRC's SSHD_CONFIG.
        programs: the absolute paths of the sshd that is started.
    """

    settings: tuple[Setting, ...] = ()
    files: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def without_overridden(self, config: SshdConfig) -> SshdConfig:
        """The configuration without the settings that arguments override."""
        over = {setting.keyword for setting in self.settings}
        return replace(config, settings=tuple(s for s in config.settings if s.keyword not in over))

    def before(self, config: SshdConfig) -> SshdConfig:
        """The configuration with the settings of the arguments, which come first."""
        return replace(config, settings=(*self.settings, *config.settings))


def read_arguments(files: Files) -> Arguments:
    """The arguments of the guest's sshd. A file that cannot be read has none."""
    lines = list(_unit_lines(files))
    lines += [line for path in _FILES for line in _joined(_text(files, path)) if not line.startswith("#")]
    settings: list[Setting] = []
    paths: list[str] = []
    programs: list[str] = []
    for line in lines:
        assigned = re.match(_ASSIGNED, line)
        if assigned is not None:
            words = _words(assigned[2])
            # systemd takes the whole line as the value, a shell only its first word.
            value = _words(words[0]) if len(words) == 1 else words
            paths += _by_variable(assigned[1], value)
            found = [*_options(value), *_options(_from_sshd(words)[1:])]
        else:
            command = _from_sshd(_words(line))
            programs += command[:1]
            found = list(_options(command[1:]))
        for letter, text in found:
            if letter == "f":
                paths.append(text)
            elif letter == "o":
                given = line_words(text)
                settings += [Setting(keyword_of(given[0]), tuple(given[1:]), "sshd's arguments")] if given else []
    return Arguments(tuple(settings), _absolute(paths), _absolute(programs))


def _absolute(paths: Iterable[str]) -> tuple[str, ...]:
    found = (posixpath.normpath(path) for path in paths if path.startswith("/") and "$" not in path)
    return tuple(dict.fromkeys(found))


def _by_variable(name: str, value: list[str]) -> list[str]:
    """The configuration that a variable of OpenRC's service names."""
    if name == "SSHD_CONFIG":
        return value[:1]
    return [f"{value[0].rstrip('/')}/sshd_config"] if name == "SSHD_CONFDIR" and value else []


def _from_sshd(words: list[str]) -> list[str]:
    """The program sshd and the words after it, which may be one word for a shell; [] if it is not there."""
    for i, word in enumerate(words):
        program = word.lstrip(_PREFIXES)
        if posixpath.basename(program) == "sshd":
            return [program, *words[i + 1 :]]
        if re.search(r"sshd\s", word):
            return _from_sshd(_words(word))
    return []


def _options(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each option that takes a value, with its value, as getopt reads them. A variable of its own is skipped."""
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word == "--" or word.startswith("$"):
            continue
        if not re.match(r"-[A-Za-z0-9]", word):
            return
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _VALUED:
                yield letter, letters or (pending.pop(0) if pending else "")
                letters = ""


def _words(line: str) -> list[str]:
    """The words of a line as a shell and systemd split them; without quotes if these do not match."""
    if not re.search(r"""["'\\]""", line):
        return line.split()
    import shlex

    try:
        return shlex.split(line)
    except ValueError:
        return re.findall(r"""[^\s"']+""", line)


def _quoted(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9@%+=:,./_-]+", text):
        return text
    import shlex

    return shlex.quote(text)


def _joined(text: str) -> list[str]:
    """The lines of a text, with those that end with a backslash continued, without blanks around them."""
    return [line.strip() for line in re.sub(r"\\\n", " ", text).split("\n")]


def _text(files: Files, path: str) -> str:
    try:
        return files.text(path) or ""
    except FileError:  # such as a unit that is masked by a link to /dev/null
        return ""


def _unit_lines(files: Files) -> Iterator[str]:
    """What systemd's units for sshd start, and the variables that they set, each as a line of a script."""
    for name in _UNIT_NAMES:
        started: list[str] = []
        for line in _lines_of_unit(files, name):
            keyword, equals, value = (part.strip() for part in line.partition("="))
            if not equals:
                continue
            if keyword == "ExecStart":
                started = [*started, value] if value else []
            elif keyword == "Environment":
                yield from (f"{word.partition('=')[0]}={_quoted(word.partition('=')[2])}" for word in _words(value))
            elif keyword == "EnvironmentFile" and value.lstrip("-") not in _FILES:
                yield from (one for one in _joined(_text(files, value.lstrip("-"))) if not one.startswith("#"))
        yield from started


def _lines_of_unit(files: Files, name: str) -> Iterator[str]:
    """The lines of a unit and of its drop-ins. A file hides those of the same name in later folders."""
    found = next((path for path in (f"{folder}/{name}.service" for folder in _UNITS) if _is_there(files, path)), None)
    paths = [] if found is None else [found]
    drop_ins: dict[str, str] = {}
    for folder in _UNITS:
        inside = f"{folder}/{name}.service.d"
        for one in _names(files, inside):
            if one.endswith(".conf"):
                drop_ins.setdefault(one, f"{inside}/{one}")
    for path in [*paths, *(drop_ins[one] for one in sorted(drop_ins))]:
        yield from (line for line in _joined(_text(files, path)) if line[:1] not in ("#", ";"))


def _is_there(files: Files, path: str) -> bool:
    try:
        return files.exists(path)
    except FileError:
        return True


def _names(files: Files, folder: str) -> list[str]:
    try:
        return files.names(folder)
    except FileError:
        return []
