"""`user_data`: store the VM's user data, unpack it, and run its scripts and #cloud-config.

If a part fails, the others still run; one error at the end lists all failures. One note lists the kinds of parts and
the keys of #cloud-config that azurelite does not support. No message repeats a value from the data, which may be
secret. A script is started once per VM, whether it succeeds or not and whatever `frequency` says.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Optional

from azurelite import layout
from azurelite.config.document import Document, quotable_path
from azurelite.config.load import Config, Frequency, HandlerEntry
from azurelite.config.schema import ConfigProblemsError
from azurelite.errors import AzureliteError, ConfigError, HandlerError, MachineError, SkippedError
from azurelite.guard import guard
from azurelite.handlers import Context, bind_handler
from azurelite.metadata import Secret
from azurelite.record import Record, replace

if TYPE_CHECKING:
    from azurelite.userdata.parts import Part
    from azurelite.userdata.steps import HandlerStep, ScriptStep, Status, Step

LOG = logging.getLogger(__name__)

SUMMARY = "store and run custom data, or else user data: scripts, MIME, a subset of #cloud-config"
NEEDS: tuple[str, ...] = ()
USES = ("user_data", "custom_data")
FREQUENCY: Frequency = "instance"
REQUIRED = False

Source = Literal["user_data", "custom_data"]
Action = Literal["run", "save", "ignore"]
Rerun = Literal["never", "interrupted"]
_UNPACK_SECONDS = 60.0  # for all parts together
_SHOWN = 20  # unsupported items that one note lists
_MOST_NAMED = 200  # that all notes list; the log is no place for a file of other programs
_WHOLE = b"azurelite: whole"  # printed after the unpacked data if zstd succeeded
_UNZSTD = f'{{ zstd -dcq && printf "%s" "{_WHOLE.decode()}"; }} | head -c "$0" | base64'


class Options(Record):
    """Options of `user_data`.

    Attributes:
        sources: where to look for data, in this order; the first that is not empty and can be read is used, the
            others are only stored. Custom data is skipped if the configuration lists the handler `custom_data`.
        action: "run": store it, unpack it, run its scripts and apply its #cloud-config; "save": only store it, in
            /var/lib/azurelite/vms, readable by root only; "ignore": do nothing. A script is started once per VM, even
            if it fails or reboots the machine; to run all scripts again, remove ID/memory/*-scripts there.
        save: also store it in this file (mode 0600), for example /var/lib/waagent/CustomData for programs that
            read it there.
        timeout: seconds that each script may run before it is killed. In an entry before `report_ready`,
            `datasource.deadline` may end it earlier.
        rerun: a script that was started and interrupted, for example by a power cut or by its own `reboot`: "never":
            it counts as run, and is named; "interrupted": it is run again, so it must stand that.
    """

    sources: tuple[Source, ...] = ("custom_data", "user_data")
    action: Action = "run"
    save: Optional[str] = None
    timeout: float = 3600.0
    rerun: Rerun = "never"

    def __post_init__(self) -> None:
        check(self.save, self.timeout)
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("sources lists a source twice: remove one of the two")


def check(save: Optional[str], timeout: float) -> None:
    """Check the options `save` and `timeout`. Raises ValueError."""
    if save is not None and (not save.startswith("/") or save.endswith("/") or ".." in save.split("/")):
        raise ValueError("save must be the absolute path of a file, without `..`")
    if not 0 < timeout <= 7 * 86400:
        raise ValueError("timeout must be more than 0 and at most 604800 seconds (a week)")


def uses(options: Options, config: Config) -> tuple[str, ...]:
    """The fields that it reads."""
    return tuple(name for name in USES if name in _sources(options, config))


def _sources(options: Options, config: Config) -> tuple[Source, ...]:
    own = any(entry.name == "custom_data" for entry in config.handlers)
    return tuple(source for source in options.sources if not (own and source == "custom_data"))


def apply(ctx: Context, options: Options) -> None:
    """Store the data and run it; do nothing if there is none.

    Raises:
        HandlerError: lists everything that failed.
    """
    use(
        ctx,
        _sources(options, ctx.config),
        action=options.action,
        save=options.save,
        timeout=options.timeout,
        rerun=options.rerun,
    )


def use(
    ctx: Context,
    sources: tuple[Source, ...],
    *,
    action: Action,
    save: Optional[str],
    timeout: float,
    rerun: Rerun = "never",
) -> None:
    """Store the data of all `sources`, and run the first that is not empty and can be read.

    A VM whose earlier run, by a release with another order, stored only one of them keeps to that one, alone.

    Args:
        ctx: the context of the run.
        sources: fields of the metadata.
        action: the option `action`.
        save: path of a further file to store the chosen data in.
        timeout: seconds for each script.
        rerun: the option `rerun`.

    Raises:
        HandlerError: lists everything that failed.
        SkippedError: nothing failed, but some parts cannot be run here.
    """
    found = [name for name in sources if getattr(ctx.metadata, name)]
    if not found or action == "ignore":
        return
    found = [name for name in found if _was_chosen(ctx, name, found)] or found
    works = [_Work(ctx, name, timeout, rerun) for name in found]
    chosen = _readable(ctx, works) if action == "run" else works[0]
    if len(works) > 1:
        others = ", ".join(work.source for work in works if work is not chosen)
        what = "run" if action == "run" else "the first"
        ctx.note(f"Azure has custom data and user data: {chosen.source} is {what}, {others} only stored: see `sources`")
    for work in works:
        work.keep(save if work is chosen else None)
    if action == "run":
        chosen.take(guard(chosen.run))
    failed = [failure for work in works for failure in work.failed]
    skipped = f"these parts need the running system: {', '.join(chosen.skipped)}"
    if chosen.skipped and not failed:
        raise SkippedError(skipped)
    if failed:
        if chosen.skipped:
            ctx.note(skipped)
        raise HandlerError(
            "; ".join(failed),
            reason=f"failed to apply {chosen.source.replace('_', ' ')}",
            data={"failed": str(len(failed))},
        )


def _was_chosen(ctx: Context, name: str, found: list[Source]) -> bool:
    """Whether an earlier run stored this data and none of the others."""
    files, folder = ctx.system.files, ctx.memory.vm_folder
    return [other for other in found if files.exists(f"{folder}/{other}")] == [name]


def _readable(ctx: Context, works: list[_Work]) -> _Work:
    """The first document that can be split into parts. One before it that cannot is a warning, or a failure."""
    for work, following in zip(works, works[1:]):
        error = guard(work.read)
        if not isinstance(error, AzureliteError):
            return work
        if any(entry.name == "user_data" and entry.required for entry in ctx.config.handlers):
            work.take(error, f"{work.source}: ")
        else:
            ctx.note(f"using {following.source} instead of {work.source}: {error}")
    return works[-1]


class _Work:
    """Storing and running one document."""

    def __init__(self, ctx: Context, source: Source, timeout: float, rerun: Rerun) -> None:
        from azurelite.userdata.decode import Budget
        from azurelite.userdata.steps import Ledger

        self.ctx = ctx
        self.source = source
        self.timeout = timeout
        self.rerun = rerun
        self.failed: list[str] = []
        self._ledger = Ledger(ctx.memory.recall(f"{source}-scripts"))
        self._begun = False  # whether the present script was about to start
        self.skipped: list[str] = []  # scripts and keys of #cloud-config that need the running system
        self._folder = ctx.memory.vm_folder
        self._data: bytes = getattr(ctx.metadata, source).reveal_bytes()
        self._parts: Optional[list[Part]] = None
        self._unpacking = Budget(ctx.system.clock, _UNPACK_SECONDS)

    def take(self, error: Optional[AzureliteError], what: str = "") -> None:
        """Add the error, if any, to the failures, after the text `what`."""
        if error is not None:
            self.failed.append(f"{what}{error}")

    def keep(self, save: Optional[str]) -> None:
        """Store copies that only root can read."""
        files = self.ctx.system.files
        data = self._data

        def write(path: str) -> None:
            files.mkdirs(path.rpartition("/")[0] or "/")
            files.write(path, data, mode=0o600, secret=True)

        if save is not None:
            self.take(guard(lambda: write(save)))
        self.take(guard(lambda: self._put(self.source, data, mode=0o600)))

    def run(self) -> None:
        """Run the parts of the document. Raises HandlerError if the document as a whole cannot be read."""
        from azurelite.userdata.reading import read
        from azurelite.userdata.translate import Translation

        parts = self.read()
        for note in filter(None, (part.note for part in parts)):
            self.ctx.note(note)
        reading = read([part for part in parts if part.kind == "cloud-config"], label=self.source)
        translation = Translation(
            reading,
            administrator=self.ctx.metadata.username,
            scripts=[part for part in parts if part.kind == "script"],
            boothooks=[part for part in parts if part.kind == "boothook"],
            keys=[key.key.line for key in self.ctx.metadata.public_ssh_keys or () if key.key is not None],
            manager=self._manager,
            exists=lambda name: self.ctx.system.accounts.user(name) is not None,
        )
        steps = translation.steps()
        self.failed += [f"{part.name} {part.why}" for part in parts if part.kind == "broken"]
        refused = [f"{part.name} is {part.why}" for part in parts if part.kind == "refused"]
        self._note_unsupported([*refused, *reading.unknown, *translation.left_out])
        self.failed += [*reading.problems, *translation.problems]
        for step in steps:
            self._do(step)

    def read(self) -> list[Part]:
        """Split the document. Raises HandlerError if the document as a whole cannot be read."""
        if self._parts is None:
            self._parts = self._split()
        return self._parts

    def _split(self) -> list[Part]:
        from azurelite.userdata.decode import decode
        from azurelite.userdata.parts import split
        from azurelite.userdata.reading import unarchive

        decoded = decode(self._data, unzstd=self._unzstd, budget=self._unpacking)
        for note in decoded.notes:
            self.ctx.note(note)

        def unpack(packed: bytes) -> bytes:
            return decode(packed, unzstd=self._unzstd, budget=self._unpacking).data

        found = []
        for part in split(decoded.data, unpack=unpack):
            if part.kind != "archive":
                found.append(part)
                continue
            try:
                inner = unarchive(part, label=self.source, unpack=unpack)
            except ConfigError as error:
                self.take(error)
            else:
                self.failed += inner.problems
                found += [
                    replace(p, kind="refused", why="an archive inside another") if p.kind == "archive" else p
                    for p in inner.parts
                ]
        return found

    def _manager(self) -> Optional[str]:
        """The name of the package manager as cloud-config gives it; None in a foreign root, where it is not run."""
        from azurelite.system.packages import find_manager

        found = find_manager(self.ctx.system) if self.ctx.system.root.is_host else None
        return None if found is None else found.name.partition("-")[0]

    def _note_unsupported(self, names: list[str]) -> None:
        for start in range(0, min(len(names), _MOST_NAMED), _SHOWN):
            rest = len(names) - _MOST_NAMED if start + _SHOWN >= _MOST_NAMED else 0
            more = f"; and {rest} more" if rest > 0 else ""
            self.ctx.note(f"skipped (unsupported or repeated): {'; '.join(names[start : start + _SHOWN])}{more}")

    def _do(self, step: Step) -> None:
        from azurelite.userdata.steps import HandlerStep, ScriptStep

        if isinstance(step, HandlerStep):
            self._apply(step)
        elif isinstance(step, ScriptStep):
            self._script(step)
        else:
            self.take(guard(lambda: self._say(step.text)))

    def _apply(self, step: HandlerStep) -> None:
        from azurelite.handlers.users import apply_leniently
        from azurelite.handlers.write_files import apply_within

        path = (step.section,)
        places = {(*path, *inner): place for inner, place in step.places.items()}
        config = replace(self.ctx.config, document=Document({}, places))

        def apply_handler() -> None:
            handler = bind_handler(HandlerEntry(step.handler, step.options, path), config)
            if step.handler == "users":
                apply_leniently(self.ctx, handler.options)
            elif step.handler == "write_files":
                apply_within(self.ctx, handler.options, self._unpacking)
            else:
                handler.apply(self.ctx, handler.options)

        with self.ctx.system.files.all_secret():  # as the document that the options come from
            error = guard(apply_handler)
        if isinstance(error, ConfigProblemsError):  # each problem begins with its file and line
            self.failed += [
                str(replace(problem, text=_in_their_words(problem.text, step))) for problem in error.problems
            ]
        elif isinstance(error, SkippedError):
            self.skipped.append(f"`{step.section}`")
        elif error is not None:
            label = f"{config.document.place(path)}: `{quotable_path(step.source or path)}`"
            self.failed.append(f"{label}: {_with_places(str(error), step)}")

    def _script(self, step: ScriptStep) -> None:
        if not self.ctx.system.root.is_host:
            self.skipped.append(step.name)
        elif self._ledger.knows(step) and not (self.rerun == "interrupted" and self._is_begun(step)):
            self._report_earlier(step)
        else:
            self.take(guard(lambda: self._run_script(step)))

    def _report_earlier(self, step: ScriptStep) -> None:
        """Report the result of a script that was started in an earlier run. A failed script fails this run as well."""
        from azurelite.userdata.steps import BEGUN

        status = self._ledger.status(step)
        if status == BEGUN:
            what = f"the script {step.name} was interrupted in an earlier run and is not run again"
            self.ctx.note(f"{what}: set `rerun: interrupted` to run such scripts again")
        elif status:
            self.failed.append(f"{self._ending(step, status)} (in an earlier run; it is not run again)")

    def _run_script(self, step: ScriptStep) -> None:
        from azurelite.system.scripts import Scripts

        limit = self.ctx.system.commands.limit
        if limit is not None and limit.remaining() <= 0:
            raise HandlerError(f"the script {step.name} skipped: the provisioning deadline has passed")
        path = f"{self._folder}/{self.source}-scripts/{step.name}"
        self._put(f"{self.source}-scripts/{step.name}", step.data, mode=0o700)
        argv = [*_interpreter(step.data), self.ctx.system.root.host_path(path)]
        name = f"{self.source} script {step.name}"
        self._begun = False
        try:
            status: Status = Scripts(self.ctx.system).run(
                argv, name=name, timeout=self.timeout, log=self._log(step), env=self._env(),
                begin=lambda: self._begin(step), begun=lambda: self._is_begun(step),
            )  # fmt: skip
        except MachineError as error:
            if not self._begun:  # it could not be prepared, so it has not run
                raise
            status = error.message
        self._remember(step, status)
        if status:
            raise HandlerError(self._ending(step, status))

    def _begin(self, step: ScriptStep) -> None:
        """Record the start, while the program waits for it. Raises HandlerError: the program must not start then."""
        from azurelite.userdata.steps import BEGUN

        if not self._remember(step, BEGUN):
            raise HandlerError(
                f"the script {step.name} skipped: its start cannot be recorded, so it would run again at every boot"
            )
        self._begun = True

    def _is_begun(self, step: ScriptStep) -> bool:
        """Whether the record on the disk has its start, and not its end."""
        from azurelite.userdata.steps import BEGUN, Ledger

        ledger = Ledger(self.ctx.memory.recall(f"{self.source}-scripts"))
        return ledger.knows(step) and ledger.status(step) == BEGUN

    def _remember(self, step: ScriptStep, status: Status) -> bool:
        self._ledger.note(step, status)
        return self.ctx.memory.remember(f"{self.source}-scripts", self._ledger.text)

    def _ending(self, step: ScriptStep, status: Status) -> str:
        if isinstance(status, int):
            return f"the script {step.name} exited with status {status}: see {self._log(step)}"
        return str(status)

    def _log(self, step: ScriptStep) -> str:
        return f"{layout.OUTPUTS}/{self.source}-{step.name}.log"

    def _put(self, name: str, data: bytes, *, mode: int) -> None:
        """Write a file in azurelite's own folder, which only root can read. It is not recorded as a change."""
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
        """The environment variables for scripts; none is secret."""
        from azurelite.handlers.run import variables

        # cloud-init sets INSTANCE_ID for boothooks.
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
                    f"it is compressed with zstd, and {program} is not installed: add it to the image, or use gzip"
                )
        most = limit + 1 + len(_WHOLE)
        timeout = self._unpacking.remaining()
        out = b64decode(commands.run(["sh", "-c", _UNZSTD, str(most)], timeout=timeout, secret_input=Secret(data)))
        if out.endswith(_WHOLE):
            return out[: -len(_WHOLE)]
        if len(out) < most:
            raise HandlerError("its zstd data is damaged")
        return out  # truncated by `head`, because it is too long


def _with_places(text: str, step: HandlerStep) -> str:
    """The message, with the place in the cloud-config for each entry of the options, such as `accounts[3]`."""
    import re

    def place(found: re.Match[str]) -> str:
        option = (found[1], int(found[2]))
        known = step.places.get(option)
        if len(step.source) > 1 and step.moved.get(option) == step.source:
            return ""  # the message names it already
        return found[0] if known is None else f"{known} "

    return re.sub(r"\b([a-z]+)\[([0-9]{1,6})\] ", place, text)


def _in_their_words(text: str, step: HandlerStep) -> str:
    """The message about options, with the paths of the cloud-config that they come from."""
    import re

    for option, source in step.moved.items():
        own = re.escape(quotable_path((step.section, *option)))
        text = re.sub(rf"`{own}(?=[`.\[])", lambda _, source=source: f"`{quotable_path(source)}", text)  # type: ignore[misc]
    return text


def _interpreter(data: bytes) -> list[str]:
    """The interpreter in a script's first line, split as the kernel does: the program, and the rest as one argument.

    azurelite starts the interpreter itself, because the script may be on a file system mounted with `noexec`.
    """
    line = data[2:].split(b"\n", 1)[0].decode(errors="replace").strip()
    program, _, argument = line.replace("\t", " ").partition(" ")
    if not program:
        raise HandlerError("a script has no program after `#!` in its first line: write for example `#!/bin/sh`")
    return [program, argument.strip()] if argument.strip() else [program]
