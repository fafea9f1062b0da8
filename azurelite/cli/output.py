"""Writing a file that the command line names."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

from azurelite.errors import ConfigError


def write_output(path: str, text: str) -> None:
    """Write a file with mode 0644, less the umask, in one step: never half of it, never through a link.

    Args:
        path: the file, which may exist; `-` is standard output.
        text: the content.

    Raises:
        ConfigError: it cannot be written, or something other than a regular file is there.
    """
    if path == "-":
        sys.stdout.write(text)
        return
    beside = f"{path}.azurelite-{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise ConfigError(f"{path} is a link or no regular file: give another name")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(beside, flags, 0o644)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}: give another folder") from error
