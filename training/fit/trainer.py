"""Train a model: setup, training steps, validations, export and report."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

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
from training.evaluation.scores import FixedSpacings, SpacingScore, channels_last, mean_dice
from training.fit.checkpoint import (
    Checkpoint,
    TrainingProgress,
    read_checkpoint,
    restore_optimizer,
    state_tensors,
    write_checkpoint,
)
from training.fit.errors import (
    NotFiniteError,
    ProcessLostError,
    WorkerDiedError,
    is_process_loss,
)
from training.fit.export import build_model, trained_card
from training.fit.log import TrainingLog
from training.fit.losses import ConsistentLoss, make_loss
from training.fit.optimization import learning_rate, make_average, make_optimizer
from training.fit.preflight import RunInputs, check_devices, read_inputs
from training.fit.processes import start_fabric
from training.fit.report import TrainingReport, write_report
from training.fit.run_folder import RunFolder
from training.fit.signals import Interrupted, StopRequest, stop_requests
from training.fit.validation import validation_cases
from training.sampling.batches import (
    WORKER_DEATHS,
    Batch,
    TrainingBatches,
    is_worker_death,
    prepared,
)
from training.seeding import generator


def fit(
    config: FitConfig,
    base: Path,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
) -> TrainingReport | None:
    """Train a model.

    Parameters
    ----------
    config
        Configuration of the run.
    base
        Folder that relative paths in the configuration start from.
    out
        Folder of the run.
    resume
        Whether to continue from the last checkpoint of the run.
    init
        Model file to start the weights from.

    Returns
    -------
    dict or None
        The report; `None` in all but the first of several processes.

    Raises
    ------
    Interrupted
        If a signal stopped the run; it left a checkpoint.
    HyperspaceError
        If configuration, data and run do not fit each other, or the loss is not finite.
    """
    check_devices(config.compute)
    fabric = start_fabric(config.compute)
    run = RunFolder(out)
    try:
        with stop_requests() as request, run.locked() if fabric.is_global_zero else nullcontext():
            fabric.barrier()
            inputs = read_inputs(config, base, run, resume=resume, init=init)
            return Trainer(fabric, config, run, inputs).fit(request)
    except RuntimeError as error:
        if fabric.world_size > 1 and is_process_loss(error):
            raise ProcessLostError(run.path) from error
        raise


class Trainer:
    """One process of a run.

    Parameters
    ----------
    fabric
        Device, precision and processes.
    config
        Configuration of the run.
    run
        Folder of the run.
    inputs
        What the run starts from.
    """

    # Setup

    def __init__(
        self, fabric: Fabric, config: FitConfig, run: RunFolder, inputs: RunInputs
    ) -> None:
        self.fabric, self.config, self.run = fabric, config, run
        self.split, self.data = inputs.split, inputs.data
        # Plain data is made here, before there are workers: torch reports the death of a worker by
        # an exception in whatever code is running, and pydantic would not pass it on.
        self._plain_config = config.model_dump(mode="json")
        self._plain_card = inputs.card.model_dump(mode="json")
        rank, world_size = fabric.global_rank, fabric.world_size
        self.batches = TrainingBatches(config, inputs.training, rank, world_size, inputs.held_out)
        cases, self.n_validation = validation_cases(config, inputs.validation, inputs.held_out)
        self.validation_share = cases[rank::world_size]
        self.label_names = [label.name for label in inputs.card.labels]
        self.validation = self._fixed_spacings(config.validation.spacings_mm)
        self.factory = self._make_factory(inputs)
        self.optimizer = make_optimizer(config.optimizer, self.factory)
        checkpoint = inputs.checkpoint
        self.progress = TrainingProgress() if checkpoint is None else checkpoint.progress
        decay = config.optimizer.ema_decay
        self.average = make_average(decay, self.factory, self.progress.step) if decay else None
        if checkpoint is not None:
            if self.average is not None:
                checkpoint.load_into(self.average.module, checkpoint.part("average"))
            restore_optimizer(self.factory, self.optimizer, checkpoint.part("optimizer"))
        self.loss = make_loss(config)
        self.model, self.stepper = fabric.setup(self.factory, self.optimizer)
        self._between_steps = True  # whether the state is that of the last log entry

    def _make_factory(self, inputs: RunInputs) -> Factory:
        """Build the factory with its initial weights, or those of a model or checkpoint."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.config.seed, "weights").integers(1 << 62)))
            factory = build_factory(self.config.network, self.config.factory)
        if inputs.initial is not None:
            factory.load_state_dict(inputs.initial.factory.state_dict())
        if inputs.checkpoint is not None:
            inputs.checkpoint.load_into(factory, inputs.checkpoint.part("factory"))
        return factory.to(self.fabric.device)

    def _fixed_spacings(self, spacings_mm: Sequence[Triple]) -> FixedSpacings:
        """Return this process's share of the validation cases at some spacings."""
        return FixedSpacings(self.validation_share, spacings_mm, self.label_names)

    # Fit

    def fit(self, request: StopRequest) -> TrainingReport | None:
        """Train to the end, then export and report.

        Parameters
        ----------
        request
            Read after every step.
        """
        first, steps = self.progress.step, self.config.training.steps
        if self.fabric.is_global_zero:
            self._prepare_folder(first)
        if first < steps and not self._patience_is_over():
            try:
                # Workers are forked before the progress display and the log start threads.
                batches = prepared(self.batches, first, self.config.compute.workers)
                batch = next(batches)
                name, enabled = self.config.name, self.fabric.is_global_zero
                with TrainingLog(self.run, name, first, steps, enabled) as log:
                    self._train(batch, batches, request, log)
            except WORKER_DEATHS as error:
                if not is_worker_death(error):
                    raise
                raise self._worker_died(error, request) from error
        return self._finish()

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
        log: TrainingLog,
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
            log.progress.step(progress.step, loss)
            last = progress.step == steps
            if last or progress.step % self.config.compute.log_every_steps == 0:
                self._log(batch, norm, log)
            if last or progress.step % self.config.validation.every_steps == 0:
                self._validate(log)
            self._between_steps = True
            if self._stop(request):
                self._save([self.run.last])
                raise Interrupted(request.number, progress.step)
            if self._patience_is_over():
                log.progress.message(
                    f"stopped early: no improvement over {progress.stale} validations"
                )
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
        logits = self.model(image, batch.spacing_mm)  # (B, K, D, H, W)
        loss = self._loss_of(logits, labels, batch)
        self.fabric.backward(loss)
        parameters = [p for p in self.factory.parameters() if p.grad is not None]
        limit = config.gradient_clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            cases = self._non_finite_cases(batch, logits)
            raise NotFiniteError(batch.step, batch.spacing_mm, cases, value)
        self.stepper.step()
        self.stepper.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.factory)
        return value, norm

    def _loss_of(self, logits: Tensor, labels: Tensor, batch: Batch) -> Tensor:
        if batch.grids and isinstance(self.loss, ConsistentLoss):
            consistent: Tensor = self.loss(logits, labels, batch.spacing_mm, batch.grids)
            return consistent
        loss: Tensor = self.loss(logits, labels, batch.spacing_mm)
        return loss

    def _log(self, batch: Batch, norm: float, log: TrainingLog) -> None:
        progress = self.progress
        loss = sum(progress.recent) / len(progress.recent)
        progress.recent.clear()
        log.training(
            progress.step,
            loss=loss,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            gradient_norm=norm,
            spacing_mm=batch.spacing_mm,
            seconds=progress.seconds,
        )

    def _non_finite_cases(self, batch: Batch, logits: Tensor) -> Sequence[str]:
        """Return the cases with logits that are not finite; without any, all cases of the step."""
        finite = torch.isfinite(logits.detach()).flatten(1).all(dim=1).tolist()
        names = [name for name, good in zip(batch.names, finite, strict=True) if not good]
        return names or self.batches.names(batch.step)

    def _worker_died(self, error: Exception, request: StopRequest) -> HyperspaceError:
        """Return the error to raise; torch reports such a death anywhere, even during a step."""
        step, workers = self.progress.step, self.config.compute.workers
        if self._between_steps:
            self._save([self.run.last])
            if request.number:  # the signal was sent to all processes at once
                return Interrupted(request.number, step)
        ahead = range(step, min(step + 1 + workers, len(self.batches)))
        cases = sorted({name for number in ahead for name in self.batches.names(number)})
        return WorkerDiedError(step, cases, error)

    def _stop(self, request: StopRequest) -> bool:
        """Whether any process was asked to stop; all processes agree after the same step."""
        if self.fabric.world_size == 1:
            return bool(request.number)
        return bool(self._sum(torch.tensor(float(bool(request.number)))) > 0)

    def _patience_is_over(self) -> bool:
        patience = self.config.training.patience
        return bool(patience) and self.progress.stale >= patience

    def _save(self, targets: Sequence[Path]) -> None:
        if self.fabric.is_global_zero:
            tensors = state_tensors(self.factory, self.average, self.optimizer)
            checkpoint = Checkpoint(
                self.progress, self._plain_config, self.data, self._plain_card, tensors
            )
            write_checkpoint(targets, checkpoint)

    # Validate

    def _validate(self, log: TrainingLog) -> None:
        progress = self.progress
        started = time.monotonic()
        factory = self.factory if self.average is None else self.average.module
        assert isinstance(factory, Factory)
        with self.fabric.autocast():
            scores = self._score(self.validation, factory.eval().bake)
        dice = mean_dice(scores)
        best = dice > progress.best_dice
        progress.stale = 0 if best else progress.stale + 1
        if best:
            progress.best_dice, progress.best_step = dice, progress.step
            progress.scores = [score.to_dict() for score in scores]
        seconds = time.monotonic() - started
        log.validation(progress.step, dice=dice, best=best, scores=scores, seconds=seconds)
        self._save([self.run.best, self.run.last] if best else [self.run.last])

    def _score(
        self, spacings: FixedSpacings, bake: Callable[[Triple], nn.Module]
    ) -> list[SpacingScore]:
        """Score networks; each process scores its share of the cases."""
        device = self.fabric.device
        totals = spacings.totals(bake, device, self.config.compute.channels_last)
        return spacings.scores(self._sum(torch.from_numpy(totals)).numpy(), self.n_validation)

    def _sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over the processes."""
        if self.fabric.world_size == 1:
            return values
        total = self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.cpu()

    def _finish(self) -> TrainingReport | None:
        """Score the best weights in full precision, export them, write the report."""
        best = read_checkpoint(self.run.best)
        best.load_into(self.factory, best.weights)
        spacings = self._fixed_spacings(self.config.validation.report_spacings_mm)
        scores = self._score(spacings, self.factory.eval().bake)
        report = None
        if self.fabric.is_global_zero:
            card = trained_card(best, scores)
            save_model(build_model(best, card), self.run.model)
            report = write_report(self.run, best, scores)
        self.fabric.barrier()
        return report
