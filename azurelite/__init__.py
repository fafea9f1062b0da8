"""azurelite: provisions Linux virtual machines on Azure, on any distribution.

Six functions for a distribution's own init code. Importing them costs next to nothing; what a call needs is
imported when it is made. They never print and never exit: they return, or raise an `AzureliteError`.

Public are the names in `__all__`, `azurelite.handlers.Context` with the attributes that its docstring lists, and
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
        TransportError,
    )
    from azurelite.metadata import Secret
    from azurelite.outcome import Outcome

__version__ = VERSION
__all__ = [
    "AzureliteError",
    "CertificateError",
    "CommandError",
    "ConfigError",
    "DocumentError",
    "FabricError",
    "FileError",
    "HandlerError",
    "HttpStatusError",
    "IdentityError",
    "MachineError",
    "MediaError",
    "NotAzureError",
    "Outcome",
    "ReportRefusedError",
    "Secret",
    "TransportError",
    "apply",
    "crawl",
    "provision",
    "report_failure",
    "report_progress",
    "report_ready",
]
_HOMES = {"Outcome": "outcome", "Secret": "metadata"}  # of the classes; the others are errors


if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        """The public classes, imported when they are asked for."""
        if name not in __all__:
            raise AttributeError(f"module 'azurelite' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f"azurelite.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def crawl(
    *, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None
) -> dict[str, Any]:
    """Read all that Azure says about this VM. Changes nothing on the machine.

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
        NotAzureError: the firmware does not prove Azure; nothing was asked.
        ConfigError: the configuration is wrong.
        FabricError: no source gave anything in time.
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
        force: do it again though this VM is provisioned already.
        clock: time; for tests.

    Returns:
        The outcome, with `exit_code` (0, 1 or 3), the steps with their changes, and the report.

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
    """Run just these handlers, whether or not they ran before. Marks nothing as done.

    Args:
        handlers: their names, in order; options come from the configuration where it lists them.
        metadata: a dict as `crawl` returns it, in place of a crawl: then nothing is asked.
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        dry_run: change nothing.
        sources: "imds", "media", "wireserver": what is asked in place of the configured ones. With "media" alone
            nothing is dialled, so that it can be done ahead of the network.
        clock: time; for tests.

    Returns:
        The outcome; `exit_code` is 1 when a required one of them failed, 3 when Azure could not be reached.

    Raises:
        ConfigError: the configuration is wrong, or there is no such handler.
        NotAzureError: a crawl would be needed and nothing may be dialled.
    """
    from azurelite.api import run_apply

    return run_apply(
        handlers, metadata=metadata, root=root, config=config, dry_run=dry_run, sources=sources, clock=clock
    )


def report_ready(*, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None) -> None:
    """Tell Azure that this VM is ready, with the goal state of this moment. Needs no user, key or handler.

    Args:
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Raises:
        NotAzureError: the firmware does not prove Azure; nothing was sent.
        FabricError: Azure did not accept it within `datasource.deadline`. It never counts as sent then.
        ConfigError: the configuration is wrong.
    """
    from azurelite.run.session import send_report

    send_report("ready", "", root=root, config=config, clock=clock)


def report_failure(
    reason: str, *, root: str = "/", config: str | os.PathLike[str] | None = None, clock: Clock | None = None
) -> None:
    """Tell Azure that provisioning failed: it fails the deployment at once, showing the reason.

    Args:
        reason: for the person who reads the portal; never a secret.
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml.
        clock: time; for tests.

    Raises:
        NotAzureError, FabricError, ConfigError: as `report_ready`.
    """
    from azurelite.run.session import send_report

    send_report("failure", reason, root=root, config=config, clock=clock)


def report_progress(
    text: str = "provisioning goes on",
    *,
    root: str = "/",
    config: str | os.PathLike[str] | None = None,
    clock: Clock | None = None,
) -> None:
    """Tell Azure that provisioning goes on.

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
