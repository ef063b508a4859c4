"""The page of files names only what exists, and every line of it opens the file it stands beside."""

import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.io
import tifffile
from PIL import Image

import stroma
from stroma.images import write_cube
from stroma.images.colour_scale import tivita_colours
from stroma.images.open import READERS
from stroma.regions.nrrd import LayeredMask, MaskLabel, write_mitk_nrrd
from stroma.spectra.colour_boards import BOARDS
from stroma.spectra.colour_masks import write_chip_mask
from stroma.study import open_dataset, write_htc_blosc, write_htc_meta_table
from stroma.study.recording import Recording

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
IMPORTS = sorted(set(re.findall(r"from (stroma[\w.]*) import ([\w, ]+)", PAGE)))
h5py = pytest.importorskip("h5py")

TIME = "2021_04_15_09_22_02"
NAME = f"P086#{TIME}"
CUBE = np.add.outer(np.linspace(0.1, 0.5, 480), np.linspace(0, 0.4, 640))[:, :, None] * np.float32([1, 0.9, 0.8])
CUBE = CUBE.astype(np.float32)
SMALL = CUBE[:9, :7]
NM = np.array([500.0, 510.0, 520.0])
ENVI = "ENVI\nsamples = 7\nlines = 9\nbands = 3\ndata type = 4\ninterleave = bip\nbyte order = 0\n"


@pytest.mark.parametrize(("module", "names"), IMPORTS)
def test_what_it_imports_exists(module, names):
    for name in names.split(","):
        assert getattr(import_module(module), name.strip())


def test_what_it_calls_on_a_recording_exists():
    called = set(re.findall(r"recording\.(\w+)\(", PAGE))
    assert called >= {"cube", "mask"}
    for name in called:
        assert callable(getattr(Recording, name))


def test_the_readers_of_cubes_are_on_it():
    assert {"tivita", "envi", "matlab", "numpy", "zarr", "tiff"} <= set(READERS)
    for word in ("ENVI", "MATLAB", "NumPy", "TIFF", "Zarr", "Tivita"):
        assert word in PAGE


