"""The tables: for a terminal, and in Markdown for the docs."""

from __future__ import annotations

from typing import Container, Mapping, Optional, Sequence

from bench.figures import Growth, Summary, Verdict, ratio

HEAD = (
    "row",
    "runs",
    "ready ms",
    "wall ms",
    "least",
    "+-",
    "x of",
    "",
    "cpu ms",
    "MB",
    "Minstr",
    "proc",
    "req",
    "conn",
)


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Columns as wide as they must be; all but the first and those of words to the right."""
    numbers = [
        column > 0 and all(line[column] in ("", "-") or line[column].lstrip("-")[:1].isdigit() for line in lines)
        for column in range(len(head))
    ]
    if markdown:
        rule = ["---:" if number else "---" for number in numbers]
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines)) + "\n"
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(line, widths, numbers)
        ).rstrip()
        for line in (head, ["-" * width for width in widths], *lines)
    ) + "\n"  # fmt: skip


def rows_table(rows: Mapping[str, Summary], references: Mapping[str, str], *, markdown: bool = False) -> str:
    """A line for each row; its reference is the row of which its wall is a multiple."""
    lines = []
    for name, row in rows.items():
        reference = references.get(name, "")
        counts = row.counts
        lines.append(
            [
                name,
                str(row.runs),
                milliseconds(row.ready),
                milliseconds(row.wall),
                milliseconds(row.least),
                milliseconds(row.spread),
                number(ratio(row, rows.get(reference), "wall", "wall"), ".2f"),
                reference if reference in rows else "",
                milliseconds(row.cpu),
                number(row.rss / 1024, ".1f"),
                number(None if counts.instructions is None else counts.instructions / 1e6, ".1f"),
                number(counts.processes, "d"),
                number(row.requests, ".0f"),
                number(counts.connections, "d"),
            ]
        )
    return table(HEAD, lines, markdown=markdown)


def targets_table(verdicts: Sequence[Verdict], *, markdown: bool = False) -> str:
    """A line for each target."""
    lines = [
        [one.target.text, one.target.figure, f"<= {one.target.most:g}", number(one.ratio, ".2f"), one.word]
        for one in verdicts
    ]
    return table(("target", "of", "wished", "measured", ""), lines, markdown=markdown)


def growth_table(growths: Sequence[Growth], *, most: float, markdown: bool = False) -> str:
    """A line for each thing that there may be more of; `most` is what one more may take, in seconds."""
    lines = [
        [
            one.name,
            " ".join(f"{size:g}:{milliseconds(wall)}" for size, wall in zip(one.sizes, one.walls)),
            number(one.per_item * 1e3, ".3f"),
            number(one.at_the_end * 1e3, ".3f"),
            "met" if one.per_item <= most else "NOT MET",
        ]
        for one in growths
    ]
    head = ("more of", "items:wall ms", "ms an item", "at the end", f"<= {most * 1e3:g} ms")
    return table(head, lines, markdown=markdown)


def legend_table(texts: Mapping[str, str], shown: Container[str], *, markdown: bool = False) -> str:
    """What the rows are, of those that were shown."""
    lines = [[name, text] for name, text in texts.items() if name in shown]
    return table(("row", "what it is"), lines, markdown=markdown) if lines else ""


def milliseconds(seconds: Optional[float]) -> str:
    """Seconds, as milliseconds."""
    return number(None if seconds is None else seconds * 1e3, ".1f")


def number(value: Optional[float], form: str) -> str:
    """A number in a form; "-" where there is none."""
    return "-" if value is None else format(value, form)
