"""Read the sources. Each can fail alone; what the others give still counts."""

from __future__ import annotations

import logging
from typing import Callable, Mapping, Optional, Sequence

from azurelite import layout
from azurelite.datasource import OTHER, merge, missing_by, others_in
from azurelite.datasource.imds import parse_imds, resource_part
from azurelite.datasource.ovf import Ovf, parse_ovf
from azurelite.errors import AzureliteError, CertificateError, CommandError, DocumentError, FabricError, MediaError
from azurelite.fabric.client import Fabric
from azurelite.fabric.goalstate import GoalState
from azurelite.hypervisor.identity import Identity
from azurelite.media.find import AUTO, MediaDocument, fetch_media
from azurelite.metadata import Gaps, Metadata, Secret, SshKey
from azurelite.record import Record, replace
from azurelite.system.machine import System

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.fabric.certificates import Certificate

LOG = logging.getLogger(__name__)

# Seconds. No setting of the VM depends on the goal state, so the crawl does not wait long for it;
# the report fetches it again, with a longer deadline.
_GOAL_STATE_WAIT = 10.0
_CERTIFICATES_WAIT = 20.0  # seconds that IMDS leaves for the goal state and the certificates
# Seconds for IMDS when another source has named the administrator already: some hosts have no IMDS at all.
_IMDS_WAIT_BESIDE_MEDIA = 60.0
_UNREADABLE_TRIES = 5  # for a document that cannot be read: a host that is starting may send half of one
_UNREADABLE_PAUSE = 1.0  # seconds
_IMDS = "IMDS: "  # how messages of the IMDS client begin; the log names the source itself
_PROXY_AGENT = ("azure-proxy-agent", "--status", "--wait", "120")
_PROXY_AGENT_WAIT = 130.0  # seconds: the 120 above, and 10 more
_CUSTOM_DATA_LOST = "custom data is lost: IMDS says `hasCustomData`, but "


class Crawl(Record):
    """The result of reading the sources.

    Attributes:
        metadata: the merged fields, and what is missing.
        media: the document on the media, and where it was found.
    """

    metadata: Metadata
    media: Optional[MediaDocument] = None

    @property
    def device(self) -> Optional[str]:
        """The drive that the document came from, which can be ejected; None for any other place."""
        return self.media.device if self.media is not None else None


def crawl(
    fabric: Fabric,
    *,
    identity: Identity,
    sources: Sequence[str],
    system: Optional[System] = None,
    media: str = "none",
    given_media: Optional[MediaDocument] = None,
    others: Optional[Mapping[str, Callable[[], Metadata]]] = None,
) -> Crawl:
    """Read all sources.

    Args:
        fabric: the endpoints; its `sources` deadline bounds everything.
        identity: what the firmware said.
        sources: which to read: "imds", "media", "wireserver".
        others: the readers of other sources, strongest first; each may raise an AzureliteError.
        system: the guest whose discs are read and whose `openssl` decrypts certificates; None: do neither.
        media: where the provisioning media is, see `fetch_media`.
        given_media: a document to use in place of the media, as IMDS gives one to a VM that leaves a pool.

    Returns:
        The merged metadata. A source that failed is in its `gaps`; the other sources are still read.
    """
    return _Crawler(fabric, identity, system, media, given_media).read(sources, others or {})


