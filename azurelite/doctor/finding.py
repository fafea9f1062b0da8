"""What a check found: one value per defect, with its place, its remedy and where to read more."""

from __future__ import annotations

from typing import Optional

from azurelite.record import Record

ERROR = "error"
WARNING = "warning"
NOTE = "note"
NOT_CHECKED = "not checked"
SEVERITIES = (ERROR, WARNING, NOTE, NOT_CHECKED)  # the worst first
GUIDE = "docs/doctor.md"


class Finding(Record):
    """One defect of an image, or what could not be checked.

    Attributes:
        name: the check, as "ssh.host-keys".
        severity: "error" (not fit to be captured), "warning", "note" or "not checked".
        text: what is wrong.
        place: the guest path, account or part of the disk that it is about.
        remedy: what helps, as an imperative sentence.
        fix: the name of the fix that `doctor --fix` has for it, or None.
    """

    name: str
    severity: str
    text: str
    place: str
    remedy: str
    fix: Optional[str] = None

    @property
    def docs(self) -> str:
        """Where the documentation explains the check."""
        return f"{GUIDE}#{self.name.replace('.', '').lower()}"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "name": self.name,
            "severity": self.severity,
            "text": self.text,
            "place": self.place,
            "remedy": self.remedy,
            "fixable": self.fix is not None,
            "docs": self.docs,
        }


class Report(Record):
    """The result of all checks.

    Attributes:
        subject: what was examined, as "/" or "disk.vhd".
        findings: the worst first.
        passed: the names of the checks that found nothing.
    """

    subject: str
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]

    @property
    def fit(self) -> bool:
        """Whether the image can be captured: it was examined, and there is no error."""
        return self.examined and all(one.severity != ERROR for one in self.findings)

    @property
    def examined(self) -> bool:
        """Whether the content was seen. An image file that cannot be mounted passes no check."""
        return bool(self.passed)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        counts = {severity: sum(one.severity == severity for one in self.findings) for severity in SEVERITIES}
        return {
            "subject": self.subject,
            "fit": self.fit,
            "counts": counts,
            "findings": [one.as_dict() for one in self.findings],
            "passed": list(self.passed),
        }


def sorted_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """The findings, the worst first; equal ones once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda one: SEVERITIES.index(one.severity)))
