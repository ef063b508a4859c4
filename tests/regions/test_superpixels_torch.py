import numpy as np
import pytest

torch = pytest.importorskip("torch")

from stroma.core.errors import InvalidData  # noqa: E402
from stroma.regions import SlicOptions, slic, slic_batch  # noqa: E402
from tests.regions.test_superpixels import quadrants, undersegmentation_error  # noqa: E402


@pytest.mark.parametrize("channels", [1, 3, 12, 40])
def test_superpixels_of_a_batch_are_those_of_each_image(channels):
    options = SlicOptions(50, 10.0 if channels == 3 else 0.1)
    images = [quadrants(channels=channels)[0], quadrants(channels=channels)[0][::-1, ::-1] * 3]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    found = slic_batch(batch, options)
    assert found.dtype == torch.int32 and found.shape == (2, 48, 64)
    for one, image in zip(found.numpy(), images, strict=True):
        alone = slic(image.astype(np.float32), options)
        same = one[:, :, None, None] == one[::7, ::9]
        assert (same == (alone[:, :, None, None] == alone[::7, ::9])).mean() > 0.995
        assert abs(int(one.max()) - int(alone.max())) <= 1


def test_an_image_has_the_same_superpixels_in_any_batch():
    image = torch.from_numpy(quadrants(channels=20)[0]).permute(2, 0, 1).float()
    alone = slic_batch(image[None])
    assert torch.equal(slic_batch(torch.stack([image * 0, image, image]))[1:], alone.expand(2, -1, -1))


def test_values_that_are_not_finite_do_not_spread():
    image, truth = quadrants()
    image[2:5, 2:5] = np.nan
    found = slic_batch(torch.from_numpy(image).permute(2, 0, 1)[None], SlicOptions(50, 0.1))
    assert undersegmentation_error(found[0].numpy(), truth) < 0.03


def test_one_superpixel_and_half_precision():
    noise = torch.rand(1, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    assert not slic_batch(noise, SlicOptions(1)).any()
    assert slic_batch(noise.half(), SlicOptions(9)).max() < 81 // 4


@pytest.mark.parametrize("images", [torch.zeros(3, 4, 4), torch.zeros(1, 3, 0, 4), torch.zeros(1, 3, 4, 4).bool()])
def test_other_tensors_are_refused(images):
    with pytest.raises(InvalidData):
        slic_batch(images)


def test_smoothing_is_refused_in_a_batch():
    with pytest.raises(InvalidData, match="smoothing"):
        slic_batch(torch.zeros(1, 3, 9, 9), SlicOptions(4, sigma_px=1.0))
