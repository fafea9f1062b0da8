"""A Debian machine that has git, python3 and python3-venv and nothing else, and a clone of this checkout in it.

What it gets from this machine is what a container would be given: its network, its `resolv.conf`, its CA bundle, and
what pip needs to find its index: pip's variables and configuration, and the proxy's variables.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from boot.roots import Root

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
NAMESPACES = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
PROXY = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ftp_proxy")
BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where Debian has it
SECONDS = 3600  # the most that one script takes: all of the tests run in some


class FreshRoot(Root):
    """Debian's smallest set of packages, and the three that the README asks for."""

    @property
    def name(self) -> str:
        """A name for people and files."""
        return f"{self.suite}-fresh"

    @property
    def base(self) -> tuple[str, ...]:
        """What the README asks for."""
        return ("git", "python3", "python3-venv")

    @property
    def packages(self) -> tuple[str, ...]:
        """Nothing else."""
        return ()

    @property
    def scripts(self) -> tuple[Path, ...]:
        """Nothing is run in it."""
        return ()

    def _make(self, folder: Path) -> None:
        self._make_base(folder)


class Pristine:
    """The machine, made anew for each script.

    Args:
        folder: an empty folder for what belongs to it.

    Raises:
        BuildError: its root file system cannot be built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lower = FreshRoot("bookworm", "", "").build()
        self.variables = passed_on(os.environ)
        self.config = pip_config()

    def run(self, script: str, *, user: str) -> tuple[int, str]:
        """Run a shell script in a clone of HEAD, as `user` (who is made where they are missing).

        Returns its exit status and all that it printed, which is also copied to stdout as it comes.
        """
        place = self.folder / f"place-{user}"
        seed = self.folder / f"seed-{user}"
        shutil.rmtree(seed, ignore_errors=True)
        place.mkdir(exist_ok=True)
        self._fill(seed, "root" if user == "root" else f"home/{user}")
        binds = self.folder / "binds"
        binds.write_text(
            "".join(f"{one}\n" for one in local_folders([*self.variables.values(), *self.config.values()]))
        )
        words = [f"{key}={value}" for key, value in self.variables.items()]
        inside = f"cd\ngit clone -q azurelite.git azurelite\ncd azurelite\n{script}\n"
        stage = [*NAMESPACES, "sh", str(HERE / "stage.sh"), str(place), str(self.lower), str(seed), str(binds), user]
        return _watched([*stage, "env", *words, "sh", "-euc", inside])

    def _fill(self, seed: Path, home: str) -> None:
        """All that is copied into the root."""
        (seed / home).mkdir(parents=True)
        clone = ["git", "-c", "safe.directory=*", "clone", "-q", "--bare", "--no-hardlinks", str(CHECKOUT)]
        subprocess.run([*clone, str(seed / home / "azurelite.git")], check=True)
        lines = [
            f"{key.split('.', 1)[1]} = {value}\n".replace("\n", "\n    ").rstrip() for key, value in self.config.items()
        ]
        copies = {"etc/pip.conf": "\n".join(["[global]", *lines, ""]), "etc/resolv.conf": _text("/etc/resolv.conf")}
        given = [value for key, value in self.variables.items() if key in (*BUNDLES, "PIP_CERT", "PIP_CONSTRAINT")]
        given += [value for key, value in self.config.items() if key in ("global.cert", "global.constraint")]
        for path in (BUNDLE, *given):
            if Path(path).is_file():
                copies[path.lstrip("/")] = _text(path)
        for name, text in copies.items():
            (seed / name).parent.mkdir(parents=True, exist_ok=True)
            (seed / name).write_text(text, encoding="utf-8")


def passed_on(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """Of the variables of this machine those that pip, the proxy and the CA bundle have."""
    return {
        key: value
        for key, value in environment.items()
        if key.lower() in PROXY or key in BUNDLES or (key.startswith("PIP_") and key != "PIP_CONFIG_FILE")
    }


def pip_config() -> dict[str, str]:
    """What pip's own files say on this machine, as `global.KEY` -> value; sections of single commands are left out."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=", 1) for line in told.splitlines() if line.startswith("global."))
    return {key: str(ast.literal_eval(value)) for key, value in found.items()}


def local_folders(values: list[str]) -> list[str]:
    """The folders of this machine that pip is told to find packages in. A package index links to files beside it."""
    found = []
    for word in " ".join(values).split():
        path = Path(re.sub("^file://(localhost)?", "", word))
        if word.startswith(("/", "file:/")) and path.is_dir() and not path.is_relative_to("/etc"):
            found.append(path.parent if path.name == "simple" else path)
    return sorted({str(path) for path in found})


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _watched(command: list[str]) -> tuple[int, str]:
    """The machine ends with this process: it may be killed, and no test can clean up then."""
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    lines = []
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        limit = threading.Timer(SECONDS, process.kill)
        limit.start()
        for line in process.stdout:
            lines.append(line)
            sys.stdout.write(line)
        limit.cancel()
    return process.returncode, "".join(lines)
