"""Published models for histology: DeepCMorph, HistoEncoder and the glomeruli network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stroma.core.component import Component
from stroma.models.card import PublishedFile, PublishedModel
from stroma.models.catalogue_encoders import hub_encoders
from stroma.sampling.preparation import Preparation

TCGA_CLASSES = (
    "Adrenocortical_carcinoma", "Bladder_Urothelial_Carcinoma", "Brain_Lower_Grade_Glioma",
    "Breast_invasive_carcinoma", "Cervical_squamous_cell_carcinoma_and_endocervical_adenocarcinoma",
    "Cholangiocarcinoma", "Colon_adenocarcinoma", "Esophageal_carcinoma", "Glioblastoma_multiforme",
    "Head_and_Neck_squamous_cell_carcinoma", "Kidney_Chromophobe", "Kidney_renal_clear_cell_carcinoma",
    "Kidney_renal_papillary_cell_carcinoma", "Liver_hepatocellular_carcinoma", "Lung_adenocarcinoma",
    "Lung_squamous_cell_carcinoma", "Lymphoid_Neoplasm_Diffuse_Large_B-cell_Lymphoma", "Mesothelioma",
    "Ovarian_serous_cystadenocarcinoma", "Pancreatic_adenocarcinoma", "Pheochromocytoma_and_Paraganglioma",
    "Prostate_adenocarcinoma", "Rectum_adenocarcinoma", "Sarcoma", "Skin_Cutaneous_Melanoma",
    "Stomach_adenocarcinoma", "Testicular_Germ_Cell_Tumors", "Thymoma", "Thyroid_carcinoma",
    "Uterine_Carcinosarcoma", "Uterine_Corpus_Endometrial_Carcinoma", "Uveal_Melanoma",
)  # fmt: skip
CRC_CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")


def histology_models() -> Iterator[PublishedModel]:
    """All of them."""
    yield from _deepcmorph()
    yield from _histoencoder()
    yield _glomeruli()
    yield from hub_encoders()


def _rgb(**mean_std: Any) -> Preparation:
    steps = [{"name": "divide"}, *([{"name": "mean_std", **mean_std}] if mean_std else [])]
    return Preparation.model_validate({"steps": steps})


def _deepcmorph() -> Iterator[PublishedModel]:
    host = "https://data.vision.ee.ethz.ch/ihnatova/public/DeepCMorph"
    rows: list[tuple[str, str, int, tuple[str, ...], str]] = [
        ("combined", "DeepCMorph_Datasets_Combined_41_classes_acc_8159.pth", 41, (), "TCGA and NCT-CRC, 41 tissues"),
        ("tcga", "DeepCMorph_Pan_Cancer_32_classes_acc_8273.pth", 32, TCGA_CLASSES, "TCGA, 32 cancers"),
        (
            "tcga-regularized",
            "DeepCMorph_Pan_Cancer_Regularized_32_classes_acc_8200.pth",
            32,
            TCGA_CLASSES,
            "TCGA, 32 cancers, strong augmentation",
        ),
        ("crc", "DeepCMorph_NCT_CRC_HE_Dataset_9_classes_acc_9699.pth", 9, CRC_CLASSES, "NCT-CRC-HE, 9 tissues"),
    ]
    for name, file, classes, names, title in rows:
        yield PublishedModel(
            name=f"deepcmorph/{name}",
            system="deepcmorph",
            title=f"DeepCMorph, {title}",
            model=Component.model_validate({"name": "deepcmorph", "head": f"output_{classes}"}),
            channels=3,
            classes=classes,
            class_names=names,
            class_order="unverified" if names else "unknown",
            output="class",
            features=2560,
            modality="rgb",
            channel_order="R, G, B",
            prepare=_rgb(),
            input_px=(224, 224) if name == "crc" else (256, 256),
            file=PublishedFile(name=file, url=f"{host}/{file}", size_estimate=4 * 89_543_531),
            licence="CC BY-NC-SA 4.0",
            non_commercial=True,
            source="https://github.com/aiff22/DeepCMorph",
            cite="Ignatov, Yates and Boeva, CVPR Workshops 2024, arXiv 2407.08625",
            notes=(
                "input in 0 to 1, without mean and standard deviation",
                "names of the seven kinds of nuclei are not published; 0 is taken for background",
                *(("the order of the 41 classes is documented nowhere",) if not names else ()),
            ),
        )


def _histoencoder() -> Iterator[PublishedModel]:
    rows = (
        ("prostate_small", "xcit_small_12_p16_224", 384, 25_868_304, "tbff9wslc8p7ie3"),
        ("prostate_medium", "xcit_medium_24_p16_224", 512, 83_882_752, "k1fr09x5auki8sp"),
    )
    for name, encoder, width, parameters, key in rows:
        yield PublishedModel(
            name=name,
            system="histoencoder",
            title=f"HistoEncoder, XCiT on prostate tissue, {width} features",
            model=Component.model_validate({"name": "xcit", "encoder": encoder}),
            channels=3,
            classes=0,
            output="features",
            activation="none",
            features=width,
            modality="rgb",
            channel_order="R, G, B",
            prepare=_rgb(mean=[0.662, 0.446, 0.605], std=[0.169, 0.190, 0.155]),
            input_px=(224, 224),
            file=PublishedFile(
                name=f"{name}.pth",
                url=f"https://dl.dropboxusercontent.com/s/{key}/{name}.pth?dl=0",
                size_estimate=4 * parameters,
            ),
            licence="Apache-2.0",
            source="https://github.com/jopo666/HistoEncoder",
            cite="Pohjonen et al., arXiv 2411.11458",
            notes=(
                "resolution and normalisation of its training are not documented: mean and standard deviation are "
                "those that TIAToolbox uses at 0.5 µm per pixel, HistoEncoder's command took those of each slide",
            ),
        )


def _glomeruli() -> PublishedModel:
    mean, std = [0.63482309, 0.47376275, 0.67814029], [0.17405236, 0.23305763, 0.1585981]
    return PublishedModel(
        name="glomeruli",
        system="glomeruli",
        title="UneXt101, glomeruli in kidney sections",
        model=Component(name="unext101"),
        channels=3,
        classes=1,
        class_names=("glomerulus",),
        class_order="documented",
        output="map",
        activation="sigmoid",
        threshold=0.45,
        modality="rgb",
        channel_order="R, G, B",
        prepare=_rgb(mean=mean, std=std),
        input_px=(256, 256),
        granularity=Component.model_validate({"name": "patch", "size_px": 256}),
        folds=4,
        file=PublishedFile(name="glomeruli", size_estimate=4 * 4 * 205_003_937),
        licence="MIT; its encoder started from CC-BY-NC-4.0 weights",
        non_commercial=True,
        access="manual",
        access_note="Get the .pth files of the folder 1AUc4VuqFIB-zN36ifnjZCO9nlPXAdfbF on Google Drive; together "
        "they are the ensemble",
        source="the README of the repository Glomeruli_segmentation",
        cite="the repository Glomeruli_segmentation (2023), HuBMAP kidney competition",
        notes=("images are reduced 16 times for training; its script predicts at 32 times: try both",),
    )
