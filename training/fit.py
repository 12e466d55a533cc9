"""The training loop: set up, train, validate, finish."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.nets.hypernetwork import build_factory
from napari_hyperspace.nets.model_file import save_model
from training.batches import Batch, TrainingBatches, prepared, worker_died
from training.checkpoint import (
    Checkpoint,
    Progress,
    read_checkpoint,
    restore_optimiser,
    write_checkpoint,
)
from training.config import FitConfig
from training.data import open_dataset
from training.data.base import Case, digest
from training.display import Display
from training.export import build_model, make_card, trained_card
from training.interrupt import Interrupted, StopRequest, stop_requests
from training.losses import SegmentationLoss
from training.random import generator
from training.report import write_report
from training.run import RunFolder, write_text
from training.schedule import learning_rate
from training.setup import (
    check_classes,
    check_resumable,
    checkpoint_to_resume,
    choose_split,
    start_from,
)
from training.scores import FixedSpacings, SpacingScore, mean_dice

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def fit(
    config: FitConfig,
    base: Path,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
) -> Path:
    """Train a model.

    Parameters
    ----------
    config
        What to train.
    base
        Folder that the configuration's relative paths start from.
    out
        Folder of the run.
    resume
        Whether to go on from the run's last checkpoint.
    init
        Model file to start the weights from.

    Returns
    -------
    Path
        The exported model file.

    Raises
    ------
    Interrupted
        If a signal stopped the run; it left a checkpoint.
    HyperspaceError
        If the configuration does not fit the data or the run, or the loss is not finite.
    """
    compute = config.compute
    if compute.threads:
        torch.set_num_threads(compute.threads)
    fabric = Fabric(
        accelerator=compute.device,
        devices=compute.devices,
        strategy="ddp" if compute.devices > 1 else "auto",
        precision=_PRECISION[compute.precision],
    )
    fabric.launch()
    run = RunFolder(out)
    with stop_requests() as request:
        if not fabric.is_global_zero:
            fabric.barrier()
            return Trainer(fabric, config, base, run, resume, init).fit(request)
        with run.locked():
            fabric.barrier()
            return Trainer(fabric, config, base, run, resume, init).fit(request)


class Trainer:
    """One run in one process. Parameters as those of `fit`."""

    def __init__(
        self,
        fabric: Fabric,
        config: FitConfig,
        base: Path,
        run: RunFolder,
        resume: bool,
        init: str | os.PathLike[str] | None,
    ) -> None:
        self.fabric, self.config, self.run, self.init = fabric, config, run, init
        checkpoint = checkpoint_to_resume(run, resume, init)
        dataset = open_dataset(config.data, base)
        check_classes(config, dataset)
        self.split = choose_split(config, base, dataset)
        training, validation = (
            dataset.load(names, config.data.normalisation.build())
            for names in (self.split.training, self.split.validation)
        )
        self.card = make_card(config, dataset).model_dump(mode="json")
        self.data = digest([*training, *validation])
        self.batches = TrainingBatches(config, training, fabric.global_rank, fabric.world_size)
        own = validation[fabric.global_rank :: fabric.world_size]
        names = [label["name"] for label in self.card["labels"]]
        self.n_validation = len(validation)
        self.validation = FixedSpacings(own, config.validation.spacings_mm, names)
        self.reported: list[Case] = own
        self.label_names = names
        self.progress = Progress()
        self._build(checkpoint)

    def _build(self, checkpoint: Checkpoint | None) -> None:
        config, optimiser = self.config, self.config.optimiser
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(config.seed, "weights").integers(1 << 62)))
            self.factory = build_factory(config.network, config.factory)
        if self.init is not None:
            start_from(self.factory, config, self.init)
        if checkpoint is not None:
            check_resumable(checkpoint, config, self.data, self.run)
            self.factory.load_state_dict(checkpoint.part("factory"))
            self.progress = checkpoint.progress
        self.factory.to(self.fabric.device)
        self.average: nn.Module | None = None
        if optimiser.ema_decay:
            self.average = copy.deepcopy(self.factory).requires_grad_(False).eval()
        kind = torch.optim.Adam if optimiser.kind == "adam" else torch.optim.AdamW
        fused = self.fabric.device.type in ("cpu", "cuda")
        self.optimiser = kind(
            self.factory.parameters(),
            lr=optimiser.learning_rate,
            betas=optimiser.betas,
            weight_decay=optimiser.weight_decay,
            fused=fused,
        )
        if checkpoint is not None:
            if self.average is not None:
                self.average.load_state_dict(checkpoint.part("average"))
            restore_optimiser(self.factory, self.optimiser, checkpoint.part("optimiser"))
        self.loss = SegmentationLoss(config.loss)
        self.model, self.stepper = self.fabric.setup(self.factory, self.optimiser)

    def fit(self, request: StopRequest) -> Path:
        """Train to the end, then export and report.

        Parameters
        ----------
        request
            Asked after every step.
        """
        first, steps = self.progress.step, self.config.training.steps
        if self.fabric.is_global_zero:
            self._prepare_folder(first)
        stopped_early = self._patience_is_over()
        if first < steps and not stopped_early:
            # Workers are forked here, before threads for the display and the log exist.
            batches = prepared(self.batches, first, self.config.compute.workers)
            batch = next(batches)
            display = Display(self.config.name, first, steps, self.fabric.is_global_zero)
            with self._writer() as writer, display:
                self._train(batch, batches, request, display, writer)
        return self._finish()

    def _prepare_folder(self, first: int) -> None:
        self.run.rewind(first)
        if first == 0:
            write_text(self.run.config, json.dumps(self._plain_config(), indent=1) + "\n")
            write_text(self.run.split, self.split.to_json())
            self._save([self.run.last])

    def _writer(self) -> SummaryWriter:
        if self.fabric.is_global_zero:
            return SummaryWriter(self.run.tensorboard, purge_step=self.progress.step)
        return _NoWriter()

    def _train(
        self,
        batch: Batch | None,
        batches: Any,
        request: StopRequest,
        display: Display,
        writer: SummaryWriter,
    ) -> None:
        progress, every = self.progress, self.config.validation.every_steps
        steps = self.config.training.steps
        clock = time.monotonic()
        try:
            while batch is not None:
                loss, norm = self._step(batch)
                progress.step = batch.step + 1
                progress.recent.append(loss)
                now = time.monotonic()
                progress.seconds, clock = progress.seconds + now - clock, now
                display.step(progress.step, loss)
                self._log(batch, norm, writer)
                if progress.step % every == 0 or progress.step == steps:
                    self._validate(display, writer)
                if self._stop(request):
                    self._save([self.run.last])
                    raise Interrupted(request.number, progress.step)
                if self._patience_is_over():
                    display.say(f"no improvement in {progress.stale} validations: stopped early")
                    return
                batch = next(batches, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise worker_died(
                self.batches, progress.step, self.config.compute.workers, error
            ) from error

    def _step(self, batch: Batch) -> tuple[float, float]:
        """Do one optimiser step; return loss and gradient norm."""
        config = self.config.optimiser
        rate = learning_rate(config, batch.step, self.config.training.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        image, labels = batch.image.to(self.fabric.device), batch.labels.to(self.fabric.device)
        if self.config.compute.channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        self.model.train()
        logits = self.model(image, batch.spacing_mm)
        loss = self.loss(logits, labels)
        self.fabric.backward(loss)
        parameters = [p for p in self.factory.parameters() if p.grad is not None]
        limit = config.gradient_clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise self._not_finite(batch, logits, value)
        self.stepper.step()
        self.stepper.zero_grad()
        self._update_average()
        return value, norm

    def _not_finite(self, batch: Batch, logits: Tensor, loss: float) -> HyperspaceError:
        sound = torch.isfinite(logits.detach()).flatten(1).all(dim=1).tolist()
        guilty = [name for name, good in zip(batch.names, sound, strict=True) if not good]
        z, y, x = batch.spacing_mm
        return HyperspaceError(
            f"loss or gradient is not finite at step {batch.step}; the step was not made",
            field="cases",
            found=f"loss {loss} at {z:.2f} × {y:.2f} × {x:.2f} mm, cases "
            + ", ".join(guilty or self.batches.names(batch.step)),
            fix="Look at these cases, or lower optimiser.learning_rate; the last checkpoint is good",
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        # A short memory at first, so that the first weights are soon forgotten.
        decay = min(
            self.config.optimiser.ema_decay, (1 + self.progress.step) / (10 + self.progress.step)
        )
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.factory.parameters()), 1 - decay
        )
        for mean, buffer in zip(self.average.buffers(), self.factory.buffers(), strict=True):
            mean.copy_(buffer)

    def _validate(self, display: Display, writer: SummaryWriter) -> None:
        progress = self.progress
        started = time.monotonic()
        scores = self._score(self.validation)
        dice = mean_dice(scores)
        best = dice > progress.best_dice
        progress.stale = 0 if best else progress.stale + 1
        if best:
            progress.best_dice, progress.best_step = dice, progress.step
            progress.scores = [score.to_dict() for score in scores]
        if not self.fabric.is_global_zero:
            return
        display.validated(progress.step, dice, best)
        self.run.append(
            {
                "event": "validation",
                "step": progress.step,
                "dice": dice,
                "seconds": round(time.monotonic() - started, 2),
                "spacings": [score.to_dict() for score in scores],
            }
        )
        writer.add_scalar("validation/dice", dice, progress.step)
        for score in scores:
            place = "x".join(f"{s:g}" for s in score.spacing_mm)
            writer.add_scalar(f"validation/dice at {place} mm", score.mean, progress.step)
        self._save([self.run.best, self.run.last] if best else [self.run.last])

    def _score(self, spacings: FixedSpacings) -> list[SpacingScore]:
        """Score the weights to be exported, cases shared among the processes."""
        factory = (self.average or self.factory).eval()

        def bake(spacing_mm: Triple) -> nn.Module:
            return factory.bake(spacing_mm)

        with self.fabric.autocast():
            totals = spacings.totals(bake, self.fabric.device, self.config.compute.channels_last)
        summed = self.fabric.all_reduce(
            torch.from_numpy(totals).to(self.fabric.device), reduce_op="sum"
        )
        return spacings.scores(summed.cpu().numpy(), self.n_validation)

    def _log(self, batch: Batch, norm: float, writer: SummaryWriter) -> None:
        progress, every = self.progress, self.config.compute.log_every_steps
        if progress.step % every and progress.step != self.config.training.steps:
            return
        loss = sum(progress.recent) / len(progress.recent)
        progress.recent.clear()
        if not self.fabric.is_global_zero:
            return
        rate = self.optimiser.param_groups[0]["lr"]
        self.run.append(
            {
                "event": "training",
                "step": progress.step,
                "loss": loss,
                "learning_rate": rate,
                "gradient_norm": norm,
                "spacing_mm": [round(step, 4) for step in batch.spacing_mm],
                "seconds": round(progress.seconds, 2),
            }
        )
        writer.add_scalar("training/loss", loss, progress.step)
        writer.add_scalar("training/learning rate", rate, progress.step)

    def _stop(self, request: StopRequest) -> bool:
        """Whether any process was asked to stop; all of them learn of it after the same step."""
        if self.fabric.world_size == 1:
            return bool(request.number)
        flag = torch.tensor(float(bool(request.number)), device=self.fabric.device)
        return bool(self.fabric.all_reduce(flag, reduce_op="sum") > 0)

    def _patience_is_over(self) -> bool:
        patience = self.config.training.patience
        return bool(patience) and self.progress.stale >= patience

    def _save(self, targets: Sequence[Path]) -> None:
        if self.fabric.is_global_zero:
            write_checkpoint(
                targets,
                progress=self.progress,
                config=self._plain_config(),
                data=self.data,
                card=self.card,
                factory=self.factory,
                average=self.average,
                optimiser=self.optimiser,
            )

    def _plain_config(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def _finish(self) -> Path:
        """Score the best weights in full precision, export them, write the report."""
        best = read_checkpoint(self.run.best)
        self.factory.load_state_dict(best.weights)
        spacings = FixedSpacings(
            self.reported, self.config.validation.report_spacings_mm, self.label_names
        )
        factory = self.factory.eval()
        totals = spacings.totals(factory.bake, self.fabric.device)
        summed = self.fabric.all_reduce(
            torch.from_numpy(totals).to(self.fabric.device), reduce_op="sum"
        )
        scores = spacings.scores(summed.cpu().numpy(), self.n_validation)
        if self.fabric.is_global_zero:
            card = trained_card(best, scores)
            save_model(build_model(best, card), self.run.model)
            write_report(self.run, best, scores)
        self.fabric.barrier()
        return self.run.model


class _NoWriter:
    """Takes the place of the TensorBoard writer in all processes but the first."""

    def __enter__(self) -> _NoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add_scalar(self, *values: object) -> None:
        """Write nothing."""
