"""Takes a folder, or what lies under a prefix of a bucket, for a manifest: a row for each picture.

What a picture is is told by its ending here, because nothing is opened; what has another ending is left out and
counted. A pattern makes columns of a name: `{sku}_{position}.{ext}`. Rows come in the order of their names.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jobs.batch import Table
from jobs.bucket.port import Head
from producers.manifest.problems import ManifestError, RowProblem, shown
from producers.manifest.rows import AnyRow, BrokenRow, Manifest, RawRow, count
from producers.manifest.template import Template

Objects = Callable[[str, str], Iterator[Head]]
"""Lists what lies under (bucket, prefix)."""

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_OURS = frozenset({"retouch-data", "retouch-out"})
_MAX_DEPTH = 32


class Pattern:
    """What a name consists of; the columns are `image`, `id` unless the pattern has it, and the pattern's own.

    A pattern without a slash is about the file's name alone; one with slashes is about the whole way from the folder.

    Raises:
        ManifestError: the pattern cannot be used.
    """

    def __init__(self, source: str | None) -> None:
        self.source = source
        self.names: tuple[str, ...] = ()
        self._regex: re.Pattern[str] | None = None
        if source is not None:
            self._regex = self._compile(source)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that the names make."""
        return ("image", *(() if "id" in self.names else ("id",)), *self.names)

    def cells(self, image: str, name: str) -> tuple[str, ...] | None:
        """Return the cells of a picture, None where its name does not fit. `name` is relative to the folder."""
        normal = unicodedata.normalize("NFC", name)
        values: tuple[str, ...] = ()
        if self._regex is not None:
            found = self._regex.fullmatch(normal)
            if found is None:
                return None
            values = found.groups()
        own_id = () if "id" in self.names else (normal.rpartition(".")[0],)
        return (image, *own_id, *values)

    def _compile(self, source: str) -> re.Pattern[str]:
        parts: list[str] = []
        names: list[str] = []
        before = ""
        for part in Template.parse(source, "--pattern").parts:
            if isinstance(part, str):
                parts.append(re.escape(unicodedata.normalize("NFC", part)))
                before = part
                continue
            name = part.text
            if not before and parts:
                raise _bad(f"nothing stands between {{{names[-1] if names else 'ext'}}} and {{{name}}}")
            if name in names or name == "image":
                raise _bad(f"{{{name}}} stands twice" if name in names else "{image} is the whole path")
            if name == "ext":
                parts.append(r"[^./]+")
            else:
                names.append(name)
                parts.append(r"([^/]+)")
            before = ""
        if not names:
            raise _bad("it has no {name}")
        self.names = tuple(names)
        return re.compile(("" if "/" in source else r"(?:.*/)?") + "".join(parts))


class ListingManifest(Manifest):
    """A manifest that is a list of pictures; `line` is the number of the picture."""

    def __init__(self, path: Path, title: str, kind: str, names: Callable[[], Iterator[str]], pattern: Pattern) -> None:
        super().__init__(path, None)
        self._shown = title
        self._kind = kind
        self._names = names
        self._pattern = pattern
        self._base = ""
        self.left_out = 0

    @property
    def table(self) -> Table:
        """Results are a plain CSV."""
        return Table(form="csv", columns=self._pattern.columns)

    def _title(self) -> str:
        return self._shown

    def _form(self) -> Sequence[str]:
        return [self._kind, *([f"{count(self.left_out, 'other file')} left out"] if self.left_out else [])]

    def _no_rows(self) -> ManifestError:
        others = f" ({count(self.left_out, 'other file')})" if self.left_out else ""
        endings = ", ".join(ENDINGS)
        return ManifestError(f"there is no picture in {self._shown}{others}", remedy=f"pictures end with {endings}")

    def _read(self) -> Iterator[AnyRow]:
        self.left_out = number = 0
        for name in self._names():
            if not name.lower().endswith(ENDINGS):
                self.left_out += 1
                continue
            number += 1
            cells = self._pattern.cells(self._base + name, name)
            if cells is None:
                message = f"the name {shown(name, 120)} does not fit the pattern {self._pattern.source}"
                right = "rename the file, or widen --pattern"
                problem = RowProblem(line=number, column="image", code="name_unfit", message=message, remedy=right)
                yield BrokenRow(number, problem)
            else:
                yield RawRow(number, number, cells)


class FolderManifest(ListingManifest):
    """A folder of this machine and the folders in it; links to folders are not followed."""

    def __init__(self, path: Path, pattern: Pattern) -> None:
        super().__init__(path, f"{path}/", "a folder", lambda: _files(str(path), "", 0), pattern)

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.path.absolute()


class PrefixManifest(ListingManifest):
    """What lies under a prefix of a bucket, but for what is Retouch's own."""

    def __init__(self, path: Path, objects: Objects, pattern: Pattern, ours: str) -> None:
        bucket, _, prefix = s3_place(path).removeprefix("s3://").partition("/")

        def names() -> Iterator[str]:
            for head in objects(bucket, prefix):
                if not head.key.endswith("/") and not f"s3://{bucket}/{head.key}".startswith(ours or "\0"):
                    yield head.key[len(prefix) :]

        super().__init__(path, f"s3://{bucket}/{prefix}", "a prefix", names, pattern)
        self._base = f"s3://{bucket}/{prefix}"


def s3_place(path: Path) -> str:
    """Return `s3://bucket/prefix/` where a path is meant so, else nothing: a Path makes one slash of two."""
    scheme, _, rest = path.as_posix().partition(":/")
    rest = rest.strip("/")
    if scheme != "s3" or not rest:
        return ""
    return f"s3://{rest}/"


def _files(folder: str, under: str, depth: int) -> Iterator[str]:
    """Yield the files of a folder in order, hidden ones and Retouch's own left out."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        why = error.strerror or "unknown"
        raise ManifestError(f"the folder {folder} cannot be read ({why})", remedy="check its rights") from None
    for name, is_folder in found:
        if name.startswith(".") or (is_folder and name in _OURS):
            continue
        if not is_folder:
            yield under + name
        elif depth < _MAX_DEPTH:
            yield from _files(os.path.join(folder, name), f"{under}{name}/", depth + 1)  # noqa: PTH118


def _bad(why: str) -> ManifestError:
    return ManifestError(f"--pattern cannot be used: {why}", remedy='write it like "{sku}_{position}.{ext}"')
