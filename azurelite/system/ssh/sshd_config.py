"""sshd's configuration as sshd reads it: words, Include, Match, and that the first value wins.

It reads the files itself, for `sshd -T` is a process that wants host keys and root, and says nothing of a foreign
root. It knows which lines hold for one user; what depends on the address of a caller it cannot know, and says so.
"""

from __future__ import annotations

import os
import re
from typing import Iterator, Mapping, Optional

from azurelite.errors import CommandError
from azurelite.record import Record
from azurelite.system.blocks import Block
from azurelite.system.files import Files
from azurelite.system.globs import expand
from azurelite.system.machine import System
from azurelite.system.scratch import put_private, scratch_folder

# Where OpenSSH is built to look, the administrator's place first. SUSE has the vendor's below /usr/etc.
MAIN_FILES = ("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config", "/usr/local/etc/ssh/sshd_config")
BLOCK = Block("# azurelite: begin (sshd takes the first value that it meets)", "# azurelite: end", first=True)
_DEPTH = 16  # sshd's own limit on Include in Include
_MOST_FILES = 1000  # that are included; files which include themselves twice would be read without end
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "authorizedkeysfile2": "authorizedkeysfile",
}
DEFAULTS = {"passwordauthentication": "yes", "kbdinteractiveauthentication": "yes", "pubkeyauthentication": "yes"}


class Setting(Record):
    """One line.

    Attributes:
        keyword: in small letters, old names replaced by today's.
        values: its words, without quotes.
        place: "FILE line N", for people.
        matches: the words of each Match that must hold for this line, the outermost first; () is everybody.
    """

    keyword: str
    values: tuple[str, ...]
    place: str
    matches: tuple[tuple[str, ...], ...] = ()


class SshdConfig(Record):
    """All lines, in the order in which sshd reads them.

    Attributes:
        path: guest path of the main file.
        settings: the lines, those of included files in their place.
    """

    path: str
    settings: tuple[Setting, ...]

    def first(self, keyword: str) -> Optional[Setting]:
        """The line that decides for everybody whom no Match names."""
        return next((s for s in self.settings if s.keyword == keyword and not s.matches), None)

    def value(self, keyword: str) -> str:
        """The first word of what decides for everybody, in small letters; sshd's own default, or ""."""
        found = self.first(keyword)
        return found.values[0].lower() if found is not None and found.values else DEFAULTS.get(keyword, "")

    def says(self, keyword: str, values: tuple[str, ...]) -> bool:
        """These words decide for everybody whom no Match names, by a line or by sshd's own default."""
        found = self.first(keyword)
        there = found.values if found is not None else (DEFAULTS.get(keyword, ""),)
        return there == values or (keyword in DEFAULTS and [v.lower() for v in there] == [v.lower() for v in values])

    def matched(self, keyword: str) -> tuple[Setting, ...]:
        """The lines inside Match blocks."""
        return tuple(s for s in self.settings if s.keyword == keyword and s.matches)

    def for_user(self, keyword: str, name: str, groups: frozenset[str]) -> Optional[Setting]:
        """The line that decides for a user, wherever he calls from: a Match that names him beats everything else."""
        for setting in self.matched(keyword):
            if all(holds(words, name, groups) for words in setting.matches):
                return setting
        return self.first(keyword)

    def depends_on_caller(self, keyword: str, name: str, groups: frozenset[str]) -> tuple[Setting, ...]:
        """The lines that may hold for a user, by something about the connection (its address, …)."""
        answers = ((s, [holds(words, name, groups) for words in s.matches]) for s in self.matched(keyword))
        return tuple(s for s, held in answers if False not in held and None in held)


def read_config(files: Files, overlay: Optional[Mapping[str, str]] = None) -> Optional[SshdConfig]:
    """The configuration of the guest's sshd, None where it has none.

    Args:
        files: the guest's files.
        overlay: guest path -> text of files as they would be, in place of what is there.

    Raises:
        FileError: a file cannot be read.
    """
    overlay = overlay or {}
    for path in MAIN_FILES:
        text = _text(files, path, overlay)
        if text is not None:
            reader = _Reader(files, overlay, "/etc/ssh" if path.startswith("/usr/etc/") else path.rpartition("/")[0])
            return SshdConfig(path, tuple(reader.settings(path, text, (), 0)))
    return None


def _text(files: Files, path: str, overlay: Mapping[str, str]) -> Optional[str]:
    return overlay[path] if path in overlay else files.text(path)


