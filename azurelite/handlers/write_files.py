"""`write_files`: write files whose content is in the configuration.

If one file cannot be written, the others still are. In a folder that other users can change (a home, /tmp), symbolic
links are not followed. The content of a file is never shown, because it may be secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Optional, Union

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError, MachineError
from azurelite.handlers import Context
from azurelite.metadata import Secret
from azurelite.record import Record
from azurelite.system.accounts.users import Owner
from azurelite.system.files import READ_LIMIT
from azurelite.system.owners import find_owner, shared_folder
from azurelite.system.root import is_plain_path
from azurelite.system.selinux import relabel

if TYPE_CHECKING:
    from azurelite.userdata.decode import Budget

SUMMARY = "write files"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

Encoding = Literal["text/plain", "b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"]
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10}"
_OWNER = rf"({_NAME})?(:({_NAME}))?"
_MOST = 0o7777
_NOT_GZIP = "its content is not valid gzip: correct `encoding` or `content`"
# YAML reads 0644 as an octal number, and 644 as a decimal one, which would be the mode 01204. So a number is accepted
# only if it is one of these modes: none of them, written without its leading 0, is the number of another one.
USUAL = (
    *(0o400, 0o440, 0o444, 0o500, 0o550, 0o555, 0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o700, 0o710, 0o711),
    *(0o744, 0o750, 0o751, 0o755, 0o770, 0o775, 0o777, 0o1777, 0o2755, 0o2770, 0o2775, 0o4750, 0o4755),
)


class File(Record):
    """One file.

    Attributes:
        path: absolute path. Missing folders are created with mode 0755.
        content: the content of the file.
        encoding: how `content` is encoded: "b64" or "base64", "gz" or "gzip", or both as "gz+b64".
        owner: USER, USER:GROUP or :GROUP, by name or number; both must exist. root:root when left out.
        permissions: the mode in quotes, for example "0644", which is the default. Without quotes only common modes
            with their leading 0 are accepted.
        append: add the content at the end of the file, on a new line, unless the file has these lines already. An
            existing file keeps its owner and mode if the entry has none.
        defer: write it after the files that are not deferred.
    """

    path: str = ""
    content: Secret = Secret("")  # a value that cannot change
    encoding: Encoding = "text/plain"
    owner: Optional[str] = None
    permissions: Union[str, int, None] = None
    append: bool = False
    defer: bool = False

    def __post_init__(self) -> None:
        if not is_plain_path(self.path):
            raise ValueError("path must be an absolute path without `..`, such as /etc/motd")
        if self.owner is not None and (not self.owner or not re.fullmatch(_OWNER, self.owner)):
            raise ValueError("owner must be USER, USER:GROUP or :GROUP")
        if self.permissions is not None:
            _mode(self.permissions)


class Options(Record):
    """Options of `write_files`.

    Attributes:
        files: the files, each a mapping with `path`, `content` and optionally `encoding`, `owner`, `permissions`,
            `append` and `defer`.
    """

    files: tuple[File, ...] = ()


def apply(ctx: Context, options: Options) -> None:
    """Write the files. Raises HandlerError, which lists those that could not be written."""
    apply_within(ctx, options, None)


def apply_within(ctx: Context, options: Options, budget: Optional[Budget]) -> None:
    """The same for user data, where unpacked contents count against the budget of the document."""
    failed = []
    for number, file in sorted(enumerate(options.files), key=lambda item: item[1].defer):
        try:
            _write(ctx, file, budget)
        except (MachineError, ValueError) as error:
            failed.append((f"files[{number}] " if len(options.files) > 1 else "") + f"{file.path}: {error}")
    if failed and len(options.files) == 1:
        raise HandlerError(failed[0], reason="failed to write files")
    if failed:
        raise HandlerError(
            f"{len(failed)} of {len(options.files)} files could not be written: {'; '.join(failed)}",
            reason="failed to write files",
        )


def decoded(content: bytes, encoding: Encoding, budget: Optional[Budget] = None) -> bytes:
    """The decoded content. Raises ValueError: it does not match `encoding`, is too large, or exceeds the budget."""
    if encoding.endswith(("b64", "base64")):
        import base64

        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except ValueError as error:
            raise ValueError("its content is not valid base64: correct `encoding` or `content`") from error
    if encoding.startswith("gz"):
        content = _unzipped(content, budget)
    if len(content) > READ_LIMIT:
        raise ValueError(f"its content has more than {READ_LIMIT} bytes")
    return content


def _write(ctx: Context, file: File, budget: Optional[Budget]) -> None:
    files = ctx.system.files
    data = decoded(file.content.reveal_bytes(), file.encoding, budget)
    owner = find_owner(ctx.system, file.owner or "root:root")
    mode = _mode("0644" if file.permissions is None else file.permissions)
    beneath = shared_folder(ctx.system, file.path)
    made = _make_folders(ctx, file, owner, beneath)
    before = files.read(file.path, beneath=beneath) if file.append else None
    if before is not None:
        data = _appended(before, data)
        found = files.stat(file.path, beneath=beneath)
        if found is not None:
            if file.owner is None:
                owner = Owner(owner.name, found.st_uid, found.st_gid)
            if file.permissions is None:
                mode = found.st_mode & _MOST
    if files.write(file.path, data, mode=mode, owner=owner, beneath=beneath, secret=True):
        knows = ctx.system.root.is_host and ctx.system.commands.find("restorecon") is not None
        if knows or file.path.startswith("/home/"):  # without restorecon only the SELinux labels of homes are known
            relabel(ctx.system, made or file.path)


def _make_folders(ctx: Context, file: File, owner: Owner, beneath: Optional[str]) -> Optional[str]:
    """Create the missing folders, and return the first one created.

    Those in the owner's home belong to the owner, all others to root.
    """
    files = ctx.system.files
    user = ctx.system.accounts.user(owner.name.partition(":")[0])
    home = f"{user.home.rstrip('/')}/" if user is not None and user.uid != 0 and user.home != "/" else None
    parts = file.path.split("/")
    made = None
    for depth in range(2, len(parts)):
        folder = "/".join(parts[:depth])
        within = beneath if beneath is not None and folder.startswith(f"{beneath}/") else None
        if files.is_dir(folder, beneath=within):
            continue
        made = made or folder
        if home is not None and folder.startswith(home):
            files.mkdir(folder, mode=0o755, owner=owner, beneath=within)
        else:
            files.mkdir(folder, mode=0o755, beneath=within)
    return made


def _appended(before: bytes, data: bytes) -> bytes:
    """The content with `data` added, or unchanged if it has those lines already, so that a second run adds nothing."""
    if not data or f"\n{_text(data)}\n" in f"\n{_text(before)}\n":
        return before
    return before + (b"" if not before or before.endswith(b"\n") else b"\n") + data


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape").rstrip("\n")


def _mode(permissions: Union[str, int]) -> int:
    """The permission bits. Raises ValueError."""
    if isinstance(permissions, str):
        if not re.fullmatch(r"(0o?)?[0-7]{1,4}", permissions):
            raise ValueError('permissions must be octal digits, such as "0644"')
        return int(permissions.replace("o", ""), 8)
    if permissions not in USUAL:
        raise ValueError('permissions must be octal digits in quotes, such as "0644"')
    return permissions


def _unzipped(data: bytes, budget: Optional[Budget]) -> bytes:
    from azurelite.userdata.decode import LIMIT, gunzip

    limit = READ_LIMIT if budget is None else min(READ_LIMIT, budget.left)
    try:
        if budget is None:
            found, rest = gunzip(data, limit)
        else:
            with budget.unpacking():
                found, rest = gunzip(data, limit, budget.remaining)
    except HandlerError as error:
        raise ValueError("unpacking the user data takes too long: compress fewer files") from error
    except ValueError as error:
        raise ValueError(_NOT_GZIP) from error
    except EOFError as error:
        raise ValueError("its content is a truncated gzip file: correct `content`") from error
    if limit < len(found) <= READ_LIMIT:
        what = "its content and all that was unpacked before it"
        raise ValueError(f"{what} have more than {LIMIT} bytes: download large files with a script")
    if len(found) > limit:
        raise ValueError(f"its content has more than {READ_LIMIT} bytes when unpacked")
    if rest:
        raise ValueError(_NOT_GZIP)
    if budget is not None:
        budget.spend(len(found))
    return found
