"""`stroma slide info`: what slides are, without anything that could name a patient."""

from __future__ import annotations

from typing import Any

from stroma.core.items import Done, Failed, map_items
from stroma.core.verbs import Inputs, VerbOptions, VerbResult
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.images.slide import SlideImage
from stroma.prepare.inputs import Source, find_inputs
from stroma.prepare.slide_associated import associated_names

_SHOWN = 12


class SlideInfoOptions(VerbOptions):
    """Options of `stroma slide info`."""

    inputs: Inputs


def slide_info(options: SlideInfoOptions) -> VerbResult:
    """Say what slides are: size, levels, size of a pixel, scanned area, pictures beside the slide.

    INPUTS are image files, folders, quoted patterns or a study.yaml. Headers alone are read. Labels, names and dates
    in the files are not shown.

    Args:
        options: See `SlideInfoOptions`.

    Returns:
        The facts, as lines and, under `slides`, as values.

    Raises:
        MissingFile: an input does not exist or holds no image.
    """
    found = find_inputs(options.inputs)
    slides: dict[str, dict[str, Any]] = {}
    failed: list[Failed[Source]] = []
    for outcome in map_items(describe_slide, found.sources):
        if isinstance(outcome, Done):
            slides[outcome.item.image_id] = outcome.result
        else:
            failed.append(outcome)
    lines = [line for name, facts in slides.items() for line in _lines(name, facts)]
    return VerbResult(
        summary={"images": len(slides)},
        lines=[*found.notes, *lines],
        details={"slides": slides},
        done=len(slides),
        failed=failed,
    )


def describe_slide(source: Source) -> dict[str, Any]:
    """Facts about one slide as plain values.

    Raises:
        UnreadableImage: it is no image or is damaged.
    """
    with open_image(source.path, **source.options) as image:
        facts: dict[str, Any] = {
            "format": image.vendor if isinstance(image, SlideImage) else type(image).__name__.removesuffix("Image"),
            "height": image.shape[0],
            "width": image.shape[1],
            "channels": list(image.channels),
            "dtype": str(image.dtype),
            "mpp": image.mpp,
            "levels": [[level.height, level.width, level.downsample] for level in image.levels],
        }
        return facts | _slide_facts(image)


def _slide_facts(image: Image) -> dict[str, Any]:
    if not isinstance(image, SlideImage):
        return {}
    bounds, power = image.scan_bounds, image.properties.get("openslide.objective-power")
    facts: dict[str, Any] = {"objective_power": float(power)} if power else {}
    facts |= {"scan_bounds": [bounds.x, bounds.y, bounds.w, bounds.h]} if bounds != image.bounds else {}
    names = associated_names(image)
    return facts | ({"associated": list(names)} if names else {})


def _lines(name: str, facts: dict[str, Any]) -> list[str]:
    size = "size of a pixel not stated" if facts["mpp"] is None else f"{facts['mpp']:g} µm/px"
    lines = [f"{name}: {facts['format']}, {facts['width']:,} wide × {facts['height']:,} high, {size}"]
    if facts["mpp"] is None:
        lines.append("  verbs that need it take --source-mpp, or --downsample in place of --mpp")
    if len(facts["channels"]) not in (1, 3) or facts["dtype"] != "uint8":
        shown = ", ".join(facts["channels"][:_SHOWN]) + (", …" if len(facts["channels"]) > _SHOWN else "")
        lines.append(f"  {len(facts['channels'])} channels of {facts['dtype']}: {shown}")
    for number, (height, width, downsample) in enumerate(facts["levels"]):
        lines.append(f"  level {number}: {width:,} × {height:,}, downsample {downsample:g}")
    if "objective_power" in facts:
        lines.append(f"  objective {facts['objective_power']:g}×")
    if "scan_bounds" in facts:
        x, y, w, h = facts["scan_bounds"]
        lines.append(f"  scanned area x {x:,} y {y:,} w {w:,} h {h:,} (QuPath's origin)")
    if "associated" in facts:
        lines.append(f"  beside the slide: {', '.join(facts['associated'])} (not shown: they can name the patient)")
    return lines
