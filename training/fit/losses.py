"""The losses of training, over the voxels with a known label."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses.dice import DiceLoss, MaskedDiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from napari_hyperspace.core.separable import resample_axes
from training.config.fit import FitConfig, LossSection
from training.config.head import ClassConditionalHead, SignedDistanceHead
from training.data.labels import OUTSIDE
from training.sampling.guidance import CoarseGrid


class SegmentationLoss(nn.Module):
    """Weighted sum of MONAI's soft Dice loss and cross-entropy.

    Parameters
    ----------
    config
        Weights, and how the Dice loss is computed.
    """

    def __init__(self, config: LossSection) -> None:
        super().__init__()
        self.config = config
        # The form for soft labels has the same value for hard ones, but other rounding.
        self.dice, self.soft_dice = (
            MaskedDiceLoss(
                include_background=config.include_background,
                batch=config.whole_batch,
                smooth_nr=1.0,
                smooth_dr=1.0,
                soft_label=soft,
            )
            for soft in (False, True)
        )

    def forward(self, logits: Tensor, labels: Tensor, spacing_mm: Sequence[float] = ()) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits
            (B, K, D, H, W).
        labels
            Hard: (B, D, H, W) integer, `OUTSIDE` where unknown. Soft: (B, K, D, H, W), the fraction
            of each class; all 0 where unknown.
        spacing_mm
            Not used.
        """
        del spacing_mm
        logits = logits.float()
        soft = labels.ndim == logits.ndim
        if soft:
            fractions, known = labels, labels.sum(dim=1, keepdim=True) > 0  # (B, 1, D, H, W)
        else:
            target = labels.long()
            known = (target != OUTSIDE)[:, None]
            fractions = torch.zeros_like(logits).scatter_(1, target.clamp(min=0)[:, None], 1.0)
        total = logits.new_zeros(())
        if self.config.cross_entropy_weight:
            # The mean reduction is NaN if no label is known, such as between labeled slices.
            if soft:
                entropy = -(fractions * logits.log_softmax(dim=1)).sum()
            else:
                entropy = F.cross_entropy(logits, target, ignore_index=OUTSIDE, reduction="sum")
            entropy = entropy / known.sum().clamp(min=1)
            total = total + self.config.cross_entropy_weight * entropy
        if self.config.dice_weight:
            dice = (self.soft_dice if soft else self.dice)(logits.softmax(dim=1), fractions, known)
            total = total + self.config.dice_weight * dice
        return total


class SignedDistanceLoss(nn.Module):
    """Regression of signed distances (Hu et al., HighSeg, 2025, equations 3 to 5).

    The mean absolute difference from the targets, plus weighted terms of the predicted distances,
    clipped like the targets: the squared difference of the gradient's norm from 1 (where targets
    are not clipped: the gradient is 0 elsewhere), and the total variation. Gradients are forward
    differences per mm.

    Parameters
    ----------
    config
        Clipping distance, temperature and weights.
    """

    def __init__(self, config: SignedDistanceHead) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, targets: Tensor, spacing_mm: Sequence[float]) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits
            (B, K, D, H, W), the negative distances divided by the temperature.
        targets
            (B, K, D, H, W) distances in mm; NaN where unknown.
        spacing_mm
            Spacing of the grid (z, y, x).
        """
        config = self.config
        distances = -config.temperature_mm * logits.float()
        known = targets.isfinite()
        difference = (distances - targets.nan_to_num()).abs() * known
        total = difference.sum() / known.sum().clamp(min=1)
        if not (config.gradient_weight or config.variation_weight):
            return total
        clipped = distances.clamp(-config.clip_mm, config.clip_mm)
        squares = torch.zeros((), device=logits.device)
        first = (..., slice(None, -1), slice(None, -1), slice(None, -1))
        for axis, step in zip((-3, -2, -1), spacing_mm, strict=True):
            change = clipped.roll(-1, axis)[first] - clipped[first]
            squares = squares + (change / step) ** 2
        norm = (squares + _TINY).sqrt()
        inside = known[first]
        near = inside & (targets[first].nan_to_num().abs() < config.clip_mm)
        eikonal = ((norm - 1) ** 2 * near).sum() / near.sum().clamp(min=1)
        variation = (norm * inside).sum() / inside.sum().clamp(min=1)
        return total + config.gradient_weight * eikonal + config.variation_weight * variation


_TINY = 1e-12  # the gradient of a square root is infinite at 0


class ConsistentLoss(nn.Module):
    """A loss, plus the consistency of the result with the labels on coarse grids.

    The classes of the result (the softmax of the logits; with signed distances, that is the soft
    assignment of equation 2 in Hu et al., 2025) and those of the labels are averaged over the
    voxels of each sample's coarse grid. The consistency is their soft Dice loss, without the
    background. Both are averaged over the same voxels of the sample, so that it is 0 for a perfect
    result, whatever the grid.

    Parameters
    ----------
    loss
        The loss.
    weight
        Weight of the consistency.
    """

    def __init__(self, loss: SegmentationLoss | SignedDistanceLoss, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight
        self.dice = DiceLoss(
            include_background=False, soft_label=True, smooth_nr=1.0, smooth_dr=1.0
        )

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        spacing_mm: Sequence[float],
        grids: Sequence[CoarseGrid] = (),
    ) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits, targets, spacing_mm
            As in the loss.
        grids
            Coarse grid of each sample; none: only the loss.
        """
        total: Tensor = self.loss(logits, targets, spacing_mm)
        if not grids:
            return total
        shares = logits.float().softmax(dim=1)
        classes, known = _classes_of(targets)
        truth = torch.zeros_like(shares).scatter_(1, classes[:, None], 1.0)
        pairs = torch.stack([shares, truth], dim=1) * known[:, None, None]
        parts = []
        for pair, grid in zip(pairs, grids, strict=True):  # (2, K, D, H, W)
            coarse = resample_axes(pair, grid.matrices(pair.shape[2:], spacing_mm))
            parts.append(self.dice(coarse[:1], coarse[1:]))
        return total + self.weight * torch.stack(parts).mean()


def _classes_of(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return classes (B, D, H, W) and where they are known, of labels or of distances."""
    if targets.ndim == 4:
        return targets.long().clamp(min=0), targets != OUTSIDE
    return targets.nan_to_num().argmin(dim=1), targets[:, 0].isfinite()


Loss = SegmentationLoss | SignedDistanceLoss | ConsistentLoss


def make_loss(config: FitConfig) -> Loss:
    """Return the loss of a configuration."""
    head, loss = config.head, _plain_loss(config)
    weight = 0.0
    if config.guidance is not None:
        weight = config.guidance.consistency_weight
    elif isinstance(head, ClassConditionalHead):
        weight = head.consistency_weight
    return ConsistentLoss(loss, weight) if weight else loss


def _plain_loss(config: FitConfig) -> SegmentationLoss | SignedDistanceLoss:
    if isinstance(config.head, SignedDistanceHead):
        return SignedDistanceLoss(config.head)
    return SegmentationLoss(config.loss)
