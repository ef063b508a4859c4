"""Pathology encoders of the Hugging Face Hub, each with the pages its card was written from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from stroma.core.component import Component
from stroma.models.card import PublishedFile, PublishedModel
from stroma.sampling.preparation import Preparation

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_BIOPTIMUS = {"mean": [0.707223, 0.578729, 0.703617], "std": [0.211883, 0.230117, 0.177517]}
_LUNIT = {"mean": [0.70322989, 0.53606487, 0.66096631], "std": [0.21716536, 0.26081574, 0.20723464]}
_GATED = "Ask for access on its page of the Hugging Face Hub, then log in once with: hf auth login"
_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu", "no_embed_class": True, "init_values": 1e-5}
_UNI2 = {
    **_SWIGLU, "img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "embed_dim": 1536,
    "mlp_ratio": 2.66667 * 2, "reg_tokens": 8, "dynamic_img_size": True,
}  # fmt: skip
_OPTIMUS = {
    **_SWIGLU, "img_size": 224, "patch_size": 14, "depth": 40, "num_heads": 24, "embed_dim": 1536,
    "mlp_ratio": 5.33334, "reg_tokens": 4,
}  # fmt: skip


def hub_encoders() -> Iterator[PublishedModel]:
    """All of them; facts that their pages do not tell are left out."""
    uni = "Chen et al., Nature Medicine 30 (2024), doi 10.1038/s41591-024-02857-3"
    yield _encoder(
        "uni", "MahmoodLab/UNI", "vit_large_patch16_224", {"init_values": 1e-5, "dynamic_img_size": True}, 1024,
        303_350_784, _IMAGENET, licence="CC BY-NC-ND 4.0", non_commercial=True, access="gated",
        source="https://github.com/mahmoodlab/UNI/blob/main/README_old.md", cite=uni,
        notes=("its authors resize tiles to 224 px",),
    )  # fmt: skip
    yield _encoder(
        "uni2-h", "MahmoodLab/UNI2-h", "vit_giant_patch14_224", _UNI2, 1536, 681_394_176, _IMAGENET,
        licence="CC BY-NC-ND 4.0", non_commercial=True, access="gated",
        source="https://github.com/mahmoodlab/UNI/blob/main/README.md", cite=uni,
        notes=("its authors resize tiles to 224 px",),
    )  # fmt: skip
    yield _encoder(
        "prov-gigapath", "prov-gigapath/prov-gigapath", "hf-hub:prov-gigapath/prov-gigapath", {}, 1536, 1_134_953_984,
        _IMAGENET, licence="Apache-2.0 with terms of research use only", non_commercial=True, access="gated",
        source="https://github.com/prov-gigapath/prov-gigapath/blob/main/README.md",
        cite="Xu et al., Nature 630 (2024) 181-188, doi 10.1038/s41586-024-07441-w",
        notes=(
            "its authors resize tiles to 256 px and crop the 224 px at the centre; stroma embed resizes to 224, so "
            "cut tiles of 224 px",
            "any deployed use, commercial or otherwise, is out of its scope",
        ),
    )  # fmt: skip
    yield _encoder(
        "h-optimus-0", "bioptimus/H-optimus-0", "vit_giant_patch14_224", _OPTIMUS, 1536, 1_134_774_272, _BIOPTIMUS,
        licence="Apache-2.0", access="gated", mpp=0.5,
        source="https://github.com/bioptimus/releases/blob/main/models/h-optimus/v0/README.md",
        cite="Saillard et al., H-optimus-0 (2024), github.com/bioptimus/releases",
        access_note="If its page asks to agree to terms, do, and log in once with: hf auth login. Its README links "
        "the same weights as checkpoint.pth, for --weights FILE",
    )  # fmt: skip
    for patch, parameters in ((16, 21_665_664), (8, 21_670_272)):
        architecture = f"vit_small_patch{patch}_224"
        yield _encoder(
            f"lunit-dino-{patch}", f"1aurent/{architecture}.lunit_dino", architecture, {}, 384, parameters, _LUNIT,
            licence="Public License of Lunit, non-commercial", non_commercial=True,
            source="https://github.com/lunit-io/benchmark-ssl-pathology",
            cite="Kang et al., CVPR 2023, arXiv 2212.04690",
            notes=(
                "mean and standard deviation as others cite its release page, which was not at hand; the description "
                "of these files on the Hub names those of ImageNet",
            ),
        )  # fmt: skip


def _encoder(
    name: str,
    repository: str,
    architecture: str,
    options: Mapping[str, Any],
    width: int,
    parameters: int,
    statistics: Mapping[str, Any],
    *,
    licence: str,
    source: str,
    cite: str,
    non_commercial: bool = False,
    access: Literal["open", "gated"] = "open",
    access_note: str = "",
    mpp: float | None = None,
    notes: tuple[str, ...] = (),
) -> PublishedModel:
    return PublishedModel(
        name=name,
        system="encoders",
        title=f"{repository} on the Hugging Face Hub, {width} features",
        model=Component.model_validate({"name": "timm", "encoder": architecture, "options": dict(options)}),
        channels=3,
        classes=0,
        output="features",
        activation="none",
        features=width,
        modality="rgb",
        channel_order="R, G, B",
        prepare=Preparation.model_validate({"steps": [{"name": "divide"}, {"name": "mean_std", **statistics}]}),
        input_px=(224, 224),
        mpp=mpp,
        file=PublishedFile(name=repository, url=f"https://huggingface.co/{repository}", size_estimate=4 * parameters),
        licence=licence,
        non_commercial=non_commercial,
        access=access,
        access_note=access_note or (_GATED if access == "gated" else ""),
        source=source,
        cite=cite,
        notes=notes,
    )
