"""The configuration: layers, their order, and one clear error for whatever is wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Optional

import pytest
from kit import Guest

from azurelite.config.condition import parse_condition
from azurelite.config.load import DEFAULT_HANDLERS, ENTRY_KEYS, Config, load_config
from azurelite.config.schema import ConfigProblemsError
from azurelite.describe.check import check_guest
from azurelite.errors import ConfigError
from azurelite.handlers import BUILTIN, bind_handlers, look_up
from azurelite.record import Record
from azurelite.system.root import Root

CANARY = "hunter2-canary"
VENDOR = "usr/lib/azurelite/azurelite.yaml"
VENDOR_DROP_IN = "usr/lib/azurelite/conf.d/50-x.yaml"
ADMIN = "etc/azurelite/azurelite.yaml"
ADMIN_DROP_IN = "etc/azurelite/conf.d/60-y.yaml"
RUNTIME = "run/azurelite/conf.d/70-z.yaml"
LAYERS = [VENDOR, VENDOR_DROP_IN, ADMIN, ADMIN_DROP_IN, RUNTIME]


def load(guest: Guest, files: dict[str, str], *, file: Optional[str] = None) -> Config:
    return load_config(Root(guest.put(files).root), file=file)


def error(guest: Guest, text: str, *, path: str = ADMIN) -> str:
    with pytest.raises(ConfigError) as caught:
        bind_handlers(load(guest, {path: text}))
    assert caught.value.exit_code == 2
    return str(caught.value)


def deadline(number: int) -> str:
    return f"datasource: {{deadline: {number}}}\n"


class TestDefaults:
    @pytest.mark.parametrize(
        "files", [{}, {ADMIN: ""}, {ADMIN: "# nothing\n"}, {ADMIN: "datasource:\n"}, {ADMIN: "{}"}]
    )
    def test_nothing_said_is_the_default(self, guest: Guest, files: dict[str, str]) -> None:
        config = load(guest, files)
        assert (config.datasource, config.handlers) == (Config().datasource, Config().handlers)

    def test_the_defaults_are_azures_own_addresses_and_times(self, guest: Guest) -> None:
        datasource = load(guest, {}).datasource
        assert (datasource.platform, datasource.deadline) == ("auto", 1200)
        assert datasource.sources == ("imds", "media", "wireserver")
        assert (datasource.imds.endpoint, datasource.imds.timeout) == ("http://169.254.169.254", 10)
        assert datasource.imds.deadline == 300
        assert (datasource.wireserver.endpoint, datasource.wireserver.timeout) == ("http://168.63.129.16", 10)

    def test_the_default_handlers_can_be_bound(self, guest: Guest) -> None:
        handlers = bind_handlers(load(guest, {}))
        assert tuple(handler.name for handler in handlers) == DEFAULT_HANDLERS
        assert "report_ready" in DEFAULT_HANDLERS


class TestLayers:
    @pytest.mark.parametrize("highest", range(len(LAYERS)))
    def test_a_later_layer_wins(self, guest: Guest, highest: int) -> None:
        config = load(guest, {path: deadline(100 + n) for n, path in enumerate(LAYERS[: highest + 1])})
        assert config.datasource.deadline == 100 + highest

    @pytest.mark.parametrize("path", LAYERS)
    def test_each_layer_alone_is_read(self, guest: Guest, path: str) -> None:
        assert load(guest, {path: deadline(77)}).datasource.deadline == 77

    def test_layers_are_laid_over_one_another_key_by_key(self, guest: Guest) -> None:
        config = load(
            guest,
            {
                VENDOR: "datasource: {platform: azure, imds: {timeout: 1, deadline: 11}}",
                VENDOR_DROP_IN: "datasource: {imds: {timeout: 2}}",
                ADMIN: "datasource: {wireserver: {timeout: 3}}\nhandlers: [user]",
                RUNTIME: "datasource: {deadline: 4}",
            },
        )
        datasource = config.datasource
        assert (datasource.platform, datasource.imds.timeout, datasource.imds.deadline) == ("azure", 2, 11)
        assert (datasource.wireserver.timeout, datasource.deadline) == (3, 4)
        assert [entry.name for entry in config.handlers] == ["user"]

    def test_lists_replace(self, guest: Guest) -> None:
        files = {VENDOR: "handlers: [hostname, user, report_ready]\ndatasource: {sources: [wireserver]}"}
        files[ADMIN] = "handlers: [ssh_keys]\ndatasource: {sources: [imds]}"
        config = load(guest, files)
        assert [entry.name for entry in config.handlers] == ["ssh_keys"]
        assert config.datasource.sources == ("imds",)

    def test_an_empty_list_is_a_list(self, guest: Guest) -> None:
        config = load(guest, {VENDOR: "handlers: [user]", ADMIN: "handlers: []\ndatasource: {sources: []}"})
        assert (config.handlers, config.datasource.sources) == ((), ())

    def test_drop_ins_are_read_in_the_order_of_their_names(self, guest: Guest) -> None:
        names = ["10-a", "9-b", "90-c", "a", "B"]
        files = {f"etc/azurelite/conf.d/{name}.yaml": deadline(100 + n) for n, name in enumerate(names)}
        assert load(guest, files).datasource.deadline == 100 + names.index("a")

    @pytest.mark.parametrize("name", ["x.yml", "x.yaml~", "x.yaml.rpmnew", "x", "yaml"])
    def test_other_names_are_no_drop_ins(self, guest: Guest, name: str) -> None:
        assert load(guest, {f"etc/azurelite/conf.d/{name}": deadline(77)}).datasource.deadline == 1200

    def test_a_drop_in_under_etc_masks_the_vendors_of_the_same_name(self, guest: Guest) -> None:
        vendor = "datasource: {deadline: 77, imds: {timeout: 1}}"
        files = {
            "usr/lib/azurelite/conf.d/x.yaml": vendor,
            "etc/azurelite/conf.d/x.yaml": "datasource: {platform: azure}",
        }
        datasource = load(guest, files).datasource
        assert (datasource.deadline, datasource.imds.timeout, datasource.platform) == (1200, 10, "azure")

    def test_an_empty_drop_in_masks_too_even_a_broken_one(self, guest: Guest) -> None:
        files = {"usr/lib/azurelite/conf.d/x.yaml": "[", "etc/azurelite/conf.d/x.yaml": ""}
        assert load(guest, files).datasource.deadline == 1200

    def test_dev_null_masks(self, guest: Guest) -> None:
        guest.put({"usr/lib/azurelite/conf.d/x.yaml": deadline(77), "dev/null": ""})
        guest.path("etc/azurelite/conf.d").mkdir(parents=True)
        guest.path("etc/azurelite/conf.d/x.yaml").symlink_to("/dev/null")
        assert load(guest, {}).datasource.deadline == 1200

    def test_a_drop_in_under_run_masks_nothing(self, guest: Guest) -> None:
        files = {
            "usr/lib/azurelite/conf.d/x.yaml": deadline(77),
            "run/azurelite/conf.d/x.yaml": "datasource: {platform: azure}",
        }
        datasource = load(guest, files).datasource
        assert (datasource.deadline, datasource.platform) == (77, "azure")

    def test_a_null_section_resets_the_earlier_files(self, guest: Guest) -> None:
        assert load(guest, {VENDOR: deadline(77), ADMIN: "datasource:"}).datasource.deadline == 1200


class TestConfigFile:
    def test_replaces_the_admin_file_alone(self, guest: Guest, tmp_path: Path) -> None:
        chosen = tmp_path / "chosen.yaml"
        chosen.write_text("datasource: {imds: {timeout: 5}}")
        files = {
            VENDOR: "datasource: {platform: azure}",
            ADMIN: "datasource: {deadline: 1, imds: {timeout: 1}}",
            ADMIN_DROP_IN: "datasource: {wireserver: {timeout: 6}}",
        }
        datasource = load(guest, files, file=str(chosen)).datasource
        assert (datasource.platform, datasource.deadline) == ("azure", 1200)
        assert (datasource.imds.timeout, datasource.wireserver.timeout) == (5, 6)

    def test_even_a_broken_one(self, guest: Guest, tmp_path: Path) -> None:
        (tmp_path / "chosen.yaml").write_text(deadline(5))
        assert load(guest, {ADMIN: "["}, file=str(tmp_path / "chosen.yaml")).datasource.deadline == 5

    @pytest.mark.parametrize("what", ["missing", "folder"])
    def test_must_be_a_file_that_can_be_read(self, guest: Guest, tmp_path: Path, what: str) -> None:
        path = tmp_path / what
        if what == "folder":
            path.mkdir()
        with pytest.raises(ConfigError, match=f"cannot read {path}: .*: check the path and its permissions"):
            load(guest, {}, file=str(path))

    def test_is_named_in_errors_by_its_own_path(self, guest: Guest, tmp_path: Path) -> None:
        chosen = tmp_path / "chosen.yaml"
        chosen.write_text("datasource:\n  deadlin: 5")
        with pytest.raises(ConfigError, match=f"{chosen}:2:3: .*did you mean 'deadline'"):
            load(guest, {}, file=str(chosen))


class TestErrors:
    @pytest.mark.parametrize("path", LAYERS)
    def test_the_layer_that_is_wrong_is_named(self, guest: Guest, path: str) -> None:
        files = {other: deadline(5) for other in LAYERS if other != path}
        guest.put(files)
        assert error(guest, "datasource:\n  platfrom: azure\n", path=path).startswith(f"/{path}:2:3: in `datasource`: ")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("datasource: ]", ":1:13: not valid YAML"),
            ("datasource: {}\ndatasource: {}", ":2:1: duplicate key 'datasource'"),
            ("[]", ":1:1: the file must be a mapping"),
            ("handler: []", ":1:1: in the file: unknown key 'handler'; did you mean 'handlers'?"),
            ("datasorce: {}", ":1:1: in the file: unknown key 'datasorce'; did you mean 'datasource'?"),
            ("datasource: {imsd: {}}", ":1:14: in `datasource`: unknown key 'imsd'; did you mean 'imds'?"),
            (
                "datasource:\n  imds:\n    endpont: x",
                ":3:5: in `datasource.imds`: unknown key 'endpont'; did you mean 'endpoint'?",
            ),
            (
                "datasource: {wireserver: {time_out: 5}}",
                ":1:27: in `datasource.wireserver`: unknown key 'time_out'; did you mean 'timeout'?",
            ),
            ("datasource: []", ":1:1: `datasource` must be a mapping of keys"),
            ("datasource: {imds: 5}", ":1:14: `datasource.imds` must be a mapping of keys"),
            ("datasource: {platform: gcp}", ":1:14: `datasource.platform` must be one of: auto, azure"),
            ("datasource: {deadline: '5'}", ":1:14: `datasource.deadline` must be a number"),
            ("datasource: {deadline: true}", ":1:14: `datasource.deadline` must be a number"),
            ("datasource: {deadline: 5m}", ":1:14: `datasource.deadline` must be a number"),
            ("datasource: {deadline: null}", ":1:14: `datasource.deadline` must be a number"),
            ("datasource: {deadline: 0}", ":1:1: `datasource`: a time must be a number of seconds above 0"),
            ("datasource: {deadline: -5}", ":1:1: `datasource`: a time must be a number of seconds above 0"),
            (
                "datasource: {deadline: 86401}",
                ":1:1: `datasource`: a time must be a number of seconds above 0, at most a day",
            ),
            ("datasource: {deadline: .nan}", ":1:14: `datasource.deadline` must be a number"),
            ("datasource: {deadline: .inf}", ":1:14: `datasource.deadline` must be a number"),
            (
                "datasource: {imds: {timeout: 0}}",
                ":1:14: `datasource.imds`: a time must be a number of seconds above 0",
            ),
            ("datasource: {imds: {endpoint: 5}}", ":1:21: `datasource.imds.endpoint` must be text"),
            (
                "datasource: {imds: {endpoint: 'https://x'}}",
                ":1:14: `datasource.imds`: an endpoint must be the base of an HTTP URL",
            ),
            (
                "datasource: {wireserver: {endpoint: ''}}",
                ":1:14: `datasource.wireserver`: an endpoint must be the base",
            ),
            (
                "datasource: {wireserver: {dialect: yaml}}",
                ":1:27: `datasource.wireserver.dialect` must be one of: auto, xml",
            ),
            ("datasource: {sources: imds}", ":1:14: `datasource.sources` must be a list"),
            ("datasource: {sources: {imds: x}}", ":1:14: `datasource.sources` must be a list"),
            ("datasource: {sources: [imds, 5]}", ":1:30: `datasource.sources[1]` must be text: put it in quotes"),
            ("datasource: {sources: [imds, imds]}", ":1:1: `datasource`: sources contains a duplicate"),
            ("handlers: hostname", ":1:1: `handlers` must be a list"),
            ("handlers: {hostname: {}}", ":1:1: `handlers` must be a list"),
            ("handlers:", ":1:1: `handlers` must be a list"),
            ("handlers: [5]", ":1:12: an entry must be a handler's name, or `name: {options}`"),
            ("handlers: [[hostname]]", ":1:12: an entry must be a handler's name"),
            ("handlers: [null]", ":1:12: an entry must be a handler's name"),
            ("handlers: [{}]", ":1:12: an entry must be a handler's name"),
            ("handlers: [{hostname: {}, user: {}}]", ":1:12: an entry must be a handler's name"),
            ("handlers: [hostnam]", ":1:12: unknown handler 'hostnam'; did you mean 'hostname'?"),
            ("handlers: [{usr: {}}]", ":1:13: unknown handler 'usr'; did you mean 'user'?"),
            ("handlers: ['']", ":1:12: unknown handler ''; known: certificates"),
            ("handlers: [../../x]", ":1:12: unknown handler '../../x'"),
            ("handlers: [os]", ":1:12: unknown handler 'os'"),
            ("handlers:\n- user\n- hostname\n- user", ":4:3: `handlers` lists 'user' twice"),
            ("handlers: [user, {user: {sudo: none}}]", "`handlers` lists 'user' twice"),
            ("handlers: [{user: 5}]", ":1:13: the options of 'user' must be a mapping of keys"),
            ("handlers: [{user: [wheel]}]", ":1:13: the options of 'user' must be a mapping of keys"),
            (
                "handlers: [{user: {group: [wheel]}}]",
                "in `handlers[0].user`: unknown key 'group'; did you mean 'groups'?",
            ),
            (
                "handlers:\n- user:\n    sud: none",
                ":3:5: in `handlers[0].user`: unknown key 'sud'; did you mean 'sudo'?",
            ),
            ("handlers: [{user: {groups: wheel}}]", "`handlers[0].user.groups` must be a list"),
            ("handlers: [{user: {groups: [5]}}]", "`handlers[0].user.groups[0]` must be text"),
            ("handlers: [{user: {groups: ['a b']}}]", "`handlers[0].user`: groups must be names of letters"),
            ("handlers: [{user: {create_groups: 1}}]", "`handlers[0].user.create_groups` must be true or false"),
            (
                "handlers: [{user: {sudo: true}}]",
                "`handlers[0].user.sudo` must be one of: auto, nopasswd, password, none",
            ),
            ("handlers: [{user: {shell: bash}}]", "`handlers[0].user`: shell must be an absolute path"),
            (
                "handlers: [{user: {frequency: daily}}]",
                "`handlers[0].user.frequency` must be one of: instance, boot, once",
            ),
            ("handlers: [{user: {required: 'no'}}]", "`handlers[0].user.required` must be true or false"),
            ("handlers: [{user: {frequncy: boot}}]", "unknown key 'frequncy'; did you mean 'frequency'?"),
            ("handlers: [{hostname: {require: false}}]", "unknown key 'require'; did you mean 'required'?"),
            ("datasource: {deadline: 1" + "0" * 400 + "}", ":1:14: `datasource.deadline` must be a number"),
            ("datasource: !!map x", ":1:13: YAML tags are not accepted"),
            ("handlers: [{report_ready: {colour: red}}]", "in `handlers[0].report_ready`: unknown key 'colour'"),
        ],
    )
    def test_mistakes_are_reported_with_place_key_and_remedy(self, guest: Guest, text: str, said: str) -> None:
        message = error(guest, text)
        assert message.startswith(f"/{ADMIN}:")
        assert said in message

    @pytest.mark.parametrize(
        "template",
        [
            "datasource: {}",
            "datasource: {{platform: {}}}",
            "datasource: {{deadline: {}}}",
            "datasource: {{imds: {}}}",
            "datasource: {{imds: {{endpoint: {}}}}}",
            "datasource: {{imds: {{endpoint: 'http://user:{}@host'}}}}",
            "datasource: {{imds: {{timeout: {}}}}}",
            "datasource: {{wireserver: {{dialect: {}}}}}",
            "datasource: {{pasword: {}}}",
            "datasource: !secret {}",
            "unknown: {}",
            "handlers: {}",
            "handlers: [{{user: {}}}]",
            "handlers: [{{user: {{sudo: {}}}}}]",
            "handlers: [{{user: {{groups: ['{} x']}}}}]",
            "handlers: [{{user: {{shell: {}}}}}]",
            "handlers: [{{user: {{create_groups: {}}}}}]",
            "handlers: [{{user: {{required: {}}}}}]",
            "handlers: [{{user: {{frequency: {}}}}}]",
            "handlers: [{{user: {{password: {}}}}}]",
            "handlers: [{{hostname: {{fqdn: {}}}}}]",
        ],
    )
    def test_never_quote_a_value(self, guest: Guest, template: str) -> None:
        with pytest.raises(ConfigError) as caught:
            bind_handlers(load(guest, {ADMIN: template.format(CANARY)}))
        assert CANARY not in str(caught.value)
        assert CANARY not in repr(caught.value.data)

    def test_the_place_is_that_of_the_layer_that_won(self, guest: Guest) -> None:
        guest.put({VENDOR: "# vendor\ndatasource:\n  deadline: 5\n  platform: azure\n"})
        message = error(guest, "datasource: {deadline: x}")
        assert message.startswith(f"/{ADMIN}:1:14: ")

    def test_the_place_of_a_value_from_below_stays_that_of_its_file(self, guest: Guest) -> None:
        guest.put({VENDOR: "# vendor\ndatasource:\n  platform: gcp\n"})
        assert error(guest, "datasource: {deadline: 5}").startswith(f"/{VENDOR}:3:3: ")

    def test_a_replaced_value_has_no_place(self, guest: Guest) -> None:
        config = load(guest, {VENDOR: "handlers:\n- user: {sudo: none}", ADMIN: "handlers: [user]"})
        assert config.document.place(("handlers", 0, "user", "sudo")).startswith(f"/{ADMIN}:")

    def test_a_list_that_was_replaced_is_not_complained_about(self, guest: Guest) -> None:
        config = load(guest, {VENDOR: "handlers: [nonsense, nonsense]", ADMIN: "handlers: [user]"})
        assert [handler.name for handler in bind_handlers(config)] == ["user"]

    @pytest.mark.parametrize("path", LAYERS)
    def test_a_file_that_cannot_be_read_is_named(self, guest: Guest, path: str) -> None:
        guest.path(path).mkdir(parents=True)  # reading a folder fails for root, too
        with pytest.raises(ConfigError, match=f"cannot read /{path}: .*: check the file and its permissions"):
            load(guest, {})

    @pytest.mark.parametrize("folder", ["etc/azurelite", "etc/azurelite/conf.d", "run/azurelite/conf.d"])
    def test_a_folder_that_leads_in_a_circle_is_an_error(self, guest: Guest, folder: str) -> None:
        guest.path(folder).parent.mkdir(parents=True, exist_ok=True)
        guest.path(folder).symlink_to(folder.rpartition("/")[2])
        with pytest.raises(ConfigError, match=f"/{folder}"):
            load(guest, {})

    @pytest.mark.parametrize("own", [False, True])
    def test_a_file_too_large_is_refused_and_never_read_in_part(self, guest: Guest, tmp_path: Path, own: bool) -> None:
        text = "# filler\n" * 120_000 + deadline(5)
        (tmp_path / "chosen.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"\.yaml: the file is too large: shorten it to at most [0-9]+ bytes"):
            load(guest, {} if own else {ADMIN: text}, file=str(tmp_path / "chosen.yaml") if own else None)

    def test_a_link_that_leads_in_a_circle_is_named(self, guest: Guest) -> None:
        guest.path("etc/azurelite").mkdir()
        guest.path(ADMIN).symlink_to("azurelite.yaml")
        with pytest.raises(ConfigError, match=f"/{ADMIN}: "):
            load(guest, {})


class TestHandlers:
    def test_names_and_options(self, guest: Guest) -> None:
        text = """
