"""A login that works means Ready, always. A login that sshd refuses means NotReady, where azurelite can be certain.

Each case is a machine that azurelite provisions, with a real sshd that a real ssh then tries to enter.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence

import pytest

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.namespaces,
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server"),
]
SSH = (
    "ssh -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
    "-o ConnectTimeout=5 "
)
BY_KEY = f"chmod 600 /root/key; {SSH}-i /root/key -o IdentitiesOnly=yes -o BatchMode=yes alice@127.0.0.1 echo it works"
BY_BOTH = (
    "chmod 600 /root/key; chmod 700 /root/ask; SSH_ASKPASS=/root/ask SSH_ASKPASS_REQUIRE=force setsid -w "
    f"{SSH}-i /root/key -o IdentitiesOnly=yes -o NumberOfPasswordPrompts=1 alice@127.0.0.1 echo it works"
)
PASSWORD = "correct horse 7"
OVF = f"""<?xml version="1.0"?><Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:wa="http://schemas.microsoft.com/windowsazure"><wa:ProvisioningSection>
    <wa:LinuxProvisioningConfigurationSet><wa:HostName>vm1</wa:HostName><wa:UserName>alice</wa:UserName>
    <wa:UserPassword>{PASSWORD}</wa:UserPassword>
    <wa:DisableSshPasswordAuthentication>false</wa:DisableSshPasswordAuthentication>
    </wa:LinuxProvisioningConfigurationSet></wa:ProvisioningSection></Environment>"""
PLAN = "handlers: [user, ssh_keys, report_ready]\n"
NO_PAM = "UsePAM no\n"
ACCOUNT = "useradd -m -s /bin/sh -p '*' alice"
KEYED = f"{ACCOUNT}; install -d -m 700 -o alice -g alice /home/alice/.ssh"
OTHER_WAY = (
    "printf '#!/bin/sh\\ncat /etc/ssh/own\\n' > /usr/local/bin/keys; chmod 755 /usr/local/bin/keys; "
    f"cp /root/key.pub /etc/ssh/own; chmod 644 /etc/ssh/own; {ACCOUNT}; chmod 777 /home/alice"
)
DROP_IN = (
    "mkdir -p /etc/ssh/sshd_config.d; rm -f /etc/ssh/sshd_config.d/*; groupadd remote; "
    "echo 'AllowGroups remote' > /etc/ssh/sshd_config.d/20-local.conf"
)
PAM_RULES = (
    "echo '-:alice:ALL' > /etc/security/access.conf; "
    "printf 'account required pam_access.so\\n%s\\n' \"$(cat /etc/pam.d/sshd)\" > /etc/pam.d/sshd"
)
PAM_LIST = (
    "echo bob > /etc/list; "
    "sed -i '1i account required pam_listfile.so item=user sense=allow file=/etc/list' /etc/pam.d/sshd"
)
OLD_FILES = "/usr/sbin/sshd /usr/bin/passwd /usr/lib/os-release"
ONLY_OPENSSH = "rm -f /usr/sbin/dropbear; "  # where another server is installed nothing is certain

# Name -> shell commands that prepare the image, sshd_config.
Cases = Mapping[str, tuple[str, str]]
HOMES: Cases = {
    "nothing special": ("", NO_PAM),
    "pam": ("", "UsePAM yes\n"),
    "home of a former account": ("useradd -m -u 4003 alice && userdel alice", NO_PAM),
    "home of another account": ("useradd -m bob; mkdir /home/alice; chown bob /home/alice", NO_PAM),
    "home of another account, not strict": (
        "useradd -m bob; mkdir /home/alice; chown bob /home/alice; chmod 755 /home/alice",
        NO_PAM + "StrictModes no\n",
    ),
    "home of root": (f"{KEYED}; chown root /home/alice", NO_PAM),
    "closed home of root": (f"{KEYED}; chown root:root /home/alice; chmod 700 /home/alice", NO_PAM),
    "home open to all": (f"{ACCOUNT}; chmod 777 /home/alice", NO_PAM),
    "home open to all, not strict": (f"{ACCOUNT}; chmod 777 /home/alice", NO_PAM + "StrictModes no\n"),
    "home open to its private group": (f"{ACCOUNT}; chmod 775 /home/alice", NO_PAM),
    "home open to a shared group": (f"{ACCOUNT}; chgrp users /home/alice; chmod 775 /home/alice", NO_PAM),
    "home open to a group with a member": (
        f"{ACCOUNT}; useradd -m bob; usermod -aG alice bob; chmod 775 /home/alice",
        NO_PAM,
    ),
    "folder of homes open to all": ("chmod 777 /home", NO_PAM),
    ".ssh of root": (f"{KEYED}; chown root:root /home/alice/.ssh; chmod 755 /home/alice/.ssh", NO_PAM),
    ".ssh open to all": (f"{KEYED}; chmod 777 /home/alice/.ssh", NO_PAM),
    "file of another account": (
        f"{KEYED}; useradd -m bob; touch /home/alice/.ssh/authorized_keys; chown bob /home/alice/.ssh/authorized_keys",
        NO_PAM,
    ),
    "file open to all": (f"{KEYED}; touch /home/alice/.ssh/authorized_keys; chmod 666 /home/alice/.ssh/*", NO_PAM),
    "home behind a link": ("mkdir /srv/homes; useradd -m -d /srv/homes/alice -p '*' -s /bin/sh alice", NO_PAM),
    "home in a folder open to all": (
        "mkdir /srv/homes; useradd -m -d /srv/homes/alice -p '*' -s /bin/sh alice; chmod 777 /srv/homes",
        NO_PAM,
    ),
    "home in a closed folder": (
        "mkdir /srv/homes; useradd -m -d /srv/homes/alice -p '*' -s /bin/sh alice; chmod 700 /srv/homes",
        NO_PAM,
    ),
}
FILES: Cases = {
    "central file": ("", NO_PAM + "AuthorizedKeysFile /etc/ssh/keys/%u\n"),
    "central file, closed folder": ("mkdir -m 700 /etc/ssh/keys", NO_PAM + "AuthorizedKeysFile /etc/ssh/keys/%u\n"),
    "central file, file closed": (
        "mkdir /etc/ssh/keys; touch /etc/ssh/keys/alice; chmod 600 /etc/ssh/keys/alice",
        NO_PAM + "AuthorizedKeysFile /etc/ssh/keys/%u\n",
    ),
    "unknown token": ("", NO_PAM + "AuthorizedKeysFile .ssh/%x .ssh/authorized_keys\n"),
    "unknown token after the file": ("", NO_PAM + "AuthorizedKeysFile .ssh/authorized_keys .ssh/%x\n"),
    "several files": ("", NO_PAM + "AuthorizedKeysFile /etc/ssh/all .ssh/more .ssh/authorized_keys\n"),
    "tokens": ("", NO_PAM + "AuthorizedKeysFile %h/.config/%u-%%-key\n"),
    "no file": ("", NO_PAM + "AuthorizedKeysFile none\n"),
    "no file, by a Match": ("", NO_PAM + "Match User alice\nAuthorizedKeysFile none\n"),
    "no file for another user": ("", NO_PAM + "Match User bob\nAuthorizedKeysFile none\n"),
    "first line wins": ("", NO_PAM + "AuthorizedKeysFile .ssh/authorized_keys\nAuthorizedKeysFile none\n"),
    "no keys": ("", NO_PAM + "PubkeyAuthentication no\n"),
    "no keys for a pattern": ("", NO_PAM + "Match User a*\nPubkeyAuthentication no\n"),
    "no keys for others": ("", NO_PAM + "Match User *,!alice\nPubkeyAuthentication no\n"),
    "no keys by the loopback": ("", NO_PAM + "Match Address 127.0.0.0/8\nPubkeyAuthentication no\n"),
    "no keys by another address": ("", NO_PAM + "Match Address 192.0.2.0/24\nPubkeyAuthentication no\n"),
    "keys only by the loopback": (
        "",
        NO_PAM + "PubkeyAuthentication no\nMatch Address 127.0.0.0/8\nPubkeyAuthentication yes\n",
    ),
    "other types": ("", NO_PAM + "PubkeyAcceptedAlgorithms rsa-sha2-512,ecdsa-sha2-nistp256\n"),
    "other types by the old name": ("", NO_PAM + "PubkeyAcceptedKeyTypes rsa-sha2-512\n"),
    "this type": ("", NO_PAM + "PubkeyAcceptedAlgorithms ssh-ed*,rsa-sha2-512\n"),
    "type taken away": ("", NO_PAM + "PubkeyAcceptedAlgorithms -ssh-ed25519\n"),
    "another type taken away": ("", NO_PAM + "PubkeyAcceptedAlgorithms -ssh-rsa\n"),
    "keys revoked": ("cut -d' ' -f1,2 /root/key.pub > /etc/ssh/revoked", NO_PAM + "RevokedKeys /etc/ssh/revoked\n"),
    "file of revoked keys is missing": ("", NO_PAM + "RevokedKeys /etc/ssh/revoked\n"),
    "file of revoked keys is missing below /run": ("", NO_PAM + "RevokedKeys /run/revoked\n"),
    "file of revoked keys is missing for others": ("", NO_PAM + "Match User bob\nRevokedKeys /etc/ssh/revoked\n"),
    "file of revoked keys is a folder": ("mkdir /etc/ssh/revoked", NO_PAM + "RevokedKeys /etc/ssh/revoked\n"),
    "revoked keys that are none": ("echo nonsense > /etc/ssh/revoked", NO_PAM + "RevokedKeys /etc/ssh/revoked\n"),
    "binary list of revoked keys": (
        "ssh-keygen -q -kf /etc/ssh/revoked /root/key.pub",
        NO_PAM + "RevokedKeys /etc/ssh/revoked\n",
    ),
    "binary list of other keys": (
        "ssh-keygen -q -t ed25519 -N '' -f /root/other; ssh-keygen -q -kf /etc/ssh/revoked /root/other.pub",
        NO_PAM + "RevokedKeys /etc/ssh/revoked\n",
    ),
    "other keys revoked": (
        "ssh-keygen -q -t rsa -N '' -f /root/other; cp /root/other.pub /etc/ssh/revoked",
        NO_PAM + "RevokedKeys /etc/ssh/revoked\n",
    ),
    "no keys revoked": ("printf '# none\\n\\n' > /etc/ssh/revoked", NO_PAM + "RevokedKeys /etc/ssh/revoked\n"),
    "keys by a command": (
        OTHER_WAY,
        NO_PAM + "AuthorizedKeysCommand /usr/local/bin/keys\nAuthorizedKeysCommandUser nobody\n",
    ),
    "command without the key": (
        f"{ACCOUNT}; chmod 777 /home/alice",
        NO_PAM + "AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody\n",
    ),
}
PEOPLE: Cases = {
    "group of others": ("groupadd remote", NO_PAM + "AllowGroups remote\n"),
    "own group": ("", NO_PAM + "AllowGroups remote al*\n"),
    "two lines of groups": ("", NO_PAM + "AllowGroups remote\nAllowGroups alice\n"),
    "group in /etc/group": (
        f"{ACCOUNT}; groupadd -f remote; usermod -aG remote alice",
        NO_PAM + "AllowGroups remote\n",
    ),
    "group of others, Match for alice": ("", NO_PAM + "AllowGroups remote\nMatch User alice\nAllowGroups alice\n"),
    "denied group": ("", NO_PAM + "DenyGroups root alice\n"),
    "denied pattern of groups": ("", NO_PAM + "DenyGroups al?ce\n"),
    "denied group of others": ("", NO_PAM + "DenyGroups root\n"),
    "user of others": ("", NO_PAM + "AllowUsers builder\n"),
    "user by pattern": ("", NO_PAM + "AllowUsers builder a*e\n"),
    "user at the loopback": ("", NO_PAM + "AllowUsers alice@127.0.0.1\n"),
    "user elsewhere": ("", NO_PAM + "AllowUsers alice@192.0.2.*\n"),
    "user of others at the loopback": ("", NO_PAM + "AllowUsers bob@127.0.0.1\n"),
    "user at any host": ("", NO_PAM + "AllowUsers alice@*\n"),
    "user denied": ("", NO_PAM + "DenyUsers bob alice\n"),
    "user denied here": ("", NO_PAM + "DenyUsers alice@127.0.0.1\n"),
    "user denied elsewhere": ("", NO_PAM + "DenyUsers alice@192.0.2.1\n"),
    "denied, allowed by a Match": ("", NO_PAM + "DenyUsers alice\nMatch User alice\nDenyUsers bob\n"),
    "denied by a Match of the group": ("", NO_PAM + "Match Group alice\nDenyUsers alice\n"),
    "drop-in": (
        DROP_IN,
        "Include /etc/ssh/sshd_config.d/*.conf\n" + NO_PAM,
    ),
    "expired long ago": (f"{ACCOUNT}; usermod -e 1990-01-01 alice", NO_PAM),
    "expired long ago, with pam": (f"{ACCOUNT}; usermod -e 1990-01-01 alice", "UsePAM yes\n"),
    "expired after the image was built": (
        f"{ACCOUNT}; usermod -e 2026-01-01 alice; touch -d 2025-01-01 {OLD_FILES}",
        NO_PAM,
    ),
    "expires one day": (f"{ACCOUNT}; usermod -e 2099-01-01 alice", NO_PAM),
    "locked without pam": ("useradd -m -s /bin/sh -p '!' alice", NO_PAM),
    "locked with pam": ("useradd -m -s /bin/sh -p '!' alice", "UsePAM yes\n"),
    "locked, sshd's default": ("useradd -m -s /bin/sh -p '!' alice", "X11Forwarding no\n"),
    "nologin": (f"{ACCOUNT}; usermod -s /usr/sbin/nologin alice", NO_PAM),
    "false": (f"{ACCOUNT}; usermod -s /bin/false alice", NO_PAM),
    "missing shell": (f"{ACCOUNT}; usermod -s /bin/none alice", NO_PAM),
    "shell that is not listed": (f"{ACCOUNT}; cp /bin/sh /opt/sh; usermod -s /opt/sh alice", NO_PAM),
    "password that must be changed": (f"{ACCOUNT}; chage -d 0 alice", NO_PAM),
    "password that must be changed, with pam": (f"{ACCOUNT}; chage -d 0 alice", "UsePAM yes\n"),
    "password that is too old, with pam": (f"{ACCOUNT}; chage -d 2020-01-01 -M 90 -I 30 alice", "UsePAM yes\n"),
    "/etc/nologin": ("echo closed > /etc/nologin", NO_PAM),
    "/etc/nologin with pam": ("echo closed > /etc/nologin", "UsePAM yes\n"),
    "/run/nologin": ("echo closed > /run/nologin", "UsePAM yes\n"),
    "pam access": (
        PAM_RULES,
        "UsePAM yes\n",
    ),
    "key and password": ("", NO_PAM + "AuthenticationMethods publickey,password\n"),
    "key, or key and password": ("", NO_PAM + "AuthenticationMethods publickey,password publickey\n"),
    "no sessions": ("", NO_PAM + "MaxSessions 0\n"),
    "no tries": ("", NO_PAM + "Match User alice\nMaxAuthTries 0\n"),
    "one try": ("", NO_PAM + "MaxAuthTries 1\n"),
    "another root": ("mkdir /srv/jail", NO_PAM + "ChrootDirectory /srv/jail\n"),
    "another root for others": ("mkdir /srv/jail", NO_PAM + "Match User bob\nChrootDirectory /srv/jail\n"),
    "pam's list": (
        PAM_LIST,
        "UsePAM yes\n",
    ),
    "two keys": ("", NO_PAM + "AuthenticationMethods publickey,publickey\n"),
    "any": ("", NO_PAM + "AuthenticationMethods any\n"),
    "password only": ("", NO_PAM + "AuthenticationMethods password\n"),
    "key and questions": ("", "UsePAM yes\nAuthenticationMethods publickey,keyboard-interactive\n"),
    "key and questions without pam": ("", NO_PAM + "AuthenticationMethods publickey,keyboard-interactive\n"),
}
BOTH: Cases = {  # Azure gave a password as well
    "both": ("", NO_PAM),
    "password instead of the key": ("", NO_PAM + "PubkeyAuthentication no\n"),
    "password, home open to all": (f"{ACCOUNT}; chmod 777 /home/alice", NO_PAM),
    "password is off, home open to all": (
        f"{ACCOUNT}; chmod 777 /home/alice",
        NO_PAM + "PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
    ),
    "password by pam": ("", "UsePAM yes\nPubkeyAuthentication no\nPasswordAuthentication no\n"),
    "no questions, no password": (
        "",
        "UsePAM yes\nPubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
    ),
    "questions without pam": ("", NO_PAM + "PubkeyAuthentication no\nPasswordAuthentication no\n"),
    "key and password, both there": ("", NO_PAM + "AuthenticationMethods publickey,password\n"),
    "key and password, passwords off": (
        "",
        NO_PAM + "AuthenticationMethods publickey,password publickey,hostbased\nPasswordAuthentication no\n",
    ),
    "password and group of others": ("", NO_PAM + "AllowGroups remote\n"),
    "no file, password": ("", NO_PAM + "AuthorizedKeysFile none\n"),
    "password off for alice": (
        "",
        NO_PAM + "PubkeyAuthentication no\nMatch User alice\nPasswordAuthentication no\n",
    ),
}
BAD = "echo 'Foo yes' > /etc/ssh/other"
UNIT = (
    "mkdir -p /etc/systemd/system/ssh.service.d; "
    "echo 'ExecStartPre=/usr/sbin/sshd -t -f /etc/ssh/other' > /etc/systemd/system/ssh.service.d/x.conf"
)
STARTING: Cases = {
    "unknown keyword": ("", NO_PAM + "Foo yes\n"),
    "wrong value": ("", NO_PAM + "LogLevel LOUD\n"),
    "wrong value in a Match for another user": ("", NO_PAM + "Match User bob\nPermitRootLogin foo\n"),
    "unknown criterion of a Match": ("", NO_PAM + "Match Colour blue\n"),
    "old keyword": ("", NO_PAM + "UsePrivilegeSeparation yes\nKeyRegenerationInterval 3600\n"),
    "keyword that is built in only elsewhere": ("", NO_PAM + "KerberosAuthentication no\n"),
    "command without its user": ("", NO_PAM + "AuthorizedKeysCommand /bin/true\n"),
    "methods that are turned off": (
        "",
        NO_PAM + "PasswordAuthentication no\nAuthenticationMethods publickey,password password\n",
    ),
    "drop-in that is not read": (DROP_IN.replace("AllowGroups remote", "Foo yes"), NO_PAM),
    "bad drop-in": (DROP_IN.replace("AllowGroups remote", "Foo yes"), "Include sshd_config.d/*.conf\n" + NO_PAM),
    "address without a name": ("", NO_PAM + "ListenAddress nothing.invalid\n"),
    "another file, bad": (f"{BAD}; echo SSHD_OPTS=-f/etc/ssh/other > /etc/default/ssh", NO_PAM),
    "another file is only tested": (
        f"{BAD}; {UNIT}",
        NO_PAM + "AllowUsers bob\n",
    ),
}
# Refused by sshd, and yet Ready with a note.
DOUBTFUL = {
    "no keys by the loopback": "a Match by address: other addresses may enter",
    "type taken away": "which types are left depends on sshd's version and the crypto policy",
    "address without a name": "the name may be known later",
    "file of revoked keys is missing below /run": "it may be made later",
    "binary list of revoked keys": "the binary list is not read",
    "file of revoked keys is a folder": "an older sshd may take it for an empty list",
    "revoked keys that are none": "an older sshd may skip the line",
    "command without the key": "a command may give the key",
    "user elsewhere": "other hosts may enter",
    "user denied here": "other hosts may enter",
    "expired after the image was built": "the clock may be wrong",
    "password that must be changed, with pam": "PAM asks for a new password, which the owner may give",
    "password that is too old, with pam": "PAM's rules are not evaluated, and the clock may be wrong",
    "/etc/nologin": "the init system may remove it",
    "/etc/nologin with pam": "the init system may remove it",
    "/run/nologin": "the init system removes it",
    "pam access": "PAM's rules are not evaluated",
    "another root": "what is in it is not looked at",
    "pam's list": "PAM's rules are not evaluated",
    "two keys": "the owner may have another key",
    "key and questions": "PAM may ask for something that the owner has",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A new key: its private and its public half."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text().strip()


def case(prepare: str, config: str, pair: tuple[str, str], *, password: bool, plan: str = PLAN) -> dict[str, Any]:
    files = {
        "/etc/ssh/sshd_config": config,
        "/etc/azurelite/azurelite.yaml": plan,
        "/root/key": pair[0],
        "/root/key.pub": pair[1] + "\n",
    }
    if password:
        files["/media/disc/ovf-env.xml"] = OVF
        files["/etc/azurelite/azurelite.yaml"] = plan + "datasource: {media: {device: /media/disc}}\n"
        files["/root/ask"] = f"#!/bin/sh\necho '{PASSWORD}'\n"
    return {
        "prepare": prepare or "true",
        "vm": {"username": "alice", "ssh_keys": [pair[1]], "disable_password_authentication": not password},
        "files": files,
        "enter": BY_BOTH if password else BY_KEY,
    }


def judge(name: str, result: Mapping[str, Any], doubtful: Mapping[str, str]) -> Optional[str]:
    """What is wrong with the answer; None if nothing is."""
    states = [report["state"] for report in result["reports"]]
    said = f"{name}: told Azure {states}; {result['err'][-400:]}; ssh and sshd: {result['said']}"
    if result["entered"] and states != ["Ready"]:
        return f"a wrong NotReady: {said}"
    if result["entered"] or states == ["NotReady"]:
        return f"listed as doubtful, but is not: {said}" if name in doubtful and states == ["NotReady"] else None
    if name not in doubtful:
        return f"a wrong Ready: {said}"
    return None if "WARNING" in result["err"] or "ssh_keys:" in result["err"] else f"no note: {said}"


HALVES = {
    "homes": HOMES,
    "files": FILES,
    "people 1": dict(list(PEOPLE.items())[::2]),
    "people 2": dict(list(PEOPLE.items())[1::2]),
    "both": BOTH,
    "starting": STARTING,
}


@pytest.mark.parametrize("asks", [False, True], ids=["sshd cannot answer", "sshd answers"])
@pytest.mark.parametrize("group", HALVES)
def test_ready_means_that_the_login_works(
    on_stage: Callable[..., Any], pair: tuple[str, str], group: str, asks: bool
) -> None:
    table = HALVES[group]
    first = ONLY_OPENSSH
    first += "mkdir -p /run/sshd; ssh-keygen -A >/dev/null; " if asks else "rm -f /etc/ssh/ssh_host_*; "
    cases = [case(f"{first}{prepare}", config, pair, password=group == "both") for prepare, config in table.values()]
    results: Sequence[Mapping[str, Any]] = on_stage({"cases": cases}, driver="login_driver.py", timeout=500)
    wrong = [judge(name, result, DOUBTFUL) for name, result in zip(table, results)]
    assert [text for text in wrong if text] == []


ALL = {*HOMES, *FILES, *PEOPLE, *BOTH, *STARTING}


def test_the_table_is_large_enough() -> None:
    assert len(ALL) >= 60
    assert {*DOUBTFUL} <= ALL
