"""azurelite: provisions Linux virtual machines on Azure, on any distribution.

Nine functions for a distribution's own init code. Importing them is cheap: each call imports what it needs. They never
print or exit: they return, or raise an `AzureliteError`.

The public names are those in `__all__`, `azurelite.handlers.Context` with the attributes in its docstring, and
`azurelite.simulator`. Everything else may change in any release.
"""

from __future__ import annotations

from azurelite.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any

    from azurelite.clock import Clock
    from azurelite.errors import (
        AzureliteError,
        CannotRunError,
        CertificateError,
        CommandError,
        ConfigError,
        DocumentError,
        FabricError,
        FileError,
        HandlerError,
        HttpStatusError,
        IdentityError,
        MachineError,
        MediaError,
        NotAzureError,
        ReportRefusedError,
        SkippedError,
        TransportError,
    )
    from azurelite.fabric.goalstate import GoalState
    from azurelite.metadata import Secret
    from azurelite.outcome import Outcome

__version__ = VERSION
__all__ = [
    "AzureliteError",
    "CannotRunError",
    "CertificateError",
    "CommandError",
    "ConfigError",
    "DocumentError",
    "FabricError",
    "FileError",
    "GoalState",
    "HandlerError",
    "HttpStatusError",
    "IdentityError",
    "MachineError",
    "MediaError",
    "NotAzureError",
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
    "report_failure",
    "report_progress",
    "report_ready",
]
# Class -> module; all other classes are errors.
_HOMES = {"GoalState": "fabric.goalstate", "Outcome": "outcome", "Secret": "metadata"}


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
    *, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None
) -> dict[str, Any]:
    """Read everything that Azure says about this VM. Changes nothing on the machine.

    Args:
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Returns:
        The metadata dict: cloud_name, platform, instance_id, vm_id, local_hostname, region, availability_zone,
        fault_domain, vm_size, username (str or None); disable_password_authentication,
        provision_guest_proxy_agent (bool or None); public_ssh_keys (list of str or None); tags, network (dict or
        None); pps_type (str or None); password, custom_data, user_data, random_seed (`azurelite.metadata.Secret` or
        None); provenance (field -> source); raw (source -> document). `azurelite.metadata.redact` makes it JSON-ready.

    Raises:
        NotAzureError: the firmware does not prove Azure; no request was sent.
        ConfigError: the configuration is wrong.
        FabricError: no source answered in time.
    """
    from azurelite.run.session import crawl_metadata

    return crawl_metadata(root=root, config=config, clock=clock).as_dict()


def provision(
    *,
    root: str = "/",
    config: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    force: bool = False,
    clock: Clock | None = None,
) -> Outcome:
    """The main job: crawl, run the configured handlers in order, report to Azure.

    Args:
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        dry_run: change nothing, send no report; the outcome lists what would change.
        force: provision again even if this VM is done.
        clock: time; for tests.

    Returns:
        The outcome, with `exit_code` (0, 1 or 3), the steps with their changes, and the report. A failure is not
        raised: call `outcome.raise_for_status()`.

    Raises:
        ConfigError: the configuration is wrong.
    """
    from azurelite.api import run_provision

    return run_provision(root=root, config=config, dry_run=dry_run, force=force, clock=clock)


def apply(
    handlers: Sequence[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    root: str = "/",
    config: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    sources: Sequence[str] | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """Run only these handlers, even if they ran before. Marks nothing as done.

    Args:
        handlers: names in order; options come from their entries in the configuration.
        metadata: a dict from `crawl`, to use instead of asking Azure.
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        dry_run: change nothing.
        sources: "imds", "media", "wireserver": the sources to use instead of the configured ones. With "media" alone
            no request is sent, so it works before the network is up.
        clock: time; for tests.

    Returns:
        The outcome; `exit_code` is 1 if a required handler failed, 3 if Azure was not reached. A failure is not raised:
        call `outcome.raise_for_status()`.

    Raises:
        ConfigError: the configuration is wrong, or there is no such handler.
        NotAzureError: Azure has to be asked, but the firmware does not prove Azure.
    """
    from azurelite.api import run_apply

    return run_apply(
        handlers, metadata=metadata, root=root, config=config, dry_run=dry_run, sources=sources, clock=clock
    )


def report_ready(*, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None) -> None:
    """Tell Azure that this VM is ready, with the current goal state. Needs no user, key or handler.

    Args:
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Raises:
        NotAzureError: the firmware does not prove Azure; nothing was sent.
        FabricError: Azure did not accept the report within `datasource.deadline`.
        ConfigError: the configuration is wrong.
    """
    from azurelite.run.session import send_report

    send_report("ready", "", root=root, config=config, clock=clock)


def report_failure(
    reason: str, *, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None
) -> None:
    """Tell Azure that provisioning failed. Azure fails the deployment at once and shows the reason.

    Args:
        reason: a text for the portal; never a secret.
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Raises:
        NotAzureError, FabricError, ConfigError: as `report_ready`.
    """
    from azurelite.run.session import send_report

    send_report("failure", reason, root=root, config=config, clock=clock)


def report_progress(
    text: str = "provisioning continues",
    *,
    root: str = "/",
    config: str | os.PathLike[str] | None = None,
    clock: Clock | None = None,
) -> None:
    """Tell Azure that provisioning continues.

    Args:
        text: what is being done.
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Raises:
        NotAzureError, FabricError, ConfigError: as `report_ready`.
    """
    from azurelite.run.session import send_report

    send_report("progress", text, root=root, config=config, clock=clock)


def goal_state(
    *, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None
) -> GoalState:
    """Fetch this VM's goal state from WireServer: the first of the three steps of a report.

    `report_ready` does all three, and repeats them if the goal state has changed.

    Args:
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Returns:
        The goal state: container_id, instance_id, incarnation (str), certificates_url (str or None).

    Raises:
        NotAzureError: the firmware does not prove Azure; no request was sent.
        FabricError: no usable answer within `datasource.deadline`.
        ConfigError: the configuration is wrong.
    """
    from azurelite.run.session import fetch_goal_state

    return fetch_goal_state(root=root, config=config, clock=clock)


def build_report(state: str, goal_state: GoalState, reason: str | None = None) -> bytes:
    """Build a health report in WireServer's XML: the second step. Does no input or output.

    Args:
        state: "Ready"; "NotReady": provisioning failed; "Provisioning": it continues.
        goal_state: the current one, from `goal_state`.
        reason: why it failed (needed with "NotReady"), or what is being done; never a secret. Azure accepts 512
            characters, so it is cut to these.

    Returns:
        The document, UTF-8.

    Raises:
        ConfigError: there is no such state, or a reason is missing or superfluous.
    """
    from azurelite.fabric.health import report_document

    return report_document(state, goal_state, reason)


def post_report(
    document: bytes, *, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None
) -> None:
    """Send a health report to WireServer: the third step. Failures that may pass are retried.

    Args:
        document: what `build_report` returned.
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Raises:
        ReportRefusedError: Azure did not accept it. If `error.data["http_code"]` is "410", the goal state has changed:
            start again with `goal_state`.
        NotAzureError, FabricError, ConfigError: as `goal_state`.
    """
    from azurelite.run.session import post_report as post

    post(document, root=root, config=config, clock=clock)
