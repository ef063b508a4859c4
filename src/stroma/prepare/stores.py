"""`stroma prepare`: per-image stores, made once so that training and prediction read fast."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stroma.core.clock import StageClock, stage
from stroma.core.done import is_complete, write_done
from stroma.core.errors import DiskFull, InvalidData, OutputConflict, StromaError
from stroma.core.files import write_json
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.verbs import VerbResult, write_failures
from stroma.images.image import Image
from stroma.images.store import STORE_FORMAT, write_store
from stroma.prepare.store_kinds import make_content, store_inputs
from stroma.prepare.store_options import PrepareOptions
from stroma.sampling.stores import KINDS, Stores, htc_file
from stroma.spectra.parameters import PARAMETERS
from stroma.study.parameters import check_source
from stroma.study.study import Study, open_study

_LARGEST_BYTES = 4 * 2**30
_EXPECTED_FRACTION = {"l1": 0.75, "raw16": 0.75, "rgb": 0.8, "superpixels": 0.1, "parameters": 0.9}
"""Of the bytes in memory, what stores take on disk at most: cubes of phantoms and cameras stay below."""

_BYTES = {"l1": 2, "raw16": 2, "rgb": 1, "superpixels": 4, "parameters": 4}


@dataclass(frozen=True)
class StoreJob:
    """An image of which a store is wanted.

    Attributes:
        image_id: The image.
        options: Of the verb.
        htc: The file of htc that is used as it is, if there is one and nothing new was asked for.
    """

    image_id: str
    options: PrepareOptions
    htc: Path | None

    def __str__(self) -> str:
        return self.image_id

    @property
    def stores(self) -> Stores:
        """Where its store lies."""
        return Stores(self.options.output, self.options.kind)

    def provenance(self, study: Study) -> Provenance:
        """What its store would be made from and with now."""
        if self.htc is not None:
            record = InputRecord.of(self.htc.name, self.htc)
            return Provenance("htc-pointer/1", {"kind": self.options.kind, "made_by": "htc"}, (record,))
        settings = {**self.options.settings(), "open": study.config.open}
        return Provenance(STORE_FORMAT, settings, store_inputs(study, self.image_id, self.options))


def prepare(options: PrepareOptions) -> VerbResult:
    """Prepare the images of a study for fast reading: one compressed store an image and kind.

    Nothing that is fitted goes into a store, so that one serves every fold. Training and prediction read from the
    folder when the configuration says `data: {store: FOLDER}`. L1 and raw16 files of htc
    (`intermediates/preprocessing`) are used as they are; `--anew` makes stores beside them.

    Args:
        options: The study, the kind and the folder.

    Returns:
        Counts and bytes.

    Raises:
        DiskFull: the stores would not fit; nothing has been written.
        OutputConflict: the folder holds stores of other settings, and `overwrite` is not set.
    """
    if options.output.exists() and not options.output.is_dir():
        raise OutputConflict("is a file", where=options.output, next_step="Choose a folder as --output")
    if options.kind == "parameters":
        check_source(options.source)
    study = open_study(options.study, options.where)
    folders = () if options.anew else _htc_folders(study)
    jobs = [StoreJob(image_id, options, _htc_of(folders, options.kind, image_id)) for image_id in study]
    todo = [job for job in jobs if not _is_complete(job, study)]
    needed = sum(_expected_bytes(study, job) for job in todo)
    lines = _htc_lines(jobs, study)
    if options.dry_run:
        states = [f"{'to do' if job in todo else 'complete'}: {job}" for job in jobs]
        summary = {"images": len(jobs), "to do": len(todo), "at most": _gigabytes(needed)}
        return VerbResult(summary=summary, lines=[*lines, *states])
    check_space(options.output, needed)
    return _run(jobs, todo, lines)


def _run(jobs: list[StoreJob], todo: list[StoreJob], lines: list[str]) -> VerbResult:
    options = jobs[0].options
    clock, failed, done, gaps = StageClock(), list[Failed[StoreJob]](), 0, 0
    outcomes = map_items(make_store, todo, workers=options.workers if len(todo) > 1 else 1)
    for outcome in track(outcomes, "preparing", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            done += 1
            gaps += outcome.result > 0
            continue
        failed.append(outcome)
        if outcome.error == DiskFull.__name__:
            lines = [*lines, f"stopped: the disk is full; {len(todo) - done - len(failed)} images were not tried"]
            break
    place = jobs[0].stores.place
    write_failures(place, failed, Provenance("failures/1", options.settings()))
    if gaps:
        lines = [*lines, f"{gaps} images have pixels without a measurement (zero, or a value that is not finite)"]
    next_verb = [f"stroma train CONFIG -o RUN --set {_setting(options.output)}"]
    size = sum(path.stat().st_size for path in place.glob("*.b2nd") if not path.name.startswith(".tmp-"))
    return VerbResult(
        output=place,
        summary={"images": len(jobs), "stores": _gigabytes(size)},
        lines=lines,
        next=[] if options.kind in ("superpixels", "parameters") else next_verb,
        done=done,
        skipped=len(jobs) - len(todo),
        failed=failed,
        clock=clock,
    )


def make_store(job: StoreJob) -> int:
    """Make the store of one image; its done record is written last.

    Args:
        job: Which one.

    Returns:
        Number of pixels without a measurement.

    Raises:
        DiskFull: there is no space left; nothing half-written stays.
    """
    study = _study(job.options.study)
    stores, provenance = job.stores, job.provenance(study)
    record, path, pointer = (of(job.image_id) for of in (stores.record, stores.path, stores.pointer))
    record.unlink(missing_ok=True)
    if job.htc is not None:
        _check_htc(job.htc, study, job.image_id)
        target = Path(os.path.relpath(job.htc, stores.place)).as_posix()
        write_json(pointer, {**provenance.to_dict(), "path": target})
        path.unlink(missing_ok=True)
        write_done(record, provenance, [pointer])
        return 0
    with study.open(job.image_id) as image:
        _check_size(image)
        content = make_content(study, job.image_id, image, job.options)
        write_store(
            path,
            content.pixels,
            provenance,
            channels=content.channels,
            wavelengths_nm=content.wavelengths_nm,
            mpp=image.mpp,
            prepared=KINDS[job.options.kind],
        )
    pointer.unlink(missing_ok=True)
    with stage("write"):
        write_done(record, provenance, [path])
    return content.not_measured


def _setting(folder: Path) -> str:
    """`data.store=FOLDER` as a shell argument; `--set` reads the value as YAML, where ` #` begins a comment."""
    text = str(folder)
    value = text if all(sign.isalnum() or sign in "/._-\\" for sign in text) else json.dumps(text, ensure_ascii=False)
    return shlex.quote(f"data.store={value}")


@lru_cache(maxsize=1)
def _study(path: Path) -> Study:
    return open_study(path)


def _check_size(image: Image) -> None:
    height, width, count = image.shape
    if height * width * count * image.dtype.itemsize > _LARGEST_BYTES:
        raise InvalidData(
            f"is {height} × {width} × {count}: a store holds a whole image, and this is too large for one",
            where=image.path,
            next_step="Slides are cut into tiles: stroma tile",
        )


def _check_htc(path: Path, study: Study, image_id: str) -> None:
    """A file of htc has to have the shape of the image."""
    stored = Stores(path.parent.parent, "l1" if path.parent.name == "L1" else "raw16").open(image_id)
    with study.open(image_id) as image:
        if stored.shape != image.shape:
            raise InvalidData(
                f"has the shape {stored.shape}, the image {image.shape}",
                where=path,
                next_step="Use --anew to make stores from the images",
            )


def _is_complete(job: StoreJob, study: Study) -> bool:
    if job.htc is None and job.stores.pointer(job.image_id).is_file() and job.options.anew:
        return False
    if not study.image_path(job.image_id).exists() and job.htc is None:
        return False  # it is tried, so that its failure is recorded
    try:
        return is_complete(job.stores.record(job.image_id), job.provenance(study), verify=job.options.verify)
    except OutputConflict:
        if job.options.overwrite:
            return False
        raise


def _expected_bytes(study: Study, job: StoreJob) -> int:
    """At most so many bytes the store of an image will take; 0 if it cannot be opened: its failure comes later."""
    if job.htc is not None:
        return 0
    try:
        with study.open(job.image_id) as image:
            height, width, count = image.shape
    except StromaError:
        return 0
    kind = job.options.kind
    channels = {"rgb": 3, "superpixels": 1, "parameters": len(PARAMETERS) + 2}.get(kind, count)
    return int(height * width * channels * _BYTES[kind] * _EXPECTED_FRACTION[kind])


def check_space(folder: Path, needed: int) -> None:
    """Check that `needed` bytes fit on the disk of `folder`, which need not exist yet.

    Raises:
        DiskFull: they do not.
    """
    existing = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DiskFull(
            f"the stores need up to {_gigabytes(needed)}, {_gigabytes(free)} are free",
            where=folder,
            next_step="Free some space, or choose an --output on another disk; nothing has been written",
        )


def _htc_folders(study: Study) -> tuple[Path, ...]:
    """Folders `intermediates/preprocessing` in or beside the study's folder."""
    places = (study.root / "intermediates", study.root.parent / "intermediates")
    return tuple(place / "preprocessing" for place in places if (place / "preprocessing").is_dir())


def _htc_of(folders: tuple[Path, ...], kind: str, image_id: str) -> Path | None:
    found = (htc_file(folder, kind, image_id) for folder in folders)
    return next((path for path in found if path is not None), None)


def _htc_lines(jobs: list[StoreJob], study: Study) -> list[str]:
    """What is used as it is, and what preparing anew would gain and cost."""
    used = [job for job in jobs if job.htc is not None]
    if not used:
        return []
    cost = sum(_expected_bytes(study, StoreJob(job.image_id, job.options, None)) for job in used)
    return [
        f"{len(used)} of {len(jobs)} images: htc's files are used as they are. They are decoded whole for every "
        f"patch; --anew makes stores that are read by region (a 64-pixel patch about 50 times faster here) "
        f"and takes up to {_gigabytes(cost)}"
    ]


def _gigabytes(size: int) -> str:
    unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    return f"{size / factor:,.1f} {unit}"
