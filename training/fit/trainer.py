"""The training loop: set up, train, validate, finish."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.model_file import save_model
from training.config.fit import FitConfig
from training.data import open_dataset
from training.data.base import digest
from training.evaluation.scores import FixedSpacings, SpacingScore, channels_last, mean_dice
from training.fit.allocator import keep_freed_memory
from training.fit.checkpoint import (
    Checkpoint,
    TrainingProgress,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from training.fit.errors import is_process_loss, not_finite, process_lost, worker_died
from training.fit.export import build_model, make_card, trained_card
from training.fit.log import TrainingLog
from training.fit.losses import SegmentationLoss
from training.fit.preflight import (
    check_classes,
    check_resumable,
    checkpoint_to_resume,
    choose_split,
    start_from,
)
from training.fit.report import write_report
from training.fit.run_folder import RunFolder
from training.fit.schedule import learning_rate
from training.fit.signals import Interrupted, StopRequest, stop_requests
from training.fit.validation import scored
from training.sampling.batches import (
    WORKER_DEATHS,
    Batch,
    TrainingBatches,
    is_worker_death,
    prepared,
)
from training.seeding import generator

_PRECISION: dict[str, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def fit(
    config: FitConfig,
    base: Path,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
) -> dict[str, Any] | None:
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
    dict or None
        The report; in one process of several.

    Raises
    ------
    Interrupted
        If a signal stopped the run; it left a checkpoint.
    HyperspaceError
        If the configuration does not fit the data or the run, or the loss is not finite.
    """
    compute = config.compute
    keep_freed_memory()
    if compute.threads:
        torch.set_num_threads(compute.threads)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=compute.device,
        devices=compute.devices,
        strategy="ddp" if compute.devices > 1 else "auto",
        precision=_PRECISION[compute.precision],
    )
    fabric.launch()
    run = RunFolder(out)
    try:
        with stop_requests() as request, run.locked() if fabric.is_global_zero else nullcontext():
            fabric.barrier()
            return Trainer(fabric, config, base, run, resume, init).fit(request)
    except RuntimeError as error:
        if fabric.world_size > 1 and is_process_loss(error):
            raise process_lost(run.path) from error
        raise


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
            dataset.sources(names, config.data.normalization.build())
            for names in (self.split.training, self.split.validation)
        )
        # Once, before there are workers: torch reports a worker's death by an exception anywhere,
        # and within pydantic's code it would be lost.
        self._plain_config = config.model_dump(mode="json")
        self.card = make_card(config, dataset).model_dump(mode="json")
        self.data = digest([*training, *validation])
        self.batches = TrainingBatches(config, training, fabric.global_rank, fabric.world_size)
        names = [label["name"] for label in self.card["labels"]]
        held_back, self.n_validation = scored(config, validation)
        own = held_back[fabric.global_rank :: fabric.world_size]
        self.validation = FixedSpacings(own, config.validation.spacings_mm, names)
        self.reported = own
        self.progress = TrainingProgress()
        self._between_steps = True  # whether state and log belong together
        self._build(checkpoint)

    def _build(self, checkpoint: Checkpoint | None) -> None:
        config, optimizer = self.config, self.config.optimizer
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(config.seed, "weights").integers(1 << 62)))
            self.factory = build_factory(config.network, config.factory)
        if self.init is not None:
            self.card["training"]["started_from"] = start_from(self.factory, config, self.init)
        if checkpoint is not None:
            check_resumable(checkpoint, config, self.data, self.run)
            self.card["training"] |= {
                key: value
                for key, value in checkpoint.card["training"].items()
                if key == "started_from"
            }
            self.factory.load_state_dict(checkpoint.part("factory"))
            self.progress = checkpoint.progress
        self.factory.to(self.fabric.device)
        self.average: Factory | None = None
        if optimizer.ema_decay:
            self.average = copy.deepcopy(self.factory).requires_grad_(False).eval()
        kind = torch.optim.Adam if optimizer.kind == "adam" else torch.optim.AdamW
        fused = self.fabric.device.type in ("cpu", "cuda")
        self.optimizer = kind(
            self.factory.parameters(),
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
            fused=fused,
        )
        if checkpoint is not None:
            if self.average is not None:
                self.average.load_state_dict(checkpoint.part("average"))
            restore_optimizer(self.factory, self.optimizer, checkpoint.part("optimizer"))
        self.loss = SegmentationLoss(config.loss)
        self.model, self.stepper = self.fabric.setup(self.factory, self.optimizer)

    def fit(self, request: StopRequest) -> dict[str, Any] | None:
        """Train to the end, then export and report.

        Parameters
        ----------
        request
            Asked after every step.
        """
        first, steps = self.progress.step, self.config.training.steps
        if self.fabric.is_global_zero:
            self._prepare_folder(first)
        if first < steps and not self._patience_is_over():
            try:
                # Workers are forked before threads for the display and the log exist.
                batches = prepared(self.batches, first, self.config.compute.workers)
                batch = next(batches)
                name, alone = self.config.name, self.fabric.is_global_zero
                with TrainingLog(self.run, name, first, steps, alone) as journal:
                    self._train(batch, batches, request, journal)
            except WORKER_DEATHS as error:
                if not is_worker_death(error):
                    raise
                raise self._worker_died(error, request) from error
        return self._finish()

    def _worker_died(self, error: Exception, request: StopRequest) -> HyperspaceError:
        """Return what to raise; torch reports such a death anywhere, even amid a step."""
        step = self.progress.step
        if self._between_steps:
            self._save([self.run.last])
            if request.number:  # a signal to all processes at once
                return Interrupted(request.number, step)
        return worker_died(self.batches, step, self.config.compute.workers, error)

    def _prepare_folder(self, first: int) -> None:
        self.run.rewind(first)
        if first == 0:
            write_text(self.run.config, json.dumps(self._plain_config, indent=1) + "\n")
            write_text(self.run.split, self.split.to_json())
            self._save([self.run.last])

    def _train(
        self,
        batch: Batch | None,
        batches: Iterator[Batch],
        request: StopRequest,
        journal: TrainingLog,
    ) -> None:
        progress, steps = self.progress, self.config.training.steps
        clock = time.monotonic()
        while batch is not None:
            self._between_steps = False
            loss, norm = self._step(batch)
            progress.step = batch.step + 1
            progress.recent.append(loss)
            now = time.monotonic()
            progress.seconds, clock = progress.seconds + now - clock, now
            journal.display.step(progress.step, loss)
            last = progress.step == steps
            if last or progress.step % self.config.compute.log_every_steps == 0:
                self._log(batch, norm, journal)
            if last or progress.step % self.config.validation.every_steps == 0:
                self._validate(journal)
            self._between_steps = True
            if self._stop(request):
                self._save([self.run.last])
                raise Interrupted(request.number, progress.step)
            if self._patience_is_over():
                journal.display.say(f"stopped early: {progress.stale} validations in vain")
                return
            batch = next(batches, None)

    def _step(self, batch: Batch) -> tuple[float, float]:
        """Do one optimizer step; return loss and gradient norm."""
        config = self.config.optimizer
        rate = learning_rate(config, batch.step, self.config.training.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        image, labels = batch.image.to(self.fabric.device), batch.labels.to(self.fabric.device)
        if self.config.compute.channels_last:
            image = channels_last(image)
        self.model.train()
        logits = self.model(image, batch.spacing_mm)
        loss = self.loss(logits, labels)
        self.fabric.backward(loss)
        parameters = [p for p in self.factory.parameters() if p.grad is not None]
        limit = config.gradient_clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise not_finite(self.batches, batch, logits, value)
        self.stepper.step()
        self.stepper.zero_grad()
        self._update_average()
        return value, norm

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        # A short memory at first, so that the first weights are soon forgotten.
        decay = min(
            self.config.optimizer.ema_decay, (1 + self.progress.step) / (10 + self.progress.step)
        )
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.factory.parameters()), 1 - decay
        )
        for mean, buffer in zip(self.average.buffers(), self.factory.buffers(), strict=True):
            mean.copy_(buffer)

    def _log(self, batch: Batch, norm: float, journal: TrainingLog) -> None:
        progress = self.progress
        loss = sum(progress.recent) / len(progress.recent)
        progress.recent.clear()
        journal.training(
            progress.step,
            loss=loss,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            gradient_norm=norm,
            spacing_mm=batch.spacing_mm,
            seconds=progress.seconds,
        )

    def _validate(self, journal: TrainingLog) -> None:
        progress = self.progress
        started = time.monotonic()
        factory = (self.average or self.factory).eval()
        with self.fabric.autocast():
            scores = self._score(self.validation, factory.bake)
        dice = mean_dice(scores)
        best = dice > progress.best_dice
        progress.stale = 0 if best else progress.stale + 1
        if best:
            progress.best_dice, progress.best_step = dice, progress.step
            progress.scores = [score.to_dict() for score in scores]
        seconds = time.monotonic() - started
        journal.validation(progress.step, dice=dice, best=best, scores=scores, seconds=seconds)
        self._save([self.run.best, self.run.last] if best else [self.run.last])

    def _score(
        self, spacings: FixedSpacings, bake: Callable[[Triple], nn.Module]
    ) -> list[SpacingScore]:
        """Score networks, each process its share of the cases."""
        device = self.fabric.device
        totals = spacings.totals(bake, device, self.config.compute.channels_last)
        return spacings.scores(self._sum(torch.from_numpy(totals)).numpy(), self.n_validation)

    def _stop(self, request: StopRequest) -> bool:
        """Whether any process was asked to stop; all of them learn of it after the same step."""
        if self.fabric.world_size == 1:
            return bool(request.number)
        return bool(self._sum(torch.tensor(float(bool(request.number)))) > 0)

    def _sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over the processes."""
        if self.fabric.world_size == 1:
            return values
        total = self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.cpu()

    def _patience_is_over(self) -> bool:
        patience = self.config.training.patience
        return bool(patience) and self.progress.stale >= patience

    def _save(self, targets: Sequence[Path]) -> None:
        if self.fabric.is_global_zero:
            write_checkpoint(
                targets,
                progress=self.progress,
                config=self._plain_config,
                data=self.data,
                card=self.card,
                factory=self.factory,
                average=self.average,
                optimizer=self.optimizer,
            )

    def _finish(self) -> dict[str, Any] | None:
        """Score the best weights in full precision, export them, write the report."""
        best = read_checkpoint(self.run.best)
        self.factory.load_state_dict(best.weights)
        spacings = FixedSpacings(
            self.reported,
            self.config.validation.report_spacings_mm,
            self.validation.label_names,
        )
        scores = self._score(spacings, self.factory.eval().bake)
        report = None
        if self.fabric.is_global_zero:
            card = trained_card(best, scores)
            save_model(build_model(best, card), self.run.model)
            report = write_report(self.run, best, scores)
        self.fabric.barrier()
        return report
