"""`azurelite config show|check|schema`: what is printed, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit import Guest

from azurelite.cli import main
from azurelite.config.load import load_config
from azurelite.handlers import Handler, bind_handlers
from azurelite.record import replace
from azurelite.system.root import Root

ADMIN = "etc/azurelite/azurelite.yaml"
VENDOR = "usr/lib/azurelite/azurelite.yaml"
DROP_IN = "etc/azurelite/conf.d/50-x.yaml"
CANARY = "hunter2-canary"
REPO = Path(__file__).parents[2]


def bound(root: str, file: str | None = None) -> tuple[Any, list[Handler]]:
    """What a boot would work with."""
    config = load_config(Root(root), file=file)
    handlers = bind_handlers(config, Root(root))
    return config.datasource, [replace(handler, apply=print) for handler in handlers]


def show(guest: Guest, capsys: Any, *words: str) -> str:
    assert main(["config", "show", "--root", guest.root, *words]) == 0
    out: str = capsys.readouterr().out
    return out


CONFIGS = {
    "nothing": {},
    "datasource": {ADMIN: "datasource: {deadline: 7.5, sources: [imds], imds: {timeout: 1}, media: {eject: false}}"},
    "an empty list": {ADMIN: "handlers: []\ndatasource: {sources: []}"},
    "entries": {
        ADMIN: """
handlers:
  - hostname: {fqdn: keep, required: true}
  - user: {groups: [wheel, "a-b"], shell: /bin/zsh, frequency: boot}
  - run:
      id: one
      when: tags.role == web
      argv: [/bin/sh, -c, "echo 'a: b' # c\\n\\tè𝄞", "1", "", "null", " x ", "# no comment"]
  - run: {id: two, shell: "line one\\nline two\\n", when: [not tags.x, "region in [a, 'b, c']"]}
  - report_ready
"""
    },
    "layers and positions": {
        VENDOR: "datasource: {platform: azure}\nhandlers: [hostname, report_ready]",
        DROP_IN: "datasource: {deadline: 5}\nhandlers:\n- swap: {after: hostname, size: 1G}\n",
        "run/azurelite/conf.d/9.yaml": "handlers: [{timezone: {before: swap, zone: Europe/Berlin}}]",
    },
    "positions in the built-in list": {DROP_IN: "handlers: [{swap: {after: report_ready, size: 0}}]"},
    "lists of mappings": {
        ADMIN: """
handlers:
  - mounts:
      entries:
        - {device: LABEL=x, path: /srv/x}
        - {device: tmpfs, path: "/srv/a b", type: tmpfs, check: 0}
  - packages: {install: [vim, [git, "1:2"]], timeout: 2.5}
  - time_sync: {ptp: true, pools: []}
