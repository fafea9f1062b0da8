"""The rows of the benchmark: what is run, what has to be there first, and with what each is compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence

from bench.build import ARTICLE, HERE, Tools
from bench.fabric import Door
from bench.figures import Target

from azurelite.simulator import Scenario, make_guest

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
CURL = ("curl", "--silent", "--fail", "--output", "/dev/null")


MAIN_JOB = ("hostname", "user", "ssh_keys", "report_ready")


@dataclass(frozen=True)
class Guest:
    """What azurelite is told, beside where the fabric is.

    Attributes:
        scenario: of the simulator.
        handlers: of the configuration; None is the default list, which looks at sshd and user data too.
        files: more files of the guest, by their paths without the first slash.
        sources: the rest of the `datasource` section.
    """

    scenario: Mapping[str, Any] = field(default_factory=dict)
    handlers: Optional[Sequence[Any]] = MAIN_JOB
    files: Mapping[str, str] = field(default_factory=dict)
    datasource: Mapping[str, Any] = field(default_factory=dict)

    def config(self, door: Door) -> str:
        """The YAML that points azurelite at the fabric. JSON, because that is YAML too, and plain to write."""
        sources = {
            "platform": "azure",
            "imds": {"endpoint": f"http://{door.imds}"},
            "wireserver": {"endpoint": f"http://{door.wireserver}"},
            **self.datasource,
        }
        lines = [f"datasource: {json.dumps(sources)}"]
        if self.handlers is not None:
            lines.append("handlers:")
            lines += [f"  - {json.dumps(one)}" for one in self.handlers]
        return "\n".join(lines) + "\n"

    def make(self, folder: Path, door: Door) -> None:
        """A fresh root in the place of whatever is there."""
        shutil.rmtree(folder, ignore_errors=True)
        files = {"etc/azurelite/azurelite.yaml": self.config(door), **self.files}
        make_guest(folder, vm=Scenario.from_dict(dict(self.scenario)).vm, files=files)


@dataclass(frozen=True)
class Place:
    """Where a row runs.

    Attributes:
        tools: the programs.
        door: the fabric.
        scratch: a folder of the row's own.
    """

    tools: Tools
    door: Door
    scratch: Path

    @property
    def root(self) -> Path:
        """The guest of the row."""
        return self.scratch / "root"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: short, without spaces.
        text: what it is.
        words: the command.
        prepare: called ahead of each run, off the clock.
        once: called ahead of the first run.
        reference: the row of which its wall is a multiple, in the table.
        reports: a run without a report of Ready that was accepted is a failure.
        on_disk: its guest lies on a disk, where to sync a file takes time.
        names: it sets a host name, so it runs in a UTS namespace of its own, which needs root.
        needs: programs without which it is left out.
    """

    name: str
    text: str
    words: Callable[[Place], list[str]]
    prepare: Callable[[Place], object] = lambda place: None
    once: Callable[[Place], object] = lambda place: None
    reference: str = "article-unit"
    reports: bool = True
    on_disk: bool = False
    names: bool = False
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> Optional[str]:
        """Why it cannot run here, or None."""
        if self.names and os.geteuid() != 0:
            return "it sets a host name, in a namespace that only root can make"
        absent = [name for name in self.needs if shutil.which(name) is None]
        return f"needs {', '.join(absent)}" if absent else None


def fresh(place: Place) -> None:
    """A root that azurelite has not seen."""
    Guest().make(place.root, place.door)


def fresh_with_defaults(place: Place) -> None:
    """The same, with nothing said of handlers."""
    Guest(handlers=None).make(place.root, place.door)


def provisioned(place: Place) -> None:
    """A root that azurelite has provisioned."""
    fresh(place)
    command = [str(place.tools.azurelite), "provision", "--root", str(place.root)]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)


def lay_config(place: Place) -> None:
    """The small YAML file that a client of three packages reads."""
    (place.scratch / "config.yaml").write_text(Guest().config(place.door), encoding="utf-8")


def lay_health(place: Place) -> None:
    """A report for clients that cannot fill one in."""
    vm = Scenario.default().vm
    (place.scratch / "health.xml").write_text(
        f"<Health><GoalStateIncarnation>{vm.incarnation}</GoalStateIncarnation><Container>"
        f"<ContainerId>{vm.container_id}</ContainerId><RoleInstanceList><Role><InstanceId>{vm.instance_id}</InstanceId>"
        "<Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>",
        encoding="utf-8",
    )


