"""Reading ovf-env.xml: by namespace and never by prefix; one bad value never hides the others; no secret shows."""

from __future__ import annotations

import base64
import contextlib
import random
from typing import Any, Optional

import pytest
from kit import ED25519

from azurelite.datasource.ovf import Ovf, parse_ovf, redacted
from azurelite.errors import DocumentError, MediaError
from azurelite.metadata import Metadata, Secret, SshKey

CANARY = "canary-4c1f0b"
THUMBPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
OTHER = "F" * 40
OVF_NAMESPACE = "http://schemas.dmtf.org/ovf/environment/1"
AZURE = "http://schemas.microsoft.com/windowsazure"
LINUX = (
    "<wa:ConfigurationSetType>LinuxProvisioningConfiguration</wa:ConfigurationSetType>"
    "<wa:HostName>web-1</wa:HostName><wa:UserName>alex</wa:UserName>"
)


def document(linux: str = LINUX, *, platform: Optional[str] = "", before: str = "") -> bytes:
    """A document as Azure writes it; `wa` is its prefix."""
    settings = f"<wa:PlatformSettings>{platform}</wa:PlatformSettings>"
    section = f"<wa:PlatformSettingsSection><wa:Version>1.0</wa:Version>{settings}</wa:PlatformSettingsSection>"
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{before}'
        f'<Environment xmlns="{OVF_NAMESPACE}" xmlns:wa="{AZURE}" '
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
        "<wa:ProvisioningSection><wa:Version>1.0</wa:Version>"
        f"<wa:LinuxProvisioningConfigurationSet>{linux}</wa:LinuxProvisioningConfigurationSet>"
        f"</wa:ProvisioningSection>{'' if platform is None else section}</Environment>"
    ).encode()


def linux(**elements: str) -> bytes:
    return document(LINUX + "".join(f"<wa:{name}>{text}</wa:{name}>" for name, text in elements.items()))


def platform(**elements: str) -> bytes:
    return document(platform="".join(f"<wa:{name}>{text}</wa:{name}>" for name, text in elements.items()))


def keys(*entries: str) -> bytes:
    inner = "".join(f"<wa:PublicKey>{entry}</wa:PublicKey>" for entry in entries)
    return linux(SSH=f"<wa:PublicKeys>{inner}</wa:PublicKeys>")


def reasons(ovf: Ovf) -> list[str]:
    prefix = "unexpected metadata parsing ovf-env.xml: "
    return [problem.reason.replace(prefix, "") for problem in ovf.problems]


WHOLE = document(
    LINUX
    + "<wa:UserPassword>pass word </wa:UserPassword><wa:CustomData>aGVs\n bG8=</wa:CustomData>"
    + "<wa:DisableSshPasswordAuthentication>false</wa:DisableSshPasswordAuthentication>"
    + f"<wa:SSH><wa:PublicKeys><wa:PublicKey><wa:Fingerprint>{OTHER}</wa:Fingerprint>"
    + f"<wa:Path>/home/alex/.ssh/authorized_keys</wa:Path><wa:Value>{ED25519} a b</wa:Value></wa:PublicKey>"
    + f"<wa:PublicKey><wa:Fingerprint>{THUMBPRINT}</wa:Fingerprint><wa:Path>/k</wa:Path><wa:Value/></wa:PublicKey>"
    + "</wa:PublicKeys></wa:SSH>",
    platform="<wa:ProvisionGuestAgent>true</wa:ProvisionGuestAgent>"
    "<wa:GuestAgentPackageName i:nil='true'/><wa:PreprovisionedVm>true</wa:PreprovisionedVm>"
    "<wa:PreprovisionedVMType>Savable</wa:PreprovisionedVMType>"
    "<wa:ProvisionGuestProxyAgent>true</wa:ProvisionGuestProxyAgent>",
)
KEY = SshKey.read(f"{ED25519} a b", "/home/alex/.ssh/authorized_keys")