"""
    },
    "words that YAML reads as something else": {
        ADMIN: "handlers: [{sshd: {password_authentication: 'no', settings: {A: 'yes', B: '0755', C: '1e3', D: yes}}}]"
    },
}


class TestShow:
    """`azurelite config show`."""

    @pytest.mark.parametrize("files", CONFIGS.values(), ids=CONFIGS)
    def test_fed_back_it_is_the_same_configuration(
        self, guest: Guest, tmp_path: Path, files: dict[str, str], capsys: Any
    ) -> None:
        out = show(guest.put(files), capsys)
        again = tmp_path / "again.yaml"
        again.write_text(out, encoding="utf-8")
        bare = tmp_path / "bare"
        bare.mkdir()
        assert bound(str(bare), str(again)) == bound(guest.root)

    @pytest.mark.parametrize("files", CONFIGS.values(), ids=CONFIGS)
    def test_json_says_the_same(self, guest: Guest, files: dict[str, str], capsys: Any) -> None:
        values = yaml.safe_load(show(guest.put(files), capsys))
        document = json.loads(show(guest, capsys, "--json"))
        assert document["values"] == values

    def test_every_value_names_its_file_and_line(self, guest: Guest, capsys: Any) -> None:
        guest.put(
            {
                VENDOR: "datasource:\n  platform: azure\n  imds:\n    timeout: 3\n",
                ADMIN: "# mine\ndatasource:\n  sources:\n    - imds\n    - media\n",
                DROP_IN: "handlers:\n  - swap:\n      after: user\n      size: 1G\n",
            }
        )
        lines = show(guest, capsys).splitlines()
        assert f"  platform: azure  # /{VENDOR}:2" in lines
        assert "  deadline: 1200  # default" in lines
        assert f"  sources:  # /{ADMIN}:3" in lines
        assert f"    - media  # /{ADMIN}:5" in lines
        assert f"  imds:  # /{VENDOR}:3" in lines
        assert f"    timeout: 3  # /{VENDOR}:4" in lines
        assert "    endpoint: http://169.254.169.254  # default" in lines
        assert f"  - swap:  # /{DROP_IN}:2" in lines
        assert f"      size: 1G  # /{DROP_IN}:4" in lines
        assert not any("after" in line for line in lines)
        assert "  - user:" in lines

    def test_a_file_in_place_of_the_admins_is_named_by_its_own_path(
        self, guest: Guest, tmp_path: Path, capsys: Any
    ) -> None:
        chosen = tmp_path / "c.yaml"
        chosen.write_text("datasource: {deadline: 5}")
        assert f"  deadline: 5  # {chosen}:1" in show(guest, capsys, "--config", str(chosen)).splitlines()

    def test_a_secret_is_left_out_and_that_is_said(self, guest: Guest, capsys: Any) -> None:
        text = f"handlers:\n- passwords:\n    users:\n    - name: a\n      type: text\n      password: {CANARY}\n"
        out = show(guest.put({ADMIN: text}), capsys)
        assert CANARY not in out
        assert f"# password: ***  # /{ADMIN}:6; a secret: use --show-secrets to print it" in out
        assert yaml.safe_load(out)["handlers"][0]["passwords"]["users"] == [{"name": "a", "type": "text"}]
        out = show(guest, capsys, "--json")
        assert CANARY not in out
        assert "handlers[0].passwords.users[0].password" in json.loads(out)["origins"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone may see secrets")
    def test_root_may_see_secrets(self, guest: Guest, tmp_path: Path, capsys: Any) -> None:
        text = f"handlers: [{{passwords: {{users: [{{name: a, type: text, password: '{CANARY}: #'}}]}}}}]"
        out = show(guest.put({ADMIN: text}), capsys, "--show-secrets")
        (tmp_path / "again.yaml").write_text(out)
        assert bound(guest.root, str(tmp_path / "again.yaml")) == bound(guest.root)
        assert CANARY in show(guest, capsys, "--show-secrets", "--json")

    def test_what_is_wrong_is_told_and_nothing_shown(self, guest: Guest, capsys: Any) -> None:
        assert main(["config", "show", "--root", guest.put({ADMIN: "datasource: {deadlin: 5}"}).root]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"azurelite: error: /{ADMIN}:1:14: in `datasource`: unknown key 'deadlin'")


class TestCheck:
    """`azurelite config check`."""

    @pytest.mark.parametrize(
        ("text", "code", "found"),
        [
            ("handlers: [hostname]\n", 0, []),
            ("handlers:\n  - hostnam\n", 2, [(2, "unknown handler 'hostnam'; did you mean 'hostname'?")]),
        ],
    )
    def test_json(self, text: str, code: int, found: list[tuple[int, str]], tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        assert main(["config", "check", "--json", str(path)]) == code
        (verdict,) = json.loads(capsys.readouterr().out)
        assert (verdict["file"], verdict["ok"], verdict["more"]) == (str(path), code == 0, 0)
        assert [problem["line"] for problem in verdict["problems"]] == [line for line, _ in found]
        assert all(said in problem["text"] for problem, (_, said) in zip(verdict["problems"], found))

    def test_a_right_file_is_one_line(self, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("datasource: {deadline: 5}")
        assert main(["config", "check", str(path)]) == 0
        assert capsys.readouterr() == (f"{path}: OK\n", "")

    def test_everything_that_is_wrong_is_a_line_in_the_order_of_the_file(self, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(
            """\
handlers:
  - hostnam
  - user: {sud: none, groups: x, frequency: daily}
  - report_ready
  - ssh_keys: {required: true, keys: [5]}
  - run: {when: regoin == x, shell: [a]}
  - run: {id: run}
datasource:
  deadline: soon
  platfrom: azure
