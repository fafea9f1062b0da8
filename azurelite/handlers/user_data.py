"""`user_data`: what the owner of the VM handed to it is kept, unpacked, and done: scripts and #cloud-config.

A part that fails stops no other one; all that failed is told at the end, in one error. Parts of a kind and keys of
#cloud-config that azurelite does not know are named in one note. Nothing that the data says of values is repeated
anywhere: it may hold secrets. A script is begun once per VM, whatever became of it and whatever `frequency` says.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Optional

from azurelite.config.document import Document
from azurelite.config.load import Frequency, HandlerEntry
from azurelite.config.schema import ConfigProblemsError
from azurelite.errors import AzureliteError, ConfigError, HandlerError, MachineError
from azurelite.guard import guard
from azurelite.handlers import Context, bind_handler
from azurelite.metadata import Secret
from azurelite.record import Record, replace

if TYPE_CHECKING:
    from azurelite.userdata.ledger import Status
    from azurelite.userdata.parts import Part
    from azurelite.userdata.steps import HandlerStep, ScriptStep, Step

LOG = logging.getLogger(__name__)

SUMMARY = "keep user data (or else custom data) and run it: scripts, MIME, the #cloud-config subset"
NEEDS: tuple[str, ...] = ()
USES = ("user_data", "custom_data")
FREQUENCY: Frequency = "instance"
REQUIRED = False

Source = Literal["user_data", "custom_data"]
Action = Literal["run", "save", "ignore"]
LOG_DIR = "/var/log/azurelite"
_SHOWN = 20  # things left out that one note names
_WHOLE = b"azurelite: whole"  # is printed behind what was unpacked when zstd was content to its end
_UNZSTD = f'{{ zstd -dcq && printf "%s" "{_WHOLE.decode()}"; }} | head -c "$0" | base64'


class Options(Record):
    """Options of `user_data`.

    Attributes:
        sources: where it is looked for, in this order; the first that is there is used. Custom data is left alone where
            the configuration lists `custom_data` as a handler of its own.
        action: "run": keep it, unpack it, run its scripts and apply its #cloud-config; "save": only keep it, below
            /var/lib/azurelite/vms, where root alone can look; "ignore": neither. A script is begun once per VM, even
            if it fails or reboots the machine; removing ID/memory/*-scripts there lets all of them run again.
        save: a second place to keep it at (mode 0600), as /var/lib/waagent/CustomData for programs that look there.
        timeout: seconds that each script has; it is killed then. While Azure waits for Ready (the entry stands ahead
            of `report_ready`), `datasource.deadline` ends it earlier.
    """

    sources: tuple[Source, ...] = ("user_data", "custom_data")
    action: Action = "run"
    save: Optional[str] = None
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        check(self.save, self.timeout)
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("sources names one source twice")


def check(save: Optional[str], timeout: float) -> None:
    """Refuse options that cannot be. Raises ValueError."""
    if save is not None and (not save.startswith("/") or save.endswith("/") or ".." in save.split("/")):
        raise ValueError("save must be the absolute path of a file, without `..`")
    if not 0 < timeout <= 7 * 86400:
        raise ValueError("timeout must be more than 0 and at most a week, in seconds")


def apply(ctx: Context, options: Options) -> None:
    """Keep and do what is there; nothing at all where nothing was given.

    Raises:
        HandlerError: names everything that failed.
    """
    own = any(entry.name == "custom_data" for entry in ctx.config.handlers)
    sources = tuple(source for source in options.sources if not (own and source == "custom_data"))
    use(ctx, sources, action=options.action, save=options.save, timeout=options.timeout)


def use(ctx: Context, sources: tuple[Source, ...], *, action: Action, save: Optional[str], timeout: float) -> None:
    """Keep and do the first of `sources` that is there.

    Args:
        ctx: the run.
        sources: fields of the metadata.
        action: what becomes of it.
        save: a further place to keep it at.
        timeout: seconds for each script.

    Raises:
        HandlerError: names everything that failed.
    """
    source = next((name for name in sources if getattr(ctx.metadata, name)), None)
    if source is None or action == "ignore":
        return
    data: Secret = getattr(ctx.metadata, source)
    work = _Work(ctx, source, timeout)
    work.keep(data.reveal_bytes(), save)
    if action == "run":
        work.take(guard(lambda: work.run(data.reveal_bytes())))
    if work.failed:
        raise HandlerError(
            "; ".join(work.failed),
            reason=f"failed to apply {source.replace('_', ' ')}",
            data={"failed": str(len(work.failed))},
        )


class _Work:
    """One document, on its way to the machine."""

    def __init__(self, ctx: Context, source: Source, timeout: float) -> None:
        from azurelite.userdata.ledger import Ledger

        self.ctx = ctx
        self.source = source
        self.timeout = timeout
        self.failed: list[str] = []
        self._ledger = Ledger(ctx.memory.recall(f"{source}-scripts"))
        self._foreign: list[str] = []  # scripts that are not run, for this is not their machine
        self._folder = ctx.memory.vm_folder

    def take(self, error: Optional[AzureliteError], what: str = "") -> None:
        """Remember a failure."""
        if error is not None:
            self.failed.append(f"{what}{error}")

    def keep(self, data: bytes, save: Optional[str]) -> None:
        """Keep a copy that root alone can read."""
        files = self.ctx.system.files

        def write(path: str) -> None:
            files.mkdirs(path.rpartition("/")[0] or "/")
            files.write(path, data, mode=0o600)

        if save is not None:
            self.take(guard(lambda: write(save)))
        self.take(guard(lambda: self._put(self.source, data, mode=0o600)))

    def run(self, data: bytes) -> None:
        """Take it apart and do what it says. Raises HandlerError where nothing of it can be read."""
        from azurelite.userdata.reading import read
        from azurelite.userdata.translate import Translation

        parts = self._parts(data)
        reading = read([part for part in parts if part.kind == "cloud-config"], label=self.source)
        translation = Translation(
            reading,
            administrator=self.ctx.metadata.username,
            scripts=[part for part in parts if part.kind == "script"],
            boothooks=[part for part in parts if part.kind == "boothook"],
        )
        steps = translation.steps()
        self.failed += [f"{part.name} {part.why}" for part in parts if part.kind == "broken"]
        refused = [f"{part.name} is {part.why}" for part in parts if part.kind == "refused"]
        self._name_left_out([*refused, *reading.unknown, *translation.left_out])
        self.failed += [*reading.problems, *translation.problems]
        for step in steps:
            self._do(step)
        if self._foreign:
            self.ctx.note(f"not run, for the root is not the running system: {', '.join(self._foreign)}")

    def _parts(self, data: bytes) -> list[Part]:
        from azurelite.userdata.decode import decode
        from azurelite.userdata.parts import split
        from azurelite.userdata.reading import unarchive

        decoded = decode(data, unzstd=self._unzstd)
        for note in decoded.notes:
            self.ctx.note(note)
        found = []
        for part in split(decoded.data, unpack=lambda packed: decode(packed, unzstd=self._unzstd).data):
            if part.kind != "archive":
                found.append(part)
                continue
            try:
                inner = unarchive(part, label=self.source)
            except ConfigError as error:
                self.take(error)
            else:
                found += [
                    replace(p, kind="refused", why="an archive in another") if p.kind == "archive" else p for p in inner
                ]
        return found

    def _name_left_out(self, names: list[str]) -> None:
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            self.ctx.note(f"left out, azurelite does not do it: {'; '.join(names[:_SHOWN])}{more}")

    def _do(self, step: Step) -> None:
        from azurelite.userdata.steps import HandlerStep, ScriptStep

        if isinstance(step, HandlerStep):
            self._apply(step)
        elif isinstance(step, ScriptStep):
            self._script(step)
        else:
            self.take(guard(lambda: self._say(step.text)))

    def _apply(self, step: HandlerStep) -> None:
        path = (step.section,)
        places = {(*path, *inner): place for inner, place in step.places.items()}
        config = replace(self.ctx.config, document=Document({}, places))

        def apply_handler() -> None:
            handler = bind_handler(HandlerEntry(step.handler, step.options, path), config)
            handler.apply(self.ctx, handler.options)

        error = guard(apply_handler)
        if isinstance(error, ConfigProblemsError):  # each begins with its place
            self.failed += map(str, error.problems)
        else:
            self.take(error, f"{config.document.place(path)}: `{step.section}`: ")

    def _script(self, step: ScriptStep) -> None:
        if not self.ctx.system.root.is_host:
            self._foreign.append(step.name)
        elif self._ledger.knows(step):
            self._pass_over(step)
        else:
            self.take(guard(lambda: self._run_script(step)))

    def _pass_over(self, step: ScriptStep) -> None:
        """What became of it in an earlier run is told again: a failure stays one."""
        from azurelite.userdata.ledger import BEGUN

        status = self._ledger.status(step)
        if status == BEGUN:
            self.ctx.note(f"the script {step.name} was interrupted in an earlier run, and is not run again")
        elif status:
            self.failed.append(f"{self._ending(step, status)} (in an earlier run, it is not run again)")

    def _run_script(self, step: ScriptStep) -> None:
        from azurelite.system.scripts import Scripts
        from azurelite.userdata.ledger import BEGUN

        limit = self.ctx.system.commands.limit
        if limit is not None and limit.remaining() <= 0:
            raise HandlerError(f"the script {step.name} is not run: no time is left, Azure waits for Ready")
        path = f"{self._folder}/{self.source}-scripts/{step.name}"
        self._put(f"{self.source}-scripts/{step.name}", step.data, mode=0o700)
        argv = [*_interpreter(step.data), path]
        if not self._remember(step, BEGUN):
            raise HandlerError(
                f"the script {step.name} is not run: it cannot be remembered, and would run at each boot"
            )
        name = f"{self.source} script {step.name}"
        try:
            status: Status = Scripts(self.ctx.system).run(
                argv, name=name, timeout=self.timeout, log=self._log(step), env=self._env()
            )
        except MachineError as error:
            status = error.message
        self._remember(step, status)
        if status:
            raise HandlerError(self._ending(step, status))

    def _remember(self, step: ScriptStep, status: Status) -> bool:
        self._ledger.note(step, status)
        return self.ctx.memory.remember(f"{self.source}-scripts", self._ledger.text)

    def _ending(self, step: ScriptStep, status: Status) -> str:
        if isinstance(status, int):
            return f"the script {step.name} ended with status {status}: see {self._log(step)}"
        return str(status)

    def _log(self, step: ScriptStep) -> str:
        return f"{LOG_DIR}/{self.source}-{step.name}.log"

    def _put(self, name: str, data: bytes, *, mode: int) -> None:
        """Write a file of our own, unrecorded, in a folder where root alone can look."""
        files = self.ctx.system.files
        path = f"{self._folder}/{name}"
        if files.read(path) == data:
            return
        files.make_own_folder(path.rpartition("/")[0])
        if self.ctx.system.dry_run:
            files.expect_file(path, data)
            return
        files.put(path, data, mode=mode, owner=None)

    def _env(self) -> dict[str, str]:
        """What a script may want to know; nothing secret."""
        from azurelite.handlers.run import variables

        # INSTANCE_ID is what cloud-init tells its boothooks.
        instance_id = (self.ctx.metadata.instance_id or "").replace("\0", "")
        return {**variables(self.ctx), "INSTANCE_ID": instance_id, "AZURELITE_SOURCE": self.source}

    def _say(self, text: str) -> None:
        from string import Template

        from azurelite.clock import iso_utc
        from azurelite.version import VERSION

        uptime = self.ctx.system.root.text("/proc/uptime").split()
        words = {
            "uptime": uptime[0] if uptime else "?",
            "timestamp": iso_utc(self.ctx.fabric.clock.now()),
            "version": VERSION,
            "datasource": "DataSourceAzure",
        }
        if not self.ctx.system.dry_run:
            words |= {key.upper(): value for key, value in words.items()}
            for line in Template(text).safe_substitute(words).splitlines():
                LOG.info("%s", line)

    def _unzstd(self, data: bytes, limit: int) -> bytes:
        from base64 import b64decode

        commands = self.ctx.system.commands
        for program in ("zstd", "head", "base64"):
            if commands.find(program) is None:
                raise HandlerError(
                    f"it is packed with zstd, and {program} is not installed: add it to the image, or use gzip"
                )
        most = limit + 1 + len(_WHOLE)
        out = b64decode(commands.run(["sh", "-c", _UNZSTD, str(most)], timeout=60, secret_input=Secret(data)))
        if out.endswith(_WHOLE):
            return out[: -len(_WHOLE)]
        if len(out) < most:
            raise HandlerError("it is packed with zstd, but damaged")
        return out  # cut off: it is too long


def _interpreter(data: bytes) -> list[str]:
    """The words of a script's first line as the kernel reads them: program, and all the rest as one argument.

    We start the program ourselves, for the file may lie where nothing may be executed (noexec).
    """
    line = data[2:].split(b"\n", 1)[0].decode(errors="replace").strip()
    program, _, argument = line.replace("\t", " ").partition(" ")
    if not program:
        raise HandlerError("a script names no program behind `#!` in its first line")
    return [program, argument.strip()] if argument.strip() else [program]