def test_every_field_of_a_whole_document() -> None:
    assert parse_ovf(WHOLE) == Ovf(
        Metadata(
            local_hostname="web-1",
            username="alex",
            password=Secret("pass word "),
            disable_password_authentication=False,
            public_ssh_keys=(KEY,),
            custom_data=Secret(b"hello"),
            pps_type="Savable",
            provision_guest_proxy_agent=True,
            raw={
                "ovf": {
                    "ConfigurationSetType": "LinuxProvisioningConfiguration",
                    "HostName": "web-1",
                    "UserName": "alex",
                    "DisableSshPasswordAuthentication": "false",
                    "ProvisionGuestAgent": "true",
                    "PreprovisionedVm": "true",
                    "PreprovisionedVMType": "Savable",
                    "ProvisionGuestProxyAgent": "true",
                    "PublicKeys": [{"Path": KEY.path, "Value": KEY.key_data}, {"Fingerprint": THUMBPRINT}],
                }
            },
        ),
        fingerprints=(THUMBPRINT,),
    )


def test_the_least_document_that_is_azures() -> None:
    assert parse_ovf(document("", platform=None)) == Ovf(Metadata(raw={"ovf": {}}))


PREFIXED = document(LINUX + "<wa:UserPassword>secret</wa:UserPassword>", platform="")
PREFIXES = {
    "other prefixes": PREFIXED.replace(b"wa:", b"ns1:").replace(b"xmlns:wa", b"xmlns:ns1"),
    "root with a prefix": PREFIXED.replace(b"<Env", b"<oe:Env")
    .replace(b"</Env", b"</oe:Env")
    .replace(b"xmlns=", b"xmlns:oe="),
    "Azure's by default": (
        f'<Environment xmlns="{AZURE}"><ProvisioningSection><LinuxProvisioningConfigurationSet>'
        "<HostName>web-1</HostName><UserName>alex</UserName><UserPassword>secret</UserPassword></LinuxProvisioningConfigurationSet>"
        "</ProvisioningSection></Environment>"
    ).encode(),
    "the root has another name": PREFIXED.replace(b"Environment", b"Anything"),
    "byte order mark": b"\xef\xbb\xbf" + PREFIXED,
    "CRLF": PREFIXED.replace(b"><", b">\r\n  <"),
    "UTF-16": PREFIXED.decode().replace("utf-8", "utf-16").encode("utf-16"),
    "no declaration": PREFIXED.partition(b"?>")[2],
    "comments": PREFIXED.replace(b"web-1", b"we<!-- x -->b-1"),
    "CDATA": PREFIXED.replace(b"web-1", b"<![CDATA[web-1]]>"),
    "white space around the names": PREFIXED.replace(b"web-1", b"\n   web-1\n ").replace(b"alex", b" alex\t"),
}


@pytest.mark.parametrize("name", PREFIXES)
def test_the_same_is_read_however_it_is_written(name: str) -> None:
    read = parse_ovf(PREFIXES[name])
    assert (read.metadata.local_hostname, read.metadata.username) == ("web-1", "alex")
    assert read.metadata.password == Secret("secret")
    assert read.problems == ()


def test_an_element_of_another_namespace_is_not_azures() -> None:
    stranger = document(
        f'<HostName>no</HostName><HostName xmlns="">no</HostName><x:HostName xmlns:x="{AZURE}#">no</x:HostName>'
    )
    assert parse_ovf(stranger).metadata.local_hostname is None
    assert parse_ovf(stranger).metadata.raw == {"ovf": {}}


@pytest.mark.parametrize("empty", ["", " \r\n\t ", "<!-- -->"])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("HostName", "local_hostname"),
        ("UserName", "username"),
        ("UserPassword", "password"),
        ("CustomData", "custom_data"),
        ("DisableSshPasswordAuthentication", "disable_password_authentication"),
    ],
)
def test_an_empty_element_is_an_absent_one(name: str, field: str, empty: str) -> None:
    read = parse_ovf(document(f"<wa:{name}>{empty}</wa:{name}>"))
    assert getattr(read.metadata, field) is None
    assert read == Ovf(Metadata(raw={"ovf": {}}))


