"""The loss against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("monai")

from training.config.fit import LossSection
from training.config.head import SignedDistanceHead
from training.data.labels import OUTSIDE
from training.fit.losses import ConsistentLoss, SegmentationLoss, SignedDistanceLoss
from training.sampling.distances import distance_targets
from training.sampling.guidance import CoarseGrid


@pytest.mark.parametrize("whole_batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_loss_against_its_definition(
    rng: np.random.Generator, whole_batch: bool, background: bool
) -> None:
    logits = torch.from_numpy(rng.normal(size=(2, 3, 4, 5, 3)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(-1, 3, (2, 4, 5, 3)).astype(np.int16))
    config = LossSection(
        include_background=background, whole_batch=whole_batch, cross_entropy_weight=0.5
    )
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    known = labels.numpy() != OUTSIDE
    truth = np.stack([labels.numpy() == k for k in range(3)], axis=1)
    picked = (p * truth).sum(axis=1)[known]
    axes = (0, 2, 3, 4) if whole_batch else (2, 3, 4)
    both = (p * truth).sum(axis=axes)
    total = (p * known[:, None]).sum(axis=axes) + truth.sum(axis=axes)
    dice = 1 - (2 * both + 1) / (total + 1)
    expected = (dice if background else dice[..., 1:]).mean() - 0.5 * np.log(picked).mean()
    # In float32, a sum over all voxels has at most one rounding error per term.
    bound = known.size * float(np.finfo(np.float32).eps)
    loss = float(SegmentationLoss(config)(logits, labels))
    assert loss == pytest.approx(expected, rel=bound)


def test_unknown_voxels_get_no_gradient(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(size=(1, 3, 4, 5, 3)).astype(np.float32)).requires_grad_()
    labels = torch.ones(1, 4, 5, 3, dtype=torch.int16)
    labels[0, 2] = OUTSIDE
    SegmentationLoss(LossSection())(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, 2] == 0).all()
    assert (logits.grad[:, :, 0] != 0).all()


@pytest.mark.parametrize("whole_batch", [False, True])
def test_the_loss_of_soft_labels_against_its_definition(
    rng: np.random.Generator, whole_batch: bool
) -> None:
    logits = torch.from_numpy(rng.normal(size=(2, 3, 4, 5, 3)).astype(np.float32))
    fractions = rng.dirichlet((0.3, 0.3, 0.3), size=(2, 4, 5, 3))
    fractions[:, 1] = 0  # unknown
    labels = torch.from_numpy(np.moveaxis(fractions, -1, 1).astype(np.float32))
    config = LossSection(whole_batch=whole_batch, cross_entropy_weight=0.5)
    truth = labels.double().numpy()
    known = truth.sum(axis=1, keepdims=True) > 0
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    entropy = -(truth * np.log(p)).sum() / known.sum()
    axes = (0, 2, 3, 4) if whole_batch else (2, 3, 4)
    sizes = (p * known).sum(axis=axes) + truth.sum(axis=axes)
    apart = np.abs((p - truth) * known).sum(axis=axes)
    dice = 1 - (sizes - apart + 1) / (sizes + 1)  # 0 where the probabilities are the fractions
    expected = dice[..., 1:].mean() + 0.5 * entropy
    bound = known.size * float(np.finfo(np.float32).eps)
    loss = float(SegmentationLoss(config)(logits, labels))
    assert loss == pytest.approx(expected, rel=bound)


def test_soft_and_hard_forms_agree_on_hard_labels(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(size=(1, 3, 4, 5, 3)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(-1, 3, (1, 4, 5, 3)).astype(np.int16))
    one_hot = torch.stack([labels == k for k in range(3)], dim=1).float()
    loss = SegmentationLoss(LossSection())
    bound = labels.numel() * float(np.finfo(np.float32).eps)
    assert float(loss(logits, one_hot)) == pytest.approx(float(loss(logits, labels)), rel=bound)


def test_the_loss_of_signed_distances_against_its_definition(rng: np.random.Generator) -> None:
    spacing, clip = (2.0, 0.7, 1.3), 3.0
    head = SignedDistanceHead(
        kind="signed-distance",
        clip_mm=clip,
        temperature_mm=0.5,
        gradient_weight=0.1,
        variation_weight=0.01,
    )
    logits = torch.from_numpy(rng.normal(0, 6, size=(2, 3, 4, 5, 3)).astype(np.float32))
    targets = torch.from_numpy(rng.normal(0, 3, size=logits.shape).astype(np.float32))
    targets = targets.clamp(-clip, clip)
    targets[:, :, 1] = torch.nan
    distances, truth = -0.5 * logits.double().numpy(), targets.double().numpy()
    known = np.isfinite(truth)
    expected = np.abs(distances - truth)[known].mean()
    clipped = distances.clip(-clip, clip)
    gradient = [
        np.diff(clipped, axis=axis)[:, :, :3, :4, :2] / step
        for axis, step in zip((2, 3, 4), spacing, strict=True)
    ]
    norm = np.sqrt(np.square(gradient).sum(axis=0))
    inside = known[:, :, :3, :4, :2]
    near = inside & (np.abs(np.nan_to_num(truth))[:, :, :3, :4, :2] < clip)
    expected += 0.1 * np.square(norm - 1)[near].mean() + 0.01 * norm[inside].mean()
    # Each term sums the voxels, and magnifies differences of distances by less than 1/0.7 squared.
    bound = 8 * known.size * float(np.finfo(np.float32).eps)
    loss = float(SignedDistanceLoss(head)(logits, targets, spacing))
    assert loss == pytest.approx(expected, rel=bound)


def test_true_distances_have_no_gradient_loss() -> None:
    """A plane at half a voxel: the regression and the gradient's norm are exact at any spacing."""
    spacing = (2.0, 0.7, 1.3)
    plane = (torch.arange(6.0) - 2.5) * spacing[1]
    targets = plane.view(1, 1, 1, 6, 1).expand(1, 1, 4, 6, 3).contiguous()
    head = SignedDistanceHead(kind="signed-distance", variation_weight=0.0)
    loss = SignedDistanceLoss(head)(-targets, targets, spacing)
    assert float(loss) < 1e-6  # differences of float32 distances of a few mm


