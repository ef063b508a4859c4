"""The 377 published models of the HeiPorSPECTRAL group, by the rule of their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stroma.core.component import Component
from stroma.models.card import PublishedFile, PublishedModel
from stroma.models.hashes_htc import FOLDER_HASHES
from stroma.models.wavelengths import TIVITA_NM
from stroma.sampling.preparation import Preparation

_HOST = "https://e130-hyperspectal-tissue-classification.s3.dkfz.de/models"
_SOURCE = "https://github.com/IMSY-DKFZ/htc"
_MIA = "2022-02-03_22-58-44_generated_default"
_SPECIES = "2025-03-09_19-38-10"
_SEPSIS = "2025-03-07_13-00-00"
_CITE = {
    "mia": "Seidlitz et al., Medical Image Analysis 80 (2022) 102488",
    "context": "Sellner et al., MICCAI 2023",
    "species": "Sellner et al., Nature Biomedical Engineering (2025)",
    "sepsis": "the sepsis and survival study of the group, Science Advances (2025)",
}
_LICENCE = "MIT (the licence of the repository; the archives name none)"

ORGANS = (
    "background", "heart", "lung", "liver", "colon", "small_bowel", "stomach", "spleen", "gallbladder", "bladder",
    "omentum", "peritoneum", "skin", "fat_subcutaneous", "pancreas", "muscle", "kidney", "major_vein",
    "kidney_with_Gerotas_fascia",
)  # fmt: skip
SPECIES_ORGANS = (
    "background", "stomach", "small_bowel", "colon", "liver", "pancreas", "kidney", "spleen", "omentum", "lung",
    "skin", "peritoneum",
)  # fmt: skip
ATLAS_ORGANS = (
    "stomach", "small_bowel", "colon", "liver", "gallbladder", "pancreas", "kidney", "lung", "heart", "cartilage",
    "bile_fluid", "kidney_with_Gerotas_fascia", "major_vein", "peritoneum", "muscle", "skin", "bone", "omentum",
    "bladder", "spleen",
)  # fmt: skip
_BYTES = {"unet": 125_800_000, "encoder": 114_000_000, "cnn": 140_000, "mlp": 115_000, "resnest": 34_600_000}


def htc_models() -> Iterator[PublishedModel]:
    """All 377, in the order of their publications."""
    yield from _benchmark()
    yield from _context()
    yield from _xeno()
    yield from _sepsis()


def _benchmark() -> Iterator[PublishedModel]:
    for suffix, modality in (("", "hsi"), ("_parameters", "tpi"), ("_rgb", "rgb")):
        run = f"{_MIA}{suffix}_model_comparison"
        common: dict[str, Any] = {"cite": _CITE["mia"], "class_names": ORGANS, "folds": 5}
        yield _unet("image", run, modality, "image", **common)
        yield _unet("patch", run, modality, {"name": "patch", "size_px": 32}, **common)
        run_64 = f"{_MIA}_64{suffix}_model_comparison"
        yield _unet("patch", run_64, modality, {"name": "patch", "size_px": 64}, **common)
        yield _card(
            "superpixel_classification", run, modality, {"name": "encoder_classifier", "encoder": "efficientnet-b5"},
            output="class", granularity="superpixel", bytes_each=_BYTES["encoder"], input_px=(32, 32), **common,
        )  # fmt: skip
        network = "spectrum_cnn" if modality == "hsi" else "spectrum_mlp"
        size = _BYTES["cnn" if modality == "hsi" else "mlp"]
        yield _card("pixel", run, modality, {"name": network, "dropout": 0.1}, output="class",
                    granularity="pixel", bytes_each=size, **common)  # fmt: skip


def _context() -> Iterator[PublishedModel]:
    for run, modality in (
        ("2023-02-08_14-48-02_organ_transplantation_0.8", "hsi"),
        ("2023-01-29_11-31-04_organ_transplantation_0.8_rgb", "rgb"),
    ):
        yield _unet("image", run, modality, "image", cite=_CITE["context"], class_names=ORGANS, folds=5)


def _xeno() -> Iterator[PublishedModel]:
    groups = [f"baseline_{species}" for species in ("human", "pig", "rat")]
    groups += ["joint_pig-p+rat-p2human", "projected-ICG_pig2rat", "projected-ICG_rat2pig"]
    groups += [f"projected-malperfusion_{pair}" for pair in ("pig2human", "pig2rat", "rat2human", "rat2pig")]
    for group in groups:
        for nested in range(3):
            run = f"{_SPECIES}_{group}_nested-{nested}-2"
            yield _unet("image", run, "hsi", "image", cite=_CITE["species"], class_names=SPECIES_ORGANS, folds=5)


def _sepsis() -> Iterator[PublishedModel]:
    images = [f"{part}_image{suffix}" for part in ("finger", "palm") for suffix in ("", "_rgb", "_tpi")]
    with_table = "palm_image-meta_demographic+vital+BGA+diagnosis+ventilation+catecholamines"
    names = [*images, "palm_stacked_image", with_table, f"{with_table}+lab", "finger_median", "palm_median"]
    for target in ("sepsis", "survival"):
        for name in names:
            for nested in range(5):
                for seed in range(3):
                    run = f"{_SEPSIS}_{target}-inclusion_{name}_nested-{nested}-4_seed-{seed}-2"
                    yield _sepsis_model(run, name, target)


def _sepsis_model(run: str, name: str, target: str) -> PublishedModel:
    classes = ("no_sepsis", "sepsis") if target == "sepsis" else ("False", "True")
    common: dict[str, Any] = {"cite": _CITE["sepsis"], "class_names": classes, "output": "class"}
    if name.endswith("_median"):
        return _card("median_pixel", run, "hsi", {"name": "spectrum_cnn", "dropout": 0.5}, granularity="spectrum",
                     bytes_each=_BYTES["cnn"], **common)  # fmt: skip
    modality = "rgb" if name.endswith("_rgb") else "tpi" if name.endswith("_tpi") else "hsi"
    modality = "hsi-pair" if "stacked" in name else modality
    model: dict[str, Any] = {"name": "encoder_classifier", "encoder": "timm-resnest14d", "dropout": None}
    notes: tuple[str, ...] = ("the cubes are recalibrated and cropped to 224 × 224 pixels",)
    if "-meta_" in name:
        model = {"name": "image_table", "encoder": "timm-resnest14d", "columns": "from the file"}
        notes += ("a clinical table is its second input",)
    return _card("image", run, modality, model, bytes_each=_BYTES["resnest"], input_px=(224, 224), notes=notes,
                 **common)  # fmt: skip


def _unet(model: str, run: str, modality: str, granularity: Any, **common: Any) -> PublishedModel:
    network = {"name": "segmentation", "architecture": "Unet", "encoder": "efficientnet-b5"}
    notes = ("it was trained on patches and gives maps",) if model == "patch" else ()
    return _card(model, run, modality, network, output="map", granularity=granularity, bytes_each=_BYTES["unet"],
                 input_px=(480, 640), notes=notes, **common)  # fmt: skip


def _card(
    folder: str,
    run: str,
    modality: Any,
    model: dict[str, Any],
    *,
    class_names: tuple[str, ...],
    bytes_each: int,
    granularity: Any = "image",
    folds: int = 1,
    **more: Any,
) -> PublishedModel:
    name = f"{folder}@{run}"
    channels = {"hsi": 100, "hsi-pair": 200, "tpi": 4, "rgb": 3}[modality]
    order = {
        "hsi": "100 bands, linspace(500, 1000, 100) nm",
        "hsi-pair": "two cubes of 100 bands after one another",
        "tpi": "StO2, NIR, TWI, OHI (sepsis runs: THI in place of OHI), 0 to 1",
        "rgb": "R, G, B, reconstructed from the cube, 0 to 1",
    }[modality]
    steps = {"hsi": ("l1",), "hsi-pair": ("l1",), "tpi": (), "rgb": ("divide",)}[modality]
    return PublishedModel(
        name=name,
        system="htc",
        title=f"htc {folder}, {modality}, {len(class_names)} classes",
        model=Component.model_validate(model),
        channels=channels,
        classes=len(class_names),
        class_names=class_names,
        class_order="documented",
        modality=modality,
        channel_order=order,
        wavelengths_nm=TIVITA_NM if modality == "hsi" else None,
        prepare=Preparation.model_validate({"steps": steps}),
        granularity=Component.model_validate(granularity),
        folds=folds,
        file=PublishedFile(
            name=f"{name}.zip",
            url=f"{_HOST}/{name}.zip",
            size_estimate=bytes_each * folds,
            folder_hash=FOLDER_HASHES.get(name),
        ),
        licence=_LICENCE,
        source=_SOURCE,
        **more,
    )
