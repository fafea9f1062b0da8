"""Asking the sources; each may fail alone, and what the others say still counts."""

from __future__ import annotations

import logging
from typing import Callable, Mapping, Optional, Sequence

from azurelite import layout
from azurelite.datasource import merge, sources_of
from azurelite.datasource.imds import parse_imds
from azurelite.datasource.ovf import Ovf, parse_ovf
from azurelite.errors import AzureliteError, CertificateError, CommandError, DocumentError, FabricError, MediaError
from azurelite.fabric.client import Fabric
from azurelite.fabric.goalstate import GoalState
from azurelite.hypervisor.identity import Identity
from azurelite.media.find import MediaDocument, fetch_media
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.record import Record, field
from azurelite.system.machine import System

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.fabric.certificates import Certificate

LOG = logging.getLogger(__name__)

# Seconds. No setting of the VM hangs on the goal state, so the crawl does not wait long for it;
# the report fetches it again and then has patience.
_GOAL_STATE_WAIT = 10.0
# Seconds that IMDS may take when the media has named the administrator already: some hosts have no IMDS at all.
_IMDS_WAIT_BESIDE_MEDIA = 60.0
_UNREADABLE_TRIES = 5  # of a document that cannot be read: a host that is coming up may send half of one
_UNREADABLE_PAUSE = 1.0  # seconds
_PROXY_AGENT = ("azure-proxy-agent", "--status", "--wait", "120")
_PROXY_AGENT_WAIT = 130.0  # seconds; its own wait and some more
_NOT_LOST = "hasCustomData is true in IMDS, yet no custom data was found on any provisioning media: it is lost"


class Crawl(Record):
    """What the sources said.

    Attributes:
        metadata: merged.
        failures: source name -> why it gave nothing.
        lost: field -> why it is missing though Azure has it: then what hangs on it must not be passed over.
        refused: a value with which no VM should be called provisioned, whatever else succeeds.
        media: the document on the media, and where it was.
    """

    metadata: Metadata
    failures: Mapping[str, FabricError] = field(default_factory=dict)
    lost: Mapping[str, FabricError] = field(default_factory=dict)
    refused: Optional[AzureliteError] = None
    media: Optional[MediaDocument] = None

    @property
    def device(self) -> Optional[str]:
        """The drive that the document came from, which may be ejected."""
        return self.media.device if self.media is not None else None

    def failure_for(self, name: str) -> Optional[FabricError]:
        """Why a field may be missing: the failure of the strongest source that could have given it."""
        for source in sources_of(name):
            if source in self.failures:
                return self.failures[source]
        return None


