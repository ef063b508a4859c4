"""Superpixels and stains of batches on the GPU beside the CPU: whether they are the same, and how fast.

Without a GPU the batched functions run on the CPU, on one thread. The notes of the table hold the agreement. On a
machine that has nothing but PyTorch: `bash benchmarks/on_gpu.sh`.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.models import timed
from benchmarks.peer import Comparison

HEIGHT, WIDTH, SEGMENTS, TILE_PX = 480, 640, 1000, 512
IMAGES = {"cpu": 2, "cuda": 8}
TILES = {"cpu": 4, "cuda": 64}
REPEATS = {"cpu": 3, "cuda": 10}
VECTORS = np.array([[0.65, 0.70, 0.29], [0.22, 0.80, 0.56]])


def run() -> list[Comparison]:
    """On CUDA where it is, else on the CPU."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [*superpixels(device), *stains(device)]


def scene(channels: int, seed: int) -> NDArray[np.float32]:
    """(480, 640, C) of areas with their own spectra, shaded and noisy, 0 to 1."""
    from scipy import ndimage

    generator = np.random.default_rng(seed)
    area = ndimage.gaussian_filter(generator.normal(size=(8, HEIGHT, WIDTH)), (0, 25, 25)).argmax(axis=0)
    spectra = ndimage.gaussian_filter1d(generator.random((8, channels)), max(0.1, channels / 15), axis=1)
    shade = 1 + 2 * ndimage.gaussian_filter(generator.normal(size=(HEIGHT, WIDTH, 1)), (30, 30, 0))
    pixels = spectra[area] * shade + generator.normal(0, 0.005, (HEIGHT, WIDTH, channels))
    return np.asarray(np.clip(pixels, 0, 1), dtype=np.float32)


def superpixels(device: str) -> list[Comparison]:
    """SLIC of a batch beside the same on the CPU image by image, and beside scikit-image."""
    from skimage.segmentation import slic as peer

    from stroma.regions import SlicOptions, slic, slic_batch

    found = []
    for channels, compactness in ((100, 0.3), (3, 10.0)):
        options = SlicOptions(SEGMENTS, compactness)
        images = [scene(channels, seed) for seed in range(IMAGES[device])]
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().to(device)

        def batched(batch: Tensor = batch, options: SlicOptions = options) -> Tensor:
            result: Tensor = slic_batch(batch, options)
            return result

        def alone(images: list[NDArray[np.float32]] = images, options: SlicOptions = options) -> object:
            return slic(images[0], options)

        def scikit(image: NDArray[np.float32] = images[0], compactness: float = compactness) -> object:
            return peer(image, n_segments=SEGMENTS, compactness=compactness, start_label=0, channel_axis=2)

        labels = batched().cpu().numpy()  # and warm-up
        expected = np.stack([slic(image, options) for image in images])
        same_batch = slic_batch(batch.cpu(), options).numpy()
        note = (
            f"{device}; pixels labelled as by the same function on the CPU: {(labels == same_batch).mean():.4f}; "
            f"pairs of neighbours joined or parted as by slic: {borders_agree(labels, expected):.5f}; "
            f"superpixels {labels[0].max() + 1} and {expected[0].max() + 1}"
        )
        ours = [timed(batched, device) / len(images) for _ in range(REPEATS[device])]
        name, case = (
            f"slic_batch on {device}",
            f"SLIC, {len(images)} images {HEIGHT} x {WIDTH} x {channels}, per image",
        )
        found += [
            Comparison(case, name, "slic", ours, [timed(alone, "cpu") for _ in range(3)], note=note),
            Comparison(case, name, "scikit-image", ours, [timed(scikit, "cpu")], note=device),
        ]
    return found


def borders_agree(labels: NDArray[np.int32], expected: NDArray[np.int32]) -> float:
    """Part of the pairs of pixels, 1 to 40 px apart in rows and columns, that both put together or both apart."""
    agree = []
    for axis, apart in itertools.product((1, 2), (1, 10, 40)):
        size = labels.shape[axis] - apart
        together = [
            np.take(x, range(size), axis) == np.take(x, range(apart, apart + size), axis) for x in (labels, expected)
        ]
        agree.append(float((together[0] == together[1]).mean()))
    return float(np.mean(agree))


def stains(device: str) -> list[Comparison]:
    """Fitting and normalising a batch of tiles beside NumPy, tile by tile on the CPU."""
    from stroma.slides.stain import REFERENCE_STAINS, normalise
    from stroma.slides.stain_fit import fit_stains
    from stroma.slides.stain_torch import fit_macenko_batch, normalise_batch

    amounts = np.random.default_rng(0).gamma(1.5, 0.4, (TILES[device], TILE_PX, TILE_PX, 2))
    tiles = np.clip(np.rint(255 * np.exp(-amounts @ VECTORS)), 0, 255).astype(np.uint8)
    batch = torch.from_numpy(tiles).permute(0, 3, 1, 2).contiguous().to(device)
    sources, expected = fit_macenko_batch(batch), [fit_stains(tile) for tile in tiles]
    restained = normalise_batch(batch, sources).permute(0, 2, 3, 1).cpu().numpy()
    wanted = np.stack(
        [normalise(tile, source, REFERENCE_STAINS) for tile, source in zip(tiles, expected, strict=True)]
    )
    matrices = max(float(np.abs(a.matrix - b.matrix).max()) for a, b in zip(sources, expected, strict=True))
    apart = np.abs(restained.astype(np.int16) - wanted)
    note = f"{device}; matrices differ by {matrices:.1e}, values by {apart.max()}, {(apart > 0).mean():.1e} of them"
    fit = [timed(lambda: fit_macenko_batch(batch), device) / len(tiles) for _ in range(REPEATS[device])]
    apply = [timed(lambda: normalise_batch(batch, sources), device) / len(tiles) for _ in range(REPEATS[device])]
    fit_alone = [timed(lambda tile=tile: fit_stains(tile), "cpu") for tile in tiles[:5]]  # type: ignore[misc]
    apply_alone = [timed(lambda tile=tile: normalise(tile, expected[0]), "cpu") for tile in tiles[:5]]  # type: ignore[misc]
    case = f"Macenko, {len(tiles)} tiles of {TILE_PX} px, per tile"
    return [
        Comparison(f"{case}: fit", f"torch on {device}", "NumPy", fit, fit_alone, note=note),
        Comparison(f"{case}: normalise", f"torch on {device}", "NumPy", apply, apply_alone, note=note),
    ]