handlers:
  - hostname
  - user: {groups: [wheel], sudo: nopasswd, frequency: boot, required: false}
  - ssh_keys:
  - report_ready: {}
"""
        handlers = bind_handlers(load(guest, {ADMIN: text}))
        assert [handler.name for handler in handlers] == ["hostname", "user", "ssh_keys", "report_ready"]
        user = handlers[1]
        assert (user.options.groups, user.options.sudo) == (("wheel",), "nopasswd")
        assert (user.frequency, user.required) == ("boot", False)

    @pytest.mark.parametrize(
        ("text", "behind"),
        [
            ("handlers: [report_ready, user]", "user"),
            ("handlers: [hostname, report_ready, {user: {sudo: none}}]", "user"),
            ("handlers: [report_ready, {hostname: {required: true}}]", "hostname"),
            ("handlers: [report_ready, {user: {required: false}}, {ssh_keys: {required: true}}]", "ssh_keys"),
        ],
    )
    def test_nothing_required_may_stand_behind_report_ready(self, guest: Guest, text: str, behind: str) -> None:
        message = error(guest, text)
        assert f"'{behind}' is required but comes after 'report_ready'" in message
        assert message.startswith(f"/{ADMIN}:1:")

    @pytest.mark.parametrize(
        "text",
        [
            "handlers: [report_ready]",
            "handlers: [user, report_ready]",
            "handlers: [report_ready, {user: {required: false}}]",
            "handlers: [user, ssh_keys]",
        ],
    )
    def test_allowed_orders_of_handlers(self, guest: Guest, text: str) -> None:
        assert bind_handlers(load(guest, {ADMIN: text}))

    def test_the_error_names_the_file_of_the_list(self, guest: Guest) -> None:
        guest.put({VENDOR: "handlers: [report_ready, user]"})
        assert error(guest, "datasource: {deadline: 5}").startswith(f"/{VENDOR}:1:")


class TestEntries:
    def test_the_keys_of_an_entry(self, guest: Guest) -> None:
        text = """
