"""The catalogue holds what was published, and wildcards stand for what htc's wildcards stood for."""

from pathlib import Path

import pytest

from stroma.core.errors import UsageError
from stroma.models import registry
from stroma.models.catalogue import catalogue, find
from stroma.prepare.model_page import model_page


def test_htc_has_377_models_in_its_groups() -> None:
    names = [card.name for card in catalogue().values() if card.system == "htc"]
    assert len(names) == 377
    assert sum("2022-02-03_22-58-44" in name for name in names) == 15
    assert sum("organ_transplantation" in name for name in names) == 2
    assert sum("2025-03-09_19-38-10" in name for name in names) == 30
    assert sum("2025-03-07_13-00-00" in name for name in names) == 330
    assert sum(card.file.folder_hash is not None for card in catalogue().values()) == 47


def test_urls_follow_the_published_pattern() -> None:
    name = "image@2025-03-09_19-38-10_joint_pig-p+rat-p2human_nested-1-2"
    card = catalogue()[name]
    assert card.file.url == f"https://e130-hyperspectal-tissue-classification.s3.dkfz.de/models/{name}.zip"
    assert card.file.folder_hash == "103da7443bf94c63abc4d1054a9c24a6eefad0b3c21c71f0acfa0dc903d96ed2"
    assert (card.channels, card.classes, card.modality) == (100, 12, "hsi")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("image@2025-03-09_19-38-10_baseline_pig_nested-*-2", 3),
        ("image@2025-03-07_13-00-00_sepsis-inclusion_palm_image_nested-*-4_seed-*-2", 15),
        ("image@2025-03-07_13-00-00_sepsis-inclusion_palm_image_nested-0-4_seed-*-2", 3),
        ("deepcmorph/*", 4),
        ("Prostate_Small", 1),
    ],
)
def test_wildcards(pattern: str, count: int) -> None:
    assert len(find(pattern)) == count


def test_modalities_follow_the_names() -> None:
    for card in catalogue().values():
        if card.system != "htc":
            continue
        rgb, tpi = "_rgb" in card.name, "_parameters" in card.name or "_tpi" in card.name
        expected = "rgb" if rgb else "tpi" if tpi else "hsi-pair" if "stacked" in card.name else "hsi"
        assert card.modality == expected
        assert card.channels == {"rgb": 3, "tpi": 4, "hsi": 100, "hsi-pair": 200}[expected]


def test_every_card_is_complete() -> None:
    for card in catalogue().values():
        assert card.model.name in registry.names(), card.name
        assert card.licence, card.name
        assert card.source, card.name
        assert card.cite, card.name
        assert card.classes == len(card.class_names) or card.class_order == "unknown", card.name
        assert (card.output == "features") == (card.classes == 0), card.name
        assert card.access == "open" or card.access_note, card.name


def test_mistyped_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'deepcmorph/tcga'"):
        find("deepcmorph/tcgaa")


def test_networks_of_the_hub_are_sent_to_where_they_are_fetched() -> None:
    with pytest.raises(UsageError, match="stroma embed TILES --encoder hf-hub:owner/name"):
        find("hf-hub:owner/name")


def test_the_models_page_is_written_from_the_catalogue() -> None:
    page = Path(__file__).parents[2] / "docs" / "models.md"
    assert page.read_text(encoding="utf-8") == model_page(), "python -m stroma.prepare.model_page docs/models.md"


def test_hub_encoders_have_the_parameters_of_their_published_files() -> None:
    """Sizes that the Hub shows (4.54 GB, 86.7 MB), and the widths that the pages name."""
    import torch

    from stroma.models.build import build_model

    counts = {}
    for name in ("uni", "uni2-h", "h-optimus-0", "lunit-dino-16", "lunit-dino-8"):
        card = catalogue()[name]
        with torch.device("meta"):
            network = build_model(card.model, channels=3, classes=0)
            assert network(torch.empty(1, 3, 224, 224)).shape == (1, card.features), name
        counts[name] = sum(p.numel() for p in network.parameters())
        assert card.file.size_estimate == 4 * counts[name], name
    assert round(4 * counts["h-optimus-0"] / 1e9, 2) == 4.54
    assert round(4 * counts["lunit-dino-16"] / 1e6, 1) == round(4 * counts["lunit-dino-8"] / 1e6, 1) == 86.7