def write_cubes(folder):
    """A cube in each of the general formats, and in Zarr of version 2, whose one chunk is written by hand."""
    (folder / "a.hdr").write_text(ENVI)
    SMALL.tofile(folder / "a.raw")
    scipy.io.savemat(folder / "a.mat", {"hsi": SMALL, "wl": NM})
    with h5py.File(folder / "a.h5", "w") as file:
        file["hsi"] = SMALL
    np.savez(folder / "a.npz", hsi=SMALL, wl=NM)
    np.save(folder / "a.npy", SMALL)
    tifffile.imwrite(folder / "a.tif", np.moveaxis(SMALL, 2, 0), photometric="minisblack")
    first = np.ascontiguousarray(np.moveaxis(SMALL, 2, 0))
    shape = {"shape": first.shape, "chunks": first.shape, "dtype": "<f4", "order": "C"}
    (folder / "a.zarr" / "hsi").mkdir(parents=True)
    (folder / "a.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    metadata = {"zarr_format": 2, **shape, "compressor": None, "filters": None, "fill_value": 0}
    (folder / "a.zarr" / "hsi" / ".zarray").write_text(json.dumps(metadata))
    (folder / "a.zarr" / "hsi" / "0.0.0").write_bytes(first.tobytes())
    return {
        "*.hdr": folder / "a.hdr",
        "*.mat": folder / "a.mat",
        "*.h5": folder / "a.h5",
        "*.npz": folder / "a.npz",
        "*.npy": folder / "a.npy",
        "*.tif": folder / "a.tif",
        "*.zarr": folder / "a.zarr",
    }


def write_camera_folder(folder):
    """What a camera leaves of one recording."""
    folder.mkdir(parents=True)
    files = {"the folder": folder}

    def file(ending):
        files[f"*{ending}" if ending.startswith("_") else ending] = path = folder / (
            f"{TIME}{ending}" if ending.startswith("_") else ending
        )
        return path

    write_cube(file("_SpecCube.dat"), CUBE)
    write_cube(file("EqBinWhiteCube.dat"), CUBE + 1)
    file("_DarkPattern.dpic").write_bytes(np.array([480, 3], ">i4").tobytes() + np.ones((480, 3), ">f8").tobytes())
    for name in ("_HSI-RGB-Image.png", "_RGB-Image.png", "_RGB-Capture.png"):
        Image.fromarray((255 * CUBE).astype(np.uint8)).save(file(name))
    for name in ("Oxygenation", "NIR-Perfusion", "THI", "TWI", "TLI", "OHI"):
        Image.fromarray(tivita_colours(CUBE[:, :, 0])).save(file(f"_{name}.png"))
    file("_meta.log").write_text('[Camera]\nCamID = "0202-00118"\n')
    (folder / f"{TIME}.xml").write_text('<a><b name="Modality">XC</b></a>')
    return files | {"*.xml": folder / f"{TIME}.xml", "*.tiv": None, "annotations/": None}


def write_dataset(root):
    """A data set of one recording with every kind of file beside it."""
    data, home = root / "data", root / "intermediates"
    camera = write_camera_folder(data / "subjects" / "P086" / TIME)
    notes = camera["the folder"] / "annotations"
    notes.mkdir()
    labels = {"liver": 0, "spleen": 1, "unlabeled": 255}
    settings = {"shape": [480, 640, 3], "label_mapping": labels, "last_valid_label_index": 1}
    (data / "dataset_settings.json").write_text(json.dumps(settings))
    (notes / f"{TIME}_meta.json").write_text('{"label_meta": {"spleen": {"angle": 0}}}')
    mask = CUBE[:, :, 0] > 0.5
    drawn = f"{TIME}#polygon#annotator1#spleen#"
    Image.fromarray(mask).save(notes / f"{drawn}binary.png")
    (notes / f"{drawn}coordinates.csv").write_text("1,1\n9,1\n9,9\n")
    layered = LayeredMask(mask[None].astype(np.uint16), ((MaskLabel(1, "spleen", (1, 2, 3)),),), (None,))
    write_mitk_nrrd(notes / f"{TIME}#semantic#primary.nrrd", layered)
    (home / "segmentations").mkdir(parents=True)
    write_htc_blosc(home / "segmentations" / f"{NAME}.blosc", {"polygon#annotator2": mask.astype(np.uint8)})
    (home / "preprocessing" / "parameter_images").mkdir(parents=True)
    stored = home / "preprocessing" / "parameter_images" / f"{NAME}.blosc"
    write_htc_blosc(stored, {"StO2": CUBE[:, :, 0]})
    (home / "tables").mkdir()
    study = open_dataset(root)
    index = write_htc_meta_table(study, home)
    medians = home / "tables" / "a@median_spectra@polygon#annotator1.feather"
    pl.DataFrame({"image_name": [NAME]}).write_ipc(medians)
    pl.DataFrame({"image_name": [NAME]}).write_csv(medians.with_suffix(".csv"))
    validation = data / "extra_technical_validation"
    board = write_camera_folder(validation / "Tivita_1" / "2022_12_25_colorchecker" / TIME)["the folder"]
    (board / "annotations").mkdir()
    chips = board / "annotations" / f"{TIME}#squares#automask#cc_classic.png"
    write_chip_mask(chips, np.ones((480, 640), np.uint8), BOARDS["cc_classic"])
    measured = validation / "spectrometer" / "2022_09_19_colorchecker"
    measured.mkdir(parents=True)
    for label in ("orange", "white_calibration", "dark_calibration"):
        (measured / f"{label}_HRC33631__0__00300.txt").write_text(f">>>>>Begin\n500 {len(label)}\n501 2\n")
    prefix = "…/annotations/<time>"
    return camera | {
        "data/dataset_settings.json": data / "dataset_settings.json",
        "data/subjects/<subject>/<time>/": camera["the folder"],
        f"{prefix}_meta.json": notes / f"{TIME}_meta.json",
        f"{prefix}#polygon#annotator1#<label>#binary.png": notes / f"{drawn}binary.png",
        f"{prefix}#polygon#annotator1#<label>#coordinates.csv": notes / f"{drawn}coordinates.csv",
        f"{prefix}#semantic#primary.nrrd": notes / f"{TIME}#semantic#primary.nrrd",
        f"{prefix}#squares#automask#cc_classic.png": chips,
        "data/overlap/subjects/<subject>/<time>/": None,
        "data/extra_label_symbols/": None,
        "data/extra_technical_validation/Tivita_*/": board,
        "data/extra_technical_validation/spectrometer/*/": measured / "orange_HRC33631__0__00300.txt",
        "intermediates/segmentations/<image>.blosc": home / "segmentations" / f"{NAME}.blosc",
        "intermediates/preprocessing/<kind>/<image>.blosc": stored,
        "intermediates/tables/*@meta.feather": index,
        "intermediates/tables/*@median_spectra@*.feather": medians,
        "intermediates/tables/*.csv": medians.with_suffix(".csv"),
        "intermediates/data_stats/*.pkl": None,
        "intermediates/view_all/*.html": None,
    }


def rows():
    """(what stands in the first column, the lines of Python in the last) of the tables of cubes and recordings."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    chosen = [s for s in sections if s.startswith(("Cubes", "A folder of a Tivita", "HeiPorSPECTRAL"))]
    assert len(chosen) == 3
    pattern = ""
    for line in "\n".join(chosen).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) != 3 or cells[0] == "file" or cells[0].startswith("---"):
            continue
        pattern = cells[0] or pattern
        code = [text for text in re.findall(r"`([^`]+)`", cells[2]) if re.search(r"[(\[]", text)]
        for name in re.findall(r"`([^`]+)`", pattern) or [pattern]:
            yield name, code


def test_every_line_opens_the_file_that_it_stands_beside(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "Daten #1 ü"
    files = write_dataset(root)
    files |= write_cubes(tmp_path)
    study = open_dataset(root)
    overlap = root / "data" / "overlap" / "subjects" / "P086" / TIME
    ran, cube_path = set(), files["*_SpecCube.dat"]
    for name, lines in rows():
        path = files[name]  # a row whose file is not written above has nothing that proves it
        for line in lines:
            if "#overlap" in line:
                (overlap / "annotations").mkdir(parents=True)
                Image.fromarray(CUBE[:, :, 0] > 0.5).save(
                    overlap / "annotations" / f"{TIME}#polygon#annotator1#liver#binary.png"
                )
                exec(line, {"study": open_dataset(root)})
            else:
                assert path is not None, f"{name} has the line {line}"
                folder = path if path.is_dir() else path.parent
                known = {"stroma": stroma, "study": study, "recording": study[NAME], "path": path, "folder": folder}
                exec(line, known | {"cube": CUBE, "white": CUBE, "dark": np.ones((480, 3)), "cube_path": cube_path})
        ran.add(name)
    assert ran == set(files)
