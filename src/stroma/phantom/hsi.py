"""`stroma phantom hsi`: hyperspectral images of surgical fields with known organs, blood, oxygen, water and fat."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from numpy.random import Generator, SeedSequence, default_rng
from pydantic import Field, model_validator

from stroma.core.clock import StageClock, stage
from stroma.core.done import done_path, first_difference, is_complete, write_done
from stroma.core.errors import OutputConflict
from stroma.core.files import read_json
from stroma.core.items import Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.core.verbs import Flag, VerbOptions, VerbResult, Workers, write_failures
from stroma.images.tivita import tivita_wavelengths
from stroma.phantom.hsi_annotation import annotate
from stroma.phantom.hsi_camera import make_light, take_cube
from stroma.phantom.hsi_files import subject_name, timestamp, write_image, write_settings
from stroma.phantom.hsi_organs import make_subject
from stroma.phantom.hsi_scene import lower_oxygenation, make_scene
from stroma.phantom.shapes import Canvas

_SUBJECT, _IMAGE = 0, 1  # the first key of a random stream


class PhantomHsiOptions(VerbOptions):
    """Options of `stroma phantom hsi`."""

    output: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="Folder for the study")
    subjects: Annotated[int, Flag(setting=False)] = Field(6, ge=1, le=999, description="Number of subjects")
    images: Annotated[int, Flag(setting=False)] = Field(4, ge=1, le=192, description="Images of each subject")
    height: int = Field(480, ge=32, le=4096, description="Height of an image in pixels")
    width: int = Field(640, ge=32, le=4096, description="Width of an image in pixels")
    channels: int = Field(100, ge=8, le=1000, description="Wavelengths, evenly from 500 to 1000 nm")
    seed: int = Field(0, ge=0, description="Seed; the same seed gives the same files")
    ischaemia: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="Make images in pairs of the same organs, perfused and ischaemic (the column perfusion_state): "
        "oxygenation is lower by this in the second",
    )
    workers: Workers = 1

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.ischaemia and self.images < 2:
            raise ValueError("ischaemia needs two images or more of each subject")
        return self

    def settings(self) -> dict[str, Any]:
        """What a phantom depends on; without pairs as before there were any."""
        return {key: value for key, value in super().settings().items() if key != "ischaemia" or value}


@dataclass(frozen=True)
class HsiJob:
    """One image to make.

    Attributes:
        subject: Number of its subject, from 0.
        image: Its number among the subject's images, from 0.
        options: Of the phantom.
    """

    subject: int
    image: int
    options: PhantomHsiOptions

    @property
    def image_id(self) -> str:
        """As in the study: `P001#2024_01_01_08_00_00`."""
        return f"{subject_name(self.subject)}#{timestamp(self.subject, self.image)}"

    def __str__(self) -> str:
        return self.image_id

    @property
    def state(self) -> str | None:
        """`perfused` or `ischaemic` where images are made in pairs."""
        return ("perfused", "ischaemic")[self.image % 2] if self.options.ischaemia else None

    @property
    def provenance(self) -> Provenance:
        """What the image depends on: not on how many others are made with it."""
        return Provenance("phantom-hsi/1", self.options.settings() | {"subject": self.subject, "image": self.image})

    @property
    def record(self) -> Path:
        """Its done record."""
        return done_path(self.options.output, self.image_id)


def phantom_hsi(options: PhantomHsiOptions) -> VerbResult:
    """Make hyperspectral images of surgical fields with known organs, blood, oxygenation, water and fat.

    OUT/data is laid out as HeiPorSPECTRAL (Tivita cubes, RGB, polygon masks of one annotator, of two on the first
    image of each subject); OUT/truth has the complete label map and the tissue's composition at each pixel.
    Reflectance is computed from published absorption of haemoglobin, water and fat by diffusion theory; organs
    resemble each other in their spectra and differ in texture. Subjects, images and the surfaces of organs vary.
    With --ischaemia every subject is a pair: the same organs perfused and with less oxygen.

    Args:
        options: See `PhantomHsiOptions`.

    Returns:
        Counts of subjects and images.

    Raises:
        OutputConflict: the folder holds a phantom of other settings, and `overwrite` is not set or would leave
            some of its images.
    """
    if options.output.exists() and not options.output.is_dir():
        raise OutputConflict("is a file", where=options.output, next_step="Choose a folder")
    jobs = [HsiJob(s, i, options) for s in range(options.subjects) for i in range(options.images)]
    _check_others(options, {job.record for job in jobs})
    todo = [job for job in jobs if not _is_complete(job)]
    if options.dry_run:
        lines = [f"{'to do' if job in todo else 'complete'}: {job}" for job in jobs]
        return VerbResult(options.output, {"images": len(jobs), "to do": len(todo)}, lines)
    write_settings(options.output, options.height, options.width, options.channels)
    clock, failed = StageClock(), list[Failed[HsiJob]]()
    workers = options.workers if len(todo) > 1 else 1
    for outcome in track(map_items(make_image, todo, workers=workers), "imaging", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Failed):
            failed.append(outcome)
    write_failures(options.output, failed, Provenance("failures/1", options.settings()))
    study = shlex.quote(str(Path(f"{options.output}-study") / "study.yaml"))
    return VerbResult(
        options.output,
        {"subjects": options.subjects, "images": len(jobs) - len(failed)},
        next=[f"stroma init {shlex.quote(str(options.output))} --output {study}"],
        done=len(todo) - len(failed),
        skipped=len(jobs) - len(todo),
        failed=failed,
        clock=clock,
    )


def _check_others(options: PhantomHsiOptions, ours: set[Path]) -> None:
    """Refuse to mix: images that this run would neither make nor replace must be of the same phantom."""
    for record in sorted(set(options.output.glob("P*.done.json")) - ours):
        settings = dict(Provenance.from_dict(read_json(record), where=record).settings)
        own = {key: settings.get(key) for key in ("subject", "image")}
        difference = first_difference(settings, options.settings() | own)
        if difference:
            raise OutputConflict(
                f"is of a phantom with other settings ({difference}) and would stay beside the new images",
                where=record,
                next_step="Delete the folder, or choose another one",
            )


def _is_complete(job: HsiJob) -> bool:
    try:
        return is_complete(job.record, job.provenance, verify=job.options.verify)
    except OutputConflict:
        if job.options.overwrite:
            return False
        raise


def make_image(job: HsiJob) -> None:
    """Make one image with all its files; the same whatever else is made, where and in which order.

    Args:
        job: Which one. Its randomness comes from the seed, its subject and its number alone.
    """
    options = job.options
    canvas, nm = Canvas(options.height, options.width), tivita_wavelengths(options.channels)
    streams = _stream(options.seed, _IMAGE, job.subject, job.image).spawn(5)
    with stage("transform"):
        subject = make_subject(_stream(options.seed, _SUBJECT, job.subject))
        scene = make_scene(streams[0], canvas, subject, job.image if job.state is None else job.image // 2)
        if job.state == "ischaemic":
            lower_oxygenation(scene, options.ischaemia)
        cube = take_cube(streams[2], canvas, scene, make_light(streams[1], canvas, scene), nm)
        annotations = {"annotator1": annotate(streams[3], canvas, scene.labels)}
        if job.image == 0:
            shift = tuple(streams[4].uniform(-0.006, 0.006, 2))
            annotations["annotator2"] = annotate(streams[4], canvas, scene.labels, shift=shift)
    files = write_image(options.output, job.subject, job.image, cube, scene, annotations, state=job.state)
    write_done(job.record, job.provenance, files)


def _stream(seed: int, *key: int) -> Generator:
    return default_rng(SeedSequence(seed, spawn_key=key))
