"""`locale`: set the system's language, and the keyboard of its console.

Where glibc generates its locales on the machine (/etc/locale.gen exists), a missing locale is generated. Elsewhere
locales come in packages, and a missing one is refused, because programs would print a warning at every start.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.changes import Change
from azurelite.system.locales import (
    LOCALE_GEN,
    charset_of,
    choose,
    is_available,
    keyboard_places,
    language_places,
    set_keyboard,
    set_language,
)

SUMMARY = "set the system's language and keyboard"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_LOCALE = r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9-]+)?(@[A-Za-z0-9]+)?"
_SECONDS = 300.0  # locale-gen generates every locale of its list again, each in a second or two


class Options(Record):
    """Options of `locale`.

    Attributes:
        locale: the language, for example "de_DE.UTF-8"; "C.UTF-8" always exists.
        keymap: the keyboard of the console, for example "de" or "de-latin1"; unchanged when left out.
    """

    locale: str = "C.UTF-8"
    keymap: Optional[str] = None

    def __post_init__(self) -> None:
        if len(self.locale) > 64 or not re.fullmatch(_LOCALE, self.locale):
            raise ValueError("locale must be a name such as de_DE.UTF-8 or C.UTF-8")
        if self.keymap is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", self.keymap):
            raise ValueError("keymap must be a name such as de or de-latin1")


def apply(ctx: Context, options: Options) -> None:
    """Set the language and the keyboard.

    Raises:
        HandlerError: the locale is neither installed nor can be generated, or no file for the setting is known.
        MachineError: a file cannot be written, or `locale-gen` failed.
    """
    files = ctx.system.files
    places = language_places(files)
    if not places:
        raise HandlerError("the guest has no file that sets the language: add an empty /etc/locale.conf to the image")
    if not is_available(files, options.locale):
        _make(ctx, options.locale)
    set_language(files, places, options.locale)
    if options.keymap is not None:
        keyboards = keyboard_places(files)
        if not keyboards:
            ctx.note("keymap skipped: the guest has no file that sets it: add an empty /etc/vconsole.conf to the image")
        set_keyboard(files, keyboards, options.keymap)


def _make(ctx: Context, locale: str) -> None:
    files = ctx.system.files
    if not files.exists(LOCALE_GEN):
        raise HandlerError(f"the locale {locale} is not installed: install its package (locales, glibc-langpack-…)")
    charset = charset_of(files, locale)
    if charset is None:
        raise HandlerError(f"the locale {locale} is not supported: choose one of /usr/share/i18n/SUPPORTED")
    if not ctx.system.root.is_host:
        choose(files, locale, charset)
        ctx.note(f"the locale {locale} is not generated yet: run `locale-gen` in the image")
        return
    if ctx.system.commands.find("locale-gen") is None:
        raise HandlerError("locale-gen is not installed: add the package locales to the image")
    choose(files, locale, charset)
    ctx.system.perform(Change("run", "locale-gen", f"generate {locale}"), ["locale-gen"], timeout=_SECONDS)