def test_flat_distances_have_a_finite_gradient() -> None:
    logits = torch.zeros(1, 2, 3, 3, 3, requires_grad=True)
    head = SignedDistanceHead(kind="signed-distance")
    SignedDistanceLoss(head)(logits, torch.ones_like(logits), (1.0, 1.0, 1.0)).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_consistency_is_the_dice_of_averages_over_a_coarse_grid() -> None:
    """Against average pooling, on a grid whose voxels are blocks of the sample."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 6, 8, 4)
    labels = torch.randint(0, 3, (2, 6, 8, 4), dtype=torch.int16)
    grid = CoarseGrid((2.0, 3.0, 4.0), (0.5, 0.75, 1.0))  # blocks of 2 × 2 × 2 voxels
    base = SegmentationLoss(LossSection())
    plain = base(logits, labels)
    found = ConsistentLoss(base, 0.5)(logits, labels, (1.0, 1.5, 2.0), [grid, grid])
    one_hot = F.one_hot(labels.long(), 3).movedim(-1, 1).double()
    p, t = (F.avg_pool3d(x, 2)[:, 1:] for x in (logits.double().softmax(dim=1), one_hot))
    shared = torch.minimum(p, t).sum(dim=(2, 3, 4))
    total = p.sum(dim=(2, 3, 4)) + t.sum(dim=(2, 3, 4))
    expected = (1 - (2 * shared + 1) / (total + 1)).mean()
    torch.testing.assert_close(found - plain, 0.5 * expected.float())


@pytest.mark.parametrize("phase", [0.0, 0.3, 1.9])
def test_a_perfect_result_is_consistent_on_any_grid(phase: float) -> None:
    labels = torch.zeros(1, 9, 7, 8, dtype=torch.int16)
    labels[:, 2:6, 1:5, 3:] = 1
    labels[:, -1] = OUTSIDE
    logits = 60 * F.one_hot(labels.long().clamp(min=0), 2).movedim(-1, 1).float()
    logits[:, :, -1] = torch.tensor([0.0, 60.0]).view(1, 2, 1, 1)  # where nothing is known
    grid = CoarseGrid((2.3, 3.1, 2.0), (phase, -phase, 2 * phase))
    base = SegmentationLoss(LossSection())
    found = ConsistentLoss(base, 1.0)(logits, labels, (1.0, 1.0, 1.0), [grid])
    assert float(found - base(logits, labels)) == pytest.approx(0, abs=1e-5)
    worse = logits.roll(2, dims=2)
    assert (
        float(
            ConsistentLoss(base, 1.0)(worse, labels, (1.0, 1.0, 1.0), [grid]) - base(worse, labels)
        )
        > 0.1
    )


def test_distances_are_consistent_by_their_soft_assignment() -> None:
    labels = torch.zeros(10, 9, 8, dtype=torch.int16)
    labels[3:7, 2:7, 2:6] = 1
    targets = distance_targets(labels, (1.0, 1.0, 1.0), 2, 4.0)[None]
    grid = CoarseGrid((2.0, 2.0, 2.0), (0.5, 0.5, 0.5))
    consistencies = []
    for temperature in (2.0, 0.5, 0.02):
        head = SignedDistanceHead(kind="signed-distance", clip_mm=4.0, temperature_mm=temperature)
        base, logits = SignedDistanceLoss(head), -targets / temperature
        consistent = ConsistentLoss(base, 1.0)
        value = consistent(logits, targets, (1, 1, 1), [grid]) - base(logits, targets, (1, 1, 1))
        consistencies.append(float(value))
    assert consistencies == sorted(consistencies, reverse=True)
    assert consistencies[-1] == pytest.approx(0, abs=1e-5)


def test_gradients_of_the_consistency_reach_all_foreground_logits() -> None:
    logits = torch.randn(1, 3, 5, 6, 7, requires_grad=True)
    labels = torch.randint(0, 3, (1, 5, 6, 7), dtype=torch.int16)
    base = SegmentationLoss(LossSection(dice_weight=0.0, cross_entropy_weight=0.0))
    grid = CoarseGrid((2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    ConsistentLoss(base, 1.0)(logits, labels, (1.0, 1.0, 1.0), [grid]).backward()
    assert logits.grad is not None and (logits.grad != 0).all()
