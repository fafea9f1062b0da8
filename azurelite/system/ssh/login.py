"""Whether a person can log in over SSH with given keys or a password, as sshd decides it.

azurelite reads sshd's configuration and the files itself. Only where it finds that sshd refuses the login, the running
sshd is asked for its settings (`sshd -T`). The answer is "refused" only if that is certain: a VM that is reported as
not ready is lost for its owner.
"""

from __future__ import annotations

import re
from typing import Callable, Collection, Iterator, Literal, Mapping, Optional, Sequence

from azurelite.errors import CommandError, FileError
from azurelite.keys.openssh import PublicKey
from azurelite.record import Record, replace
from azurelite.system.accounts.users import User
from azurelite.system.machine import System
from azurelite.system.ssh.access import (
    Obstacle,
    Person,
    account_obstacles,
    ageing_note,
    first_word,
    groups_by_system,
    has_other_groups,
    pam_account_modules,
    quoted,
    uses_pam,
)
from azurelite.system.ssh.arguments import PROGRAMS, read_arguments
from azurelite.system.ssh.keyaccess import OPTIONS, key_obstacles
from azurelite.system.ssh.sshd_config import Setting, SshdConfig, keyword_of, line_words, read_config

State = Literal["fine", "doubt", "refused"]
Ways = Mapping[str, Sequence[Obstacle]]

_SERVERS = ("dropbear", "tinysshd", "/usr/lib/tinyssh/tinysshd", "lshd", "sshesame")
METHODS = "authenticationmethods"
_BY_PASSWORD = ("password", "keyboard-interactive")
_FILES = ("authorizedkeysfile", "strictmodes", "")
_LOCAL = "/usr/local/etc/ssh/sshd_config"  # of a sshd that somebody compiled
_ACCESS = "/etc/security/access.d"  # beside access.conf
_TIMEOUT = 20.0  # seconds
_ADDRESS = "192.0.2.1"  # for documentation (RFC 5737): no Match names it


class Verdict(Record):
    """The answer.

    Attributes:
        state: "fine": the login works as far as azurelite can see; "refused": it certainly does not; "doubt".
        reason: why it is refused or in doubt, with the remedy; "" if it is fine.
        notes: what a person should know although the login works or may work.
    """

    state: State
    reason: str = ""
    notes: tuple[str, ...] = ()


def can_log_in(
    system: System,
    user: User,
    *,
    keys: Collection[PublicKey] = (),
    password: Optional[Callable[[], bool]] = None,
    installed: bool = True,
    starting: bool = False,
) -> Verdict:
    """Whether the account can log in over SSH with one of the keys, or with the password.

    Args:
        system: the machine.
        user: the account.
        keys: the keys that should work.
        password: whether the account has the password that should work; None: there is none. Called only if needed.
        installed: whether the keys should be in the files already.
        starting: also ask sshd whether it starts with its configuration.
    """
    try:
        config = read_config(system.files)
        unknown = _unknown_server(system, config)
        if unknown is not None or config is None:
            return Verdict("doubt", unknown or "", (unknown or "",))
        trouble = _start_trouble(system, config) if starting and system.live else None
        if trouble is not None and trouble.certain:
            return Verdict("refused", trouble.text)
        person = Person(system, user, frozenset(system.accounts.groups_of(user.name)), config)
        verdict = judge(person, keys, password, installed=installed)
        if verdict.state == "refused":
            verdict = _confirmed(person, verdict, lambda one: judge(one, keys, password, installed=installed))
        elif verdict.state == "fine":
            for given in _other_configs(person):
                other = judge(replace(person, config=given), keys, password, installed=installed)
                if other.state != "fine":
                    text = f"{other.reason} (if sshd is started with these arguments)"
                    verdict = Verdict("doubt", text, (*verdict.notes, text))
        if trouble is not None:
            verdict = replace(verdict, notes=(*verdict.notes, trouble.text))
            verdict = replace(verdict, state="doubt", reason=trouble.text) if verdict.state == "fine" else verdict
        return replace(verdict, notes=(*verdict.notes, *_circumstances(person)))
    except FileError as error:
        text = f"the login of {user.name} cannot be checked: {error.message}"
        return Verdict("doubt", text, (text,))


def _start_trouble(system: System, config: SshdConfig) -> Optional[Obstacle]:
    from azurelite.system.ssh.starting import start_obstacle, ways_to_start

    return start_obstacle(system, ways_to_start(system, config))


