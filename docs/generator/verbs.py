"""The verbs with their options, read from their parsers, and the page about them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import NamedTuple, Optional

from azurelite.cli.parser import VERBS, top_parser, verb_parser

ABOUT = (
    "`azurelite VERB --help` prints the same, and so does `man azurelite`. The wheel and the packages install",
    "the man pages azurelite(8) and azurelite.yaml(5), and completion for bash, zsh and fish. Their files are in",
    "`contrib/packaging/man` and `contrib/completion`.",
)
BEFORE_THE_VERB = "These options come before the verb; all but the first may also follow it:"


class Option(NamedTuple):
    """One option or word of a command line.

    Attributes:
        names: `--root`, or `-h` and `--help`; none for a word such as KEY.
        value: what follows the names, or the word itself; empty for a switch.
        text: the help.
    """

    names: tuple[str, ...]
    value: str
    text: str


class Command(NamedTuple):
    """A verb, or an action of a verb.

    Attributes:
        words: `("config", "check")`; none for the program itself.
        summary: one line.
        options: in the order of the code.
        note: text after the options, such as a table of exit codes; lines are kept.
    """

    words: tuple[str, ...]
    summary: str
    options: tuple[Option, ...]
    note: str = ""

    @property
    def synopsis(self) -> str:
        """The command without its options."""
        given = [option.value for option in self.options if not option.names]
        return " ".join(["azurelite", *self.words, *given])


def program() -> Command:
    """The options before the verb."""
    return next(_commands(top_parser(), (), ""))


def commands() -> list[Command]:
    """All verbs; those with actions once for each action."""
    return [command for verb, summary in VERBS.items() for command in _commands(verb_parser(verb), (verb,), summary)]


def complete_parser() -> argparse.ArgumentParser:
    """One parser with all verbs. The program loads only the verb that it runs."""
    parser = top_parser()
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb, summary in VERBS.items():
        verbs.add_parser(verb, help=summary, parents=[verb_parser(verb)], add_help=False, allow_abbrev=False)
    return parser


def verbs_page() -> str:
    """docs/reference/verbs.md."""
    lines = ["# Verbs", "", *ABOUT, ""]
    general = program().options
    lines += [BEFORE_THE_VERB, "", *_table(general)]
    for command in commands():
        own = tuple(option for option in command.options if option not in general)
        lines += ["", f"## {' '.join(command.words)}", "", f"{sentence(command.summary)}", ""]
        lines += ["```text", f"{command.synopsis} [OPTIONS]", "```", "", *_table(own)]
        lines += ["", "```text", command.note, "```"] if command.note else []
    return "\n".join(lines) + "\n"


def sentence(text: str) -> str:
    """A summary as a sentence."""
    end = "" if text.endswith(("…", ".")) else "."
    return f"{text[:1].upper()}{text[1:]}{end}"


def cell(text: str) -> str:
    """A text as a cell of a Markdown table: what is not in code font is neither HTML nor emphasis."""
    parts = " ".join(text.replace("|", "\\|").split()).split("`")
    parts[::2] = [re.sub(r"[<*]", r"\\\g<0>", part) for part in parts[::2]]
    return "`".join(parts)


def _commands(parser: argparse.ArgumentParser, words: tuple[str, ...], summary: str) -> Iterator[Command]:
    options = tuple(option for action in parser._actions if (option := _option(parser, action)) is not None)
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        texts = [text for text in (parser.description, parser.epilog) if text and text != summary]
        yield Command(words, summary, options, "\n\n".join(texts).strip())
    for action in nested:
        summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, inner in action.choices.items():
            yield from _commands(inner, (*words, name), summaries.get(name, summary))


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Optional[Option]:
    hidden = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
    if hidden or action.help == argparse.SUPPRESS:
        return None
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return Option(tuple(action.option_strings), _value(action), text)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is not None:
        name = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    elif action.choices is not None:
        name = "|".join(map(str, action.choices))
    else:
        name = action.dest.upper()
    return {"?": f"[{name}]", "*": f"[{name}…]", "+": f"{name}…"}.get(str(action.nargs), name)


def _table(options: tuple[Option, ...]) -> list[str]:
    rows = ["| option | |", "|---|---|"] if options else []
    for option in options:
        names = " ".join([", ".join(option.names), option.value]).strip()
        rows.append(f"| `{cell(names)}` | {cell(option.text)} |")
    return rows