class _Crawler:
    def __init__(
        self,
        fabric: Fabric,
        identity: Identity,
        system: Optional[System],
        media: str,
        given_media: Optional[MediaDocument],
    ) -> None:
        self.fabric = fabric
        self.system = system
        self.media_setting = media
        self.media = given_media
        self.ovf = Ovf(Metadata())
        self.is_without_disc = False
        self.refused: Optional[AzureliteError] = None
        self.parts = {"firmware": from_identity(identity)}
        self.failures: dict[str, FabricError] = {}
        self.unreadable: dict[str, DocumentError] = {}
        self.vm_id = identity.vm_id

    def read(self, sources: Sequence[str], others: Mapping[str, Callable[[], Metadata]]) -> Crawl:
        readers: dict[str, Callable[[], Metadata]] = {
            **others,
            "media": self._read_media,  # before IMDS: it takes no time
            "imds": self._read_imds,
            "wireserver": self._read_goal_state,
        }
        if "imds" in sources and "wireserver" in sources:  # two servers, so both requests can run at once
            self.fabric.wireserver.ask_ahead(
                self.fabric.sources.within(_GOAL_STATE_WAIT), beside=self.fabric.imds.endpoint
            )
        for source, reader in readers.items():
            if source in sources or source in others:
                self._try(source, reader)
        for source in others:
            self._miss_hidden(source)
        if self.ovf.fingerprints and merge(self.parts).public_ssh_keys is None:
            self._try("certificates", self._read_certificates)
        metadata = merge(self.parts)
        self._miss_custom_data(metadata, sources)
        return Crawl(replace(metadata, gaps=self._gaps(metadata, sources)), self.media)

    def _gaps(self, metadata: Metadata, sources: Sequence[str]) -> Gaps:
        damaged = {name: error for name, error in self.unreadable.items() if getattr(metadata, name) is None}
        lost = {**self._lost(metadata), **damaged}
        refused = _refusal(self.ovf.refused) or self.refused
        missing = {**missing_by(metadata, self.failures), **lost}
        return Gaps(self.failures, missing, tuple(lost), tuple(damaged), refused, tuple(sources))

    def _miss_custom_data(self, metadata: Metadata, sources: Sequence[str]) -> None:
        """Say so if Azure has custom data for this VM and the disc, its only source, does not have it."""
        self.unreadable.update(self.ovf.unreadable)
        asked = "media" in sources and _has_custom_data(metadata)
        if not asked or metadata.custom_data is not None or "custom_data" in self.unreadable or self._is_copy():
            return
        where = "the provisioning disc cannot be read" if "media" in self.failures else "there is no provisioning disc"
        text = _CUSTOM_DATA_LOST + (where if self.media is None else "the provisioning disc holds none")
        LOG.error("media: %s", text)
        if "media" not in self.failures:  # else that failure is why it is lost, and a retry may help
            self.unreadable["custom_data"] = DocumentError("media", text, reason="custom data is lost")
            self.unreadable["custom_data"].short = "custom data is lost"

    def _miss_hidden(self, source: str) -> None:
        """What the document of another source says without its value, as a saved one without its secrets."""
        part = self.parts.get(source)
        for name, error in part.missing.items() if part is not None else ():
            self.unreadable.setdefault(name, DocumentError(source, error.message, reason=error.reason))

    def _is_copy(self) -> bool:
        """Whether the document is azurelite's copy without secrets, from an earlier boot that read the disc."""
        return self.media is not None and self.media.source.startswith(layout.VMS_DIR)

    def _lost(self, metadata: Metadata) -> dict[str, FabricError]:
        """The fields that a failed source may have had, so that they must not count as absent.

        SSH keys: those that the media names by thumbprint and that could not be fetched; where passwords are disabled,
        also keys that the failed source may have named. User data and custom data: where neither was found.
        """
        lost: dict[str, FabricError] = {}
        others = others_in(self.failures)  # any of them may have had any field
        unread = self._failure_of(*others, "imds", "media")
        if metadata.public_ssh_keys is None:
            error = self.failures.get("certificates")
            if error is None and metadata.disable_password_authentication:
                error = unread
            if error is not None:
                lost["public_ssh_keys"] = error
        if metadata.custom_data is None:
            error = self._failure_of(*others, "media")
            if error is not None:
                lost["custom_data"] = error
            if metadata.user_data is None and unread is not None:
                lost["user_data"] = unread
        return lost

    def _failure_of(self, *sources: str) -> Optional[FabricError]:
        """Why the first of these sources that failed did."""
        return next((self.failures[source] for source in sources if source in self.failures), None)

    def _try(self, source: str, reader: Callable[[], Metadata]) -> None:
        try:
            self.parts[source] = reader()
        except AzureliteError as error:  # of any kind: the other sources are still read
            failure = FabricError(error.message, reason=error.reason, data=error.data)
            failure = error if isinstance(error, FabricError) else failure
            failure.short = failure.short or failure.reason
            self.failures[source] = failure
            named = _IMDS if source == "imds" else OTHER.format(source)
            LOG.warning("%s: %s", source, error.message[len(named) :] if error.message.startswith(named) else error)

    def _read_media(self) -> Metadata:
        if self.media is not None:
            self.ovf = parse_ovf(self.media.document)
        elif self.system is not None:
            self._find_media(self.system)
        for problem in self.ovf.problems:
            LOG.warning("media: %s", problem)
        return Metadata(raw={"ovf": None}) if self.is_without_disc else self.ovf.metadata

    def _find_media(self, system: System) -> None:
        """Find the first document that is Azure's. Raises DocumentError where there is only a damaged one."""
        wrong: list[FabricError] = []
        unread: list[str] = []

        def accept(document: bytes) -> bool:
            try:
                self.ovf = parse_ovf(document)
            except (MediaError, DocumentError) as error:
                wrong.append(error)
                return False
            return True

        self.media, skipped = fetch_media(system, self.media_setting, accept, vm_id=self.vm_id, unread=unread)
        for place in skipped:
            LOG.info("media: %s", place)
        if self.media is None:
            damaged = [error for error in wrong if isinstance(error, DocumentError)]
            if damaged:
                raise damaged[-1]
            self.is_without_disc = self.media_setting == AUTO and not unread and not wrong

    def _wait_for_proxy_agent(self) -> None:
        """Wait for azure-proxy-agent where the platform expects it in this image: IMDS is reached through it."""
        if not self.ovf.metadata.provision_guest_proxy_agent or self.system is None or not self.system.root.is_host:
            return
        try:
            self.system.commands.run(_PROXY_AGENT, timeout=_PROXY_AGENT_WAIT)
        except CommandError as error:
            absent = self.system.commands.find(_PROXY_AGENT[0]) is None
            reason = "azure-proxy-agent not found" if absent else "azure-proxy-agent status failure"
            self.refused = AzureliteError(f"IMDS not asked: azure-proxy-agent is not ready: {error}", reason=reason)

    def _read_imds(self) -> Metadata:
        self._wait_for_proxy_agent()
        deadline = self.fabric.sources
        if self.ovf.fingerprints:  # the SSH keys are in the certificates: WireServer needs time as well
            deadline = deadline.before(min(_CERTIFICATES_WAIT, deadline.remaining() / 2))
        if merge(self.parts).username is not None:
            deadline = deadline.within(_IMDS_WAIT_BESIDE_MEDIA)
        tries = 0
        while True:
            tries += 1
            try:
                read = parse_imds(self.fabric.imds.fetch_instance(deadline), unreadable=self.unreadable)
            except DocumentError as error:
                if tries == _UNREADABLE_TRIES or deadline.remaining() <= _UNREADABLE_PAUSE:
                    raise
                LOG.info("imds: %s; retrying", error)
                self.fabric.http.pause(_UNREADABLE_PAUSE, str(error))
            else:
                if read.local_hostname is None:
                    self.parts["resource"] = resource_part(read)
                return read

    def _read_goal_state(self) -> Metadata:
        return from_goal_state(self.fabric.wireserver.fetch_goal_state(self.fabric.sources.within(_GOAL_STATE_WAIT)))

    def _read_certificates(self) -> Metadata:
        if self.system is None:
            return Metadata()
        certificates = self.fabric.fetch_certificates(self.system.commands, self.fabric.sources)
        keys = ssh_keys_from(certificates, self.ovf.fingerprints)
        if not keys:
            raise CertificateError(
                "none of the VM's certificates has an SSH key that the media names: give the key as text",
                reason="error fetching certificates",
            )
        return Metadata(public_ssh_keys=keys)


