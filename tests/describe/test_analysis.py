"""Where the time went: own times, the critical chain, differences, and three renderers that say the same."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from bootskit import two_boots
from kit import Guest, shim

from azurelite.describe.analysis import Analysis, analyse, duration, label_of, remark_of
from azurelite.describe.analysis_html import as_html
from azurelite.describe.analysis_svg import as_svg
from azurelite.describe.analysis_text import as_text
from azurelite.describe.otlp import as_otlp
from azurelite.state.boots import Boot, Span, read_boot
from azurelite.system.boot_times import Phase, boot_phases
from azurelite.system.process import Commands
from azurelite.system.root import Root


@pytest.fixture
def analysis(guest: Guest) -> Analysis:
    root = Root(two_boots(guest).root)
    return analyse(read_boot(root, 0), other=read_boot(root, 1))


def spans(*rows: tuple[str, float, float, int | None], kind: str = "step") -> Boot:
    return Boot(
        "this boot", 0.0, tuple(Span(kind, name, start, end, parent=parent) for name, start, end, parent in rows)
    )


@pytest.mark.parametrize(
    ("rows", "chain", "own"),
    [
        ([("a", 0, 1, None), ("b", 1, 2, None)], "a b", [1, 1]),
        ([("a", 0, 1, None), ("long", 0, 3, None), ("c", 3, 4, None)], "long c", [1, 3, 1]),
        ([("a", 0, 1, None), ("gap", 2, 3, None)], "a gap", [1, 1]),
        ([("all", 0, 4, None), ("x", 0, 3, 0), ("y", 1, 4, 0)], "all y", [0, 3, 3]),
        ([("all", 0, 4, None), ("x", 1, 2, 0), ("y", 2, 3, 0)], "all x y", [2, 1, 1]),
        ([("all", 0, 4, None), ("x", 1, 2, 0), ("deep", 1, 2, 1)], "all x deep", [3, 0, 1]),
        ([("a", 0, 1, None), ("nothing", 1, 1, None)], "a", [1, 0]),
    ],
)
def test_own_time_and_what_decided_the_end(
    rows: list[tuple[str, float, float, int | None]], chain: str, own: list[float]
) -> None:
    made = analyse(spans(*rows))
    assert " ".join(row.span.name for row in made.chain) == chain
    found = {row.span.name: row.own for row in made.rows}
    assert [found[row[0]] for row in rows] == pytest.approx(own)
    assert [row.own for row in made.blame] == sorted((one for one in own if one), reverse=True)


def test_the_background_decides_no_end() -> None:
    late = Span("background", "after Ready", 2.0, 9.0)
    made = analyse(Boot("this boot", 0.0, (*spans(("a", 0.0, 2.0, None)).spans, late)))
    assert [row.span.name for row in made.chain] == ["a"]
    assert (made.total, made.end) == (2.0, 9.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 ms"), (0.00123, "1.2 ms"), (0.9999, "999.9 ms"), (0.99999, "1.00 s"), (59.99, "59.99 s"),
     (59.999, "1 min 0.0 s"), (125.25, "2 min 5.2 s"), (-0.5, "-500.0 ms"), (-61, "-1 min 1.0 s")],
)  # fmt: skip
def test_times_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_comparison_adds_up_retries_and_names_what_is_new(analysis: Analysis) -> None:
    found = {one.name: (one.before, one.now) for one in analysis.differences}
    assert found["GET http://169.254.169.254/metadata/instance"] == (1.75, 3.5)
    assert found["before azurelite"] == (3.0, 4.5)
    assert "swap" not in found
    fewer = analyse(spans(("a", 0, 1, None)), other=spans(("a", 0, 1, None), ("b", 1, 3, None)))
    assert [(one.name, one.before, one.now, one.change) for one in fewer.differences] == [("b", 2, None, -2)]


def plain(markup: str) -> str:
    """The text of a part of a page."""
    return unescape(re.sub(r"<[^>]*>", "", markup))


def test_text_picture_and_page_agree(analysis: Analysis) -> None:
    shown = [row for row in analysis.rows if row.span.status != "skipped"]
    wanted = [(label_of(row.span), duration(row.span.seconds)) for row in shown]
    text = as_text(analysis).partition("\nIn order\n")[2].partition("\n\n")[0]
    lines = [(line.split("|")[0].strip("✗ "), line.split("|")[2].strip()) for line in text.splitlines()]
    assert lines == wanted
    groups = re.findall(
        r"<g>.*?<text[^>]*>(.*?)</text>.*?class=\"time\"[^>]*>(.*?)</text></g>", as_svg(analysis), re.DOTALL
    )
    assert [(unescape(name), time) for name, time in groups] == wanted
    page = as_html(analysis).partition('<section id="waterfall"')[2].partition("</section>")[0]
    items = re.findall(r'<li class="([^"]*)".*?class="name">(.*?)</span>.*?class="time">(.*?)</span>', page)
    assert [(plain(name), time) for look, name, time in items if "skipped" not in look] == wanted
    assert [plain(name) for look, name, _ in items if "skipped" in look] == ["step: swap"]


@pytest.mark.parametrize(
    "heading", ["What took the time", "What decided the end", "Compared with boot 0006", "The boot"]
)
def test_each_section_has_the_same_rows_as_text_and_page(analysis: Analysis, heading: str) -> None:
    text = as_text(analysis).partition(f"\n{heading}")[2].partition("\n\n")[0]
    page = as_html(analysis).partition(f">{heading}</h2>")[2].partition("</section>")[0]
    names = [plain(name) for name in re.findall(r'class="name">(.*?)</span>', page)]
    times = [plain(time).split(" of ")[0] for time in re.findall(r'class="time">(.*?)</span></?', page)]
    lines = [line for line in text.splitlines()[1:] if "in all" not in line and "before  " not in line]
    assert len(names) == len(times) == len(lines) > 0
    for name, time, line in zip(names, times, lines):
        assert name in line
        assert time in line


def test_markup_of_names_is_text(analysis: Analysis) -> None:
    for made in (as_html(analysis), as_svg(analysis)):
        assert '<b>&"' not in made
        assert "&lt;b&gt;&amp;&quot;user&quot;" in made
    hostile = analyse(Boot("this boot", 0.0, (Span('x" onload="', "a]]>\x00", 0.0, 1.0, '"><script>', "<i>"),)))
    for made in (as_html(hostile), as_svg(hostile)):
        assert 'onload="' not in made.replace("&quot;", "")
        assert "<script" not in made
        assert "<i>" not in made
        assert "\x00" not in as_svg(hostile)


def test_the_page_needs_nothing_from_elsewhere(analysis: Analysis) -> None:
    page = as_html(analysis)
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page


def test_otlp(analysis: Analysis) -> None:
    (resource,) = as_otlp(analysis.boot)["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "azurelite"}} in resource["resource"]["attributes"]
    (scope,) = resource["scopeSpans"]
    made = scope["spans"]
    assert len(made) == len(analysis.boot.spans)
    assert len({span["traceId"] for span in made}) == 1
    assert len({span["spanId"] for span in made}) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", span["traceId"]) for span in made)
    assert all(re.fullmatch("[0-9a-f]{16}", span["spanId"]) for span in made)
    assert "parentSpanId" not in made[0]
    assert made[2]["parentSpanId"] == made[1]["spanId"]
    assert made[2]["startTimeUnixNano"] == "1772359200200000000"
    assert made[2]["endTimeUnixNano"] == "1772359202200000000"
    assert [span["kind"] for span in made[:3]] == [1, 1, 3]
    assert [span["status"]["code"] for span in made] == [2, 0, 2, 0, 0, 0, 0, 2, 0]
    assert {"key": "http.response.status_code", "value": {"intValue": "500"}} in made[2]["attributes"]
    assert made[7]["status"]["message"] == "useradd <failed>"
    assert as_otlp(analysis.boot) == as_otlp(analysis.boot)


@pytest.mark.parametrize(
    ("span", "remark"),
    [
        (Span("step", "a", 0, 1, "done", None), ""),
        (Span("step", "a", 0, 1, "failed", "why"), "failed: why"),
        (Span("request", "a", 0, 1, "200", None), ""),
        (Span("request", "a", 0, 1, "410", None), "HTTP 410"),
        (Span("request", "a", 0, 1, "failed", "read timeout"), "failed: read timeout"),
        (Span("request", "a", 0, 1, "²", None), "²"),
    ],
)
def test_remarks(span: Span, remark: str) -> None:
    assert remark_of(span) == remark


SYSTEMD = """FirmwareTimestampMonotonic=3000000
LoaderTimestampMonotonic=1000000
InitRDTimestampMonotonic=500000
UserspaceTimestampMonotonic=2500000
FinishTimestampMonotonic={finish}
"""


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("finish", "last"), [("9500000", [("systemd until the boot was finished", 2.5, 7.0)]), ("0", []), ("n/a", [])]
)
def test_systemd_tells_its_times(
    guest: Guest, tmp_path: Path, finish: str, last: list[tuple[str, float, float]]
) -> None:
    guest.path("run/systemd/system").mkdir(parents=True)
    shim(tmp_path / "bin", "systemctl", script=f"cat <<'END'\n{SYSTEMD.format(finish=finish)}END")
    found = boot_phases(Root(guest.root), Commands(str(tmp_path / "bin")))
    assert [(phase.name, phase.start, phase.seconds) for phase in found] == [
        ("firmware", -3.0, 2.0),
        ("boot loader", -1.0, 1.0),
        ("kernel", 0.0, 0.5),
        ("initramfs", 0.5, 2.0),
        *last,
    ]


@pytest.mark.spawns
def test_a_systemctl_that_fails_leaves_what_proc_tells(guest: Guest, tmp_path: Path) -> None:
    guest.path("run/systemd/system").mkdir(parents=True)
    guest.put({"proc/40/stat": f"40 (a ) b) S 1 {'0 ' * 17}250 0\n", "proc/41/stat": f"41 (c) S 40 {'0 ' * 17}9 0\n"})
    shim(tmp_path / "bin", "systemctl", exit_code=1)
    (phase,) = boot_phases(Root(guest.root), Commands(str(tmp_path / "bin")))
    assert (phase.name, phase.seconds) == ("kernel, until the first service", 2.5)


def test_openrc_logs_its_run_levels(guest: Guest) -> None:
    import time

    def line(level: str, act: str, at: float) -> str:
        return f"rc {level} logging {act} at {time.strftime('%a %b %e %H:%M:%S %Y', time.localtime(at))}\n\n"

    booted = 1772359200
    log = [
        *(line("boot", "started", booted - 900), line("boot", "stopped", booted - 800)),  # of an earlier boot
        *(
            line("sysinit", "started", booted + 2),
            "OpenRC 0.45 is starting up\n",
            line("sysinit", "stopped", booted + 3),
        ),
        *(
            line("default", "started", booted + 3),
            line("default", "stopped", booted + 7),
            "rc x logging started at ?\n",
        ),
    ]
    guest.put({"proc/stat": f"cpu 1 2\nbtime {booted}\n", "var/log/rc.log": "".join(log)})
    found = boot_phases(Root(guest.root), Commands())
    assert found == (Phase("OpenRC sysinit", 2.0, 1.0), Phase("OpenRC default", 3.0, 4.0))


def test_nothing_tells_the_times(guest: Guest) -> None:
    assert boot_phases(Root(guest.root), Commands()) == ()
