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

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits
            (B, K, D, H, W).
        labels
            Hard: (B, D, H, W) integer, `OUTSIDE` where unknown. Soft: (B, K, D, H, W), the fraction
            of each class; all 0 where unknown.
        """
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
