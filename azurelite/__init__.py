"""azurelite: provisions Linux virtual machines on Azure, on any distribution.

`Azure` is the object for a distribution's own init code; the functions here are its methods, one call each. Importing
them is cheap: each call imports what it needs. They never print or exit: they return, or raise an `AzureliteError`.

The public names are those in `__all__`, `azurelite.handlers.Context` with the attributes in its docstring, and
`azurelite.simulator`. Everything else may change in any release.
"""

from __future__ import annotations

from azurelite.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any, Union

    from azurelite.api import Azure
    from azurelite.clock import Clock
    from azurelite.datasource.others import Guest
    from azurelite.errors import (
        AzureliteError,
        CannotRunError,
        CertificateError,
        CommandError,
        ConfigError,
        DisabledError,
        DocumentError,
        FabricError,
        FileError,
        HandlerError,
        HttpStatusError,
        IdentityError,
        MachineError,
        MediaError,
        NotAzureError,
        OutOfOrderError,
        ReportRefusedError,
        SkippedError,
        TransportError,
    )
    from azurelite.fabric.goalstate import GoalState
    from azurelite.metadata import Metadata, Secret, redact
    from azurelite.outcome import Outcome
    from azurelite.run.events import Event

    PathLike = Union[str, os.PathLike[str]]
    Config = Union[PathLike, Mapping[str, Any], None]

__version__ = VERSION
__all__ = [
    "Azure",
    "AzureliteError",
    "CannotRunError",
    "CertificateError",
    "CommandError",
    "ConfigError",
    "DisabledError",
    "DocumentError",
    "Event",
    "FabricError",
    "FileError",
    "GoalState",
    "Guest",
    "HandlerError",
    "HttpStatusError",
    "IdentityError",
    "MachineError",
    "MediaError",
    "Metadata",
    "NotAzureError",
    "OutOfOrderError",
    "Outcome",
    "ReportRefusedError",
    "Secret",
    "SkippedError",
    "TransportError",
    "apply",
    "build_report",
    "crawl",
    "goal_state",
    "post_report",
    "provision",
    "redact",
    "report_failure",
    "report_progress",
    "report_ready",
]
# Name -> module; all others are errors.
_HOMES = {
    "Azure": "api",
    "Event": "run.events",
    "GoalState": "fabric.goalstate",
    "Guest": "datasource.others",
    "Metadata": "metadata",
    "Outcome": "outcome",
    "Secret": "metadata",
    "redact": "metadata",
}


