"""Run by the interpreter of `imsy-htc`: read a data set as its users do, and write what was read.

    python htc_reads.py ROOT OUTPUT

It writes one `<image>.npz` with all arrays, and `facts.json`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from htc import DataPath  # ty: ignore[unresolved-import]
from htc.tivita.metadata import generate_metadata_table  # ty: ignore[unresolved-import]


def main(root: Path, output: Path) -> None:
    """Read every image by folder and by name."""
    paths = list(DataPath.iterate(root / "data"))
    facts = {}
    for path in paths:
        name = path.image_name()
        first = path.meta("annotation_name")[0]
        by_name = DataPath.from_image_name(f"{name}@{first}")
        masks = path.read_segmentation("all")
        sto2 = path.compute_sto2()
        arrays = {
            "cube": path.read_cube(),
            "l1": path.read_cube(normalization=1),
            "rgb": path.read_rgb_reconstructed(target_shape=path.dataset_settings["spatial_shape"]),
            "sto2": sto2.data,
            "background": sto2.mask,
            "thi": path.compute_thi().data,
            **{f"mask {annotation}": mask for annotation, mask in masks.items()},
        }
        np.savez(output / f"{name}.npz", **arrays)
        facts[name] = {
            "same": by_name.image_dir == path.image_dir,
            "valid": bool(path.is_cube_valid()),
            "annotation": first,
            "labels": by_name.annotated_labels(first),
            "situs": by_name.meta("label_meta/spleen/situs", default=None),
            "camera": path.read_camera_meta(),
            "name": by_name.image_name_annotations(),
        }
    table = generate_metadata_table(paths)
    facts["table"] = table[["image_name", "camera_name"]].values.tolist()
    text = json.dumps(facts, default=lambda value: value.item(), ensure_ascii=False)
    (output / "facts.json").write_text(text, encoding="utf-8")


main(Path(sys.argv[1]), Path(sys.argv[2]))
