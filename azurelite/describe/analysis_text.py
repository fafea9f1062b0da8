"""An analysis as plain text."""

from __future__ import annotations

from typing import Optional, Sequence

from azurelite.describe.analysis import Analysis, Row, change_text, duration, label, label_of, remark_of

_BAR = 32  # characters
_NAME = 44


def as_text(analysis: Analysis) -> str:
    """The whole analysis."""
    sections = [
        (None, [f"{name + ':':16}{text}" for name, text in analysis.facts]),
        ("The boot", _phases(analysis)),
        ("What took the time", _blame(analysis)),
        ("What decided the end (critical chain)", _chain(analysis)),
        ("In order", waterfall(analysis)),
        (f"Compared with {analysis.compared}", _differences(analysis) if analysis.compared is not None else []),
    ]
    return "\n\n".join(_section(heading, lines) for heading, lines in sections if lines)


def waterfall(analysis: Analysis, *, rows: Optional[Sequence[Row]] = None) -> list[str]:
    """One line per span with a bar, in order of start; skipped steps are left out.

    Args:
        analysis: the analysis.
        rows: those to draw; None: all.
    """
    end = analysis.end or 1.0
    lines = []
    for row in analysis.rows if rows is None else rows:
        span = row.span
        if span.status == "skipped":
            continue
        left = min(_BAR - 1, int(span.start / end * _BAR))
        width = max(1, min(_BAR - left, round(span.seconds / end * _BAR)))
        bar = " " * left + "█" * width + " " * (_BAR - left - width)
        name = "  " * row.depth + label_of(span)
        sign = "✗" if span.is_failed else " "
        lines.append(f"{sign} {_cut(name):{_NAME}} |{bar}| {duration(span.seconds):>12}")
    return lines


def _section(heading: Optional[str], lines: Sequence[str]) -> str:
    return "\n".join(lines if heading is None else [heading, *(f"  {line}" for line in lines)])


def _phases(analysis: Analysis) -> list[str]:
    return [
        f"{duration(phase.seconds):>12}  {phase.name}" + (f" (from {duration(phase.start)})" if phase.start > 0 else "")
        for phase in analysis.phases
    ]


def _blame(analysis: Analysis) -> list[str]:
    lines = [f"{'own':>12}  {'in all':>12}"]
    for row in analysis.blame:
        remark = remark_of(row.span)
        shown = label_of(row.span) + (f" ({remark})" if remark else "")
        lines.append(f"{duration(row.own):>12}  {duration(row.span.seconds):>12}  {shown}")
    return lines if len(lines) > 1 else ["nothing took measurable time"]


def _chain(analysis: Analysis) -> list[str]:
    return [
        f"{'  ' * row.depth}{label_of(row.span)} @{duration(row.span.start)} +{duration(row.span.seconds)}"
        for row in analysis.chain
    ]


def _differences(analysis: Analysis) -> list[str]:
    lines = [f"{'before':>12}  {'now':>12}  {'change':>13}"]
    for one in analysis.differences:
        before, now, change = change_text(one)
        lines.append(f"{before:>12}  {now:>12}  {change:>13}  {label(one.kind, one.name)}")
    return lines if len(lines) > 1 else ["no difference"]


def _cut(text: str) -> str:
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"
