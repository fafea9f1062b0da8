"""`sshd`: set whether sshd accepts passwords, as Azure says, and further sshd settings.

sshd uses the first value that it reads. So the settings go into a drop-in if the main file includes drop-ins, else to
the top of the main file, before every Match; nothing is written if the configuration already has the same effect.
sshd itself checks the result before it is written. Passwords are never disabled while the administrator has no key to
log in with.
"""

from __future__ import annotations

import re
from typing import Literal, Mapping, Optional, Union

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import administrator
from azurelite.record import Record, field, replace
from azurelite.system.accounts.users import User
from azurelite.system.ssh.sshd_config import BLOCK, Setting, SshdConfig, keyword_of, line_words, read_config

SUMMARY = "allow or forbid passwords in sshd, as Azure says"
NEEDS: tuple[str, ...] = ()
USES = ("username", "password", "public_ssh_keys", "disable_password_authentication")
FREQUENCY: Frequency = "instance"
REQUIRED = False

_REASON = "failed to update sshd config"
# With PAM, passwords arrive as keyboard-interactive, so both are set together, as Azure's own agent does.
_PASSWORD_KEYWORDS = ("PasswordAuthentication", "KbdInteractiveAuthentication")
_DROPBEAR_FLAGS = ("/etc/default/dropbear", "/etc/conf.d/dropbear", "/etc/sysconfig/dropbear")


