"""Dice loss and cross-entropy over the voxels with a known label."""

from __future__ import annotations

import torch
from monai.losses.dice import MaskedDiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from training.config.fit import LossSection
from training.data.labels import OUTSIDE


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
        self.dice = MaskedDiceLoss(
            include_background=config.include_background,
            batch=config.whole_batch,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (B, K, D, H, W) against labels (B, D, H, W), a scalar."""
        logits = logits.float()
        target = labels.long()
        known = (target != OUTSIDE)[:, None]  # (B, 1, D, H, W)
        total = logits.new_zeros(())
        if self.config.cross_entropy_weight:
            # The mean reduction is NaN if no label is known, such as between labeled slices.
            entropy = F.cross_entropy(logits, target, ignore_index=OUTSIDE, reduction="sum")
            entropy = entropy / known.sum().clamp(min=1)
            total = total + self.config.cross_entropy_weight * entropy
        if self.config.dice_weight:
            one_hot = torch.zeros_like(logits).scatter_(1, target.clamp(min=0)[:, None], 1.0)
            dice = self.dice(logits.softmax(dim=1), one_hot, known)
            total = total + self.config.dice_weight * dice
        return total
