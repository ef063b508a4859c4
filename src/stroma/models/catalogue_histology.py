"""Published models for histology: DeepCMorph, HistoEncoder, the glomeruli network, and encoders of the model hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stroma.core.component import Component
from stroma.models.card import PublishedFile, PublishedModel
from stroma.sampling.preparation import Preparation

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
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
    yield from _hub()


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


_UNCHECKED = "written without access to its page: check licence, access and statistics there before relying on them"


def _hub() -> Iterator[PublishedModel]:
    gated = "Ask for access on its page of the Hugging Face Hub, then log in once with: hf auth login"
    vit = {"init_values": 1e-5, "dynamic_img_size": True}
    yield _encoder(
        "uni", "MahmoodLab/UNI", 1024, 303_350_784, vit, _IMAGENET, "CC-BY-NC-ND 4.0", True, "gated", gated,
        "Chen et al., Nature Medicine 30 (2024), doi 10.1038/s41591-024-02857-3",
        ("trained on tiles of 20× slides",),
    )  # fmt: skip
    yield _encoder(
        "prov-gigapath", "prov-gigapath/prov-gigapath", 1536, 1_134_953_984, {}, _IMAGENET,
        "Apache-2.0, research use asked for on its page", True, "gated", gated,
        "Xu et al., Nature 630 (2024) 181-188, doi 10.1038/s41586-024-07441-w",
        ("tiles of 256 px at 0.5 µm per pixel, resized to 256 and cropped to 224 at the centre by its authors",),
        mpp=0.5,
    )  # fmt: skip
    yield _encoder(
        "h-optimus-0", "bioptimus/H-optimus-0", 1536, 1_134_774_272, {"init_values": 1e-5, "dynamic_img_size": False},
        {"mean": [0.707223, 0.578729, 0.703617], "std": [0.211883, 0.230117, 0.177517]},
        "Apache-2.0", False, "gated", gated, "Saillard et al., H-optimus-0 (2024), bioptimus/releases on GitHub",
        (), mpp=0.5,
    )  # fmt: skip
    lunit = {"mean": [0.70322989, 0.53606487, 0.66096631], "std": [0.21716536, 0.26081574, 0.20723464]}
    for patch, parameters in ((16, 21_665_664), (8, 21_670_272)):
        yield _encoder(
            f"lunit-dino-{patch}", f"1aurent/vit_small_patch{patch}_224.lunit_dino", 384, parameters, {}, lunit,
            "Lunit's own, non-commercial", True, "open", "", "Kang et al., CVPR 2023, arXiv 2212.04690", (),
        )  # fmt: skip


def _encoder(
    name: str,
    repository: str,
    width: int,
    parameters: int,
    arguments: dict[str, Any],
    statistics: dict[str, Any],
    licence: str,
    non_commercial: bool,
    access: Any,
    note: str,
    cite: str,
    notes: tuple[str, ...],
    mpp: float | None = None,
) -> PublishedModel:
    return PublishedModel(
        name=name,
        system="encoders",
        title=f"{repository} on the Hugging Face Hub, {width} features",
        model=Component.model_validate({"name": "timm", "encoder": f"hf-hub:{repository}", "options": arguments}),
        channels=3,
        classes=0,
        output="features",
        activation="none",
        features=width,
        modality="rgb",
        channel_order="R, G, B",
        prepare=_rgb(**statistics),
        input_px=(224, 224),
        mpp=mpp,
        file=PublishedFile(name=repository, url=f"https://huggingface.co/{repository}", size_estimate=4 * parameters),
        licence=licence,
        non_commercial=non_commercial,
        access=access,
        access_note=note,
        source=f"https://huggingface.co/{repository}",
        cite=cite,
        notes=(*notes, _UNCHECKED),
    )
