"""Published zip archives: unpacked without ever writing outside their folder."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from stroma.core.errors import InvalidData
from stroma.core.files import atomic_path


def unpack(archive: Path, folder: Path, *, suffixes: tuple[str, ...] = ()) -> Path:
    """Unpack a zip archive into `folder`.

    Args:
        archive: The archive.
        folder: Where to; it is created.
        suffixes: Unpack only files that end so; all when empty.

    Returns:
        `folder`.

    Raises:
        InvalidData: it is no archive, is damaged, or a name in it leads outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = [member for member in source.infolist() if not member.is_dir()]
            for member in members:
                _check_name(member.filename, archive)
            for member in members:
                if suffixes and not member.filename.endswith(suffixes):
                    continue
                target = folder / member.filename
                with source.open(member) as content, atomic_path(target) as part, part.open("wb") as output:
                    shutil.copyfileobj(content, output, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidData(
            f"is not a whole zip archive ({error})", where=archive, next_step="Download or copy it again"
        ) from error
    return folder


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InvalidData(
            f"holds the name '{name}', which leads outside its folder; nothing was unpacked",
            where=archive,
            next_step="Do not use this archive",
        )
