"""`run`: a program of the image's own, with the metadata on its standard input.

What a program changes cannot be compared first, so it runs each time that its entry has its turn (`frequency`), unless
`creates` names what it leaves behind. In a foreign root and in a dry run it does not run.

Its environment: PATH, HOME, USER, LOGNAME, SHELL, LANG=C.UTF-8, and, where they are known, AZURELITE_VM_ID,
AZURELITE_INSTANCE_ID, AZURELITE_HOSTNAME, AZURELITE_USERNAME, AZURELITE_REGION, AZURELITE_AVAILABILITY_ZONE,
AZURELITE_FAULT_DOMAIN, AZURELITE_VM_SIZE, AZURELITE_ROOT, AZURELITE_METADATA (the file with the metadata, secrets
left out) and AZURELITE_VERSION.
"""

from __future__ import annotations

import re
from typing import Literal, Mapping, Optional

from azurelite import layout
from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.metadata import Metadata, Secret, expose, redact
from azurelite.record import Record, field
from azurelite.system.owners import find_owner
from azurelite.system.scripts import Scripts
from azurelite.version import VERSION

SUMMARY = "run a program, with the metadata on its standard input"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_LOGS = f"{layout.STATE_DIR}/logs"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_TOLD = {
    "AZURELITE_VM_ID": "vm_id",
    "AZURELITE_INSTANCE_ID": "instance_id",
    "AZURELITE_HOSTNAME": "local_hostname",
    "AZURELITE_USERNAME": "username",
    "AZURELITE_REGION": "region",
    "AZURELITE_AVAILABILITY_ZONE": "availability_zone",
    "AZURELITE_FAULT_DOMAIN": "fault_domain",
    "AZURELITE_VM_SIZE": "vm_size",
}


class Options(Record):
    """Options of `run`.

    Attributes:
        argv: program and arguments; no shell reads them. Everybody on the VM can see them: no secrets here.
        shell: text for /bin/sh, in place of `argv`; the same holds for it.
        stdin: "metadata": the metadata as JSON, as `azurelite metadata` prints it; "none": nothing.
        secrets: the JSON has the secrets in clear, bytes as base64.
        env: further variables; their values are shown nowhere.
        timeout: seconds; then it is killed with its children, and has failed.
        creates: path of what it leaves behind: it does not run when that is there.
        cwd: the folder it starts in.
        user: who runs it.
        log: path of the file that takes what it prints, for root alone; when left out, one of its own below
            /var/lib/azurelite/logs.
    """

    argv: tuple[str, ...] = ()
    shell: Optional[str] = None
    stdin: Literal["metadata", "none"] = "metadata"
    secrets: bool = False
    env: Mapping[str, Secret] = field(default_factory=dict)
    timeout: float = 300.0
    creates: Optional[str] = None
    cwd: str = "/"
    user: str = "root"
    log: Optional[str] = None

    def __post_init__(self) -> None:
        if self.argv and self.shell is not None:
            raise ValueError("argv and shell exclude each other: give one")
        if any("\0" in word for word in (*self.argv, self.shell or "")) or (self.argv and not self.argv[0]):
            raise ValueError("argv and shell must be text without NUL, and the program's name not empty")
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0 seconds")
        for key in ("creates", "cwd", "log"):
            path = getattr(self, key)
            if path is not None and (not path.startswith("/") or "\0" in path or ".." in path.split("/")):
                raise ValueError(f"{key} must be an absolute path without `..`")
        for name, value in expose(self.env).items():
            if not re.fullmatch(_VARIABLE, str(name)) or "\0" in value:
                raise ValueError("env must map names of variables (letters, digits, `_`) to text")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", self.user):
            raise ValueError("user must be a user's name")


def apply(ctx: Context, options: Options) -> None:
    """Run the program to its end.

    Raises:
        HandlerError: nothing to run; or it ended with another status than 0. What it said is in its log alone, for
            that may be secret.
        MachineError: it cannot be started or was too slow; no such user.
    """
    argv = options.argv or (("/bin/sh", "-c", options.shell) if options.shell is not None else ())
    if not argv:
        raise HandlerError("there is nothing to run: give `argv` or `shell`")
    name = argv[0] if options.argv else "shell"
    if options.creates is not None and ctx.system.files.exists(options.creates):
        return
    if not ctx.system.root.is_host:
        ctx.note(f"{name} is not run: programs are run on the running system only")
        return
    find_owner(ctx.system, options.user)
    user = ctx.system.accounts.user(options.user) if options.user != "root" else None
    log = options.log or _log(options)
    status = Scripts(ctx.system).run(
        argv,
        name=name,
        timeout=options.timeout,
        log=log,
        stdin=_metadata(ctx.metadata, secrets=options.secrets) if options.stdin == "metadata" else None,
        env={**variables(ctx), **expose(options.env)},
        cwd=options.cwd,
        user=user,
    )
    if status:
        raise HandlerError(
            f"{name} ended with status {status}: see {log}",
            reason=f"the program {name} failed",
            data={"status": str(status)},
        )


def _metadata(metadata: Metadata, *, secrets: bool) -> Secret:
    import json

    public = metadata.as_dict()
    return Secret(json.dumps(expose(public) if secrets else redact(public)) + "\n")


def variables(ctx: Context) -> dict[str, str]:
    """What programs are told of the VM: AZURELITE_VM_ID and the others that are listed above; nothing secret."""
    told = {name: getattr(ctx.metadata, field) for name, field in _TOLD.items()}
    fixed = {
        "AZURELITE_ROOT": ctx.system.root.path,
        "AZURELITE_METADATA": layout.METADATA,
        "AZURELITE_VERSION": VERSION,
    }
    # What comes from Azure may hold anything; a NUL cannot stand in the environment.
    return {**{name: text.replace("\0", "") for name, text in told.items() if text is not None}, **fixed}


def _log(options: Options) -> str:
    """A name that is the same at each run of the same program, and another one for others."""
    import hashlib

    text = repr((options.argv, options.shell))
    name = re.sub(r"[^A-Za-z0-9_-]", "_", options.argv[0].rpartition("/")[2])[:40] if options.argv else "shell"
    return f"{_LOGS}/run-{name}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}.log"