def crawl(
    fabric: Fabric,
    *,
    identity: Identity,
    sources: Sequence[str],
    system: Optional[System] = None,
    media: str = "none",
    given_media: Optional[MediaDocument] = None,
) -> Crawl:
    """Read all sources.

    Args:
        fabric: the endpoints; its `reading` deadline bounds everything.
        identity: what the firmware said.
        sources: which are asked: "imds", "media", "wireserver".
        system: the guest, whose discs are read and whose `openssl` opens certificates; neither when None.
        media: where the provisioning media is, see `fetch_media`.
        given_media: a document that takes the media's place, as a VM from a pool is given one.

    Returns:
        The merged metadata; a source that failed is in `failures`, and the others go on.
    """
    return _Crawler(fabric, identity, system, media, given_media).read(sources)


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
        self.refused: Optional[AzureliteError] = None
        self.parts = {"firmware": from_identity(identity)}
        self.failures: dict[str, FabricError] = {}
        self.vm_id = identity.vm_id

    def read(self, sources: Sequence[str]) -> Crawl:
        readers: dict[str, Callable[[], Metadata]] = {
            "media": self._read_media,  # ahead of IMDS: it takes no time
            "imds": self._read_imds,
            "wireserver": self._read_goal_state,
        }
        if "imds" in sources and "wireserver" in sources:  # two servers: one need not wait for the other
            self.fabric.wireserver.ask_ahead(
                self.fabric.reading.within(_GOAL_STATE_WAIT), beside=self.fabric.imds.endpoint
            )
        for source, reader in readers.items():
            if source in sources:
                self._try(source, reader)
        if self.ovf.fingerprints and merge(self.parts).public_ssh_keys is None:
            self._try("certificates", self._read_certificates)
        metadata = merge(self.parts)
        if _has_custom_data(metadata) and metadata.custom_data is None and "media" in sources and not self._is_copy():
            LOG.error("%s", _NOT_LOST)
        return Crawl(
            metadata,
            self.failures,
            lost=self._lost(metadata),
            refused=_refusal(self.ovf.refused) or self.refused,
            media=self.media,
        )

    def _is_copy(self) -> bool:
        """The document is azurelite's own copy, from which secrets were taken: the disc itself was read before."""
        return self.media is not None and self.media.source.startswith(layout.VMS_DIR)

    def _lost(self, metadata: Metadata) -> dict[str, FabricError]:
        """What a source that failed may have had, and what must not pass for absent.

        Keys that the media names and nobody could get; or, where passwords are forbidden, that it may have named. User
        data and custom data, where there is neither.
        """
        lost: dict[str, FabricError] = {}
        unread = self.failures.get("imds") or self.failures.get("media")
        if metadata.public_ssh_keys is None:
            error = self.failures.get("certificates")
            if error is None and metadata.disable_password_authentication:
                error = unread
            if error is not None:
                lost["public_ssh_keys"] = error
        if metadata.custom_data is None:
            if "media" in self.failures:
                lost["custom_data"] = self.failures["media"]
            if metadata.user_data is None and unread is not None:
                lost["user_data"] = unread
        return lost

    def _try(self, source: str, reader: Callable[[], Metadata]) -> None:
        try:
            self.parts[source] = reader()
        except AzureliteError as error:  # of whatever kind: it takes no other source down
            failure = FabricError(error.message, reason=error.reason, data=error.data)
            self.failures[source] = error if isinstance(error, FabricError) else failure
            LOG.warning("%s gave nothing: %s", source, error)

    def _read_media(self) -> Metadata:
        if self.media is not None:
            self.ovf = parse_ovf(self.media.document)
        elif self.system is not None:
            self._find_media(self.system)
        for problem in self.ovf.problems:
            LOG.warning("%s", problem)
        return self.ovf.metadata

    def _find_media(self, system: System) -> None:
        """The first document that is Azure's; when there is only a damaged one, that is the failure to tell of."""
        wrong: list[FabricError] = []

        def accept(document: bytes) -> bool:
            try:
                self.ovf = parse_ovf(document)
            except (MediaError, DocumentError) as error:
                wrong.append(error)
                return False
            return True

        self.media, passed_over = fetch_media(system, self.media_setting, accept, vm_id=self.vm_id)
        for sentence in passed_over:
            LOG.info("%s", sentence)
        if self.media is None:
            damaged = [error for error in wrong if isinstance(error, DocumentError)]
            if damaged:
                raise damaged[-1]

    def _wait_for_proxy_agent(self) -> None:
        """The platform expects azure-proxy-agent in this image, which must be up before IMDS is asked."""
        if not self.ovf.metadata.provision_guest_proxy_agent or self.system is None or not self.system.root.is_host:
            return
        try:
            self.system.commands.run(_PROXY_AGENT, timeout=_PROXY_AGENT_WAIT)
        except CommandError as error:
            absent = self.system.commands.find(_PROXY_AGENT[0]) is None
            reason = "azure-proxy-agent not found" if absent else "azure-proxy-agent status failure"
            self.refused = AzureliteError(f"the guest proxy agent is not there: {error}", reason=reason)

    def _read_imds(self) -> Metadata:
        self._wait_for_proxy_agent()
        named = self.ovf.metadata.username is not None
        deadline = self.fabric.reading.within(_IMDS_WAIT_BESIDE_MEDIA) if named else self.fabric.reading
        tries = 0
        while True:
            tries += 1
            try:
                return parse_imds(self.fabric.imds.fetch_instance(deadline))
            except DocumentError as error:
                if tries == _UNREADABLE_TRIES or deadline.remaining() <= _UNREADABLE_PAUSE:
                    raise
                LOG.info("%s; asking again", error)
                self.fabric.clock.sleep(_UNREADABLE_PAUSE)

    def _read_goal_state(self) -> Metadata:
        return from_goal_state(self.fabric.wireserver.fetch_goal_state(self.fabric.reading.within(_GOAL_STATE_WAIT)))

    def _read_certificates(self) -> Metadata:
        if self.system is None:
            return Metadata()
        certificates = self.fabric.fetch_certificates(self.system.commands)
        keys = ssh_keys_from(certificates, self.ovf.fingerprints)
        if not keys:
            raise CertificateError(
                "none of the VM's certificates has a key that the media names", reason="error fetching certificates"
            )
        return Metadata(public_ssh_keys=keys)


def _refusal(problem: Optional[DocumentError]) -> Optional[AzureliteError]:
    """The problem as what it is for the VM: not Azure out of reach, but a value that cannot be taken."""
    return AzureliteError(problem.message, reason=problem.reason, data=problem.data) if problem is not None else None


def _has_custom_data(metadata: Metadata) -> bool:
    extended = metadata.raw.get("imds", {}).get("extended")
    compute = extended.get("compute") if isinstance(extended, dict) else None
    return isinstance(compute, dict) and compute.get("hasCustomData") in (True, "true", "True")


def ssh_keys_from(certificates: Sequence[Certificate], fingerprints: Sequence[str]) -> tuple[SshKey, ...]:
    """The keys that are asked for, in the order in which they are.

    Args:
        certificates: what the VM was given.
        fingerprints: thumbprints, upper-case hex without colons.

    Returns:
        One key for each thumbprint that a certificate with a usable key has; the others are logged.
    """
    known = {certificate.thumbprint: certificate for certificate in certificates}
    keys = []
    for fingerprint in dict.fromkeys(fingerprints):
        certificate = known.get(fingerprint)
        if certificate is None:
            LOG.warning("none of the VM's %d certificates has the thumbprint %s", len(known), fingerprint)
        elif certificate.public_key is None:
            LOG.warning("the certificate %s holds a kind of key that sshd does not take", fingerprint)
        else:
            keys.append(SshKey.read(certificate.public_key))
    return tuple(keys)


def from_identity(identity: Identity) -> Metadata:
    """The two ids, the firmware's own as other agents use it and Azure's, and a random seed."""
    seed = identity.random_seed
    return Metadata(instance_id=identity.system_uuid, vm_id=identity.vm_id, random_seed=Secret(seed) if seed else None)


def from_goal_state(goal_state: GoalState) -> Metadata:
    """What a goal state tells: `raw["goal_state"]`."""
    public = {
        "container_id": goal_state.container_id,
        "instance_id": goal_state.instance_id,
        "incarnation": goal_state.incarnation,
        "certificates_url": goal_state.certificates_url,
    }
    return Metadata(raw={"goal_state": public})
