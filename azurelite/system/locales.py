"""The language and the keyboard of a guest: which files set them, and which locales are available or can be compiled.

The files depend on what is installed, not on the distribution's name. With musl every locale is available; with glibc
it has to be compiled (`locale-gen`) or installed from a package.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.system.blocks import assign, ended, get
from azurelite.system.explain import explained
from azurelite.system.files import READ_LIMIT, Files
from azurelite.system.services.detect import SYSTEMD

LOCALE_GEN = "/etc/locale.gen"
SUPPORTED = "/usr/share/i18n/SUPPORTED"
_COMPILED = "/usr/lib/locale"
_BUILT_IN = ("C", "POSIX", "C.UTF-8", "C.utf8")
_PROFILE = "/etc/profile.d/azurelite-locale.sh"
_LANGUAGE = (
    ("/etc/default/locale", "LANG"),  # Debian
    ("/etc/locale.conf", "LANG"),  # systemd
    ("/etc/sysconfig/i18n", "LANG"),  # RHEL until 6
    ("/etc/sysconfig/language", "RC_LANG"),  # SUSE until 12
    ("/etc/env.d/02locale", "LANG"),  # Gentoo
)
_KEYBOARD = (
    ("/etc/vconsole.conf", "KEYMAP"),  # systemd
    ("/etc/default/keyboard", "XKBLAYOUT"),  # Debian's console-setup
    ("/etc/conf.d/keymaps", "keymap"),  # OpenRC
    ("/etc/sysconfig/keyboard", "KEYTABLE"),  # RHEL until 6
)


def language_places(files: Files) -> list[tuple[str, str]]:
    """The files that set the language, each with its key; if none exists, the one that the system will read.

    [] if no such file is known. Raises FileError.
    """
    # In newer versions of Debian one of its two files is a link to the other.
    there = [place for place in _LANGUAGE if files.root.link_target(place[0]) is None and files.exists(place[0])]
    if there:
        return there
    if files.is_executable("/usr/sbin/update-locale") and files.is_dir("/etc/default"):
        return [_LANGUAGE[0]]
    if any(files.is_executable(path) for path in SYSTEMD):
        return [_LANGUAGE[1]]
    if files.is_dir("/etc/env.d"):
        return [_LANGUAGE[4]]
    return [(_PROFILE, "export LANG")] if files.is_dir("/etc/profile.d") else []


def keyboard_places(files: Files) -> list[tuple[str, str]]:
    """The files that set the console's keyboard, each with its key. Raises FileError."""
    there = [place for place in _KEYBOARD if files.exists(place[0])]
    if not there and any(files.is_executable(path) for path in SYSTEMD):
        return [_KEYBOARD[0]]
    if get(files.text("/etc/rc.conf") or "", "KEYMAP") is not None:  # Void
        there.append(("/etc/rc.conf", "KEYMAP"))
    return there


def set_language(files: Files, places: list[tuple[str, str]], locale: str) -> None:
    """Set the language in these files. Raises FileError."""
    for path, key in places:
        text = files.text(path) or ""
        quote = '"' if key == "RC_LANG" else ""
        files.rewrite_text(path, assign(text, key, locale, quote=quote))


def set_keyboard(files: Files, places: list[tuple[str, str]], keymap: str) -> None:
    """Set the keyboard in these files. Raises FileError."""
    for path, key in places:
        # X's layout is the first part of the console's keymap name: de-latin1 is layout de.
        value = keymap.partition("-")[0] if key == "XKBLAYOUT" else keymap
        files.rewrite_text(path, assign(files.text(path) or "", key, value))


def is_available(files: Files, locale: str) -> bool:
    """Whether the C library has the locale; also True if that is unknown. Raises FileError."""
    if locale in _BUILT_IN or not files.is_dir(_COMPILED):
        return True
    name = compiled_name(locale)
    if any(files.is_dir(f"{_COMPILED}/{spelled}") for spelled in (name, locale)):
        return True
    archive = f"{_COMPILED}/locale-archive"  # the names are near its beginning
    with explained("read", archive):
        data = files.root.read(archive, limit=READ_LIMIT)
    return data is not None and f"\0{name}\0".encode() in data


def compiled_name(locale: str) -> str:
    """The name that glibc gives a compiled locale: "de_DE.UTF-8" becomes "de_DE.utf8"."""
    head, at, modifier = locale.partition("@")
    language, dot, charset = head.partition(".")
    return f"{language}{dot}{re.sub('[^a-z0-9]', '', charset.lower())}{at}{modifier}"


def charset_of(files: Files, locale: str) -> Optional[str]:
    """The charset of a locale in the system's list of supported locales; None if it is not listed.

    Without such a list the charset is taken from the name. Raises FileError.
    """
    listed = (files.text(SUPPORTED) or "") + "\n" + (files.text(LOCALE_GEN) or "")
    found = re.search(rf"^[# \t]*{re.escape(locale)}[ \t/]+(\S+)", listed, re.MULTILINE)
    if found is not None:
        return found[1]
    if files.exists(SUPPORTED):
        return None
    return locale.partition("@")[0].partition(".")[2] or None


def choose(files: Files, locale: str, charset: str) -> bool:
    """Add the locale to the list of `locale-gen`; True if the list changed. Raises FileError."""
    text = files.text(LOCALE_GEN) or ""
    wanted = rf"{re.escape(locale)}[ \t]+{re.escape(charset)}[ \t]*$"
    if re.search(rf"^[ \t]*{wanted}", text, re.MULTILINE):
        return False
    line = f"{locale} {charset}"
    text, count = re.subn(rf"^[ \t]*#[ \t]*{wanted}", line, text, count=1, flags=re.MULTILINE)
    if count == 0:
        text = f"{ended(text)}{line}\n"
    return files.rewrite_text(LOCALE_GEN, text)
