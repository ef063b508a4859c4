"""A phantom data set with the intermediates that `imsy-htc` wants, and the peer's environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

IMSY_HTC = ("imsy-htc==0.0.23", "torch==2.9.0")  # its extension is bound to one torch release

PEER_PATHS = (
    "import os, sys\nfrom pathlib import Path\n"
    "def paths(tree):\n"
    "    os.environ['PATH_Tivita_phantom'] = tree\n"
    "    os.environ['PATH_HTC_RESULTS'] = tree + '_results'\n"
    "    from htc import DataPath\n"
    "    return sorted(DataPath.iterate(Path(tree)), key=lambda path: path.image_name())\n"
)
"""Source text of the peer's side: `paths(tree)` gives its DataPaths."""


def htc_tree(folder: Path, *, subjects: int, images: int) -> Path:
    """Make `folder/2099_Phantom` with `data` and `intermediates` (masks, table of images, maps); return it."""
    from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
    from stroma.prepare import InitOptions, init
    from stroma.study import open_study
    from stroma.study.htc.blosc_file import write_htc_blosc
    from stroma.study.htc.export import write_htc_masks, write_htc_meta_table

    tree = folder / "2099_Phantom"
    phantom_hsi(PhantomHsiOptions(output=tree, subjects=subjects, images=images))
    (folder / "2099_Phantom_results").mkdir()
    init(InitOptions(folder=tree, output=folder / "study.yaml"))
    study = open_study(folder / "study.yaml")
    write_htc_masks(study, tree / "intermediates")
    write_htc_meta_table(study, tree / "intermediates")
    rng = np.random.default_rng(0)
    for image_id in study.catalog["image_id"]:
        maps = {
            name: rng.random((480, 640), dtype=np.float32) for name in ("StO2", "NIR", "TWI", "OHI", "TLI", "THI")
        }
        maps["background"] = np.zeros((480, 640), dtype=np.bool_)
        write_htc_blosc(tree / "intermediates/preprocessing/parameter_images" / f"{image_id}.blosc", maps)
    return tree