class Options(Record):
    """Options of `sshd`.

    Attributes:
        password_authentication: "yes" or "no": permit or forbid passwords; "keep": leave sshd's setting unchanged;
            "auto": as Azure says, or unchanged if Azure says nothing.
        file: the name of the drop-in; sshd reads drop-ins by name, and the first value wins. With
            50-cloud-init.conf, "Reset password" in Azure's portal still works, because its extension changes that file.
        settings: further settings by keyword, for example {PermitRootLogin: "no", ClientAliveInterval: 180}.
    """

    password_authentication: Union[bool, Literal["auto", "yes", "no", "keep"]] = "auto"  # noqa: S105 (a switch)
    file: str = "10-azurelite.conf"
    settings: Mapping[str, Union[bool, int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.conf", self.file):
            raise ValueError("file must be the name of a file that ends in .conf")
        for keyword, value in self.settings.items():
            if not re.fullmatch("[A-Za-z][A-Za-z0-9]*", keyword):
                raise ValueError(f"settings: {keyword!r} is no keyword of sshd: use letters and digits")
            if keyword_of(keyword) in ("match", "include"):
                raise ValueError(f"settings cannot have {keyword}: put it in your own file in sshd_config.d")
            if keyword_of(keyword) in map(str.lower, _PASSWORD_KEYWORDS):
                raise ValueError(f"settings cannot have {keyword}: set the option password_authentication")
            if isinstance(value, str) and (not value.isprintable() or not value.strip()):
                raise ValueError(f"settings.{keyword} must be text on one line")


def apply(ctx: Context, options: Options) -> None:
    """Write the settings and reload sshd.

    Raises:
        HandlerError: disabling passwords would lock out the administrator, sshd rejects the settings, or its
            configuration is in /usr/etc without drop-ins.
        FileError: a file could not be read or written.
        CommandError: the running sshd could not be reloaded.
    """
    passwords = _passwords(ctx, options)
    config = read_config(ctx.system.files)
    if config is None:
        _without_openssh(ctx, passwords)
        return
    user = administrator(ctx)[1] if ctx.metadata.username else None
    settings = {
        keyword: str({True: "yes", False: "no"}[value] if isinstance(value, bool) else value).strip()
        for keyword, value in options.settings.items()
    }
    if passwords == "no" and not _may_forbid(ctx, options, _with(config, settings), user):
        passwords = None
    wanted = dict.fromkeys(_PASSWORD_KEYWORDS, passwords) if passwords is not None else {}
    wanted.update(settings)
    if passwords is not None:
        _note_matches(ctx, config, user, passwords)
    if not _in_effect(config, wanted):
        _write(ctx, options, config, wanted)


def _passwords(ctx: Context, options: Options) -> Optional[str]:
    """The value for sshd: "yes", "no", or None for unchanged."""
    asked = options.password_authentication
    if isinstance(asked, bool):  # YAML reads yes and no as booleans
        return "yes" if asked else "no"
    if asked != "auto":
        return None if asked == "keep" else asked
    known = ctx.metadata
    if known.disable_password_authentication is None:
        # Azure does not say. A password without a key is meant to be used.
        return "yes" if known.password and not known.public_ssh_keys else None
    return "no" if known.disable_password_authentication else "yes"


def _may_forbid(ctx: Context, options: Options, config: SshdConfig, user: Optional[User]) -> bool:
    """Whether passwords may be disabled: they already are, or the administrator can log in with a key.

    Raises HandlerError if the configuration asks to disable them and they may not be disabled.
    """
    if all(config.value(keyword.lower()) == "no" for keyword in _PASSWORD_KEYWORDS):
        return True
    lacking = _lacking(ctx, config, user)
    if lacking is None:
        return True
    asked = options.password_authentication
    if asked != "auto":
        raise HandlerError(f"passwords cannot be disabled: {lacking}", reason=_REASON)
    ctx.note(f"passwords stay enabled: {lacking}")
    return False


def _lacking(ctx: Context, config: SshdConfig, user: Optional[User]) -> Optional[str]:
    """Why the administrator cannot log in with a key; None if they can, or may be able to."""
    whose = f"the administrator {ctx.metadata.username}" if ctx.metadata.username else "an administrator"
    text = f"sshd has no usable key for {whose}, so nobody could log in: list `ssh_keys` before `sshd`"
    if user is None:
        return text
    from azurelite.system.ssh.login import key_refusal

    refusal = key_refusal(ctx.system, user, config)
    return None if refusal is None else refusal or text


def _with(config: SshdConfig, settings: Mapping[str, str]) -> SshdConfig:
    """The configuration with these settings before all others."""
    lines = (line_words(f"{keyword} {value}") for keyword, value in settings.items())
    first = tuple(Setting(keyword_of(words[0]), tuple(words[1:]), "`settings`") for words in lines)
    return replace(config, settings=(*first, *config.settings))


def _note_matches(ctx: Context, config: SshdConfig, user: Optional[User], passwords: str) -> None:
    """Note settings in Match blocks that override the new value, all of them or those for the administrator."""
    groups = frozenset(ctx.system.accounts.groups_of(user.name)) if user is not None else frozenset()
    for keyword in _PASSWORD_KEYWORDS:
        for setting in config.matched(keyword.lower()):
            value = "".join(setting.values[:1]).lower()
            applies = user is not None and config.for_user(keyword.lower(), user.name, groups) is setting
            if value != passwords and (passwords == "no" or applies):
                wrong = f"the Match block at {setting.place} overrides `{keyword} {passwords}`"
                ctx.note(f"{wrong}: change its `{keyword} {value}`")


def _in_effect(config: Optional[SshdConfig], wanted: Mapping[str, str]) -> bool:
    return config is not None and all(
        config.says(keyword_of(keyword), tuple(line_words(f"{keyword} {value}")[1:]))
        for keyword, value in wanted.items()
    )


def _write(ctx: Context, options: Options, config: SshdConfig, wanted: Mapping[str, str]) -> None:
    from azurelite.system.services.services import Services
    from azurelite.system.ssh.sshd_config import complaint

    files = ctx.system.files
    lines = [f"{keyword} {value}" for keyword, value in wanted.items()]
    folder = "/usr/local/etc/ssh" if config.path.startswith("/usr/local/") else "/etc/ssh"
    path = f"{folder}/sshd_config.d/{options.file}"
    present = files.text(config.path) or ""
    text = BLOCK.put(files.text(path) or "", lines)
    candidate = f"{BLOCK.put('', lines)}{present}"
    if not _in_effect(read_config(files, {path: text}), wanted):  # not included, or after another value
        path, text = config.path, BLOCK.put(present, lines)
        candidate = text
        if path.startswith("/usr/etc/"):
            raise HandlerError(
                f"{path} belongs to the distribution and does not begin with drop-ins: copy it to /etc/ssh/sshd_config",
                reason=_REASON,
            )
    words = complaint(ctx.system, config.path, candidate, present)
    if words is not None:
        raise HandlerError(
            f"sshd rejects the settings: correct `settings` (nothing was written; sshd says: {words})", reason=_REASON
        )
    files.mkdirs(path.rpartition("/")[0])
    files.rewrite_text(path, text, mode=0o600, shared=True)
    Services(ctx.system).reload("sshd", "ssh")


def _without_openssh(ctx: Context, passwords: Optional[str]) -> None:
    """Note that Dropbear accepts passwords. It has no configuration file, only the arguments it is started with."""
    from azurelite.system.ssh.hostkeys import server

    if passwords != "no" or server(ctx.system) != "dropbear":
        return
    for path in _DROPBEAR_FLAGS:
        if re.search(r"""(?m)^[^#\n]*[\s"'=]-[A-Za-z]*s""", ctx.system.files.text(path) or ""):
            return
    ctx.note("dropbear accepts passwords: add -s to its arguments, for example in /etc/default/dropbear")
