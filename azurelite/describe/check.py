"""Finds every mistake in configuration files, and what is probably not meant, by file and line."""

from __future__ import annotations

from typing import Optional, Sequence

from azurelite.config.document import Document, Problem
from azurelite.config.layers import Layers
from azurelite.config.load import DEFAULT_HANDLERS, SOURCES_PATH, parse_config, read_document, read_layers
from azurelite.config.schema import Problems
from azurelite.handlers import bind_handlers
from azurelite.plugins import check_sources
from azurelite.record import Record
from azurelite.system.root import Root

DEFAULTS = "built-in defaults"


class Verdict(Record):
    """The mistakes in one file, and its warnings.

    Attributes:
        name: the file.
        problems: sorted by line; empty if the file is correct.
        more: the number of further mistakes.
        warnings: what is allowed but probably not meant, sorted by line.
    """

    name: str
    problems: tuple[Problem, ...]
    more: int = 0
    warnings: tuple[Problem, ...] = ()


def check_files(paths: Sequence[str], root: Root) -> list[Verdict]:
    """Check files of the host. Each overrides the files before it and the built-in defaults.

    Args:
        paths: the files.
        root: the guest with the plug-ins and executables.
    """
    layers = Layers(DEFAULT_HANDLERS, Problems())
    verdicts = []
    for path in paths:
        problems = Problems()
        layers.problems = problems
        with problems.collecting():
            layers.add(read_document(path))
            _check(layers.document, root, problems)
        found = [problem for problem in problems.found if problem.at is None or problem.at.file == path]
        warnings = [warning for warning in problems.warnings if warning.at is None or warning.at.file == path]
        verdicts.append(Verdict(path, _sorted(found), problems.more, _sorted(warnings)))
    return verdicts


def check_guest(root: Root, file: Optional[str]) -> list[Verdict]:
    """Check the configuration of a guest, as a boot would read it: values that a later file overrides are not checked.

    Args:
        root: the guest.
        file: host path of a file to use instead of /etc/azurelite/azurelite.yaml.
    """
    problems = Problems()
    documents = read_layers(root, file=file, problems=problems)
    layers = Layers(DEFAULT_HANDLERS, problems)
    for document in documents:
        layers.add(document)
    _check(layers.document, root, problems)
    names = dict.fromkeys(document.file for document in documents)
    placed = {name: [problem for problem in problems.found if _file(problem) == name] for name in names}
    warned = {name: [warning for warning in problems.warnings if _file(warning) == name] for name in names}
    rest = [problem for problem in problems.found if _file(problem) not in placed]
    verdicts = [Verdict(name, _sorted(found), warnings=_sorted(warned[name])) for name, found in placed.items()]
    if rest or problems.more or not verdicts:
        verdicts.append(Verdict(DEFAULTS, _sorted(rest), problems.more))
    return verdicts


def _check(document: Document, root: Root, problems: Problems) -> None:
    config = parse_config(document, problems)
    with problems.collecting():
        check_sources(config.datasource.sources, document, SOURCES_PATH)
    with problems.collecting():
        bind_handlers(config, root)


def _file(problem: Problem) -> str:
    return problem.at.file if problem.at is not None else ""


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    unique = {str(problem): problem for problem in problems}
    return tuple(sorted(unique.values(), key=_line))


def _line(problem: Problem) -> tuple[int, int]:
    return (problem.at.line, problem.at.column) if problem.at is not None else (0, 0)
