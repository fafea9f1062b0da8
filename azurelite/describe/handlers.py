"""Describes the handlers for people: summary, options and an example, all taken from their code."""

from __future__ import annotations

import sys
from typing import Any, Mapping, Optional, Sequence

from azurelite.config.load import ENTRY_KEYS, OFTEN, EntryKeys
from azurelite.config.schema import unknown
from azurelite.describe.examples import EXAMPLES
from azurelite.describe.options import OptionDoc, options_of
from azurelite.errors import HandlerError
from azurelite.handlers import BUILTIN, REPORT_READY, do_nothing, known_names, look_up, look_up_all
from azurelite.metadata import Secret
from azurelite.plugins import Plugin
from azurelite.record import Record
from azurelite.system.root import Root

_OWN = {
    "id": "the handler's name",
    "when": "always",
    "frequency": "the handler's",
    "required": "the handler's",
    "before": "",
    "after": "",
}


class HandlerDoc(Record):
    """One handler.

    Attributes:
        name: its YAML key.
        summary: one line.
        text: the docstring of its module.
        needs: metadata fields without which it does not run.
        uses: further metadata fields that its work depends on.
        frequency: "instance", "boot" or "once".
        required: whether its failure fails the run.
        options: its keys; None if it takes any.
        example: an entry, as YAML.
    """

    name: str
    summary: str
    text: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    frequency: str
    required: bool
    options: Optional[tuple[OptionDoc, ...]]
    example: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "options": None if self.options is None else [_option(one) for one in self.options]}


def catalog(root: Optional[Root]) -> dict[str, Plugin]:
    """Name -> description, of every handler that a configuration can list.

    Args:
        root: the guest with the plug-ins and executables; None: only built-in handlers.
    """
    names = sorted(BUILTIN) if root is None else known_names(root)
    found = look_up_all(names, root)
    known = ((name, found[name]) for name in names if name in found)
    return {name: _unusable(one) if isinstance(one, HandlerError) else one for name, one in known}


def describe(name: str, root: Optional[Root]) -> HandlerDoc:
    """Describe one handler. Raises ConfigError for an unknown name, HandlerError if it cannot be used."""
    known = look_up(name, root)
    if known is None:
        raise unknown("handler", name, known_names(root), where="handlers")
    return document(name, known)


def document(name: str, known: Plugin) -> HandlerDoc:
    """The description of a handler, for people."""
    module = sys.modules.get(BUILTIN.get(name, ""))
    return HandlerDoc(
        name=name,
        summary=known.summary,
        text=(module.__doc__ or "").strip() if module is not None else known.text,
        needs=known.needs,
        uses=known.uses,
        frequency=known.frequency,
        required=known.required,
        options=None if known.options is None else options_of(known.options),
        example=str(known.example or EXAMPLES.get(name) or f"- {name}\n"),
    )


def yaml_of(value: Any) -> str:
    """A plain value as YAML on one line."""
    import yaml

    if isinstance(value, Secret):
        return "***" if value else "''"
    odd = isinstance(value, str) and not value.isprintable()  # also line breaks: escape them, to keep one line
    style = '"' if odd else None
    text: str = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, allow_unicode=not odd, width=sys.maxsize, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def as_table(docs: list[HandlerDoc]) -> str:
    """One line per handler: name, frequency, whether it is required, summary and needs."""
    name, often = (max(len(cell) for cell in column) for column in zip(*((d.name, OFTEN[d.frequency]) for d in docs)))
    return "\n".join(
        f"{doc.name:{name}}  {OFTEN[doc.frequency]:{often}}  {_weight(doc)}  {doc.summary}{_needs(doc)}" for doc in docs
    )


def as_text(doc: HandlerDoc) -> str:
    """The whole description of one handler."""
    import textwrap

    lines = [f"{doc.name}: {doc.summary}", "", f"runs {OFTEN[doc.frequency]}, {_weight(doc)}"]
    lines += [f"needs {', '.join(doc.needs)}"] if doc.needs else []
    lines += [f"uses {', '.join(doc.uses)}"] if doc.uses else []
    lines += ["", *doc.text.splitlines()] if doc.text else []
    lines += ["", "options:" if doc.options else "options: any" if doc.options is None else "options: none"]
    for option in doc.options or ():
        lines.append(f"  {option.name}: {option.kind} (default: {yaml_of(option.default)})")
        lines += textwrap.wrap(option.text, width=100, initial_indent="      ", subsequent_indent="      ")
    if doc.name != REPORT_READY:
        lines += ["", f"every entry also takes: {', '.join(ENTRY_KEYS)}"]
    return "\n".join([*lines, "", "example:", textwrap.indent(doc.example.rstrip("\n"), "  ")])


def as_markdown(docs: list[HandlerDoc]) -> str:
    """The page contrib/handlers.md: a table of the handlers, and one of the options of each."""
    lines = [
        "# Handlers",
        "",
        "Generated by `azurelite handlers --markdown`. `azurelite handlers NAME` prints one handler.",
        "",
        "| handler | does | runs | required | needs |",
        "|---|---|---|---|---|",
    ]
    for doc in docs:
        cells = (_cell(doc.summary), OFTEN[doc.frequency], "yes" if doc.required else "no", ", ".join(doc.needs))
        lines.append(f"| [`{doc.name}`](#{doc.name}) | " + " | ".join(cells) + " |")
    lines += ["", "Every entry also takes these keys (`report_ready`: only `before` and `after`):", ""]
    lines += _options_table(options_of(EntryKeys), own=_OWN)
    for doc in docs:
        lines += ["", f"## {doc.name}", "", *_prose(doc).splitlines(), ""]
        lines += _options_table(doc.options or (), own={})
        lines += [""] if doc.options else []
        lines += ["```yaml", doc.example.rstrip("\n"), "```"]
    return "\n".join(lines)


def _options_table(options: Sequence[OptionDoc], *, own: Mapping[str, str]) -> list[str]:
    """A table with one row per key; `own` has texts to show instead of some defaults."""
    lines = ["| key | takes | default | |", "|---|---|---|---|"] if options else []
    for option in options:
        default = own.get(option.name, f"`{_cell(yaml_of(option.default))}`")
        lines.append(f"| `{option.name}` | {_cell(option.kind)} | {default} | {_cell(option.text)} |")
    return lines


def _prose(doc: HandlerDoc) -> str:
    """The docstring without the name that begins it; the summary where there is none."""
    text = doc.text.removeprefix(f"`{doc.name}`: ") or f"{doc.summary}."
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _weight(doc: HandlerDoc) -> str:
    return "required" if doc.required else "optional"


def _needs(doc: HandlerDoc) -> str:
    return f" (needs {', '.join(doc.needs)})" if doc.needs else ""


def _option(option: OptionDoc) -> dict[str, Any]:
    default = None if isinstance(option.default, Secret) else option.default
    return {"name": option.name, "kind": option.kind, "default": default, "text": option.text}


def _unusable(error: HandlerError) -> Plugin:
    return Plugin(
        f"cannot be used: {error.message}", (), (), "instance", required=False, options=None, apply=do_nothing
    )