handlers:
  - run: {id: first, argv: [a], when: tags.role == web, frequency: boot, required: true}
  - run:
      id: second.2-x
      argv: [b]
      when:
        - not tags.x
        - region in [westeurope, "north, europe"]
  - run: {argv: [c]}
"""
        handlers = bind_handlers(load(guest, {ADMIN: text}))
        assert [(handler.name, handler.key) for handler in handlers] == [
            ("run", "first"),
            ("run", "second.2-x"),
            ("run", "run"),
        ]
        assert handlers[0].when == (parse_condition("tags.role == web"),)
        assert handlers[1].when == (
            parse_condition("not tags.x"),
            parse_condition('region in [westeurope, "north, europe"]'),
        )
        assert (handlers[0].frequency, handlers[0].required, handlers[2].when) == ("boot", True, ())
        assert [handler.options.argv for handler in handlers] == [("a",), ("b",), ("c",)]

    @pytest.mark.parametrize("value", ["null", "[]"])
    def test_a_key_without_a_value_is_not_given(self, guest: Guest, value: str) -> None:
        keys = "".join(f", {key}: null" for key in ENTRY_KEYS if key != "when")
        entry = load(guest, {ADMIN: f"handlers: [{{user: {{sudo: none, when: []{keys}}}}}]"}).handlers[0]
        assert (entry.key, entry.when, entry.frequency, entry.required) == ("user", (), None, None)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("handlers: [{run: {id: 5}}]", ":1:19: `handlers[0].run.id` must be text: put it in quotes"),
            ("handlers: [{run: {id: 'a b'}}]", ":1:19: `id` must be at most 63 letters, digits, `_`, `.` and `-`"),
            ("handlers: [{run: {id: ../x}}]", ":1:19: `id` must be at most 63 letters"),
            ("handlers: [{run: {id: .x}}]", ":1:19: `id` must be at most 63 letters"),
            ("handlers: [{run: {id: ''}}]", ":1:19: `id` must be at most 63 letters"),
            ("handlers: [{run: {id: größe}}]", ":1:19: `id` must be at most 63 letters"),
            (f"handlers: [{{run: {{id: {'x' * 64}}}}}]", ":1:19: `id` must be at most 63 letters"),
            ("handlers: [{run: {id: user}}]", "the `id` 'user' is the name of a handler: choose another id"),
            (
                "handlers:\n- run: {id: x}\n- swap: {id: x}",
                ":3:3: `handlers` lists 'x' twice: give one of them its own `id`",
            ),
            ("handlers: [{run: {id: user}}, user]", ":1:31: `handlers` lists 'user' twice"),
            ("handlers: [run, run]", ":1:17: `handlers` lists 'run' twice"),
            ("handlers: [{run: {when: 5}}]", ":1:19: `handlers[0].run.when` must be text or a list"),
            ("handlers: [{run: {when: true}}]", ":1:19: `handlers[0].run.when` must be text or a list"),
            ("handlers: [{run: {when: {tags.role: web}}}]", ":1:19: `handlers[0].run.when` must be text or a list"),
            ("handlers: [{run: {when: [5]}}]", ":1:26: `handlers[0].run.when[0]` must be text"),
            ("handlers: [{run: {when: tags.x = y}}]", ":1:19: `when`: must be FIELD"),
            ("handlers: [{run: {when: regoin == x}}]", ":1:19: `when`: unknown field 'regoin'; did you mean 'region'?"),
            (
                "handlers:\n- run:\n    when:\n    - region == x\n    - regoin == x",
                ":5:7: `when`: unknown field 'regoin'; did you mean 'region'?",
            ),
            ("handlers: [{run: {whne: x}}]", "unknown key 'whne'; did you mean 'when'?"),
            ("handlers: [{run: {afer: x}}]", "unknown key 'afer'; did you mean 'after'?"),
            ("handlers: [{report_ready: {when: tags.x}}]", "'report_ready' takes no "),
            ("handlers: [{report_ready: {id: x}}]", "'report_ready' takes no "),
            ("handlers: [{report_ready: {required: false}}]", "'report_ready' takes no "),
            (
                "handlers:\n- run:\n  argv: [x]",
                ":2:3: an entry must be a handler's name, or `name: {options}` with the options indented deeper",
            ),
        ],
    )
    def test_wrong_values_are_reported_with_place_and_remedy(self, guest: Guest, text: str, said: str) -> None:
        message = error(guest, text)
        assert message.startswith(f"/{ADMIN}:")
        assert said in message

    @pytest.mark.parametrize(
        "template",
        [
            "handlers: [{{run: {{when: password == {}}}}}]",
            "handlers: [{{run: {{when: 'tags.x = {}'}}}}]",
            "handlers: [{{run: {{when: [tags.x == {} and y]}}}}]",
            "handlers: [{{run: {{when: {{x: {}}}}}}}]",
            "handlers: [{{run: {{id: [{}]}}}}]",
            "handlers: [{{run: {{id: '{} x'}}}}]",
            "handlers: [{{write_files: {{files: [{{path: x, content: {}}}]}}}}]",
            "handlers: [{{passwords: {{users: [{{name: x, type: y, password: {}}}]}}}}]",
            "handlers: [{{users: {{accounts: [{{nam: x, plain_text_password: {}}}]}}}}]",
        ],
    )
    def test_never_quote_a_value(self, guest: Guest, template: str) -> None:
        with pytest.raises(ConfigError) as caught:
            bind_handlers(load(guest, {ADMIN: template.format(CANARY)}))
        assert CANARY not in str(caught.value)
        assert CANARY not in repr(getattr(caught.value, "problems", ()))

    def test_no_handler_has_an_option_by_the_name_of_a_key_of_entries(self) -> None:
        for name in BUILTIN:
            known = look_up(name)
            assert known is not None
            assert known.options is not None
            assert issubclass(known.options, Record)
            assert not set(ENTRY_KEYS) & {field.name for field in known.options.FIELDS}, name


class TestAllAtOnce:
    TEXT = """\
