"""Datasets in the zip and tar archives that they are downloaded as: read in place, without unpacking.

An archive is only read. One file handle per archive serves all threads and forked workers of a process, because every
read names its own position.
"""

import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

from refinenet_pl.errors import UserError

ARCHIVE_SUFFIXES = (".zip", ".tar")
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")

MAX_MEMBER_BYTES = 2**30
"""Larger files in an archive are not read: a small archive can hold files that fill the memory."""

LOCAL_HEADER = 30
"""Bytes of a zip's local header before the name and the extra field."""


class Member(NamedTuple):
    """A file in an archive."""

    archive: Path
    offset: int
    """Of its data; in a zip, of its local header."""
    stored_size: int
    size: int
    method: int | None
    """A zip's compression method; None in a tar."""
    checksum: int | None
    """A zip's CRC-32."""


class Contents(NamedTuple):
    """What some archives hold."""

    files: dict[str, Member]
    folders: dict[str, list[str]]
    """Names of the files and folders directly in each folder."""


class Status(NamedTuple):
    """The part of `os.stat_result` that a file in an archive has."""

    st_size: int
    st_mtime_ns: int


class ArchivePath:
    """A file or a folder below a folder that contains archives, or below an archive.

    It has the methods of `pathlib.Path` that only read. A file that exists on disk takes precedence over one in an
    archive. Paths can be pickled, and are compared by name.

    Args:
        root: The folder, or the archive.
        archives: The archives.
        name: Path below the root, with slashes; empty for the root itself.
    """

    def __init__(self, root: Path, archives: tuple[Path, ...], name: str = "") -> None:
        self._root = root
        self._archives = archives
        self._name = name

    def __truediv__(self, other: "str | os.PathLike[str]") -> "ArchivePath":
        """Return the path of something in this folder."""
        name = PurePosixPath(self._name, *PurePosixPath(other).parts).as_posix()
        return ArchivePath(self._root, self._archives, "" if name == "." else name)

    def joinpath(self, *parts: "str | os.PathLike[str]") -> "ArchivePath":
        """Return the path of something below this folder."""
        return self / PurePosixPath(*(os.fspath(part) for part in parts))

    def __str__(self) -> str:
        return str(self._root / self._name)

    def __repr__(self) -> str:
        return f"ArchivePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchivePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: "ArchivePath") -> bool:
        return str(self) < str(other)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self._name).name or self._root.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "ArchivePath":
        """The folder that contains this. The root is its own parent."""
        name = PurePosixPath(self._name).parent.as_posix()
        return ArchivePath(self._root, self._archives, "" if name == "." else name)

    def with_suffix(self, suffix: str) -> "ArchivePath":
        """Return the path with another suffix."""
        return ArchivePath(self._root, self._archives, PurePosixPath(self._name).with_suffix(suffix).as_posix())

    def with_name(self, name: str) -> "ArchivePath":
        """Return the path with another name."""
        return ArchivePath(self._root, self._archives, PurePosixPath(self._name).with_name(name).as_posix())

    def is_file(self) -> bool:
        """Whether this is a file."""
        # The root itself can be an archive, which counts as a folder.
        return self._name != "" and (self._on_disk.is_file() or self._name in self._contents.files)

    def is_dir(self) -> bool:
        """Whether this is a folder."""
        return self._on_disk.is_dir() or self._name in self._contents.folders

    def exists(self) -> bool:
        """Whether this is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> "Iterator[ArchivePath]":
        """Yield what is in this folder; what is on disk, if the folder itself is."""
        names = os.listdir(self._on_disk) if self._on_disk.is_dir() else self._contents.folders[self._name]
        if not self._name and self._root.is_dir():
            names = [*names, *self._contents.folders.get("", ())]
        return (self / name for name in dict.fromkeys(names))

    def stat(self) -> Status:
        """Return the size, and when the file or its archive was changed last."""
        if self._on_disk.exists():
            found = self._on_disk.stat()
            return Status(found.st_size, found.st_mtime_ns)
        member = self._member()
        return Status(member.size, member.archive.stat().st_mtime_ns)

    def read_bytes(self) -> bytes:
        """Return the content of a file.

        Raises:
            UserError: The archive is damaged, or the file in it is too large.
            FileNotFoundError: There is no such file.
        """
        return (
            self._on_disk.read_bytes() if self._name and self._on_disk.is_file() else _read(self._member(), str(self))
        )

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content of a text file; raises what `read_bytes` raises."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Return the content of a file as a stream of bytes; raises what `read_bytes` raises."""
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())

    @property
    def _on_disk(self) -> Path:
        return self._root / self._name

    @property
    def _contents(self) -> Contents:
        return contents(self._archives)

    def _member(self) -> Member:
        try:
            return self._contents.files[self._name]
        except KeyError:
            raise FileNotFoundError(f"{self}: no such file") from None


AnyPath: TypeAlias = Path | ArchivePath
"""A path on disk or in an archive."""


def path_below(path: AnyPath, folder: AnyPath) -> PurePosixPath:
    """Return a path relative to a folder that contains it."""
    return PurePosixPath(str(path)).relative_to(str(folder))


def as_path(path: str | AnyPath) -> AnyPath:
    """Return a path that may be text."""
    return Path(path) if isinstance(path, str) else path


