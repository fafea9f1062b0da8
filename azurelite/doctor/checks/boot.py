"""How the image boots: the serial console, the root device, and a boot loader for generation 1 or 2."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from azurelite import layout
from azurelite.doctor.finding import ERROR, NOT_CHECKED, WARNING, Finding
from azurelite.doctor.subject import Subject

_GRUB = ("/etc/default/grub",)
_MENUS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg")
_PLAIN = (
    "/etc/kernel/cmdline",
    "/usr/lib/kernel/cmdline",
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/cmdline.txt",
    "/boot/limine.conf",
)
_ENTRIES = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries", "/etc/default/grub.d")
_CONSOLES = ("console=ttyS0", "console=ttyAMA0")
_FALLBACKS = ("BOOTX64.EFI", "BOOTAA64.EFI")
_PARTITIONS = ("/boot/efi", "/efi", "/boot")


def console(subject: Subject) -> Iterator[Finding]:
    """Azure's serial console shows the kernel and the log of azurelite."""
    found = _command_lines(subject)
    if not found:
        yield Finding(
            "boot.console",
            NOT_CHECKED,
            "no configuration of a boot loader was found",
            "/boot",
            "Check that the kernel command line has console=ttyS0.",
        )
    elif not any(word.startswith(_CONSOLES) for _, text in found for word in text.split()):
        yield Finding(
            "boot.console",
            WARNING,
            "the kernel command line has no console=ttyS0, so Azure's serial console and boot diagnostics stay empty",
            found[0][0],
            "Add console=ttyS0 to the kernel command line, and make the boot loader's configuration anew.",
        )


def kernel_words(subject: Subject) -> Iterator[Finding]:
    """The kernel command line neither switches azurelite off nor names the root disk by its order."""
    for place, text in _command_lines(subject):
        words = text.split()
        if layout.KERNEL_OFF_WORD in words:
            yield Finding(
                "boot.switch",
                ERROR,
                f"the kernel command line has {layout.KERNEL_OFF_WORD}: azurelite is switched off",
                place,
                "Remove that word.",
            )
        root = next((word for word in words if re.fullmatch(r"root=/dev/([hsv]d|xvd)[a-z]\d*", word)), None)
        if root is not None:
            certain = not root.startswith("root=/dev/sd")
            yield Finding(
                "boot.root-device",
                ERROR if certain else WARNING,
                f"the kernel command line has {root}, and Azure's root disk " + ("never" if certain else "not always")
                + " has that name",
                place,
                "Use root=UUID=… instead.",
            )  # fmt: skip


def loader(subject: Subject) -> Iterator[Finding]:
    """A boot loader for the BIOS (generation 1) or at EFI's fallback path (generation 2) is there."""
    if bios(subject):
        return
    folder = _efi_folder(subject)
    if folder is None:
        yield Finding(
            "boot.loader",
            NOT_CHECKED,
            "no boot loader was found in this root; it may be on another partition",
            "/boot",
            "Check the image file with `azurelite doctor FILE`.",
        )
    elif not fallback(subject, folder):
        yield Finding(
            "boot.loader",
            ERROR,
            "EFI's fallback boot loader is missing, and a new VM of generation 2 has no boot entry for another one",
            f"{folder}/BOOT/{_FALLBACKS[0]}",
            "Install the boot loader with --removable, or copy it there.",
        )


def bios(subject: Subject) -> bool:
    """Whether a boot loader for the BIOS is installed. Raises FileError."""
    places = ("/boot/grub/i386-pc", "/boot/grub2/i386-pc", "/boot/extlinux/ldlinux.sys", "/boot/ldlinux.sys",
              "/boot/syslinux/ldlinux.sys", "/boot/extlinux.conf")  # fmt: skip
    return subject.first(*places) is not None


def fallback(subject: Subject, folder: str) -> bool:
    """Whether the EFI folder has the loader that firmware without boot entries starts; FAT ignores case."""
    for name in subject.names(folder):
        if name.upper() == "BOOT":
            return any(inner.upper() in _FALLBACKS for inner in subject.names(f"{folder}/{name}"))
    return False


def _efi_folder(subject: Subject) -> Optional[str]:
    for top in _PARTITIONS:
        for name in subject.names(top):
            if name.upper() == "EFI" and any(inner.upper() != "EFI" for inner in subject.names(f"{top}/{name}")):
                holds_folders = any(
                    subject.files.is_dir(f"{top}/{name}/{one}") for one in subject.names(f"{top}/{name}")
                )
                if holds_folders and (top != "/boot" or name != "efi"):
                    return f"{top}/{name}"
    return None


def _command_lines(subject: Subject) -> list[tuple[str, str]]:
    """Where kernel command lines are, and the text that holds them. Raises FileError."""
    if subject.live:
        return [(layout.KERNEL_COMMAND_LINE, subject.text(layout.KERNEL_COMMAND_LINE))]
    paths = [*_GRUB, *_PLAIN, "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"]
    paths += [f"{folder}/{name}" for folder in _ENTRIES for name in subject.names(folder)]
    found = [(path, "\n".join(subject.lines(path))) for path in paths if subject.files.exists(path)]
    return [(path, _words(text)) for path, text in found if text]


def _words(text: str) -> str:
    """The text with quotes and assignments taken apart, so that each word of a command line stands alone."""
    return re.sub(r"[\"']|\bGRUB_CMDLINE_\w+=", " ", text)
