"""One image of the hyperspectral phantom, 480 × 640 × 100, with the files that the benchmarks of cubes read."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def surgical_field(folder: Path) -> Path:
    """Make the phantom below `folder/phantom`; return the path of its cube."""
    from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi

    phantom_hsi(PhantomHsiOptions(output=folder / "phantom", subjects=1, images=1))
    return next((folder / "phantom").rglob("*_SpecCube.dat"))


def prepared_field(folder: Path) -> tuple[Path, Path]:
    """Make the phantom's L1 cube as our store and as `l1.npy` (float16); return both paths."""
    from stroma.core.provenance import Provenance
    from stroma.images import read_cube
    from stroma.images.store import write_store
    from stroma.sampling.stores import L1_STEP
    from stroma.spectra import l1

    half = l1(read_cube(surgical_field(folder))).astype(np.float16)
    names = tuple(str(index) for index in range(half.shape[2]))
    store = write_store(folder / "l1.b2nd", half, Provenance("store/1"), channels=names, prepared=(L1_STEP,))
    np.save(folder / "l1.npy", half)
    return store, folder / "l1.npy"
