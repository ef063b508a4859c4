import pytest
import torch

from stroma.losses.dice import DiceCrossEntropy, soft_dice_loss


def batch(seed=0):
    torch.manual_seed(seed)
    labels = torch.randint(0, 3, (2, 5, 6))
    return torch.randn(2, 3, 5, 6, requires_grad=True), labels, torch.rand(2, 5, 6) > 0.3


def test_the_cross_entropy_term_is_that_of_torch_on_annotated_pixels():
    logits, labels, valid = batch()
    masked = labels.masked_fill(~valid, -100)
    expected = torch.nn.functional.cross_entropy(logits, masked)
    loss = DiceCrossEntropy(dice_weight=0)(logits, labels, valid)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_dice_term_by_hand():
    logits = torch.log(torch.tensor([[0.8, 0.2], [0.4, 0.6]]))
    target = torch.tensor([0, 1])
    first = 2 * 0.8 / (0.8**2 + 0.4**2 + 1)
    second = 2 * 0.6 / (0.2**2 + 0.6**2 + 1)
    assert soft_dice_loss(logits, target).item() == pytest.approx(1 - (first + second) / 2)


def test_what_is_not_annotated_has_no_influence():
    logits, labels, valid = batch()
    other = labels.clone()
    other[~valid] = 255
    loss = DiceCrossEntropy()(logits, other, valid)
    assert loss == DiceCrossEntropy()(logits, labels, valid)
    loss.backward()
    assert (logits.grad.movedim(1, -1)[~valid] == 0).all()


def test_a_batch_without_annotation_gives_zero_and_a_gradient():
    logits, labels, valid = batch()
    loss = DiceCrossEntropy()(logits, labels, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_a_perfect_prediction_has_no_loss():
    labels = torch.randint(0, 3, (1, 4, 4))
    logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) * 100.0
    assert DiceCrossEntropy()(logits, labels, torch.ones_like(labels, dtype=torch.bool)) == pytest.approx(0, abs=1e-5)