class _Reader:
    """Follows Include. A Match ends with the file that it stands in, and one around an Include covers all of that."""

    def __init__(self, files: Files, overlay: Mapping[str, str], folder: str) -> None:
        self.files, self.overlay, self.folder = files, overlay, folder
        self.left = _MOST_FILES

    def settings(self, path: str, text: str, around: tuple[tuple[str, ...], ...], depth: int) -> Iterator[Setting]:
        matches = around
        for number, line in enumerate(text.split("\n"), 1):
            words = line_words(line)
            if not words:
                continue
            keyword = words[0].lower()
            setting = Setting(keyword_of(keyword), tuple(words[1:]), f"{path} line {number}", matches)
            if keyword == "match":
                matches = (*around, setting.values)
            elif keyword == "include":
                yield setting
                for included in self.included(setting):
                    inner = _text(self.files, included, self.overlay)
                    self.left -= 1
                    if inner is not None and depth < _DEPTH and self.left > 0:
                        yield from self.settings(included, inner, matches, depth + 1)
            else:
                yield setting

    def included(self, setting: Setting) -> Iterator[str]:
        """The files that an Include names, in glob's order."""
        for word in setting.values:
            paths = expand(word if word.startswith("/") else f"{self.folder}/{word}", self.names)
            yield from (path for path in paths if not self.files.is_dir(path))

    def names(self, folder: str) -> set[str]:
        over = {path.rpartition("/")[2] for path in self.overlay if (path.rpartition("/")[0] or "/") == folder}
        return {*self.files.names(folder)} | over


def keyword_of(word: str) -> str:
    """A keyword in small letters, by today's name."""
    return _ALIASES.get(word.lower(), word.lower())


def line_words(line: str) -> list[str]:
    """The words of a line as sshd splits it: quotes, `=` behind the keyword, a comment at its end, CR LF."""
    line = line.strip(" \t\r\n\f")
    found = re.match(r'("?)([A-Za-z0-9]+)\1(?:[ \t]*=[ \t]*|[ \t]+|$|(?="))', line)
    if not found:
        return []
    return [found[2], *_arguments(line[found.end() :])]


def _arguments(text: str) -> list[str]:
    """OpenSSH's argv_split: a `#` at the start of a word ends the line; quotes of either kind group."""
    words: list[str] = []
    word: Optional[str] = None
    quote = ""
    at = 0
    while at < len(text):
        letter, after = text[at], text[at + 1 : at + 2]
        at += 1
        if word is None and letter == "#":
            break
        if letter == "\\" and after and (after in "\"'\\" or (after == " " and not quote)):
            word, at = (word or "") + after, at + 1
        elif quote:
            quote, word = ("", word) if letter == quote else (quote, (word or "") + letter)
        elif letter in "\"'":
            quote, word = letter, word or ""
        elif letter in " \t":
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
    return words if word is None else [*words, word]


def holds(words: tuple[str, ...], name: str, groups: frozenset[str]) -> Optional[bool]:
    """Whether the words of a Match hold for a user; None where that hangs on more than who he is."""
    answer: Optional[bool] = True
    pending = [part for word in words for part in word.split("=", 1)]
    while pending:
        criterion = pending.pop(0).lower()
        if criterion == "all":
            continue
        patterns = pending.pop(0) if pending else ""
        if criterion == "user":
            held: Optional[bool] = matches_list(name, patterns)
        elif criterion == "group":
            verdicts = [_verdict(group, patterns) for group in groups]
            held = True in verdicts and False not in verdicts
        elif criterion == "invalid-user":
            pending.insert(0, patterns)
            held = False
        else:
            held = None
        if held is False:
            return False
        answer = answer if held else None
    return answer


def matches_list(text: str, patterns: str) -> bool:
    """OpenSSH's pattern list: words between commas, `*` and `?`, and a `!` before one that must not hold."""
    return _verdict(text, patterns) is True


def _verdict(text: str, patterns: str) -> Optional[bool]:
    found: Optional[bool] = None
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        if re.fullmatch(_stars(pattern[negated:]), text):
            if negated:
                return False
            found = True
    return found


def _stars(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)


_TIMEOUT = 20.0  # seconds
_SHOWN = 300  # characters


def complaint(system: System, path: str, candidate: str, present: str) -> Optional[str]:
    """What sshd has against a configuration file that it has not against the present one, or None.

    sshd also refuses where its host keys or its run-time folder are not there yet, as on a first boot. That is no
    fault of the text: it says so of the present one as well.

    Args:
        system: the machine.
        path: guest path of the file, for the answer.
        candidate: the text of the main file as it would be.
        present: its text as it is.

    Raises:
        FileError: no room for a temporary file.
    """
    if not system.root.is_host or system.commands.find("sshd") is None:
        return None
    with scratch_folder() as folder:
        words = _refusal(system, path, candidate, folder)
        if words is None or words == _refusal(system, path, present, folder):
            return None
    return words[-_SHOWN:]


def _refusal(system: System, path: str, text: str, folder: str) -> Optional[str]:
    """sshd's words against the text, with no line numbers, or None where it is content."""
    name = os.path.join(folder, "sshd_config")
    put_private(name, text.encode(errors="surrogateescape"))
    try:
        system.commands.run(["sshd", "-t", "-f", name], timeout=_TIMEOUT)
    except CommandError as error:
        return re.sub(r"line \d+", "line", error.message.replace(name, path))
    return None
