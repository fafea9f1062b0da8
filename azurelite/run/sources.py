"""Reads the sources that are not azurelite's own: each runs in a separate interpreter, with a timeout."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from azurelite import plugins
from azurelite.clock import Deadline
from azurelite.datasource import others_in
from azurelite.datasource.others import failure, part_of
from azurelite.errors import AzureliteError, FabricError, MachineError
from azurelite.fabric.client import Fabric
from azurelite.hypervisor.identity import Identity
from azurelite.metadata import Metadata
from azurelite.system.machine import System
from azurelite.system.portable import unpack

_LOADED_SECONDS = 10.0  # to import a plug-in


def readers_of(
    names: Sequence[str], *, identity: Identity, on_azure: bool, system: System, fabric: Fabric
) -> dict[str, Callable[[], Metadata]]:
    """The readers of the sources that are not azurelite's own, by name, in order."""
    guest = {
        "root": system.root.path,
        "vm_id": identity.vm_id,
        "on_azure": on_azure,
        "search_path": system.commands.search_path,
    }
    return {name: _reader(name, guest, system, fabric) for name in others_in(names)}


def _reader(name: str, guest: Mapping[str, Any], system: System, fabric: Fabric) -> Callable[[], Metadata]:
    def read() -> Metadata:
        place = plugins.place_of(name, plugins.SOURCE_GROUP)
        if place is None:
            raise failure(name, "it is not installed any more")
        limit = fabric.sources.before(fabric.sources.remaining() / 2)  # the rest is for the other sources
        return part_of(name, _fetched(name, place, guest, system, limit))

    return read


def _fetched(name: str, place: str, guest: Mapping[str, Any], system: System, limit: Deadline) -> Any:
    """What `fetch` returned. Raises FabricError: it failed, was too slow, or ended without an answer."""
    given = {"task": "fetch", "place": place, "guest": {**guest, "seconds": limit.remaining()}}
    try:
        with plugins.start(given, name=name, keep=system.lock) as child:
            child.what = f"datasource {name}"
            told = plugins.read_answer(child.answer(limit.within(_LOADED_SECONDS)), child.what)
            if "timeout" in told:
                deadline = limit.within(float(told["timeout"]))
                told = plugins.read_answer(child.answer(deadline, waiting=system.commands.waiting), child.what)
            child.end()
        if "failure" not in told:
            return unpack(told["found"])
        message, _, data = told["failure"]
        raise _failed(name, AzureliteError(str(message), data=dict(data)))
    except MachineError as error:
        raise _failed(name, error) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _failed(name, MachineError(plugins.DAMAGED.format(f"datasource {name}"))) from error


def _failed(name: str, cause: AzureliteError) -> FabricError:
    what = f"datasource {name}"
    text = cause.message[len(what) :].lstrip(": ") if cause.message.startswith(what) else cause.message
    made = failure(name, text)
    made.data.update(cause.data)
    return made
