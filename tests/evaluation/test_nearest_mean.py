import numpy as np
from scipy.spatial.distance import cdist

from stroma.evaluation.nearest_mean import nearest_mean


def test_each_pixel_gets_the_nearest_mean_of_normalised_spectra():
    rng = np.random.default_rng(0)
    means = rng.dirichlet(np.ones(6), size=4)
    cube = rng.uniform(0.1, 3, size=(5, 7, 6)).astype(np.float32)
    normalised = cube / cube.sum(axis=2, keepdims=True)
    expected = cdist(normalised.reshape(-1, 6), means).argmin(axis=1).reshape(5, 7)
    np.testing.assert_array_equal(nearest_mean(cube, means), expected)


def test_a_class_without_training_pixels_is_never_the_answer():
    means = np.array([[np.nan, np.nan], [0.5, 0.5]])
    assert (nearest_mean(np.ones((2, 2, 2), np.float32), means) == 1).all()
