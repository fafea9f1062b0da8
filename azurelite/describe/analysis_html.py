"""An analysis as one web page without scripts or anything from elsewhere: for phones and desks, light and dark."""

from __future__ import annotations

from html import escape
from typing import Iterable

import azurelite
from azurelite.describe.analysis import (
    AZURELITE,
    COLOURED,
    Analysis,
    Row,
    change_text,
    duration,
    label,
    label_of,
    remark_of,
)

_STYLE = """
:root{color-scheme:light dark;--back:#f5f6f8;--card:#fff;--text:#1a1d21;--faint:#5b6470;--line:#dde1e7;--track:#eef0f3;
--run:#8a94a3;--step:#1f6feb;--request:#1a7f5a;--report:#8250df;--failed:#c62828;--mark:#b45309}
@media(prefers-color-scheme:dark){:root{--back:#0f1114;--card:#181b20;--text:#e8eaed;--faint:#a2abb6;--line:#2e343c;
--track:#22272e;--run:#7b8796;--step:#58a6ff;--request:#3fb68b;--report:#b794f6;--failed:#ff6b6b;--mark:#f0b35a}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:1rem;display:grid;gap:1rem;grid-template-columns:minmax(0,1fr)}
h1{font-size:1.35rem;margin:.25rem 0 0}h2{font-size:1.05rem;margin:0 0 .75rem}p{margin:.25rem 0}
.faint{color:var(--faint)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.2rem 1rem;margin:0}
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.5rem}
nav a,label{min-height:2.5rem;display:inline-flex;align-items:center;gap:.5rem;padding:0 .8rem;cursor:pointer;
border:1px solid var(--line);border-radius:8px;background:var(--card);color:inherit;text-decoration:none}
nav a:hover,label:hover{border-color:var(--faint)}
:focus-visible{outline:3px solid var(--step);outline-offset:2px}
.switches{display:flex;flex-wrap:wrap;gap:.5rem;margin-bottom:.75rem}
input{width:1.1rem;height:1.1rem;margin:0;accent-color:var(--step)}
ul{list-style:none;margin:0;padding:0}
li{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:.1rem 1rem;padding:.35rem 0;
border-top:1px solid var(--line)}
li:first-child{border-top:0}
.name{overflow-wrap:anywhere}.name,.remark{padding-left:calc(var(--d,0)*.9rem)}
.request .name{font-size:.9em}
.time{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.track{grid-column:1/-1;height:.6rem;background:var(--track);border-radius:4px;overflow:hidden}
.bar{display:block;height:100%;min-width:3px;margin-left:min(var(--l),calc(100% - 3px));width:var(--w);
background:var(--run);border-radius:3px}
.step .bar{background:var(--step)}.request .bar{background:var(--request)}.report .bar{background:var(--report)}
.failed:not(.whole) .bar{background:var(--failed)}.failed .remark{color:var(--failed)}
.remark{grid-column:1/-1;color:var(--faint);font-size:.9rem;overflow-wrap:anywhere}
.skipped{color:var(--faint)}.late{color:var(--failed)}#waterfall .critical .name{font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;font-size:.9rem;margin-bottom:.5rem}
.legend span{display:inline-flex;align-items:center;gap:.4rem}
.legend i{width:.8rem;height:.8rem;border-radius:3px;background:var(--c)}
section:has(#requests:not(:checked)) .request,section:has(#skipped:not(:checked)) .skipped{display:none}
@media(max-width:799px){#chain .time{grid-column:1/-1;text-align:left;color:var(--faint);font-size:.9rem;
padding-left:calc(var(--d,0)*.9rem)}}
@media(min-width:800px){body{font-size:15px}
#waterfall li{grid-template-columns:25rem minmax(0,1fr) 6rem;align-items:center}
#waterfall .track{grid-column:2;grid-row:1;height:.9rem}#waterfall .time{grid-column:3;grid-row:1}
#slowest li{grid-template-columns:25rem minmax(0,1fr) 12rem;align-items:center}
#slowest .track{grid-column:2;grid-row:1;height:.9rem}#slowest .time{grid-column:3;grid-row:1}}
@media print{nav,.switches{display:none}body{background:none}}
"""
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
"""


def as_html(analysis: Analysis) -> str:
    """The page."""
    title = f"azurelite: {analysis.boot.title}, {duration(analysis.total)}"
    sections = [
        ("boot", "The boot", _phases(analysis)),
        ("slowest", "What took the time", _blame(analysis)),
        ("chain", "What decided the end", _chain(analysis)),
        ("waterfall", "In order", _waterfall(analysis)),
        ("comparison", f"Compared with {analysis.compared}", _differences(analysis)),
    ]
    shown = [(name, heading, body) for name, heading, body in sections if body]
    links = "\n".join(f'<a href="#{name}">{_safe(heading)}</a>' for name, heading, _ in shown)
    facts = "\n".join(f"<dt>{_safe(name)}</dt><dd>{_safe(text)}</dd>" for name, text in analysis.facts)
    return "\n".join(
        [
            f"{_HEAD}<title>{_safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>",
            "<header><h1>Where the time of the boot went</h1></header>",
            f'<section aria-label="Facts"><dl>\n{facts}\n</dl></section>',
            f'<nav aria-label="Sections">\n{links}\n</nav>',
            *(
                f'<section id="{name}" aria-labelledby="{name}-heading">\n'
                f'<h2 id="{name}-heading">{_safe(heading)}</h2>\n{body}\n</section>'
                for name, heading, body in shown
            ),
            f'<p class="faint">Made by azurelite {_safe(azurelite.__version__)}. The page holds no secrets.</p>',
            "</main>\n</body>\n</html>\n",
        ]
    )


def _phases(analysis: Analysis) -> str:
    if not analysis.phases:
        return ""
    first = min(phase.start for phase in analysis.phases)
    whole = max(phase.start + phase.seconds for phase in analysis.phases) - first or 1.0
    return _list(
        _item(
            _name(phase.name)
            + _time(duration(phase.seconds))
            + _bar((phase.start - first) / whole, phase.seconds / whole),
            "step" if phase.name == AZURELITE else "",
        )
        for phase in analysis.phases
    )


def _blame(analysis: Analysis) -> str:
    rows = analysis.blame
    most = rows[0].own if rows else 1.0
    text = '<p class="faint">Time of its own, without what ran inside.</p>'
    return text + _list(
        _item(
            _name(label_of(row.span)) + _time(_blame_time(row)) + _bar(0.0, row.own / most) + _remark(row),
            _look(row),
        )
        for row in rows
    )


def _blame_time(row: Row) -> str:
    own, whole = duration(row.own), duration(row.span.seconds)
    return own if own == whole else f"{own} of {whole}"


def _chain(analysis: Analysis) -> str:
    text = '<p class="faint">Had any of these been quicker, the run would have ended earlier.</p>'
    return text + _list(
        _item(
            _name(label_of(row.span)) + _time(f"@{duration(row.span.start)} +{duration(row.span.seconds)}"),
            _look(row),
            row.depth,
        )
        for row in analysis.chain
    )


def _waterfall(analysis: Analysis) -> str:
    end = analysis.end or 1.0
    legend = "".join(f'<span><i style="--c:var(--{kind})"></i>{kind}</span>' for kind in (*COLOURED, "failed"))
    switches = (
        '<div class="switches">'
        '<label><input type="checkbox" id="requests" checked> Requests</label>'
        '<label><input type="checkbox" id="skipped"> Skipped steps</label></div>'
    )
    legend += "<span>bold: decided the end</span>"
    return f'<div class="legend">{legend}</div>{switches}' + _list(
        _item(
            _name(label_of(row.span))
            + _time(duration(row.span.seconds))
            + _bar(row.span.start / end, row.span.seconds / end)
            + _remark(row),
            _look(row),
            row.depth,
        )
        for row in analysis.rows
    )


def _differences(analysis: Analysis) -> str:
    if analysis.compared is None:
        return ""
    items = []
    for one in analysis.differences:
        before, now, change = change_text(one)
        late = '<span class="late">' if one.change > 0 else "<span>"
        items.append(
            _item(
                _name(label(one.kind, one.name))
                + f'<span class="time">{late}{_safe(change)}</span></span>'
                + f'<span class="remark">before {_safe(before)}, now {_safe(now)}</span>',
                "difference",
            )
        )
    return _list(items) if items else "<p>No difference.</p>"


def _list(items: Iterable[str]) -> str:
    return "<ul>\n" + "\n".join(items) + "\n</ul>"


def _item(inside: str, look: str, depth: int = 0) -> str:
    return f'<li class="{look}" style="--d:{min(depth, 8)}">{inside}</li>'


def _look(row: Row) -> str:
    span = row.span
    words = [span.kind] if span.kind in COLOURED else []
    words += ["failed"] if span.is_failed else []
    words += ["whole"] if span.kind == "run" else []
    words += ["skipped"] if span.status == "skipped" else []
    words += ["critical"] if row.critical else []
    return " ".join(words)


def _name(text: str) -> str:
    return f'<span class="name">{_safe(text).replace("/", "/<wbr>")}</span>'


def _time(text: str) -> str:
    return f'<span class="time">{_safe(text)}</span>'


def _bar(left: float, width: float) -> str:
    left = min(max(left, 0.0), 1.0)
    width = min(width, 1.0 - left)
    return f'<span class="track"><span class="bar" style="--l:{left:.2%};--w:{width:.2%}"></span></span>'


def _remark(row: Row) -> str:
    text = remark_of(row.span)
    return f'<span class="remark">{_safe(text)}</span>' if text else ""


def _safe(text: str) -> str:
    return escape(text, quote=True)