def entries(folder: str | AnyPath) -> list[AnyPath]:
    """Return what is directly in a folder, sorted by name."""
    return sorted(as_path(folder).iterdir(), key=str)


def data_root(path: Path) -> AnyPath:
    """Return where the files of a dataset are read.

    Args:
        path: A folder, an archive, or a folder in an archive, such as data.zip/data.

    Returns:
        `path` itself, unless it is in an archive, or is a folder that directly contains archives.

    Raises:
        UserError: The path is in an archive that cannot be read in place.
    """
    if path.is_dir():
        archives = tuple(sorted(file for file in path.iterdir() if _is_archive(file)))
        return ArchivePath(path, archives) if archives else path
    for archive in (path, *path.parents):
        if archive.is_file():
            check_archive_name(archive)
            return ArchivePath(archive, (archive,)) / path.relative_to(archive)
        if archive.exists():
            break
    return path


def check_archive_name(path: Path) -> None:
    """Check that a file is an archive that can be read in place; raises UserError."""
    if path.name.lower().endswith(COMPRESSED_TARS):
        raise UserError(
            f"{path}: a compressed tar cannot be read in place. Write it once as a plain tar: "
            f"refinenet data prepare NAME {path.parent}"
        )
    if not _is_archive(path):
        raise UserError(f"{path}: is a file; expected a folder, or an archive ({' or '.join(ARCHIVE_SUFFIXES)})")


def compressed_tars(folder: Path) -> list[Path]:
    """Return the compressed tars directly in a folder, which cannot be read in place."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.name.lower().endswith(COMPRESSED_TARS) and file.is_file())


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVE_SUFFIXES) and not path.name.startswith(".") and path.is_file()


@cache
def contents(archives: tuple[Path, ...]) -> Contents:
    """Return what some archives hold together. The files of later archives replace those of earlier ones.

    Raises:
        UserError: An archive is damaged, or holds absolute paths, paths with "..", links or encrypted files.
    """
    files: dict[str, Member] = {}
    for archive in archives:
        members = _zip_members if archive.suffix.lower() == ".zip" else _tar_members
        try:
            files |= members(archive)
        except (OSError, zipfile.BadZipFile, tarfile.TarError, ValueError, NotImplementedError) as error:
            raise UserError(f"{archive}: cannot be read as an archive ({error}). Get it again.") from error
    folders: dict[str, dict[str, None]] = {"": {}}
    for name in files:
        parts = name.split("/")
        for depth in range(len(parts)):
            folders.setdefault("/".join(parts[:depth]), {})[parts[depth]] = None
    return Contents(files, {folder: list(names) for folder, names in folders.items()})


def _zip_members(archive: Path) -> dict[str, Member]:
    members = {}
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            name = _checked(info.orig_filename, archive)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _refusal(archive, name, "is a link")
            if info.flag_bits & 1:
                raise _refusal(archive, name, "is encrypted")
            if not info.is_dir():
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise _refusal(archive, name, f"has the compression method {info.compress_type}")
                members[name] = Member(
                    archive, info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
                )
    return members


def _tar_members(archive: Path) -> dict[str, Member]:
    members = {}
    with tarfile.open(archive, "r:") as file:
        for info in file:
            name = _checked(info.name, archive)
            if info.issym() or info.islnk():
                raise _refusal(archive, name, "is a link")
            if info.isdir():
                continue
            if not info.isreg() or info.sparse is not None:
                raise _refusal(archive, name, "is no plain file")
            members[name] = Member(archive, info.offset_data, info.size, info.size, None, None)
    return members


def _checked(name: str, archive: Path) -> str:
    """Return a name of an archive without "./" in front; raises UserError if it leads outside."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or (parts and ":" in parts[0]):
        raise _refusal(archive, name, "leads outside the archive")
    return "/".join(parts)


def _refusal(archive: Path, name: str, found: str) -> UserError:
    return UserError(
        f"{archive}: {name!r} in it {found}. Such archives are not read; expected plain files with relative paths. "
        "Unpack it yourself, and set data.root to the folder."
    )


def _read(member: Member, name: str) -> bytes:
    """Return the content of a file in an archive."""
    damaged = UserError(f"{name}: {member.archive.name} is damaged at this file. Get the archive again.")
    if member.size > MAX_MEMBER_BYTES:
        raise UserError(f"{name}: has {member.size:,} bytes; expected at most {MAX_MEMBER_BYTES:,}")
    handle, offset = _handle(member.archive), member.offset
    if member.method is not None:
        header = os.pread(handle, LOCAL_HEADER, offset)
        if len(header) < LOCAL_HEADER or header[:4] != b"PK\3\4":
            raise damaged
        offset += LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    content = os.pread(handle, member.stored_size, offset)
    if member.method == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.size + 1)
        except zlib.error as error:
            raise damaged from error
    if len(content) != member.size or (member.checksum is not None and zlib.crc32(content) != member.checksum):
        raise damaged
    return content


def _handle(archive: Path) -> int:
    """Return this process's file descriptor of an archive."""
    key = (archive, os.getpid())
    if key not in _HANDLES:
        handle = os.open(archive, os.O_RDONLY)
        if _HANDLES.setdefault(key, handle) != handle:  # another thread was first
            os.close(handle)
    return _HANDLES[key]


_HANDLES: dict[tuple[Path, int], int] = {}