def key_refusal(system: System, user: User, config: SshdConfig) -> Optional[str]:
    """Why the account cannot log in with a key alone; None if it can or may. "" if no file has a usable key.

    Args:
        system: the machine.
        user: the account.
        config: sshd's configuration, which need not be in force yet.
    """
    person = Person(system, user, frozenset(system.accounts.groups_of(user.name)), config)
    try:
        by_key = key_obstacles(person)
        account = [one for one in account_obstacles(person) if one.certain]
        methods = _of_all(
            [_by_methods(line, {"publickey": by_key}, has_keys=True) for line in person.possible(METHODS)]
        )
    except FileError:
        return ""
    if any(one.keyword == OPTIONS for one in by_key):
        return ""  # a key that works at times or for one command is not enough for that
    certain = [one for one in (*account, *methods) if one.certain]
    if not certain:
        return None
    return "" if certain[0] in by_key and certain[0].keyword in _FILES else certain[0].text


def judge(
    person: Person, keys: Collection[PublicKey], password: Optional[Callable[[], bool]], *, installed: bool = True
) -> Verdict:
    """The answer by this configuration. Raises FileError."""
    account = list(account_obstacles(person))
    by_key = key_obstacles(person, keys, installed=installed) if keys else [Obstacle("there is no SSH key")]
    ways: dict[str, Sequence[Obstacle]] = {"publickey": by_key}
    methods = person.possible(METHODS)
    simple = all(first_word(line) in ("", "any", "publickey") for line in methods)
    if by_key or not simple:
        ways.update(_password_ways(person, password))
    answers = [_by_methods(line, ways, has_keys=bool(keys)) for line in methods]
    best = _of_all(answers)
    found = [*account, *best]
    texts = [one.text for one in sorted(found, key=lambda one: not one.certain)]
    state = _state(found)
    unusable = [one.text for one in by_key] if keys and state != "refused" else []
    notes = (*(() if state == "refused" else texts), *unusable)
    reason = f"sshd rejects {person.user.name}: {texts[0]}" if texts and state == "refused" else "".join(texts[:1])
    return Verdict(state, reason, tuple(dict.fromkeys(notes)))


def _state(obstacles: Sequence[Obstacle]) -> State:
    if not obstacles:
        return "fine"
    return "refused" if any(one.certain for one in obstacles) else "doubt"


def _of_all(answers: Sequence[Sequence[Obstacle]]) -> Sequence[Obstacle]:
    """The answer where it depends on the connection which one holds: refused only if all are."""
    worst = max(answers, key=_weight)
    if all(_state(one) == "refused" for one in answers):
        return answers[0]
    return [replace(one, certain=False) for one in worst]


def _password_ways(person: Person, password: Optional[Callable[[], bool]]) -> Ways:
    lacking = password is None or not password()
    nothing = [Obstacle("no password works for the account")] if lacking else []
    plain = person.turned_off("passwordauthentication")
    asked = person.turned_off("kbdinteractiveauthentication")
    pam = uses_pam(person)
    by_pam = [] if pam is True else [Obstacle("sshd does not use PAM, so it asks no questions", pam is False, "usepam")]
    return {
        "password": nothing + ([plain] if plain is not None else []),
        "keyboard-interactive": nothing + ([asked] if asked is not None else []) + by_pam,
        # PAM may ask for something else than the password.
        "questions": ([asked] if asked is not None else [])
        + (by_pam or [Obstacle("PAM may ask for more than Azure's password", certain=False)]),
    }


def _by_methods(line: Optional[Setting], ways: Ways, *, has_keys: bool) -> Sequence[Obstacle]:
    """The obstacles of the easiest combination of methods that a line AuthenticationMethods accepts."""
    if line is None or first_word(line) in ("", "any"):
        names = [name for name in ("publickey", "password", "keyboard-interactive") if name in ways]
        # The reason is about the key if there is one.
        names = names if has_keys else names[1:]
        return min([ways[name] for name in names], key=_weight, default=[])
    combinations = [_together(methods, ways) for methods in line.values]
    best = min(combinations, key=_weight)
    return [Obstacle(f"{quoted(line)}, and {one.text}", one.certain, one.keyword) for one in best]


def _together(methods: str, ways: Ways) -> Sequence[Obstacle]:
    """The obstacles of several methods that are all required."""
    found: list[Obstacle] = []
    names = [name.split(":")[0].lower() for name in methods.split(",")]
    for name in names:
        if name not in ways and name in _BY_PASSWORD:
            found.append(Obstacle("a key alone is not enough: remove the other methods"))
        elif name in ("publickey", "password"):
            found += ways[name]
        elif name == "keyboard-interactive":
            found += ways[name] if _state(ways[name]) == "fine" else ways["questions"]
        else:
            found.append(Obstacle(f"the method {name} cannot be checked", certain=False))
    if names.count("publickey") > 1:
        found.append(Obstacle("it requires two different keys", certain=False))
    return found


def _weight(obstacles: Sequence[Obstacle]) -> int:
    return ("fine", "doubt", "refused").index(_state(obstacles))


