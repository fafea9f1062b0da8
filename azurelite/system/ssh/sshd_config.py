"""sshd's configuration as sshd reads it: words, Include, Match, and that the first value wins.

It parses the files itself: `sshd -T` needs host keys and root, and cannot read a foreign root. It knows which lines
apply to a user, and reports lines that depend on the connection (an address, …), which it cannot evaluate.
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

# OpenSSH's compiled-in paths, the administrator's first. SUSE has the vendor's below /usr/etc.
MAIN_FILES = ("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config", "/usr/local/etc/ssh/sshd_config")
BLOCK = Block("# azurelite: begin (sshd takes the first value that it meets)", "# azurelite: end", first=True)
_DEPTH = 16  # sshd's own limit on Include in Include
_MOST_FILES = 1000  # included files; files that include themselves twice would never end
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "rsaminsize": "requiredrsasize",
}
_ORIGINS = ("host", "address", "localaddress")  # criteria of Match about the connection
DEFAULTS = {"passwordauthentication": "yes", "kbdinteractiveauthentication": "yes", "pubkeyauthentication": "yes"}


class Setting(Record):
    """One line.

    Attributes:
        keyword: in lower case, old names replaced by current ones.
        values: its words, without quotes.
        place: "FILE line N", for messages.
        matches: the words of each Match block around this line, the outermost first; () applies to all users.
    """

    keyword: str
    values: tuple[str, ...]
    place: str
    matches: tuple[tuple[str, ...], ...] = ()


class SshdConfig(Record):
    """All lines, in the order in which sshd reads them.

    Attributes:
        path: guest path of the main file.
        settings: the lines, with those of included files where they are included.
    """

    path: str
    settings: tuple[Setting, ...]

    def first(self, keyword: str) -> Optional[Setting]:
        """The line that applies to all users that no Match names."""
        return next((s for s in self.settings if s.keyword == keyword and not s.matches), None)

    def value(self, keyword: str) -> str:
        """The first word of the line outside Match blocks, in lower case; else sshd's default, or ""."""
        found = self.first(keyword)
        return found.values[0].lower() if found is not None and found.values else DEFAULTS.get(keyword, "")

    def says(self, keyword: str, values: tuple[str, ...]) -> bool:
        """Whether these are the values outside Match blocks, set by a line or by sshd's default."""
        found = self.first(keyword)
        there = found.values if found is not None else (DEFAULTS.get(keyword, ""),)
        return there == values or (keyword in DEFAULTS and [v.lower() for v in there] == [v.lower() for v in values])

    def matched(self, keyword: str) -> tuple[Setting, ...]:
        """The lines inside Match blocks."""
        return tuple(s for s in self.settings if s.keyword == keyword and s.matches)

    def for_user(self, keyword: str, name: str, groups: frozenset[str]) -> Optional[Setting]:
        """The line that applies to a user from any address: a Match for the user beats lines outside Match blocks."""
        for setting in self.matched(keyword):
            if all(holds(words, name, groups) for words in setting.matches):
                return setting
        return self.first(keyword)

    def possible(self, keyword: str, name: str, groups: frozenset[str]) -> tuple[Optional[Setting], ...]:
        """The lines of which one applies to a user, depending on the connection. None stands for sshd's default."""
        found: list[Optional[Setting]] = []
        for setting in self.matched(keyword):
            held = [holds(words, name, groups) for words in setting.matches]
            if False not in held:
                found.append(setting)
                if None not in held:
                    return tuple(found)
        return (*found, self.first(keyword))

    def listed(
        self, keyword: str, name: str, groups: frozenset[str]
    ) -> tuple[tuple[Setting, ...], tuple[Setting, ...]]:
        """The lines of a keyword whose lines add up, as AllowUsers: those that apply, and those that may.

        Lines in Match blocks for the user replace all lines outside of them.
        """
        certain: list[Setting] = []
        perhaps: list[Setting] = []
        for setting in self.matched(keyword):
            held = [holds(words, name, groups) for words in setting.matches]
            if False not in held:
                (perhaps if None in held else certain).append(setting)
        outside = [s for s in self.settings if s.keyword == keyword and not s.matches]
        return tuple(certain or outside), tuple(perhaps)

    def depends_on_caller(self, keyword: str, name: str, groups: frozenset[str]) -> tuple[Setting, ...]:
        """The lines that apply to a user depending on the connection (its address, …)."""
        answers = ((s, [holds(words, name, groups) for words in s.matches]) for s in self.matched(keyword))
        return tuple(s for s, held in answers if False not in held and None in held)


