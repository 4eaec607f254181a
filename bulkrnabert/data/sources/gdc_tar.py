"""Archives as the stand-in portal sends them for several files, packed and taken apart in memory."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from bulkrnabert.data.sources.delimited import GZIP_MAGIC

MANIFEST_NAME = "MANIFEST.txt"


@dataclass(frozen=True)
class TarMember:
    """One member: a file, or a symbolic link where `link` is given."""

    name: str
    body: bytes = b""
    link: str | None = None


def pack(members: Sequence[TarMember], is_packed: bool) -> bytes:
    """A tar archive, gzip-packed or plain; the same members give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            if member.link is None:
                info.size = len(member.body)
            else:
                info.type, info.linkname = tarfile.SYMTYPE, member.link
            archive.addfile(info, io.BytesIO(member.body))
    return gzip.compress(buffer.getvalue(), 1, mtime=0) if is_packed else buffer.getvalue()


def unpack(body: bytes) -> list[TarMember]:
    """Members of an archive of our own making."""
    plain = gzip.decompress(body) if is_gzip(body) else body
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        members = []
        for info in archive:
            stream = archive.extractfile(info) if info.isfile() else None
            members.append(TarMember(info.name, stream.read() if stream else b"", info.linkname or None))
    return members


def is_gzip(body: bytes) -> bool:
    """Whether the bytes begin as gzip does."""
    return body[:2] == GZIP_MAGIC
