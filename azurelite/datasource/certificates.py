"""The VM's certificates -> the SSH keys that the media names by their thumbprints. Pure.

A VM's certificates also serve extensions and managed identities. What is not named is nobody's way in.
"""

from __future__ import annotations

import logging
from typing import Sequence

from azurelite.fabric.certificates import Certificate
from azurelite.metadata import SshKey

LOG = logging.getLogger(__name__)


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
            keys.append(SshKey(certificate.public_key))
    return tuple(keys)