def read_config(
    files: Files, overlay: Optional[Mapping[str, str]] = None, *, path: Optional[str] = None
) -> Optional[SshdConfig]:
    """The configuration of the guest's sshd, or None if there is none.

    Args:
        files: the guest's files.
        overlay: guest path -> text that replaces the file's.
        path: the main file, as sshd's option `-f` names it; None: sshd's own.

    Raises:
        FileError: a file cannot be read.
    """
    overlay = overlay or {}
    for main in MAIN_FILES if path is None else (path,):
        text = _text(files, main, overlay)
        if text is not None:
            # Include looks for a relative path in the folder that sshd was built for, not in that of its main file.
            folder = "/usr/local/etc/ssh" if main == MAIN_FILES[-1] else "/etc/ssh"
            return SshdConfig(main, tuple(_Reader(files, overlay, folder).settings(main, text, (), 0)))
    return None


def _text(files: Files, path: str, overlay: Mapping[str, str]) -> Optional[str]:
    return overlay[path] if path in overlay else files.text(path)


class _Reader:
    """Follows Include. A Match block ends with its file; a Match around an Include covers the whole included file."""

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
    """A keyword in lower case, by its current name."""
    return _ALIASES.get(word.lower(), word.lower())


def line_words(line: str) -> list[str]:
    """The words of a line as sshd splits it: quotes, `=` after the keyword, a comment at its end, CR LF."""
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
    """Whether the words of a Match apply to a user; None if that depends on more than the user."""
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
            held = True if patterns == "*" and criterion in _ORIGINS else None
        if held is False:
            return False
        answer = answer if held else None
    return answer


def matches_list(text: str, patterns: str) -> bool:
    """OpenSSH's pattern list: words separated by commas, with `*` and `?`; `!` before a word negates it."""
    return _verdict(text, patterns) is True


def _verdict(text: str, patterns: str) -> Optional[bool]:
    found: Optional[bool] = None
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        if matches_pattern(text, pattern[negated:]):
            if negated:
                return False
            found = True
    return found


def matches_pattern(text: str, pattern: str) -> bool:
    """OpenSSH's pattern: a text with `*` and `?`."""
    stars = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(stars, text) is not None


_TIMEOUT = 20.0  # seconds
_SHOWN = 300  # characters


def complaint(system: System, path: str, candidate: str, present: str) -> Optional[str]:
    """sshd's error about a new configuration that it does not report about the current one, or None.

    sshd also fails if its host keys or its run-time folder do not exist yet, as on a first boot. That is not an error
    of the new text: the current text gives the same message.

    Args:
        system: the machine.
        path: guest path of the file, for the message.
        candidate: the new text of the main file.
        present: its current text.

    Raises:
        FileError: no space for a temporary file.
    """
    if not system.root.is_host or system.commands.find("sshd") is None:
        return None
    with scratch_folder() as folder:
        words = _refusal(system, path, candidate, folder)
        if words is None or words == _refusal(system, path, present, folder):
            return None
    return words[-_SHOWN:]


def _refusal(system: System, path: str, text: str, folder: str) -> Optional[str]:
    """sshd's error message about the text, without line numbers, or None if it accepts the text."""
    name = os.path.join(folder, "sshd_config")
    put_private(name, text.encode(errors="surrogateescape"))
    try:
        system.commands.run(["sshd", "-t", "-f", name], timeout=_TIMEOUT)
    except CommandError as error:
        return re.sub(r"line \d+", "line", error.message.replace(name, path))
    return None
