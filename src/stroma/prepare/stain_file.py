"""`stains/<slide>.json`: the stains of a slide and those its tiles are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stroma.core.errors import InvalidData, MissingFile, StromaError
from stroma.core.files import id_to_name, read_json, write_json
from stroma.core.provenance import Provenance, check_format
from stroma.slides.stain import Stains

STAINS_FORMAT = "stains/1"


@dataclass(frozen=True)
class SlideStains:
    """The stains of a slide.

    Attributes:
        source: What its tissue is stained with.
        target: What its tiles are to look like.
    """

    source: Stains
    target: Stains


def stains_path(folder: Path, image_id: str) -> Path:
    """Where the stains of a slide lie in an output of `stroma stain`."""
    return folder / "stains" / f"{id_to_name(image_id)}.json"


def write_stains(folder: Path, image_id: str, source: Stains, target: Stains, provenance: Provenance) -> Path:
    """Write the stains of a slide."""
    content = {**provenance.to_dict(), "image_id": image_id, "source": _plain(source), "target": _plain(target)}
    return write_json(stains_path(folder, image_id), content)


def read_stains(folder: Path, image_id: str) -> SlideStains:
    """Read the stains of a slide from an output of `stroma stain`.

    Raises:
        MissingFile: there are none.
        InvalidData: the file is damaged.
        NewerFormat: it was written by a newer Stroma.
    """
    path = stains_path(folder, image_id)
    if not path.is_file():
        raise MissingFile(
            f"has no stains of the slide '{image_id}'",
            where=folder,
            next_step=f"Find them: stroma stain TILES -o '{folder}'",
        )
    content = read_json(path)
    try:
        check_format(str(content.get("format", "")), STAINS_FORMAT, where=path)
        return SlideStains(_stains(content["source"]), _stains(content["target"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidData(f"is damaged ({error})", where=path, next_step="Run stroma stain --overwrite") from error
    except StromaError as error:
        if error.where is None:
            raise InvalidData(error.what, where=path, next_step="Run stroma stain --overwrite") from error
        raise


def _plain(stains: Stains) -> dict[str, Any]:
    return {
        "matrix": stains.matrix.tolist(),
        "max_concentrations": stains.max_concentrations.tolist(),
        "white": stains.white,
        "non_negative": stains.non_negative,
    }


def _stains(content: Mapping[str, Any]) -> Stains:
    return Stains(
        content["matrix"], content["max_concentrations"], float(content["white"]), bool(content["non_negative"])
    )
