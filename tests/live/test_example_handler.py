"""The examples of one's own handler and source: installed as a user would install them, and used by their names."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from kit import VM_ID, Guest
from shellblocks import blocks_of

CONTRIB = Path(__file__).parents[2] / "contrib"
EXAMPLES = ("example-handler", "example-datasource")

# They are built by pip in a place of their own, which takes seconds: one environment is enough.
pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.xdist_group("example")]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples installed."""
    folder = tmp_path_factory.mktemp("shelf")
    for name in EXAMPLES:
        source = tmp_path_factory.mktemp("source") / name
        subprocess.run(["cp", "-r", CONTRIB / name, source], check=True)  # pip builds beside the source
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(source)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=300)
    return folder


def azurelite(shelf: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "azurelite", *words]
    env = {**os.environ, "PYTHONPATH": str(shelf)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_the_commands_of_the_readme_run_as_they_are_written(tmp_path: Path) -> None:
    """In a virtual environment that sees the packages of this one, beside a copy of contrib/."""
    (block,) = blocks_of(CONTRIB / "example-handler/README.md")
    shutil.copytree(CONTRIB, tmp_path / "contrib", symlinks=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "v"], check=True, timeout=300)
    (packages,) = (tmp_path / "v/lib").glob("python*/site-packages")
    seen = [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
    (packages / "seen.pth").write_text("\n".join(seen) + "\n")
    launcher = tmp_path / "v/bin/azurelite"
    launcher.write_text((CONTRIB / "launcher/azurelite").read_text().replace("#!python", f"#!{tmp_path}/v/bin/python"))
    launcher.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}/v/bin:{os.environ['PATH']}", "VIRTUAL_ENV": f"{tmp_path}/v"}
    command = ["sh", "-euc", block.text]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "greeting: text (default: Welcome to)" in done.stdout
    assert done.stdout.endswith("Welcome to web-1 (Standard_B2s, westeurope)\n")


def test_it_is_known_by_its_name_and_tells_its_options(shelf: Path) -> None:
    told = azurelite(shelf, "handlers", "motd")
    assert told.returncode == 0, told.stderr
    assert "greeting" in told.stdout
    assert "Welcome to" in told.stdout


def test_it_keeps_the_three_promises(shelf: Path, guest: Guest, tmp_path: Path) -> None:
    guest.on_azure().configure(handlers=["hostname", {"motd": {"greeting": "This is"}}])
    known = tmp_path / "metadata.json"
    known.write_text(json.dumps({"local_hostname": "vm", "vm_size": "Standard_B1s", "region": "westeurope"}))
    command = ["apply", "motd", "--metadata", str(known), "--root", guest.root, "--json"]
    before = guest.snapshot()
    told = json.loads(azurelite(shelf, *command, "--dry-run").stdout)
    assert guest.snapshot() == before
    done = json.loads(azurelite(shelf, *command).stdout)
    assert done["steps"][0]["changes"] == told["steps"][0]["changes"] == ["write /etc/motd (0644)"]
    assert guest.text("etc/motd") == "This is vm (Standard_B1s, westeurope)\n"
    again = json.loads(azurelite(shelf, *command).stdout)
    assert again["steps"][0]["changes"] == []


def test_a_wrong_option_is_named_with_its_place(shelf: Path, guest: Guest) -> None:
    guest.on_azure().configure(handlers=[{"motd": {"greting": "x"}}])
    told = azurelite(shelf, "plan", "--root", guest.root)
    assert told.returncode == 2
    assert "azurelite.yaml:" in told.stderr
    assert "did you mean 'greeting'?" in told.stderr


def test_a_source_provisions_a_machine_that_is_not_on_azure(shelf: Path, guest: Guest) -> None:
    guest.put({"sys/class/dmi/id/product_uuid": VM_ID, "etc/azurelite/lab.json": json.dumps({"local_hostname": "lab"})})
    guest.configure(datasource={"sources": ["json_file"]}, handlers=["hostname"])
    # Without any network, so that not one packet can leave.
    command = ["unshare", "--net", sys.executable, "-m", "azurelite", "provision", "--json", "--root", guest.root]
    env = {**os.environ, "PYTHONPATH": str(shelf)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["outcome"], told["requests"]) == ("provisioned", [])
    assert guest.text("etc/hostname") == "lab\n"
    read = azurelite(shelf, "metadata", "--saved", "provenance.local_hostname", "--root", guest.root)
    assert read.stdout == "json_file\n"