@pytest.mark.parametrize("name", ["HostName", "UserPassword", "CustomData", "DisableSshPasswordAuthentication"])
def test_a_nil_element_is_an_absent_one(name: str) -> None:
    assert parse_ovf(document(f"<wa:{name} i:nil='true'>dHJ1ZQ==</wa:{name}>")) == Ovf(Metadata(raw={"ovf": {}}))


BOOLEANS: dict[str, Optional[bool]] = {
    **dict.fromkeys(["true", "True", "TRUE", "1", "on", "Yes", " true\n"], True),
    **dict.fromkeys(["false", "False", "0", "OFF", "no", "\tno "], False),
    **dict.fromkeys(["2", "y", "truee", "true true", "None", "ja"], None),
}


@pytest.mark.parametrize("text", BOOLEANS)
def test_booleans(text: str) -> None:
    read = parse_ovf(linux(DisableSshPasswordAuthentication=text))
    assert read.metadata.disable_password_authentication is BOOLEANS[text]
    unclear = ["DisableSshPasswordAuthentication must be true or false"] if BOOLEANS[text] is None else []
    assert reasons(read) == unclear
    assert read.metadata.local_hostname == "web-1"
    proxy = parse_ovf(platform(ProvisionGuestProxyAgent=text))
    assert proxy.metadata.provision_guest_proxy_agent is BOOLEANS[text]


class TestPassword:
    @pytest.mark.parametrize("length", [1, 71, 72])
    def test_up_to_72_characters(self, length: int) -> None:
        read = parse_ovf(linux(UserPassword="ä" * length))
        assert (read.metadata.password, read.problems, read.refused) == (Secret("ä" * length), (), None)

    @pytest.mark.parametrize("length", [73, 5000])
    def test_a_longer_one_is_refused_by_its_length(self, length: int) -> None:
        read = parse_ovf(linux(UserPassword=CANARY.ljust(length, "x"), CustomData="aGVsbG8="))
        assert read.metadata.password is None
        assert read.metadata.custom_data == Secret(b"hello")
        assert read.refused is not None
        assert read.problems == (read.refused,)
        assert read.refused.reason == f"unsupported password length={length} max=72"
        assert read.refused.data == {"length": str(length), "max_length": "72"}
        assert CANARY not in repr(read) + str(read.refused)

    @pytest.mark.parametrize("stand_in", ["REDACTED", "*"])
    def test_other_agents_copies_hold_none(self, stand_in: str) -> None:
        read = parse_ovf(linux(UserPassword=stand_in))
        assert (read.metadata.password, read.problems) == (None, ())

    @pytest.mark.parametrize("text", ["redacted", " REDACTED", "**", " a ", "&lt;&amp;>'\"", "\tx"])
    def test_any_other_text_is_used_unchanged(self, text: str) -> None:
        expected = text.replace("&lt;", "<").replace("&amp;", "&")
        assert parse_ovf(linux(UserPassword=text)).metadata.password == Secret(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aGVsbG8=", b"hello"),
        ("\r\n aGVs\r\n bG8=\t", b"hello"),
        ("AP8=", b"\x00\xff"),
        (base64.b64encode(bytes(65536)).decode(), bytes(65536)),
    ],
)
def test_custom_data(text: str, expected: bytes) -> None:
    read = parse_ovf(linux(CustomData=text))
    assert (read.metadata.custom_data, read.problems) == (Secret(expected), ())


@pytest.mark.parametrize("text", ["aGVsbG8", "aGVs!bG8=", "aGVsbG8==", "a", "====", "aG=sbG8=", "ÄÄÄÄ", f"{CANARY}="])
def test_custom_data_that_is_no_base64_is_named_and_the_rest_goes_on(text: str) -> None:
    read = parse_ovf(linux(CustomData=text))
    assert read.metadata.custom_data is None
    assert reasons(read) == ["CustomData skipped: it is not base64"]
    assert (read.metadata.username, read.refused) == ("alex", None)
    assert CANARY not in repr(read)


