"""`run`: run a program of the image, with the metadata on its standard input.

What a program changes cannot be compared first, so it runs each time that `frequency` says, unless the path in
`creates` exists. It does not run in a foreign root or in a dry run.

Its environment: PATH, HOME, USER, LOGNAME, SHELL, LANG=C.UTF-8, and, where they are known, AZURELITE_VM_ID,
AZURELITE_INSTANCE_ID, AZURELITE_HOSTNAME, AZURELITE_USERNAME, AZURELITE_REGION, AZURELITE_AVAILABILITY_ZONE,
AZURELITE_FAULT_DOMAIN, AZURELITE_VM_SIZE, AZURELITE_ROOT, AZURELITE_METADATA (path of the file with the metadata,
without secrets) and AZURELITE_VERSION.
"""

from __future__ import annotations

import re
from typing import Literal, Mapping, Optional

from azurelite import layout
from azurelite.config.load import Frequency
from azurelite.errors import HandlerError, SkippedError
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
        argv: the program and its arguments, without a shell. All users of the VM can see them: put no secrets here.
        shell: a command for /bin/sh instead of `argv`. All users can see it as well.
        stdin: "metadata": the metadata as JSON, as `azurelite metadata` prints it; "none": nothing.
        secrets: include secrets in that JSON, in plain text (bytes as base64).
        env: further environment variables; their values are never shown.
        timeout: seconds; then the program and its children are killed, and the handler has failed.
        creates: a path that the program creates: it does not run if that exists.
        cwd: the folder it starts in.
        user: the user it runs as.
        log: path of the file for its output, readable by root only; when left out, a file of its own in
            /var/log/azurelite.
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
            raise ValueError("argv and shell exclude each other: remove one")
        if any("\0" in word for word in (*self.argv, self.shell or "")) or (self.argv and not self.argv[0]):
            raise ValueError("argv and shell must be text without NUL, and the first word of argv not empty")
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0 seconds")
        for key in ("creates", "cwd", "log"):
            path = getattr(self, key)
            if path is not None and (not path.startswith("/") or "\0" in path or ".." in path.split("/")):
                raise ValueError(f"{key} must be an absolute path without `..`")
        for name, value in expose(self.env).items():
            if not re.fullmatch(_VARIABLE, str(name)) or "\0" in value:
                raise ValueError("env must map names of variables (letters, digits, `_`) to text without NUL")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", self.user):
            raise ValueError("user must be the name of a user")
        if not self.argv and self.shell is None:
            raise ValueError("there is nothing to run: set `argv` or `shell`")


def apply(ctx: Context, options: Options) -> None:
    """Run the program and wait for its end.

    Raises:
        HandlerError: the exit status is not 0. The message does not repeat the output,
            which may be secret and is only in the log.
        SkippedError: the root is not the running system.
        MachineError: it could not be started or ran too long, or the user does not exist.
    """
    argv = options.argv or ("/bin/sh", "-c", options.shell or "")
    name = argv[0] if options.argv else "shell"
    if options.creates is not None and ctx.system.files.exists(options.creates):
        return
    if not ctx.system.root.is_host:
        raise SkippedError(f"{name} runs on the running system only")
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
            f"{name} exited with status {status}: see {log}",
            reason=f"the program {name} failed",
            data={"status": str(status)},
        )


def _metadata(metadata: Metadata, *, secrets: bool) -> Secret:
    import json

    public = metadata.as_dict()
    return Secret(json.dumps(expose(public) if secrets else redact(public)) + "\n")


def variables(ctx: Context) -> dict[str, str]:
    """The environment variables about the VM, AZURELITE_VM_ID and the others listed above; none is secret."""
    told = {name: getattr(ctx.metadata, field) for name, field in _TOLD.items()}
    fixed = {
        "AZURELITE_ROOT": ctx.system.root.path,
        "AZURELITE_METADATA": layout.METADATA,
        "AZURELITE_VERSION": VERSION,
    }
    # Values from Azure are not trusted; the environment cannot hold a NUL.
    return {**{name: text.replace("\0", "") for name, text in told.items() if text is not None}, **fixed}


def _log(options: Options) -> str:
    """The path of the log: the same for every run of a program, different for different programs."""
    import hashlib

    text = repr((options.argv, options.shell))
    name = re.sub(r"[^A-Za-z0-9_-]", "_", options.argv[0].rpartition("/")[2])[:40] if options.argv else "shell"
    return f"{layout.OUTPUTS}/run-{name}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}.log"