def _refusal(problem: Optional[DocumentError]) -> Optional[AzureliteError]:
    """The problem as an error of exit code 1: Azure was reached, but sent a value that cannot be used."""
    return AzureliteError(problem.message, reason=problem.reason, data=problem.data) if problem is not None else None


def _has_custom_data(metadata: Metadata) -> bool:
    extended = metadata.raw.get("imds", {}).get("extended")
    compute = extended.get("compute") if isinstance(extended, dict) else None
    return isinstance(compute, dict) and compute.get("hasCustomData") in (True, "true", "True")


def ssh_keys_from(certificates: Sequence[Certificate], fingerprints: Sequence[str]) -> tuple[SshKey, ...]:
    """Find the SSH keys of the certificates with these thumbprints.

    Args:
        certificates: the VM's certificates.
        fingerprints: thumbprints, upper-case hex without colons.

    Returns:
        The keys in the order of the thumbprints. One without a certificate or usable key is logged and skipped.
    """
    known = {certificate.thumbprint: certificate for certificate in certificates}
    keys = []
    for fingerprint in dict.fromkeys(fingerprints):
        certificate = known.get(fingerprint)
        if certificate is None:
            LOG.warning("certificates: Azure sent none with the thumbprint %s: its SSH key is skipped", fingerprint)
        elif certificate.public_key is None:
            LOG.warning("certificates: the SSH key of %s is skipped: sshd does not support its type", fingerprint)
        else:
            keys.append(SshKey.read(certificate.public_key))
    return tuple(keys)


def from_identity(identity: Identity) -> Metadata:
    """Metadata from the firmware: the SMBIOS UUID (which other agents use), Azure's VM id, a random seed."""
    seed = identity.random_seed
    return Metadata(instance_id=identity.system_uuid, vm_id=identity.vm_id, random_seed=Secret(seed) if seed else None)


def from_goal_state(goal_state: GoalState) -> Metadata:
    """Metadata from a goal state: `raw["goal_state"]` and nothing else."""
    public = {
        "container_id": goal_state.container_id,
        "instance_id": goal_state.instance_id,
        "incarnation": goal_state.incarnation,
        "certificates_url": goal_state.certificates_url,
    }
    return Metadata(raw={"goal_state": public})
