"""What verbs over the outputs of `stroma tile` share: find the slides, skip complete ones, record sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stroma.core.done import done_path, is_complete
from stroma.core.errors import InvalidData, MissingFile, OutputConflict
from stroma.core.files import id_to_name
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_provenance
from stroma.core.verbs import VerbOptions
from stroma.prepare.slide_tiles import tile_table_path
from stroma.prepare.sources import read_sources, sources_path, write_sources


@dataclass(frozen=True)
class TiledSlide:
    """A slide and its tile table."""

    image_id: str
    subject_id: str
    path: Path
    table: Path

    def __str__(self) -> str:
        return self.image_id

    def tile_settings(self) -> Mapping[str, Any]:
        """The settings its tiles were made with, among them how it is opened."""
        return read_provenance(self.table).settings

    def provenance(self, format: str, settings: Mapping[str, Any], inputs: Sequence[InputRecord] = ()) -> Provenance:
        """What results of the slide and its tiles are made from and with."""
        records = (InputRecord.of("tiles", self.table), InputRecord.of(self.image_id, self.path), *inputs)
        return Provenance(format, {"tiles": dict(self.tile_settings()), **settings}, records)


def find_tiled_slides(folders: Sequence[Path]) -> list[TiledSlide]:
    """The slides of output folders of `stroma tile`, sorted by id; those that failed there are left out.

    Raises:
        MissingFile: a folder is no such output, or there is no tile table.
        InvalidData: two slides have the same id.
    """
    found: dict[str, TiledSlide] = {}
    for folder in folders:
        if not sources_path(folder).is_file():
            raise MissingFile(
                "is no output of stroma tile (it has no sources.parquet)"
                if folder.exists()
                else "there is no such folder",
                where=folder,
                next_step="Make one first: stroma tile SLIDES -o tiles",
            )
        for image_id, subject_id, path in read_sources(folder).iter_rows():
            slide = TiledSlide(image_id, subject_id, Path(path), tile_table_path(folder, image_id))
            if not slide.table.is_file():
                continue  # it failed there
            other = found.setdefault(id_to_name(image_id).casefold(), slide)
            if other is not slide:
                raise InvalidData(
                    f"two slides have the id '{image_id}': {other.path} and {slide.path}",
                    next_step="Give each its own output",
                )
    if not found:
        raise MissingFile(
            "holds no tile tables", where=folders[0], next_step="Make them with: stroma tile (without --preset)"
        )
    return sorted(found.values(), key=lambda slide: slide.image_id)


def is_slide_complete(record: Path, provenance: Provenance, options: VerbOptions) -> bool:
    """Whether nothing is left to do for the slide with this done record.

    Raises:
        OutputConflict: its results were made with other settings or from other inputs, without `overwrite`.
    """
    try:
        return record.exists() and is_complete(record, provenance, verify=options.verify)
    except OutputConflict:
        if options.overwrite:
            return False
        raise


def write_slide_sources(output: Path, slides: Sequence[TiledSlide], provenance: Provenance) -> list[tuple[str, Path]]:
    """Write the sources of this run and of earlier ones into the same folder; return (image_id, path) of them all."""
    rows = {slide.image_id: (slide.image_id, slide.subject_id, slide.path) for slide in slides}
    if sources_path(output).is_file():
        for image_id, subject_id, path in read_sources(output).iter_rows():
            if done_path(output, image_id).exists():
                rows.setdefault(image_id, (image_id, subject_id, Path(path)))
    write_sources(output, rows.values(), provenance)
    return sorted((image_id, path) for image_id, _, path in rows.values())
