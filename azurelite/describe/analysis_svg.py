"""An analysis as a picture: one SVG file, light or dark as the viewer wishes."""

from __future__ import annotations

from html import escape

from azurelite.describe.analysis import AZURELITE, Analysis, Row, duration, label_of, remark_of

_WIDTH, _MARGIN = 1000, 16
_NAMES = 380  # width of the column with names
_TIMES = 90  # width of the column with times
_LINE = 22  # height of a row
_CHARACTERS = 50  # of a name that fits
_STYLE = """
svg{--back:#fff;--text:#1a1d21;--faint:#5b6470;--line:#d8dde3;
--run:#8a94a3;--step:#1f6feb;--request:#1a7f5a;--report:#8250df;--failed:#c62828}
@media(prefers-color-scheme:dark){svg{--back:#14171b;--text:#e8eaed;--faint:#a2abb6;--line:#333a43;
--run:#6f7a88;--step:#58a6ff;--request:#3fb68b;--report:#b794f6;--failed:#ff6b6b}}
text{font:13px system-ui,sans-serif;fill:var(--text)}
.head{font-size:18px;font-weight:600}.key{font-weight:600}.faint{fill:var(--faint)}.time{text-anchor:end}
.back{fill:var(--back)}.grid{stroke:var(--line)}.bar{fill:var(--run)}
.step{fill:var(--step)}.request{fill:var(--request)}.report{fill:var(--report)}.failed{fill:var(--failed)}
"""


def as_svg(analysis: Analysis) -> str:
    """The waterfall with the facts above it."""
    rows = [row for row in analysis.rows if row.span.status != "skipped"]
    facts = [f"{name}: {text}" for name, text in analysis.facts]
    facts += [f"{phase.name}: {duration(phase.seconds)}" for phase in analysis.phases if phase.name != AZURELITE]
    top = 3 * _MARGIN + 20 + 20 * len(facts)
    height = top + _LINE * (len(rows) + 1) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        f'<title id="title">azurelite: {_safe(analysis.boot.title)}, {duration(analysis.total)}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        f'<text class="head" x="{_MARGIN}" y="{_MARGIN + 16}">Where the time of the boot went</text>',
    ]
    parts += [
        f'<text class="faint" x="{_MARGIN}" y="{_MARGIN + 40 + 20 * line}">{_safe(_cut(text, 140))}</text>'
        for line, text in enumerate(facts)
    ]
    parts += _grid(analysis, top=top, height=height)
    for line, row in enumerate(rows, 1):
        parts += _row(row, y=top + _LINE * line, end=analysis.end or 1.0)
    return "\n".join([*parts, "</svg>\n"])


def _grid(analysis: Analysis, *, top: int, height: int) -> list[str]:
    left, width = _plot()
    parts = []
    for quarter in range(5):
        x = left + width * quarter / 4
        anchor = "end" if quarter == 4 else "middle" if quarter else "start"
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 6}" y2="{height - _MARGIN}"/>')
        text = duration(analysis.end * quarter / 4) if quarter else "0"
        parts.append(f'<text class="faint" x="{x:.1f}" y="{top}" text-anchor="{anchor}">{text}</text>')
    return parts


def _row(row: Row, *, y: int, end: float) -> list[str]:
    span, (left, width) = row.span, _plot()
    long = max(2.0, span.seconds / end * width)
    x = min(left + span.start / end * width, left + width - long)
    look = (
        "failed"
        if span.is_failed and span.kind != "run"
        else span.kind
        if span.kind in ("step", "request", "report")
        else ""
    )
    name, remark = label_of(span), remark_of(span)
    shown = _cut(name, _CHARACTERS - 2 * row.depth)
    indent = _MARGIN + 14 * row.depth
    weight = ' class="key"' if row.critical else ""
    return [
        f"<g><title>{_safe(name)}{_safe(f' ({remark})' if remark else '')}: {duration(span.seconds)}</title>",
        f'<text x="{indent}" y="{y + 4}"{weight}>{_safe(shown)}</text>',
        f'<rect class="bar {look}" x="{x:.1f}" y="{y - 7}" width="{long:.1f}" height="14" rx="2"/>',
        f'<text class="time" x="{_WIDTH - _MARGIN}" y="{y + 4}">{duration(span.seconds)}</text></g>',
    ]


def _plot() -> tuple[int, int]:
    """Left end and width of the bars."""
    left = _MARGIN + _NAMES
    return left, _WIDTH - left - _MARGIN - _TIMES


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _safe(text: str) -> str:
    """Text for XML, which has no words for some characters."""
    return escape("".join(c if c.isprintable() else " " for c in text), quote=True)
