"""`stroma models export`: a network as a file for other programs, checked against the original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stroma.core.config import to_plain
from stroma.core.extras import require
from stroma.core.files import write_json
from stroma.core.verbs import Flag, VerbOptions, VerbResult
from stroma.runs.components import parse_component


class ExportOptions(VerbOptions):
    """Options of `stroma models export`."""

    model: Annotated[str, Flag(argument=True)] = Field(description="A published name, run, folder or file")
    output: Annotated[Path, Flag(short="-o", setting=False)] = Field(description="The file to write")
    format: Literal["safetensors", "torchscript", "onnx"] = Field("onnx", description="onnx needs the extra 'onnx'")
    height: int = Field(224, ge=1, description="Height of the images the file is for, in px")
    width: int = Field(224, ge=1, description="Width of the images the file is for, in px")
    fold: str | None = Field(None, description="One network of several")
    architecture: str | None = Field(None, description="As in 'stroma models import'")
    weights_dir: Annotated[Path | None, Flag(setting=False)] = Field(None, description="Folder of fetched weights")
    accept_licence: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Accept a licence that forbids commercial use"
    )


def export_weights(options: ExportOptions) -> VerbResult:
    """Export a network and compare the exported file's output with the original's.

    `onnx` and `torchscript` files hold the computation for images of the given height and width; the number of images
    may differ. Several folds become one file that averages them. A JSON file beside it tells the network's input.

    Args:
        options: What to export, and where to.
    """
    torch = require("torch", extra="learn", feature="exporting a network")
    from stroma.models.export import export_model
    from stroma.models.load import load_model, loaded

    network = load_model(
        options.model,
        fold=options.fold,
        architecture=parse_component(options.architecture),
        weights_dir=options.weights_dir,
        accept_licence=options.accept_licence,
    )
    description = loaded(network).description
    generator = torch.Generator().manual_seed(0)
    example = torch.rand((2, description.channels, options.height, options.width), generator=generator)
    if options.dry_run:
        return VerbResult(lines=[f"would export {description.model.name} to {options.output}"])
    check = export_model(network, options.output, example, options.format)
    card = {
        "format": options.format,
        "model": to_plain(description.model),
        "input": ["batch", description.channels, options.height, options.width],
        "output": description.output,
        "activation": description.activation,
        "class_names": list(description.class_names),
        "wavelengths_nm": None if description.wavelengths_nm is None else list(description.wavelengths_nm),
        "prepare": None if description.prepare is None else description.prepare.model_dump(mode="json"),
        "licence": description.published.licence if description.published else description.licence,
        "largest_relative_difference": check.difference,
        "compared_in": check.computed_in,
        **({} if check.rounding is None else {"float32_differs_from_float64_by": check.rounding}),
    }
    write_json(options.output.with_name(f"{options.output.name}.json"), card)
    remarks = []
    if check.rounding is not None:
        remarks = [
            f"warning: with these weights float32 itself differs from float64 by {check.rounding:.2g} (relative), so "
            "other programs will give other values; the file's computation was compared in float64"
        ]
    if description.licence:
        remarks.append(f"non-commercial: this file may not be used commercially ({description.licence})")
    return VerbResult(
        output=options.output,
        lines=remarks,
        summary={"largest relative difference": f"{check.difference:.2g}"},
        done=1,
    )
