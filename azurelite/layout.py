"""The paths that azurelite uses on the guest. All are guest paths, below `--root`.

This module does no I/O and imports nothing at run time, because every run imports it first.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VENDOR_CONFIG = "/usr/lib/azurelite"  # the distribution's azurelite.yaml and conf.d
ADMIN_CONFIG = "/etc/azurelite"  # the administrator's azurelite.yaml and conf.d
RUNTIME_CONFIG = "/run/azurelite"
CONFIG_NAME = "azurelite.yaml"
DROP_INS = "conf.d"
HANDLERS_DIR = "/etc/azurelite/handlers.d"  # executables that are handlers

DISABLED_SWITCH = "/etc/azurelite/disabled"  # if it exists, azurelite does nothing
KERNEL_COMMAND_LINE = "/proc/cmdline"
KERNEL_OFF_WORD = "azurelite=off"
KERNEL_DEBUG_WORD = "azurelite.debug"

RUN_DIR = "/run/azurelite"  # files of this boot; conf.d in it is configuration until the next boot
METADATA = "/run/azurelite/metadata.json"  # what Azure said, without secrets
METADATA_SENSITIVE = "/run/azurelite/metadata-sensitive.json"  # what Azure said, with secrets, for root only
STATUS = "/run/azurelite/status.json"  # how this boot goes, for everybody: state, reason, remedy, counts
STATUS_FULL = "/run/azurelite/status-full.json"  # each step with its changes, and each request, for root only
TIMELINE = "/run/azurelite/timeline.json"  # when each step, request and wait began and ended
STANDING = "/run/azurelite/standing.json"  # the failed steps of this boot, and whether Azure accepted Ready
LOCK = "/run/azurelite/lock"  # held while azurelite runs

LOG = "/var/log/azurelite.log"  # the log of every run, for root and its group
OLDER_LOG = "/var/log/azurelite.log.1"  # the older part of the log
OUTPUTS = "/var/log/azurelite"  # the outputs of scripts and commands, for root only

STATE_DIR = "/var/lib/azurelite"  # what is remembered of each VM id; without it the VM is provisioned again
ACCOUNTS_DIR = "/var/lib/azurelite/accounts"  # notes of accounts whose creation has begun
BOOTS_DIR = "/var/lib/azurelite/boots"  # status and timeline of the last 10 boots with work
FAILURES_DIR = "/var/lib/azurelite/failures"  # the public part of each VM's last failure
MANIFEST = "/var/lib/azurelite/manifest.jsonl"  # what azurelite made for a VM, so that `generalize` can remove it
ONCE_DIR = "/var/lib/azurelite/once"  # the steps that run once on this machine
POOL_MARKER = "/var/lib/azurelite/waiting-in-pool"  # this VM was Ready in a pool and waits for its owner
VMS_DIR = "/var/lib/azurelite/vms"  # one folder for each VM id
NO_VM_ID = "00000000-0000-0000-0000-000000000000"  # in the records of older releases: a VM whose id was unknown
UNKNOWN_VM = "/var/lib/azurelite/unknown-vm"  # the records of a VM whose id is not known

# The files in which other agents record the VM that they provisioned: its UUID, in either byte order.
OTHER_AGENTS = (
    ("cloud-init", "/var/lib/cloud/data/instance-id"),
    ("the Azure Linux agent", "/var/lib/waagent/provisioned"),
)

KVP_INCARNATION = "/run/azurelite/kvp-incarnation"  # the boot in whose name records are in the KVP pool
KVP_POOL = "/var/lib/hyperv/.kvp_pool_1"
DMI_DIR = "/sys/class/dmi/id"
EFI_DIR = "/sys/firmware/efi"
EFI_DEVICE = "/dev/efi"  # the BSDs
RANDOM_SEED = "/sys/firmware/acpi/tables/OEM0"


_UUID_GROUPS = (8, 4, 4, 4, 12)  # digits


def is_uuid(text: str) -> bool:
    """Whether the text is a lower-case UUID that can be an id: not all zeros, not all ones."""
    groups = text.split("-")
    if tuple(len(group) for group in groups) != _UUID_GROUPS:
        return False
    digits = "".join(groups)
    return all(digit in "0123456789abcdef" for digit in digits) and digits.strip("0") != "" and digits.strip("f") != ""


def vm_folder(vm_id: str | None) -> str:
    """The folder with the records of a VM; None: of a VM whose id is unknown, which no boot takes for its own."""
    return UNKNOWN_VM if vm_id is None else f"{VMS_DIR}/{vm_id}"


def saved_metadata(vm_id: str) -> str:
    """The last crawl of a VM, without secrets."""
    return f"{vm_folder(vm_id)}/metadata.json"


def saved_media(vm_id: str) -> str:
    """The copy of a VM's ovf-env.xml. One per VM id, because a captured image may contain the copy of another VM."""
    return f"{vm_folder(vm_id)}/ovf-env.xml"


def config_files(names_in: Callable[[str], list[str]]) -> list[str]:
    """The paths of the configuration files, weakest first; a file need not exist.

    Args:
        names_in: a function from a guest folder to the names in it; an empty list for a missing folder.

    Returns:
        A list of guest paths. A drop-in under /etc masks the vendor's drop-in of the same name.
    """
    admin_drop_ins = _drop_ins(ADMIN_CONFIG, names_in)
    masked = {path.rpartition("/")[2] for path in admin_drop_ins}
    vendor_drop_ins = [p for p in _drop_ins(VENDOR_CONFIG, names_in) if p.rpartition("/")[2] not in masked]
    return [
        f"{VENDOR_CONFIG}/{CONFIG_NAME}",
        *vendor_drop_ins,
        f"{ADMIN_CONFIG}/{CONFIG_NAME}",
        *admin_drop_ins,
        *_drop_ins(RUNTIME_CONFIG, names_in),
    ]


def output_files(names_in: Callable[[str], list[str]]) -> list[str]:
    """The paths of the outputs of scripts and commands that ran on this machine. They may hold secrets.

    Args:
        names_in: a function from a guest folder to the names in it; an empty list for a missing folder.
    """
    return [f"{OUTPUTS}/{name}" for name in sorted(names_in(OUTPUTS)) if name.endswith(".log")]


def _drop_ins(folder: str, names_in: Callable[[str], list[str]]) -> list[str]:
    inside = f"{folder}/{DROP_INS}"
    return [f"{inside}/{name}" for name in sorted(names_in(inside)) if name.endswith(".yaml")]