datasource:
  deadlin: 5
  imds: {timeout: x}
handlers:
  - hostname: {fqdn: long, nam: x}
  - usr
  - run: {id: a b, argv: x}
  - 5
  - user: {sudo: none}
  - user: {sud: none}
"""

    def test_a_boot_reports_the_first_mistake_and_the_number_of_others(self, guest: Guest) -> None:
        message = error(guest, self.TEXT)
        assert message.startswith(
            f"/{ADMIN}:2:3: in `datasource`: unknown key 'deadlin'; did you mean 'deadline'? (and "
        )
        assert message.endswith(" more: `azurelite config check` lists them)")
        assert "\n" not in message

    def test_a_check_lists_all_of_it(self, guest: Guest) -> None:
        root = Root(guest.put({ADMIN: self.TEXT, VENDOR: "datasource: ]", RUNTIME: "dtasource: {}"}).root)
        found = [problem for verdict in check_guest(root, None) for problem in verdict.problems]
        places = {problem.place.rpartition("/")[2] for problem in found}
        lines = ("2:3", "3:10", "5:16", "5:28", "6:5", "7:11", "7:20", "8:5", "10:5", "10:12")
        assert places == {"azurelite.yaml:1:13", "70-z.yaml:1:1", *(f"azurelite.yaml:{line}" for line in lines)}

    @pytest.mark.parametrize("layer", LAYERS)
    def test_a_layer_that_cannot_be_read_does_not_hide_the_others(self, guest: Guest, layer: str) -> None:
        others = {path: "dtasource: {}" for path in LAYERS if path != layer}
        guest.put(others).path(layer).mkdir(parents=True)
        found = [str(problem) for verdict in check_guest(Root(guest.root), None) for problem in verdict.problems]
        assert len(found) >= 2
        assert any(problem.startswith(f"cannot read /{layer}: ") for problem in found)

    def test_the_error_has_all_of_it(self, guest: Guest) -> None:
        with pytest.raises(ConfigProblemsError) as caught:
            load(guest, {ADMIN: "a: 1\nb: 2\nc: 3"})
        assert [problem.path for problem in caught.value.problems] == [("a",), ("b",), ("c",)]

    def test_a_hostile_file_takes_no_time(self, guest: Guest) -> None:
        text = "handlers:\n" + "".join(f"- h{i}: {{before: h{i + 1}, x: y}}\n" for i in range(1500))
        with pytest.raises(ConfigError, match="more: "):
            bind_handlers(load(guest, {ADMIN: text}))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root makes devices")
def test_a_link_to_the_null_device_masks_a_drop_in(guest: Guest) -> None:
    guest.put({"usr/lib/azurelite/conf.d/50-a.yaml": "datasource: {deadline: 7}\n", "etc/azurelite/conf.d/.keep": ""})
    assert load_config(Root(guest.root)).datasource.deadline == 7
    guest.path("dev").mkdir()
    os.mknod(guest.path("dev/null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    guest.path("etc/azurelite/conf.d/50-a.yaml").symlink_to("/dev/null")
    assert load_config(Root(guest.root)).datasource.deadline == 1200


def test_a_time_may_be_a_day(guest: Guest) -> None:
    guest.put({"etc/azurelite/azurelite.yaml": "datasource: {deadline: 86400}\n"})
    assert load_config(Root(guest.root)).datasource.deadline == 86400