def _unknown_server(system: System, config: Optional[SshdConfig]) -> Optional[str]:
    """Why nothing can be said about the SSH server; None if it is OpenSSH's with a configuration."""
    other = next((name for name in _SERVERS if system.installed(name)), None)
    if other is not None:
        return f"another SSH server is installed, whose settings are unknown: check the login by {other}"
    if not system.installed(*PROGRAMS):
        return "no OpenSSH server was found: check the login by SSH"
    if config is None:
        return "sshd has no configuration file: check the login by SSH"
    if config.path != _LOCAL and system.files.exists(_LOCAL):
        return f"sshd may read {config.path} or {_LOCAL}: check the login by SSH"
    return None


def _confirmed(person: Person, refused: Verdict, judged: Callable[[Person], Verdict]) -> Verdict:
    """The refusal, or a doubt if another source of the truth contradicts it."""
    system = person.system
    configs = [read_arguments(system.files).without_overridden(person.config), *_other_configs(person)]
    if any(judged(replace(person, config=config)).state != "refused" for config in configs):
        return _doubtful(refused, "sshd is started with arguments that override it")
    if system.live:
        known = replace(person, groups=person.groups | groups_by_system(person.user))
        for path, config in {config.path: config for config in reversed(configs)}.items():
            told = _ask_sshd(system, person.user.name, path if path != person.config.path else None)
            if judged(replace(known, config=told or config)).state != "refused":
                return _doubtful(refused, "`sshd -T` does not confirm it" if told else "the system knows more groups")
    elif has_other_groups(system.files) and _depends_on_groups(person.config):
        return _doubtful(refused, "groups may come from another source than /etc/group")
    return refused


def _doubtful(refused: Verdict, why: str) -> Verdict:
    return Verdict("doubt", f"{refused.reason} (but {why})", (f"{refused.reason} (but {why})",))


def _depends_on_groups(config: SshdConfig) -> bool:
    words = [word.lower() for s in config.settings for match in s.matches for word in match]
    lists = any(s.keyword in ("allowgroups", "denygroups") for s in config.settings)
    return lists or any(word.startswith("group") for word in words)


def _other_configs(person: Person) -> list[SshdConfig]:
    """The configurations that sshd has if it is started with the arguments that were found. Raises FileError."""
    arguments = read_arguments(person.system.files)
    found = [arguments.before(person.config)] if arguments.settings else []
    for path in arguments.files:
        if path != person.config.path:
            config = read_config(person.system.files, path=path)
            # One that is not there says nothing: it may be made before sshd starts.
            found.append(arguments.before(config if config is not None else SshdConfig(path, ())))
    return found


def _ask_sshd(system: System, name: str, path: Optional[str] = None) -> Optional[SshdConfig]:
    """sshd's settings for a connection of that user; None if it cannot tell, as before host keys exist.

    Args:
        system: the machine.
        name: the user.
        path: a configuration in place of sshd's own.
    """
    words = f"user={name},host={_ADDRESS},addr={_ADDRESS},laddr={_ADDRESS},lport=22"
    try:
        given = [] if path is None else ["-f", path]
        text = system.commands.run(["sshd", "-T", *given, "-C", words], timeout=_TIMEOUT)
    except CommandError:
        return None
    lines = [line_words(line) for line in text.split("\n")]
    return SshdConfig(
        "sshd -T", tuple(Setting(keyword_of(words[0]), tuple(words[1:]), "sshd -T") for words in lines if words)
    )


def _pam_rules(person: Person) -> Iterator[str]:
    """Rules of PAM about who may log in, and when. They are not evaluated."""
    files = person.system.files
    if uses_pam(person) is False:
        return
    modules = pam_account_modules(files)
    texts = [files.text("/etc/security/access.conf") or ""]
    texts += [files.text(f"{_ACCESS}/{name}") or "" for name in files.names(_ACCESS) if name.endswith(".conf")]
    if "pam_access" in modules and any(re.search(r"(?m)^\s*[+-]\s*:", text) for text in texts):
        yield "PAM's /etc/security/access.conf has rules: check that they let the account in"
    if "pam_time" in modules and re.search(r"(?m)^\s*[^#\s]", files.text("/etc/security/time.conf") or ""):
        yield "PAM's /etc/security/time.conf has rules: check that they let the account in"
    if "pam_listfile" in modules:
        yield "PAM compares the account with a list (pam_listfile): check that it lets the account in"


def _circumstances(person: Person) -> list[str]:
    """What init systems or PAM may do to a login, and what no setting of sshd shows."""
    files, found = person.system.files, []
    if files.exists("/etc/nologin"):
        found.append("/etc/nologin exists, which keeps everyone but root out: remove it")
    if files.exists("/run/nologin") and not files.exists("/run/systemd/system"):
        found.append("/run/nologin exists, which keeps everyone but root out: check that the init system removes it")
    found += _pam_rules(person)
    ageing = ageing_note(person)
    return found if ageing is None else [*found, ageing]
