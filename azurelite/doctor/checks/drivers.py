"""Hyper-V's drivers: in each kernel, and in the initramfs of that kernel where the root disk needs them."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from azurelite.doctor.finding import ERROR, NOT_CHECKED, NOTE, WARNING, Finding
from azurelite.doctor.initramfs import names_in
from azurelite.doctor.subject import Subject

_ROOT_DISK = ("hv_vmbus", "hv_storvsc")
_NEEDED = (*_ROOT_DISK, "hv_netvsc")
_MODULE = r"([^/]+)\.ko(\.(gz|xz|zst))?"
_FOLDERS = ("/lib/modules", "/usr/lib/modules")


def hyperv(subject: Subject) -> Iterator[Finding]:
    """Each kernel has the drivers of the bus, the disks and the network."""
    kernels = _kernels(subject)
    if not kernels:
        yield Finding(
            "drivers.hyperv",
            NOT_CHECKED,
            "no kernel's list of modules was found",
            _FOLDERS[0],
            "Check that the kernel has hv_vmbus, hv_storvsc and hv_netvsc.",
        )
    for folder in kernels:
        built_in, modules = _drivers(subject, folder)
        for name in _NEEDED:
            if name not in built_in and name not in modules:
                yield Finding(
                    "drivers.hyperv",
                    ERROR,
                    f"the kernel has no driver {name}, without which there is no {_use(name)} on Azure",
                    folder,
                    f"Install a kernel with {name} (CONFIG_{_OPTIONS[name]}).",
                )


def initramfs(subject: Subject) -> Iterator[Finding]:
    """Drivers of the root disk that are modules are in the initramfs."""
    for folder in _kernels(subject):
        version = folder.rpartition("/")[2]
        built_in, modules = _drivers(subject, folder)
        needed = [name for name in _ROOT_DISK if name not in built_in and name in modules]
        path = _initramfs_of(subject, version) if needed else None
        if not needed:
            continue
        if path is None:
            yield Finding(
                "drivers.initramfs",
                ERROR if subject.files.names("/boot") else NOT_CHECKED,
                f"no initramfs of kernel {version} was found, and {' and '.join(needed)} are modules",
                "/boot",
                "Make an initramfs with these modules.",
            )
            continue
        names, why = names_in(subject.system, path)
        if names is None:
            yield Finding("drivers.initramfs", NOT_CHECKED, why, path, f"List it and look for {', '.join(needed)}.")
            continue
        inside = {match[1].replace("-", "_") for name in names if (match := re.fullmatch(rf"(?:.*/)?{_MODULE}", name))}
        for name in needed:
            if name not in inside:
                yield Finding(
                    "drivers.initramfs",
                    ERROR,
                    f"{name} is a module and is not in the initramfs, so the root disk is not found at boot",
                    path,
                    f"Add {name} (dracut: add_drivers; initramfs-tools: /etc/initramfs-tools/modules); make it anew.",
                )


def disc(subject: Subject) -> Iterator[Finding]:
    """The kernel can read the provisioning disc: the drive, and the file systems UDF and ISO 9660."""
    for folder in _kernels(subject):
        built_in, modules = _drivers(subject, folder)
        there = built_in | modules
        if "sr_mod" not in there:
            yield Finding(
                "drivers.disc",
                WARNING,
                "the kernel has no driver sr_mod, so custom data and a password on the provisioning disc are not read",
                folder,
                "Install a kernel with sr_mod (CONFIG_BLK_DEV_SR).",
            )
        for name, option in (("udf", "UDF_FS"), ("isofs", "ISO9660_FS")):
            if name not in there:
                yield Finding(
                    "drivers.disc",
                    NOTE,
                    f"the kernel has no file system {name}; azurelite reads the disc itself, other programs cannot",
                    folder,
                    f"Install a kernel with CONFIG_{option} if other programs read the provisioning disc.",
                )


_OPTIONS = {"hv_vmbus": "HYPERV", "hv_storvsc": "HYPERV_STORAGE", "hv_netvsc": "HYPERV_NET"}


def _use(name: str) -> str:
    return {"hv_vmbus": "device", "hv_storvsc": "disk", "hv_netvsc": "network"}[name]


def _kernels(subject: Subject) -> list[str]:
    for top in _FOLDERS:
        found = [f"{top}/{name}" for name in subject.names(top)]
        listed = [path for path in found if subject.first(f"{path}/modules.builtin", f"{path}/modules.dep")]
        if listed:
            return listed
    return []


def _drivers(subject: Subject, folder: str) -> tuple[set[str], set[str]]:
    """The drivers that are built in, and those that are modules."""
    built_in = (subject.files.text(f"{folder}/modules.builtin") or "").splitlines()
    modules = [line.partition(":")[0] for line in subject.files.lines(f"{folder}/modules.dep")]
    return _named(built_in), _named(modules)


def _named(paths: list[str]) -> set[str]:
    found = (re.fullmatch(rf"(?:.*/)?{_MODULE}", path.strip()) for path in paths)
    return {match[1].replace("-", "_") for match in found if match}


def _initramfs_of(subject: Subject, version: str) -> Optional[str]:
    names = [
        name
        for name in subject.names("/boot")
        if name.startswith("init") and (version in name or name in _general(subject))
    ]
    own = [name for name in names if version in name]
    chosen = own or names
    return f"/boot/{chosen[0]}" if chosen else None


def _general(subject: Subject) -> set[str]:
    """Names without a version, as Alpine and Arch have them: "initramfs-lts", "initramfs-linux.img"."""
    return {name for name in subject.names("/boot") if not re.search(r"\d+\.\d+", name) and "fallback" not in name}
