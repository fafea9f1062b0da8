"""The JSON Schema agrees with what checks the configuration: what one refuses the other refuses, and the reverse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from azurelite.config.document import Document, parse_document
from azurelite.config.load import DEFAULT_HANDLERS, ENTRY_KEYS, parse_config
from azurelite.config.option_types import plain
from azurelite.config.schema import Problems, bind, fields_of
from azurelite.describe.examples import EXAMPLES
from azurelite.describe.handlers import catalog
from azurelite.describe.jsonschema import config_schema
from azurelite.errors import ConfigError
from azurelite.handlers import bind_handlers
from azurelite.metadata import Secret
from azurelite.plugins import check_sources

REPO = Path(__file__).parents[2]
HANDLERS = catalog(None)
SCHEMA = config_schema(HANDLERS)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def refusals(document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def is_bound(text: str) -> bool:
    """The configuration takes it."""
    try:
        problems = Problems()
        config = parse_config(parse_document(text.encode(), file="f"), problems)
        problems.raise_if_any()
        check_sources(config.datasource.sources, config.document, ("datasource", "sources"))
        bind_handlers(config)
    except ConfigError:
        return False
    return True


def examples() -> list[Any]:
    """Every YAML that users are shown, and the options that the contract tests run with."""
    found = [
        pytest.param(path.read_text(encoding="utf-8"), id=str(path.relative_to(REPO)))
        for path in sorted((REPO / "contrib").rglob("*.yaml"))
        if "scenarios" not in path.parts
    ]
    for page in (REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks):
            if re.search(r"^(datasource|handlers):", block, re.MULTILINE):
                found.append(pytest.param(block, id=f"{page.stem}-{number}"))
    for name, text in EXAMPLES.items():
        found.append(pytest.param("handlers:\n" + text, id=f"example-{name}"))
    for path in sorted((REPO / "tests" / "handlers" / "wishes").glob("*.yaml")):
        for number, wish in enumerate(yaml.safe_load(path.read_text(encoding="utf-8"))):
            document = {"handlers": [{path.stem: wish.get("options", {})}]}
            found.append(pytest.param(yaml.safe_dump(document), id=f"wish-{path.stem}-{number}"))
    return found


def test_the_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("text", examples())
def test_what_users_are_shown_is_valid(text: str) -> None:
    assert refusals(yaml.safe_load(text)) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_each_handler_is_an_entry_of_it(name: str) -> None:
    (entry,) = yaml.safe_load(EXAMPLES[name])
    assert name == (entry if isinstance(entry, str) else next(iter(entry)))
    assert is_bound("handlers:\n" + EXAMPLES[name])


def test_every_handler_has_an_example() -> None:
    assert set(EXAMPLES) == set(HANDLERS)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "datasource:",
        "datasource: {imds: , media: {}}",
        "datasource: {deadline: 5, sources: []}",
        "datasource: {sources: [imds, 'my_lab:fetch']}",
        "handlers: []",
        "handlers: [user, {hostname: }, {ssh_keys: {}}]",
        "handlers: [{run: {id: x, argv: [a], when: tags.role == web, frequency: boot, required: true}}]",
        "handlers: [{run: {argv: [a], when: ['not tags.x', 'region in [a]', vm_size]}}]",
        "handlers: [{run: {argv: [a], id: null, frequency: null, required: null}}]",
        "handlers: [{run: {argv: [a], when: []}}]",
        "handlers: [{sshd: {password_authentication: yes}}]",
        "handlers: [{hostname: {after: user}}]",
        "handlers: [{report_ready: {after: user}}]",
    ],
)
def test_what_is_right(text: str) -> None:
    assert refusals(yaml.safe_load(text)) == []
    if "after" not in text:
        assert is_bound(text)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "text",
        "handler: []",
        "datasource: []",
        "datasource: {deadlin: 5}",
        "datasource: {deadline: '5'}",
        "datasource: {deadline: true}",
        "datasource: {deadline: null}",
        "datasource: {platform: gcp}",
        "datasource: {sources: imds}",
        "datasource: {sources: [ftp]}",
        "datasource: {imds: 5}",
        "datasource: {imds: {endpont: x}}",
        "datasource: {imds: {endpoint: 5}}",
        "datasource: {media: {eject: 'yes'}}",
        "datasource: {wireserver: {dialect: yaml}}",
        "handlers:",
        "handlers: hostname",
        "handlers: {hostname: {}}",
        "handlers: [5]",
        "handlers: [null]",
        "handlers: [[hostname]]",
        "handlers: [{}]",
        "handlers: [{hostname: {}, user: {}}]",
        "handlers: [hostnam]",
        "handlers: [{usr: {}}]",
        "handlers: ['']",
        "handlers: [{user: 5}]",
        "handlers: [{user: [wheel]}]",
        "handlers: [{user: {group: [wheel]}}]",
        "handlers: [{user: {groups: wheel}}]",
        "handlers: [{user: {groups: [5]}}]",
        "handlers: [{user: {sudo: maybe}}]",
        "handlers: [{user: {frequency: daily}}]",
        "handlers: [{user: {required: 'no'}}]",
        "handlers: [{run: {argv: x}}]",
        "handlers: [{run: {env: {A: 5}}}]",
        "handlers: [{run: {timeout: soon}}]",
        "handlers: [{run: {id: 'a b'}}]",
        "handlers: [{run: {id: ''}}]",
        "handlers: [{run: {id: 5}}]",
        "handlers: [{run: {when: 5}}]",
        "handlers: [{run: {when: true}}]",
        "handlers: [{run: {when: regoin == x}}]",
        "handlers: [{run: {when: ''}}]",
        "handlers: [{run: {when: [tags.x, regoin]}}]",
        "handlers: [{run: {when: {tags.role: web}}}]",
        "handlers: [{run: {before: 5}}]",
        "handlers: [{run: {before: a, after: b}}]",
        "handlers: [{report_ready: {required: false}}]",
        "handlers: [{report_ready: {when: tags.x}}]",
        "handlers: [{report_ready: {id: x}}]",
        "handlers: [{users: {accounts: [{nam: x}]}}]",
        "handlers: [{users: {accounts: {name: x}}}]",
        "handlers: [{write_files: {files: [{path: 5}]}}]",
        "handlers: [{mounts: {entries: [{check: x}]}}]",
    ],
)
def test_what_is_wrong_is_refused_by_both(text: str) -> None:
    assert refusals(yaml.safe_load(text))
    if "before" not in text:
        assert not is_bound(text)


SAMPLES: list[Any] = [None, True, False, 0, -5, 1.5, "", "text", "yes", "auto"]
SAMPLES += [[], ["x"], [5], [None], [["x"]], [{}], {}, {"x": "y"}]
OPTIONS = [
    pytest.param(name, field.name, id=f"{name}.{field.name}")
    for name, known in HANDLERS.items()
    if known.options is not None
    for field in fields_of(known.options)
]


@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_both_think_the_same_of_every_kind_of_value_of_every_option(name: str, key: str) -> None:
    cls = HANDLERS[name].options
    assert cls is not None
    for sample in SAMPLES:
        refused = bool(refusals({"handlers": [{name: {key: sample}}]}))
        problems = Problems()
        with problems.collecting():
            bind(cls, {key: sample}, Document({}, {}), ())
        # What a dataclass refuses in its own words, "`KEY`: why", no schema knows of.
        by_type = [
            problem for problem in problems.found if re.match(r"`\S+` must be |in .*: unknown key ", problem.text)
        ]
        assert not by_type or refused, (sample, by_type)
        assert problems.found or not refused, sample


@pytest.mark.parametrize("name", HANDLERS)
def test_the_defaults_of_every_handler_are_valid(name: str) -> None:
    known = HANDLERS[name]
    assert known.options is not None
    least = {"shell": "true"} if name == "run" else {}
    defaults = {key: value for key, value in plain(known.options(**least)).items() if not isinstance(value, Secret)}
    assert refusals({"handlers": [{name: defaults}]}) == []


def test_editors_are_told_what_each_key_is_for() -> None:
    for name, definition in SCHEMA["$defs"].items():
        assert definition["title"]
        for key, schema in definition["properties"].items():
            assert schema.get("description"), f"{name}.{key}"
    user = SCHEMA["$defs"]["user"]["properties"]
    assert user["sudo"]["enum"] == ["auto", "nopasswd", "password", "none"]
    assert user["sudo"]["default"] == "auto"
    assert user["frequency"]["default"] == "instance"
    assert user["required"]["default"] is True
    assert set(ENTRY_KEYS) <= set(user)
    assert set(SCHEMA["$defs"]["report_ready"]["properties"]) == {"before", "after"}
    assert set(DEFAULT_HANDLERS) <= set(SCHEMA["$defs"])


def test_secrets_are_marked_and_their_defaults_not_told() -> None:
    text = str(SCHEMA)
    assert "Secret(" not in text
    accounts = SCHEMA["$defs"]["users"]["properties"]["accounts"]["items"]["properties"]
    assert {"type": "string", "writeOnly": True} in accounts["plain_text_password"]["anyOf"]
