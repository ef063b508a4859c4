"""Tissue parameters of recordings: which source is taken, and what phantoms recover of what was planted."""

import numpy as np
import PIL.Image
import pytest
from scipy.stats import spearmanr

import stroma
from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.files import id_to_name
from stroma.images.colour_scale import tivita_colours
from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
from stroma.prepare.index import InitOptions, init
from stroma.study.htc.blosc_file import write_htc_blosc
from tests.tiny import cube_study


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parameters") / "phantom"
    phantom_hsi(PhantomHsiOptions(output=folder, subjects=3, images=2, height=96, width=128))
    init(InitOptions(folder=folder, output=folder.parent / "study.yaml"))
    return stroma.open_study(folder.parent / "study.yaml")


def truth(study, image_id, name):
    return np.load(study.root / "truth" / id_to_name(image_id) / f"{name}.npy").astype(np.float64)


def organ_medians(study, parameter, planted):
    rows = []
    for image_id in study:
        found, real = study[image_id].parameters("published")[parameter], truth(study, image_id, planted)
        organs = np.asarray(PIL.Image.open(study.root / "truth" / id_to_name(image_id) / "labels.png"))
        for organ in np.unique(organs[organs < 255]):
            inside = (organs == organ) & np.isfinite(found) & np.isfinite(real)
            if inside.sum() >= 50:
                rows.append((np.median(real[inside]), np.median(found[inside])))
    return np.array(rows).T


def test_phantoms_recover_the_planted_oxygenation(phantom):
    planted, found = organ_medians(phantom, "StO2", "oxygenation")
    assert len(planted) > 20
    assert spearmanr(planted, found).statistic > 0.75
    error = found - planted
    assert -0.2 < error.mean() < 0 and error.std(ddof=1) < 0.1  # docs/tissue-parameters.md: -0.10 and 0.06


def test_phantoms_recover_the_planted_water(phantom):
    planted, found = organ_medians(phantom, "WaterBand", "water")
    assert spearmanr(planted, found).statistic > 0.75


def test_the_background_is_the_cloth(phantom):
    for image_id in phantom:
        cloth = np.isnan(truth(phantom, image_id, "oxygenation"))
        assert (phantom[image_id].parameters("published").background == cloth).mean() > 0.97


def test_formulas_are_used_where_nothing_was_computed_before(phantom):
    recording = phantom[next(iter(phantom))]
    assert recording.parameters().describe() == "StO2, NIR, THI, TWI: published formula; WaterBand: own formula"
    with pytest.raises(MissingFile, match=r"no pictures of parameters.*'published'"):
        recording.parameters("camera")
    with pytest.raises(MissingFile, match="no parameter images of htc"):
        recording.parameters("htc")
    with pytest.raises(UsageError, match=r"no source 'vendr'.*auto, htc, camera, published.*stroma.parameters"):
        recording.parameters("vendr")


def with_pictures(study, image_id, **values):
    """Put the camera's pictures beside a cube, as it colours them."""
    path = study.image_path(image_id)
    for name, value in values.items():
        file = path.with_name(path.name.replace("SpecCube.dat", f"{name}.png"))
        PIL.Image.fromarray(tivita_colours(np.full((96, 128), value))).save(file)


def test_what_was_computed_before_goes_first_and_every_map_says_so(phantom):
    first, second = list(phantom)[:2]
    with_pictures(phantom, first, Oxygenation=0.5, TLI=0.25)
    found = phantom[first].parameters()
    assert found.describe() == "StO2, TLI: camera; NIR, THI, TWI: published formula; WaterBand: own formula"
    np.testing.assert_allclose(found.values["StO2"], 0.5, atol=0.001)
    assert list(phantom[first].parameters("camera").values) == ["StO2", "TLI"]

    names = ("StO2", "NIR", "TWI", "OHI", "TLI", "THI")
    content = {name: np.full((96, 128), 0.1 * (i + 1), np.float32) for i, name in enumerate(names)}
    folder = phantom.root / "intermediates" / "preprocessing" / "parameter_images"
    background = np.zeros((96, 128), bool)
    background[0] = True
    write_htc_blosc(folder / f"{second}.blosc", {**content, "background": background})
    found = phantom[second].parameters()
    assert found.describe() == "StO2, NIR, THI, TWI, OHI, TLI: vendor"
    np.testing.assert_allclose(found.values["OHI"], 0.4)
    np.testing.assert_array_equal(np.isnan(found["OHI"]), background)

    write_htc_blosc(folder / f"{second}.blosc", {**content, "StO2": content["StO2"][:, 1:], "background": background})
    with pytest.raises(InvalidData, match=r"'StO2' of shape \(96, 127\)"):
        phantom[second].parameters()
    write_htc_blosc(folder / f"{second}.blosc", content)
    with pytest.raises(InvalidData, match="no parameter images with their background"):
        phantom[second].parameters("htc")


def test_ten_bands_cover_no_formula_of_curvature_and_pictures_have_none(tmp_path):
    study = stroma.open_study(cube_study(tmp_path))
    found = study[next(iter(study))].parameters()
    assert "StO2" not in found.values
    with pytest.raises(UsageError, match="no map 'StO2': it was not computed"):
        found["StO2"]