""",
            encoding="utf-8",
        )
        assert main(["config", "check", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        said = [line.removeprefix(f"{path}:") for line in captured.err.splitlines()]
        expected = [
            "2:5: unknown handler 'hostnam'; did you mean 'hostname'?",
            "3:12: in `handlers[1].user`: unknown key 'sud'; did you mean 'sudo'?",
            "3:23: `handlers[1].user.groups` must be a list",
            "3:34: `handlers[1].user.frequency` must be one of: instance, boot, once",
            "5:39: `handlers[3].ssh_keys.keys[0]` must be text: put it in quotes",
            "6:11: `when`: unknown field 'regoin'; did you mean 'region'?",
            "6:30: `handlers[4].run.shell` must be text",
            "7:5: `handlers` lists 'run' twice: give one of them its own `id`",
            "7:5: `handlers[5].run`: there is nothing to run: set `argv` or `shell`",
            "9:3: `datasource.deadline` must be a number",
            "10:3: in `datasource`: unknown key 'platfrom'; did you mean 'platform'?",
        ]
        assert len(said) == len(expected)
        assert all(line.startswith(start) for line, start in zip(said, expected))

    def test_what_is_required_behind_report_ready_is_told(self, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("handlers:\n- report_ready\n- user\n- ssh_keys\n")
        assert main(["config", "check", str(path)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition(": ")[0] for line in lines] == [f"{path}:3:3", f"{path}:4:3"]
        assert all("is required but comes after 'report_ready'" in line for line in lines)

    def test_each_file_has_its_own_verdict(self, tmp_path: Path, capsys: Any) -> None:
        texts = ["a: 1\nb: 2", "datasource: {}", "handlers: ]", "\x00", "handlers: [nope]"]
        paths = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
        for path, text in zip(paths, texts):
            path.write_text(text)
        missing = tmp_path / "missing.yaml"
        assert main(["config", "check", *map(str, paths), str(missing), str(tmp_path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == f"{paths[1]}: OK\n"
        starts = [
            f"{paths[0]}:1:1: in the file: unknown key 'a'",
            f"{paths[0]}:2:1: in the file: unknown key 'b'",
            f"{paths[2]}:1:11: not valid YAML",
            f"{paths[3]}:1:1: not valid YAML",
            f"{paths[4]}:1:12: unknown handler 'nope'",
            f"azurelite: error: cannot read {missing}: No such file or directory: check the path and its permissions",
            f"azurelite: error: cannot read {tmp_path}: Is a directory: check the path and its permissions",
        ]
        lines = captured.err.splitlines()
        assert len(lines) == len(starts)
        assert all(line.startswith(start) for line, start in zip(lines, starts))

    def test_a_drop_in_is_laid_over_the_files_before_it(self, tmp_path: Path, capsys: Any) -> None:
        whole, drop_in = tmp_path / "whole.yaml", tmp_path / "drop-in.yaml"
        whole.write_text("handlers: [{run: {id: mine, argv: [x]}}, user, report_ready]")
        drop_in.write_text("handlers: [{swap: {after: mine}}]")
        assert main(["config", "check", str(whole), str(drop_in)]) == 0
        assert capsys.readouterr().out == f"{whole}: OK\n{drop_in}: OK\n"
        assert main(["config", "check", str(drop_in)]) == 2
        assert capsys.readouterr().err.startswith(
            f"{drop_in}:1:20: the default list has no entry 'mine'; its entries: hostname"
        )

    def test_without_a_file_the_layers_of_the_guest_are_judged(self, guest: Guest, capsys: Any) -> None:
        assert main(["config", "check", "--root", guest.root]) == 0
        assert capsys.readouterr().out == "built-in defaults: OK\n"
        guest.put({VENDOR: "datasource: {deadline: 5}", ADMIN: "", DROP_IN: "handlers: [{swap: {after: user}}]"})
        assert main(["config", "check", "--root", guest.root]) == 0
        assert capsys.readouterr().out == f"/{VENDOR}: OK\n/{ADMIN}: OK\n/{DROP_IN}: OK\n"
        guest.put({VENDOR: "datasource: {deadlin: 5}", DROP_IN: "handlers: [{swap: {after: usr}}]"})
        assert main(["config", "check", "--root", guest.root]) == 2
        captured = capsys.readouterr()
        assert captured.out == f"/{ADMIN}: OK\n"
        assert captured.err.splitlines()[0].startswith(f"/{VENDOR}:1:14: ")
        assert captured.err.splitlines()[1].startswith(
            f"/{DROP_IN}:1:20: the default list has no entry 'usr'; did you mean 'user'?"
        )

    def test_layers_that_cannot_be_read_are_told_beside_the_others(self, guest: Guest, capsys: Any) -> None:
        guest.put({VENDOR: "datasource: ]", DROP_IN: "a: 1"}).path(ADMIN).mkdir(parents=True)
        assert main(["config", "check", "--root", guest.root]) == 2
        err = capsys.readouterr().err
        assert f"/{VENDOR}:1:13: not valid YAML" in err
        assert f"azurelite: error: cannot read /{ADMIN}: Is a directory: check the file and its permissions" in err
        assert f"/{DROP_IN}:1:1: in the file: unknown key 'a'" in err

    def test_what_a_later_file_replaces_is_not_looked_at(self, guest: Guest, capsys: Any) -> None:
        guest.put({VENDOR: "handlers: [nonsense]", ADMIN: "handlers: [user]"})
        assert main(["config", "check", "--root", guest.root]) == 0

    def test_files_and_a_file_in_place_of_the_admins_exclude_each_other(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["config", "check", "--config", "a", "b"]) == 2
        assert "leave one of them out" in capsys.readouterr().err

    def test_very_many_mistakes_are_counted(self, tmp_path: Path, capsys: Any) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("".join(f"k{i}: 1\n" for i in range(5000)))
        assert main(["config", "check", str(path)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1] == "and 4900 more"
        assert len(lines) == 101

    @pytest.mark.parametrize(
        "text",
        [
            f"datasource: {CANARY}",
            f"datasource: {{deadline: {CANARY}}}",
            f"handlers: [{{passwords: {{users: [{{name: a, password: [{CANARY}]}}], expire: {CANARY}}}}}]",
            f"handlers: [{{run: {{argv: {CANARY}, when: password == {CANARY}, id: '{CANARY} x'}}}}]",
            f"handlers: !x {CANARY}",
            f"handlers: *{CANARY}",
        ],
    )
    def test_no_value_is_ever_printed(self, tmp_path: Path, text: str, capsys: Any) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        assert main(["config", "check", str(path)]) == 2
        assert CANARY not in str(capsys.readouterr())

    @pytest.mark.parametrize("text", ["größe: 1", "a:\n\tb: 1", "\ufeffdatasource: {}", "---\n...\n", "ﬁle: ⚙"])
    def test_odd_text_is_no_defect(self, tmp_path: Path, text: str, capsys: Any) -> None:
        path = tmp_path / "größe.yaml"
        path.write_text(text, encoding="utf-8")
        assert main(["config", "check", str(path)]) in (0, 2)
        assert "unhandled" not in capsys.readouterr().err

    @pytest.mark.spawns
    def test_a_machine_without_a_language_prints_it_all_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("größe: 1\nhandlers: [ß]", encoding="utf-8")
        environment = {"LC_ALL": "C", "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        words = [sys.executable, "-m", "azurelite", "config", "check", str(path)]
        done = subprocess.run(words, env=environment, capture_output=True, check=False, timeout=60)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 2


class TestSchema:
    """`azurelite config schema`; its content is tested beside `azurelite.describe.jsonschema`."""

    def test_is_json_and_kept_in_contrib(self, capsys: Any) -> None:
        assert main(["config", "schema", "--builtin"]) == 0
        out = capsys.readouterr().out
        assert json.loads(out)["$schema"].endswith("2020-12/schema")
        kept = (REPO / "contrib" / "azurelite.schema.json").read_text(encoding="utf-8")
        assert kept == out, "run `azurelite config schema --builtin > contrib/azurelite.schema.json`"

    def test_knows_the_guests_own_handlers(self, guest: Guest, capsys: Any) -> None:
        guest.put({"etc/azurelite/handlers.d/mine": "#!/bin/sh\n"}).path("etc/azurelite/handlers.d/mine").chmod(0o755)
        assert main(["config", "schema", "--root", guest.root]) == 0
        assert "mine" in json.loads(capsys.readouterr().out)["$defs"]


@pytest.mark.parametrize("words", [["-v", "show"], ["show", "-v"], ["show", "--debug"], ["check", "-q"]])
def test_the_options_of_the_log_may_follow_the_action(words: list[str], guest: Guest, capsys: Any) -> None:
    assert main(["config", *words, "--root", guest.root]) == 0


@pytest.mark.parametrize("words", [[], ["shwo"], ["check", "--jso"], ["show", "x"]])
def test_words_that_make_no_sense_are_exit_2(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", *words])
    assert ended.value.code == 2
    assert "usage: azurelite config" in capsys.readouterr().err


WORDS = ["---", "...", "!x", "*a", "&a", "- x", "? x", "a: b", "a #b", "#", "'", '"', "''", "{}", "[", "|", ">", "%x"]
WORDS += ["@", "`", "~", "null", "true", "yes", "1", "1e3", "0x1", "017", "1:30", "2001-01-01", "=", "<<", ".inf"]
WORDS += [
    "",
    " ",
    " x ",
    "x ",
    "\t",
    "a\tb",
    "\n",
    "a\n",
    "\na",
    "a\n\n b\n",
    "a\\nb",
    "a\r\nb",
    "\u2028",
    "\x85",
    "\x7f",
]
WORDS += ["\ufeff", "\u200b", "\x1b[2J", "ß𝄞", "x" * 500, "word " * 100]


def test_the_oddest_values_come_back_as_they_were(guest: Guest, tmp_path: Path, capsys: Any) -> None:
    settings = {"handlers": [{"run": {"argv": ["x", *WORDS]}}]}
    guest.put({ADMIN: yaml.safe_dump(settings)})
    out = show(guest, capsys)
    (tmp_path / "again.yaml").write_text(out, encoding="utf-8")
    assert bound(guest.root, str(tmp_path / "again.yaml")) == bound(guest.root)
    assert all(line.isprintable() for line in out.split("\n"))


@pytest.mark.parametrize("verb", ["check", "show"])
def test_a_root_that_is_not_a_folder_is_an_error(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main(["config", verb, "--root", "/no/such/folder"]) == 2
    assert "--root /no/such/folder: not a folder" in capsys.readouterr().err