PPS: list[tuple[dict[str, str], Optional[str]]] = [
    ({}, None),
    ({"PreprovisionedVm": "false"}, None),
    ({"PreprovisionedVm": "true"}, "Running"),
    ({"PreprovisionedVm": ""}, None),
    ({"PreprovisionedVMType": ""}, None),
    ({"PreprovisionedVMType": "None"}, None),
    ({"PreprovisionedVMType": "Unknown"}, None),
    ({"PreprovisionedVMType": "Running"}, "Running"),
    ({"PreprovisionedVMType": " Savable\n"}, "Savable"),
    ({"PreprovisionedVMType": "PreprovisionedOSDisk"}, "PreprovisionedOSDisk"),
    ({"PreprovisionedVm": "true", "PreprovisionedVMType": "Savable"}, "Savable"),
    ({"PreprovisionedVm": "true", "PreprovisionedVMType": "None"}, "Running"),
    ({"PreprovisionedVm": "false", "PreprovisionedVMType": "Running"}, "Running"),
]


@pytest.mark.parametrize(("elements", "expected"), PPS)
def test_pre_provisioning(elements: dict[str, str], expected: Optional[str]) -> None:
    assert parse_ovf(platform(**elements)).metadata.pps_type == expected


def test_a_nil_type_is_no_pre_provisioning() -> None:
    nil = document(platform='<wa:PreprovisionedVMType i:nil="true">Running</wa:PreprovisionedVMType>')
    assert parse_ovf(nil).metadata.pps_type is None


def entry(*, value: str = "", fingerprint: str = "", path: str = "") -> str:
    return f"<wa:Fingerprint>{fingerprint}</wa:Fingerprint><wa:Path>{path}</wa:Path><wa:Value>{value}</wa:Value>"


NEITHER = "PublicKey skipped: it has neither a Value nor a Fingerprint of 40 hexadecimal digits"
COLONS = ":".join(THUMBPRINT[i : i + 2] for i in range(0, 40, 2)).lower()
HALF = len(ED25519) // 2
KEYS: dict[str, tuple[list[str], Any, tuple[str, ...], list[str]]] = {
    "none": ([], None, (), []),
    "written out": ([entry(value=ED25519)], (SshKey.read(ED25519),), (), []),
    "its path": ([entry(value=ED25519, path="/a")], (SshKey.read(ED25519, "/a"),), (), []),
    "the value wins": ([entry(value=ED25519, fingerprint=THUMBPRINT)], (SshKey.read(ED25519),), (), []),
    "broken by line ends": (
        [entry(value=f"\r\n{ED25519[:HALF]}\r\n{ED25519[HALF:]}\r\n")],
        (SshKey.read(ED25519),),
        (),
        [],
    ),
    "only named": ([entry(fingerprint=THUMBPRINT)], None, (THUMBPRINT,), []),
    "lower case with colons": ([entry(fingerprint=f" {COLONS}\n")], None, (THUMBPRINT,), []),
    "named in order, once": (
        [entry(fingerprint=OTHER), entry(fingerprint=COLONS), entry(fingerprint=OTHER)],
        None,
        (OTHER, THUMBPRINT),
        [],
    ),
    "neither": ([entry(path="/a"), entry(value=ED25519)], (SshKey.read(ED25519),), (), [NEITHER]),
    "no elements at all": ([""], None, (), [NEITHER]),
    "not hex": ([entry(fingerprint="G" * 40)], None, (), [NEITHER]),
    "SHA-256": ([entry(fingerprint="A" * 64)], None, (), [NEITHER]),
    "not a key is for whoever writes it to refuse": ([entry(value="no\nkey")], (SshKey.read("no key"),), (), []),
}


@pytest.mark.parametrize("name", KEYS)
def test_keys(name: str) -> None:
    entries, expected, fingerprints, problems = KEYS[name]
    read = parse_ovf(keys(*entries))
    assert read.metadata.public_ssh_keys == expected
    assert read.fingerprints == fingerprints
    assert reasons(read) == problems


