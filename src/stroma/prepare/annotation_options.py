"""Options of `stroma annotations`, and the gathering of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.items import Done, Failed, map_items
from stroma.core.verbs import Flag, Inputs, Output, VerbOptions
from stroma.images.open import missing
from stroma.prepare.annotation_files import SUFFIXES, AnnotatedFile, ReadRules, read_annotation_file
from stroma.prepare.annotation_images import Images
from stroma.prepare.annotation_study import study_annotations
from stroma.regions.annotation import Annotation
from stroma.regions.check import find_problems, repair, require_no_problems
from stroma.regions.masks import parse_colour
from stroma.study.listing import list_files

Format = Literal["geojson", "coco", "rle", "mask", "instances"]
ObjectType = Literal["auto", "annotation", "detection"]


class AnnotationOptions(VerbOptions):
    """Options of every verb of `stroma annotations`."""

    inputs: Inputs
    images: Annotated[tuple[Path, ...], Flag(setting=False)] = Field(
        (), description="The images: files, folders, patterns or a study.yaml; tells sizes and scales"
    )
    label: tuple[str, ...] = Field((), description="A class, as NAME or, for masks, VALUE=NAME; repeat for more")
    colour: tuple[str, ...] = Field((), description="A class of colour masks, as #rrggbb=NAME; repeat for more")
    unclassified: str | None = Field(
        None, description="Class of objects with neither class nor name; 'Ignore*': they count as not annotated"
    )
    instances: bool = Field(False, description="Each value of a mask is an object, not a class")
    qupath_bounds: bool = Field(False, description="GeoJSON counts from the scanned area's corner, as in QuPath")
    pixel_centre: float | None = Field(
        None, description="Centre of the first pixel in coordinate lists: 0, or 0.5; default: as the mask beside says"
    )
    repair: bool = Field(False, description="Mend outlines that cross themselves instead of refusing them")


class AnnotationImportOptions(AnnotationOptions):
    """Options of `stroma annotations import`."""

    output: Output
    layer: str = Field("polygon", description="What was annotated, where the file's name does not say")
    annotator: str = Field("", description="Who annotated, where the file's name does not say")


class AnnotationConvertOptions(AnnotationOptions):
    """Options of `stroma annotations convert` and `export`."""

    output: Output
    to: Format = Field(
        description="geojson (QuPath), coco, rle (HuBMAP CSV), mask of classes or of instances (PNG; TIFF for slides)"
    )
    objects: ObjectType = Field("auto", description="What QuPath gets; auto takes detections above 1,000 objects")


class AnnotationSummaryOptions(AnnotationOptions):
    """Options of `stroma annotations summary`."""

    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Folder for the tables of objects, images and subjects"
    )
    tissue: Annotated[Path | None, Flag(setting=False)] = Field(
        None, description="Output folder of stroma tile or tissue, whose masks give densities per mm² of tissue"
    )


@dataclass(frozen=True)
class Gathered:
    """What was read.

    Attributes:
        files: Annotations by image, layer and annotator, sorted; what several files say is joined.
        labels: Value → class, from the options or else from the files.
        failed: Files that failed.
        notes: Lines for the user.
        clock: Where the time went.
    """

    files: tuple[AnnotatedFile, ...]
    labels: dict[int, str]
    failed: tuple[Failed[Path], ...]
    notes: tuple[str, ...]
    clock: StageClock

    @property
    def objects(self) -> int:
        """Number of objects."""
        return sum(len(file.annotations) for file in self.files)


def parse_labels(texts: Sequence[str]) -> dict[int, str]:
    """Value → class from `NAME` (numbered from 1 on in their order) and `VALUE=NAME`.

    Raises:
        UsageError: a value that is no number from 0 to 255, or a value or a name that comes twice.
    """
    labels: dict[int, str] = {}
    for position, text in enumerate(texts, start=1):
        value, equals, name = text.partition("=")
        if not equals:
            value, name = str(position), text
        if not value.strip().isdecimal() or not int(value) <= 255 or not name.strip():
            raise UsageError(
                f"cannot read '--label {text}'", next_step="Write NAME or VALUE=NAME, VALUE from 0 to 255"
            )
        if int(value) in labels or name.strip() in labels.values():
            raise UsageError(f"'--label {text}' repeats a value or a name")
        labels[int(value)] = name.strip()
    return labels


def parse_colours(texts: Sequence[str]) -> dict[str, str]:
    """`#rrggbb` → class from `COLOUR=NAME` texts.

    Raises:
        UsageError: a text of another form, or a colour that comes twice.
        InvalidData: a colour that is none.
    """
    colours: dict[str, str] = {}
    for text in texts:
        colour, equals, name = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"cannot read '--colour {text}'", next_step="Write #rrggbb=NAME")
        red, green, blue = parse_colour(colour)
        if f"#{red:02x}{green:02x}{blue:02x}" in colours:
            raise UsageError(f"'--colour {text}' repeats a colour")
        colours[f"#{red:02x}{green:02x}{blue:02x}"] = name.strip()
    return colours


def gather(options: AnnotationOptions) -> Gathered:
    """Read and check all inputs; files that fail are reported, not raised.

    Raises:
        MissingFile: an input does not exist, or a folder holds no annotations.
        UsageError: labels that cannot be read.
    """
    labels = parse_labels(options.label)
    rules = ReadRules(
        Images(options.images),
        labels,
        parse_colours(options.colour),
        options.instances,
        options.qupath_bounds,
        options.pixel_centre,
    )
    clock, failed = StageClock(), list[Failed[Path]]()
    found: dict[tuple[str, str, str], AnnotatedFile] = {}
    notes: dict[str, None] = {}
    read = partial(_read, rules=rules, options=options)
    paths = _expand(options.inputs)
    masks = {path for path in paths if path.name.endswith("#binary.png") and _outline_of(path) in paths}
    if masks:
        notes[f"note: {len(masks):,} masks of htc lie beside their outlines (#coordinates.csv), which were taken"] = (
            None
        )
    for outcome in map_items(read, [path for path in paths if path not in masks]):
        clock.add(outcome.clock)
        if not isinstance(outcome, Done):
            failed.append(outcome)
            continue
        for file, lines in outcome.result:
            notes.update(dict.fromkeys(lines))
            key = (file.image_id, file.layer, file.annotator)
            known = found.get(key)
            joined = file if known is None else replace(file, annotations=(*known.annotations, *file.annotations))
            found[key] = joined
    files = tuple(found[key] for key in sorted(found))
    names = {name for file in files for a in file.annotations if (name := a.class_name) and not a.ignored}
    return Gathered(files, labels or dict(enumerate(sorted(names), start=1)), tuple(failed), tuple(notes), clock)


def _outline_of(path: Path) -> Path:
    """The coordinates of the outline that a `#binary.png` of htc was drawn from."""
    return path.with_name(path.name.removesuffix("#binary.png") + "#coordinates.csv")


def _expand(inputs: Sequence[Path]) -> dict[Path, None]:
    paths: dict[Path, None] = {}
    for entry in inputs:
        if not entry.exists():
            raise missing(entry)
        if entry.is_file():
            paths[entry] = None
            continue
        files = [entry / name for name in list_files(entry).files if name.lower().endswith(SUFFIXES)]
        if not files:
            raise MissingFile("holds no annotation file", where=entry, next_step=f"Known are {', '.join(SUFFIXES)}")
        paths.update(dict.fromkeys(files))
    return paths


def _read(path: Path, rules: ReadRules, options: AnnotationOptions) -> list[tuple[AnnotatedFile, list[str]]]:
    """The annotations of one file, checked, with notes about them."""
    files = (
        study_annotations(path, rules.images)
        if path.suffix in (".yaml", ".yml")
        else read_annotation_file(path, rules)
    )
    result = []
    for file in files:
        if options.repair:
            file = replace(file, annotations=tuple(_mended(i, a, path) for i, a in enumerate(file.annotations)))
        if options.unclassified:
            file = replace(file, annotations=tuple(_classified(a, options.unclassified) for a in file.annotations))
        known = set(rules.labels.values()) if rules.labels else None
        problems = find_problems(file.annotations, size=file.size, labels=known)
        require_no_problems(problems, where=path)
        notes = [f"note: {path}: {problem}" for problem in problems]
        corner = (0, 0) if file.facts is None else file.facts.scan_corner
        if corner != (0, 0) and not options.qupath_bounds and ".geojson" in path.name.lower():
            notes.append(
                f"note: the scanned area of '{file.image_id}' begins at x={corner[0]}, y={corner[1]}; "
                f"if {path.name} comes from QuPath, use --qupath-bounds"
            )
        result.append((file, notes))
    return result


def _classified(annotation: Annotation, label: str) -> Annotation:
    return replace(annotation, label=label) if annotation.class_name is None else annotation


def _mended(index: int, annotation: Annotation, path: Path) -> Annotation:
    try:
        return repair(annotation)
    except InvalidData as error:
        raise InvalidData(f"object {index}: {error.what}", where=path) from error