if not TYPE_CHECKING:  # with this function, a type checker would accept any name

    def __getattr__(name: str) -> Any:
        """The public classes, imported on first use."""
        if name not in __all__:
            raise AttributeError(f"module 'azurelite' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f"azurelite.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def crawl(
    *,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> Metadata:
    """Read everything that Azure says about this VM, see `Azure.crawl`. Changes nothing on the machine.

    Args:
        root, config, seconds, clock: see `Azure`.

    Returns:
        The metadata, a mapping: cloud_name, platform, instance_id, vm_id, local_hostname, region, availability_zone,
        fault_domain, vm_size, username (str or None); disable_password_authentication,
        provision_guest_proxy_agent (bool or None); public_ssh_keys (list of str or None); tags, network (dict or
        None); pps_type (str or None); password, custom_data, user_data, random_seed (`Secret` or None); provenance
        (field -> source); raw (source -> document). `redact` and `Metadata.to_json` make it JSON-ready.

    Raises:
        NotAzureError: the firmware does not prove Azure; no request was sent.
        ConfigError: the configuration is wrong.
        FabricError: no source answered in time.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        return azure.crawl()


def provision(
    *,
    dry_run: bool = False,
    force: bool = False,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """The main job: crawl, run the configured handlers in order, report to Azure, see `Azure.provision`.

    Args:
        dry_run: change nothing, send no report; the outcome lists what would change.
        force: provision again even if this VM is done.
        root, config, seconds, clock: see `Azure`.

    Returns:
        The outcome, with `exit_code` (0, 1 or 3), the steps with their changes, and the report. A failure is not
        raised: call `outcome.check()`.

    Raises:
        ConfigError: the configuration is wrong.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        return azure.provision(dry_run=dry_run, force=force)


def apply(
    handlers: Sequence[str | Mapping[str, Any]],
    *,
    metadata: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    sources: Sequence[str] | None = None,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """Run only these handlers, even if they ran before, see `Azure.apply`. Marks nothing as done.

    Args:
        handlers: in order: names, whose options come from the configuration; or `{name: options}`.
        metadata: what `crawl` returned, to use instead of asking Azure.
        dry_run: change nothing.
        sources: "imds", "media", "wireserver": the sources to use instead of the configured ones. With "media" alone
            no request is sent, so it works before the network is up.
        root, config, seconds, clock: see `Azure`.

    Returns:
        The outcome; `exit_code` is 1 if a handler failed, 3 if Azure was not reached. A failure is not raised: call
        `outcome.check()`.

    Raises:
        ConfigError: the configuration is wrong, or there is no such handler.
        NotAzureError: Azure has to be asked, but the firmware does not prove Azure.
        MachineError: another run of azurelite did not end in time.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        return azure.apply(handlers, metadata, dry_run=dry_run, sources=sources)


def report_ready(
    *,
    force: bool = False,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> None:
    """Tell Azure that this VM is ready, with the current goal state, see `Azure.report_ready`.

    Args:
        force: report it although a step of this boot has failed.
        root, config, seconds, clock: see `Azure`.

    Raises:
        OutOfOrderError: a required step has failed in this boot.
        DisabledError, NotAzureError: nothing was sent.
        FabricError: Azure did not accept the report in time.
        ConfigError: the configuration is wrong.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        azure.report_ready(force=force)


def report_failure(
    cause: AzureliteError | str,
    *,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> None:
    """Tell Azure that provisioning failed, see `Azure.report_failure`. Azure fails the deployment at once.

    Args:
        cause: the error, or a text for the portal; never a secret.
        root, config, seconds, clock: see `Azure`.

    Raises:
        OutOfOrderError, DisabledError, NotAzureError, FabricError, ConfigError: see `Azure.report_failure`.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        azure.report_failure(cause)


def report_progress(
    text: str = "provisioning continues",
    *,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> bool:
    """Tell Azure that provisioning continues, see `Azure.report_progress`. Never after Ready.

    Args:
        text: what is being done.
        root, config, seconds, clock: see `Azure`.

    Returns:
        Whether Azure was told; a report that fails is only logged.

    Raises:
        DisabledError, NotAzureError, ConfigError: as `report_ready`.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        return azure.report_progress(text)


def goal_state(
    *,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> GoalState:
    """Fetch this VM's goal state from WireServer: the first of the three steps of a report.

    `report_ready` does all three, and repeats them if the goal state has changed.

    Args:
        root, config, seconds, clock: see `Azure`.

    Returns:
        The goal state: container_id, instance_id, incarnation (str), certificates_url (str or None).

    Raises:
        NotAzureError: the firmware does not prove Azure; no request was sent.
        FabricError: no usable answer in time.
        ConfigError: the configuration is wrong.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        return azure.goal_state()


def build_report(state: str, goal_state: GoalState, reason: str | None = None) -> bytes:
    """Build a health report in WireServer's XML: the second step. Does no input or output.

    Args:
        state: "Ready"; "NotReady": provisioning failed; "Provisioning": it continues.
        goal_state: the current one, from `goal_state`.
        reason: why it failed (needed with "NotReady"), or what is being done; never a secret. Azure accepts 4096
            bytes of escaped text, so it is cut to these.

    Returns:
        The document, UTF-8.

    Raises:
        ConfigError: there is no such state, or a reason is missing or superfluous.
    """
    from azurelite.fabric.health import report_document

    return report_document(state, goal_state, reason)


def post_report(
    document: bytes,
    *,
    root: PathLike = "/",
    config: Config = None,
    seconds: float | None = None,
    clock: Clock | None = None,
) -> None:
    """Send a health report to WireServer: the third step. Failures that may pass are retried.

    Args:
        document: what `build_report` returned.
        root, config, seconds, clock: see `Azure`.

    Raises:
        ReportRefusedError: Azure did not accept it. If `error.data["http_code"]` is "410", the goal state has changed:
            start again with `goal_state`.
        DisabledError, NotAzureError, FabricError, ConfigError: as `report_ready`.
    """
    from azurelite.api import Azure

    with Azure(root=root, config=config, seconds=seconds, clock=clock) as azure:
        azure.post_report(document)