SINGLE = ["HostName", "UserName", "UserPassword", "CustomData", "DisableSshPasswordAuthentication", "SSH"]
TWICE = {
    **{name: document(f"<wa:{name}/><wa:{name}/>") for name in SINGLE},
    "PublicKeys": linux(SSH="<wa:PublicKeys/><wa:PublicKeys/>"),
    **{name: keys(f"<wa:{name}/><wa:{name}/>") for name in ("Value", "Path", "Fingerprint")},
    **{
        name: document(platform=f"<wa:{name}/><wa:{name}/>")
        for name in ("PreprovisionedVm", "PreprovisionedVMType", "ProvisionGuestProxyAgent")
    },
    "ProvisioningSection": document().replace(b"</Environment>", b"<wa:ProvisioningSection/></Environment>"),
    "PlatformSettingsSection": document().replace(b"</Environment>", b"<wa:PlatformSettingsSection/></Environment>"),
    "PlatformSettings": document().replace(b"<wa:PlatformSettings>", b"<wa:PlatformSettings/><wa:PlatformSettings>"),
    "LinuxProvisioningConfigurationSet": document().replace(
        b"<wa:LinuxProvisioningConfigurationSet>",
        b"<wa:LinuxProvisioningConfigurationSet/><wa:LinuxProvisioningConfigurationSet>",
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_what_can_only_be_once_is_not_guessed(name: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_ovf(TWICE[name])
    detail = f"multiple configuration matches for '{name}' (2)"
    assert caught.value.reason == f"unexpected metadata parsing ovf-env.xml: {detail}"
    assert str(caught.value) == f"ovf-env.xml: {detail}"


def test_a_text_with_elements_in_it_is_named_and_left_out() -> None:
    read = parse_ovf(document("<wa:HostName>a<wa:b/>c</wa:HostName><wa:UserName>alex</wa:UserName>"))
    assert (read.metadata.local_hostname, read.metadata.username) == (None, "alex")
    assert reasons(read) == ["HostName contains elements instead of text"]


@pytest.mark.parametrize("other", [b"<a/>", b"<Environment/>", b"<html><body>ProvisioningSection</body></html>"])
def test_another_discs_file_is_not_azures(other: bytes) -> None:
    with pytest.raises(MediaError, match="not Azure's"):
        parse_ovf(other)


def test_a_document_for_windows_is_said() -> None:
    windows = document().replace(b"LinuxProvisioning", b"WindowsProvisioning")
    with pytest.raises(DocumentError) as caught:
        parse_ovf(windows)
    detail = "missing configuration for 'LinuxProvisioningConfigurationSet'"
    assert caught.value.reason == f"unexpected metadata parsing ovf-env.xml: {detail}"


def bomb() -> str:
    entities = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 9))
    return f'<!DOCTYPE Environment [<!ENTITY b0 "{CANARY}">{entities}]>'


HOSTILE = {
    "nothing": b"",
    "blank": b" \n ",
    "no XML": b"badxml",
    "broken": b"<!!!!>",
    "JSON": b'{"compute": {}}',
    "cut off": WHOLE[: len(WHOLE) // 2],
    "two roots": b"<a/><b/>",
    "NUL": WHOLE.replace(b"web-1", b"we\0b"),
    "all NUL": bytes(4096),
    "control character": linux(HostName="&#1;"),
    "lone surrogate by number": linux(HostName="&#xD800;"),
    "lone surrogate in bytes": document().replace(b"web-1", b"\xed\xa0\x80"),
    "lone surrogate in UTF-16": document()
    .decode()
    .replace("utf-8", "utf-16")
    .encode("utf-16")
    .replace(b"w\0e\0", b"w\0\0\xd8"),
    "not UTF-8": document().replace(b"web-1", b"\xff"),
    "UTF-16 in name only": document().replace(b'"utf-8"', b'"utf-16"'),
    "unknown encoding": document().replace(b'"utf-8"', b'"klingon"'),
    "many-byte encoding": document().replace(b'"utf-8"', b'"shift_jis"').replace(b"web-1", b"\x82\xa0"),
    "UTF-32": b"\xff\xfe\0\0" + document().decode().encode("utf-32-le"),
    "UTF-7": document().replace(b'"utf-8"', b'"utf-7"'),
    "DTD": document(before="<!DOCTYPE Environment>"),
    "entity": document("<wa:HostName>&b0;</wa:HostName>", before=bomb()),
    "entity bomb": document("<wa:HostName>&b8;</wa:HostName>", before=bomb()),
    "outer entity": document(before='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    "unknown entity": linux(HostName="&nbsp;"),
    "no such prefix": b"<x:a/>",
    "deep": document("<a>" * 100 + "</a>" * 100),
    "very deep": document("<a>" * 200_000 + "</a>" * 200_000),
    "deep and cut off": b"<a>" * 200_000,
}


@pytest.mark.parametrize("read", [parse_ovf, redacted])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_read_is_one_named_error(name: str, read: Any) -> None:
    with pytest.raises(DocumentError) as caught:
        read(HOSTILE[name])
    assert caught.value.reason == "error parsing ovf-env.xml"
    assert str(caught.value).startswith("ovf-env.xml: ")
    assert CANARY not in str(caught.value) + str(caught.value.data)
    assert len(str(caught.value)) < 200


def test_a_large_document_is_read_in_passing() -> None:
    wide = linux(Other="<wa:x>y</wa:x>" * 200_000)
    assert parse_ovf(wide).metadata.local_hostname == "web-1"


def test_damaged_documents_never_end_in_another_error() -> None:
    chance = random.Random(20)
    for _ in range(1500):
        damaged = bytearray(WHOLE)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        for read in (parse_ovf, redacted):
            with contextlib.suppress(DocumentError, MediaError):
                read(bytes(damaged))


class TestSecrets:
    DOCUMENT = document(
        f"{LINUX}<wa:UserPassword>{CANARY}</wa:UserPassword><wa:CustomData>{base64.b64encode(CANARY.encode()).decode()}"
        f"</wa:CustomData><wa:AdminPassword>{CANARY}</wa:AdminPassword><wa:Later>{CANARY}</wa:Later>"
        "<wa:DisableSshPasswordAuthentication>true</wa:DisableSshPasswordAuthentication>",
        platform=f"<wa:UserData>{CANARY}</wa:UserData>",
    )

    def test_what_may_be_shown_holds_none(self) -> None:
        read = parse_ovf(self.DOCUMENT)
        assert CANARY not in repr(read)
        assert set(read.metadata.raw["ovf"]) == {
            *("ConfigurationSetType", "HostName", "UserName", "DisableSshPasswordAuthentication")
        }

    def test_the_saved_copy_holds_none(self) -> None:
        known = self.DOCUMENT.replace(f"<wa:Later>{CANARY}</wa:Later>".encode(), b"")
        saved = redacted(known)
        assert CANARY.encode() not in saved
        assert base64.b64encode(CANARY.encode()) not in saved
        assert redacted(saved) == saved

    def test_not_even_in_the_odd_places(self) -> None:
        odd = document(
            f"<!-- {CANARY} --><?x {CANARY}?>"
            f"<wa:UserPassword a='{CANARY}'>{CANARY}<wa:b>{CANARY}</wa:b>{CANARY}</wa:UserPassword>"
            f"<UserPassword>{CANARY}</UserPassword><UserPassword xmlns=''>{CANARY}</UserPassword>"
        )
        assert CANARY.encode() not in redacted(odd)


def test_the_saved_copy_says_the_rest() -> None:
    before, after = parse_ovf(WHOLE), parse_ovf(redacted(WHOLE))
    assert (after.metadata.password, after.metadata.custom_data) == (None, None)
    assert after.metadata.raw == before.metadata.raw
    assert after.fingerprints == before.fingerprints
    assert after.metadata.disable_password_authentication is False
    assert after.metadata.public_ssh_keys == before.metadata.public_ssh_keys


def test_the_saved_copy_keeps_known_prefixes_and_every_letter() -> None:
    saved = redacted(document(LINUX.replace("alex", "älex&lt;&#13;")).replace(b"wa:", b"q:").replace(b":wa", b":q"))
    assert saved.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<oe:Environment ")
    assert b"<wa:HostName>web-1</wa:HostName>" in saved
    assert parse_ovf(saved).metadata.username == "älex<"
