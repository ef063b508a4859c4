import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from stroma.core.config import build, to_plain
from stroma.core.errors import ConfigError, InvalidData, UsageError
from stroma.sampling.preparation import Preparation


def preparation(*steps):
    return build(Preparation, {"steps": list(steps)})


def test_steps_apply_in_order():
    pixels = np.array([[[10, 30]]], dtype=np.uint8)
    np.testing.assert_allclose(preparation("l1").apply(pixels), [[[0.25, 0.75]]])
    scaled = preparation({"name": "divide", "by": 10}, {"name": "mean_std", "mean": [1, 1], "std": [1, 2]})
    np.testing.assert_allclose(scaled.apply(pixels), [[[0, 1]]])


def test_fitted_values_are_those_of_scikit_learn_and_are_stored():
    rng = np.random.default_rng(0)
    images = [rng.normal(5, 2, size=(6, 5, 4)), rng.normal(-1, 3, size=(3, 7, 4))]
    fitted = preparation("mean_std").fit(images)
    oracle = StandardScaler().fit(np.concatenate([image.reshape(-1, 4) for image in images]))
    parameters = to_plain(fitted)["steps"][0]
    np.testing.assert_allclose(parameters["mean"], oracle.mean_, rtol=1e-6)
    np.testing.assert_allclose(parameters["std"], oracle.scale_, rtol=1e-6)
    assert build(Preparation, to_plain(fitted)) == fitted


def test_a_step_without_values_is_refused_in_use_and_keeps_in_fit():
    with pytest.raises(ConfigError, match="no mean and std yet"):
        preparation("mean_std").apply(np.ones((1, 1, 2)))
    assert preparation("l1").fit([]) == preparation("l1")
    with pytest.raises(ConfigError, match="no training image"):
        preparation("mean_std").fit([])


def test_a_constant_channel_does_not_divide_by_zero():
    fitted = preparation("mean_std").fit([np.full((2, 2, 1), 7.0)])
    np.testing.assert_array_equal(fitted.apply(np.full((1, 1, 1), 7.0)), [[[0.0]]])


def test_another_number_of_channels_is_named():
    with pytest.raises(ConfigError, match="2 means and 2 stds for 3 channels"):
        preparation({"name": "mean_std", "mean": [0, 0], "std": [1, 1]}).apply(np.ones((1, 1, 3)))


def test_inputs_are_not_modified():
    pixels = np.ones((2, 2, 3), np.float32)
    preparation("l1", {"name": "divide", "by": 2}).apply(pixels)
    assert (pixels == 1).all()


def test_resampling_learns_the_wavelengths_of_the_images_and_changes_the_channels():
    given = preparation({"name": "resample", "to_nm": [510, 530]}, "mean_std")
    with pytest.raises(ConfigError, match="does not know the wavelengths"):
        given.apply(np.ones((1, 1, 3)))
    known = given.for_wavelengths([500, 520, 540])
    pixels = np.array([[[0.0, 2.0, 6.0], [1.0, 1.0, 1.0]]], np.float32)
    fitted = known.fit([pixels])
    parameters = to_plain(fitted)["steps"]
    assert parameters[0]["from_nm"] == [500, 520, 540]
    np.testing.assert_allclose(parameters[1]["mean"], [1, 2.5])  # 1 and 4, and 1 and 1
    assert fitted.apply(pixels).shape == (1, 2, 2)
    assert (fitted.channels(3), fitted.wavelengths([500, 520, 540])) == (2, (510, 530))
    assert (preparation("l1").channels(3), preparation("l1").wavelengths([1, 2])) == (3, (1, 2))
    assert preparation("l1").wavelengths(None) is None
    assert build(Preparation, to_plain(fitted)) == fitted
    assert known.for_wavelengths([1, 2, 3]) == known


def test_resampling_that_cannot_be_done_is_named():
    with pytest.raises(ConfigError, match="needs 'to_nm'"):
        preparation("resample").for_wavelengths([500, 520])
    with pytest.raises(ConfigError, match="tell their wavelengths"):
        preparation({"name": "resample", "to_nm": [510]}).for_wavelengths(None)
    beyond = preparation({"name": "resample", "to_nm": [600]}).for_wavelengths([500, 520])
    with pytest.raises(UsageError, match="600 nm cannot be had"):
        beyond.apply(np.ones((1, 1, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_told_when_they_would_be_fitted(bad):
    image = np.ones((3, 4, 2), np.float32)
    image[1, 2, 0] = bad
    with pytest.raises(InvalidData, match=r"image of shape \(3, 4, 2\) has values that are no numbers.*stroma check"):
        preparation("mean_std").fit([np.ones((3, 4, 2)), image])