def _article(place: Place) -> list[str]:
    return [str(place.tools.python), str(ARTICLE), f"http://{place.door.wireserver}"]


def _three(habit: str) -> Callable[[Place], list[str]]:
    def words(place: Place) -> list[str]:
        config = str(place.scratch / "config.yaml")
        return [str(place.tools.python), str(HERE / "three.py"), habit, config, place.door.imds, place.door.wireserver]

    return words


def _curl(place: Place) -> list[str]:
    wireserver = f"http://{place.door.wireserver}"
    version = ("--header", "x-ms-version: 2012-11-30")
    return [
        *CURL, "--header", "Metadata: true", f"http://{place.door.imds}/metadata/instance?api-version=2021-08-01",
        "--next", *CURL[1:], *version, f"{wireserver}/machine/?comp=goalstate",
        "--next", *CURL[1:], *version, "--header", "Content-Type: text/xml;charset=utf-8",
        "--data-binary", f"@{place.scratch}/health.xml", f"{wireserver}/machine/?comp=health",
    ]  # fmt: skip


def _azurelite(*verb: str) -> Callable[[Place], list[str]]:
    return lambda place: [str(place.tools.azurelite), *verb, "--root", str(place.root)]


def _pass(place: Place) -> list[str]:
    return [str(place.tools.python), "-I", "-c", "pass"]


ROWS = (
    Row("provision", "azurelite provision: host name, user, 2 keys, Ready", _azurelite("provision"), prepare=fresh),
    Row("on-disk", "the same, its guest on a disk: syncs count", _azurelite("provision"), prepare=fresh, on_disk=True),
    Row("default-list", "the same, with the default list: sshd and user data too", _azurelite("provision"),
        prepare=fresh_with_defaults),
    Row("report-ready", "azurelite report ready", _azurelite("report", "ready"), prepare=fresh,
        reference="article-python"),
    Row("already-done", "azurelite provision, when it is done already", _azurelite("provision"), once=provisioned,
        reference="python", reports=False),
    Row("article-unit", "the article's unit: its Python script, then curl and hostname",
        lambda place: ["/bin/sh", str(HERE / "article/unit.sh"), *_article(place), place.door.imds],
        names=True, needs=("curl", "hostname")),
    Row("article-python", "the article's Python script", _article, reference="article-python"),
    Row("article-bash", "the article's Bash script",
        lambda place: ["bash", str(HERE / "article/report_ready.sh"), place.door.wireserver], needs=("bash", "curl")),
    Row("three-plain", "the three packages imported, three exchanges made with them", _three("plain"), once=lay_config),
    Row("three-clean", "the same without collector and tear-down", _three("clean"), once=lay_config),
    Row("three-lean", "the same, imported as azurelite does: their floor", _three("lean"), once=lay_config),
    Row("curl", "curl, the three requests in one process", _curl, once=lay_health, needs=("curl",)),
    Row("c-client", "a program in C, the three requests",
        lambda place: [str(place.tools.client),
                       *place.door.imds.rsplit(":", 1), *place.door.wireserver.rsplit(":", 1)]),
    Row("python", "python -I -c pass", _pass, reference="python", reports=False),
    Row("python-again", "the same once more: what it differs by is noise", _pass, reference="python", reports=False),
)  # fmt: skip

TARGETS = (
    Target("whole job until Ready / the article's whole unit", "provision", "article-unit", "ready", "wall", 1.0),
    Target("the same two in a guest of their own", "live", "live-unit", "ready", "wall", 1.0),
    Target("whole job until Ready / cloud-init, local and network stages", "live", "cloud-init", "ready", "wall", 0.1),
    Target("whole job until Ready / waagent until its Ready", "live", "waagent", "ready", "ready", 0.1),
    Target("report ready / the article's Python script", "report-ready", "article-python", "wall", "wall", 1.5),
    Target("already done / python -I -c pass", "already-done", "python", "wall", "wall", 1.5),
    Target("peak memory: whole job / the article's Python script", "provision", "article-python", "rss", "rss", 1.4),
    Target("requests of the whole job", "provision", "", "requests", "", 3),
    Target("connections of the whole job", "provision", "", "connections", "", 2),
)
