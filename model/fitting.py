"""The fit that all presets share: epochs, learning rate, early stopping, checkpoints."""

import copy
import math
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from model import checkpoint
from model.checkpoint import Checkpoint
from model.config import TrainConfig, Watch
from model.detector import Detector
from model.inference import has_fast_bf16
from model.team import Team

_LEAST_BATCHES = 12
_MOST_IMAGES = 768  # that an epoch sees: of thousands, each next epoch sees others
_SMALL = 64 * 64  # pixels: smaller images go in larger batches, since a step costs its overhead


class Recipe(Protocol):
    """How a preset is trained: its own data, loss and statistics. A fresh one for each training."""

    detector: Detector

    def optimizer(self, config: TrainConfig) -> Optimizer:
        """Give what changes the parameters."""

    def rate(self, done: float) -> float:
        """Give the share of the learning rate to go with when a share `done` of the training is over."""

    def prepare(self) -> None:
        """Fit what has a closed form. Also called when a training is resumed: it must be repeatable."""

    def loss(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Give the loss on the good images with indices `chosen`, (B,)."""

    def validate(self) -> float:
        """Give the loss on held-out images, with the same corruptions every time."""

    def finish(self) -> None:
        """Learn what is normal from held-out images, with the best epoch's weights."""


def fit(
    recipe: Recipe,
    count: int,
    config: TrainConfig,
    watch: Watch,
    device: torch.device,
    kept: Path | None = None,
) -> int:
    """Fit a detector in place to `count` good images; gives the best epoch, counted from 1.

    Ends with the weights of the epoch that was best on held-out images. With `kept`, each epoch's end is
    kept there, and a fit that finds one goes on from it to the very same weights. Where a process group is
    set up, all its processes call this with the same images and fit together (`model.team`).
    """
    detector = recipe.detector
    team = Team(device)
    bf16 = has_fast_bf16(device)
    generator = torch.Generator(device).manual_seed(config.seed)
    recipe.prepare()
    loss_of = team.shared(detector, recipe.loss)
    optimizer = recipe.optimizer(config)
    batch = config.batch * max(1, min(4, _SMALL // math.prod(config.size)))
    batches = max(1, count // batch)
    passes = math.ceil(_LEAST_BATCHES / batches)  # of few images an epoch makes several
    batches = min(batches * passes, max(_LEAST_BATCHES, _MOST_IMAGES // batch))
    best, best_epoch, best_state = math.inf, 0, detector.state_dict()
    spent_before = 0.0
    found = checkpoint.read(kept) if kept is not None else None
    if found is not None:
        best_state = _restore(found, detector, optimizer, generator)
        watch.losses[:] = found.facts["losses"]
        best_epoch, spent_before = found.facts["best_epoch"], found.facts["seconds"]
        best = watch.losses[best_epoch - 1]
        watch.report("fit")
    started = time.monotonic() - spent_before
    for epoch in range(len(watch.losses) + 1, config.epochs + 1):
        if team.of_first(_is_over(epoch - 1, best_epoch, time.monotonic() - started, config)):
            break
        detector.train()
        # All draw the same batches; what is drawn besides is each one's own.
        own = generator if team.size == 1 else _drawing(config.seed, epoch, team.rank, device)
        for step, chosen in enumerate(islice(_batches(count, batch, passes, generator), batches)):
            watch.check()
            done = (epoch - 1 + step / batches) / config.epochs
            if config.time_budget_s is not None:
                spent = team.of_first(time.monotonic() - started)
                done = max(done, min(1.0, spent / config.time_budget_s))
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = loss_of(chosen, own)
            _step(optimizer, loss, config.learning_rate * recipe.rate(done))
        detector.eval()
        team.same_buffers(detector)
        with torch.inference_mode():
            watch.losses.append(team.of_first(recipe.validate()))
        if watch.losses[-1] < best:
            best, best_epoch, best_state = watch.losses[-1], epoch, copy.deepcopy(detector.state_dict())
        spent = time.monotonic() - started
        if kept is not None and team.is_first:
            facts = {"losses": watch.losses, "best_epoch": best_epoch, "seconds": spent}
            checkpoint.write(kept, _snapshot(detector, best_state, optimizer, generator, facts))
        left = spent / epoch * (config.epochs - epoch)
        if config.time_budget_s is not None:
            left = min(left, max(0.0, config.time_budget_s - spent))
        watch.report("fit", left)
    detector.load_state_dict(best_state)
    detector.eval()
    return best_epoch


def _step(optimizer: Optimizer, loss: Tensor, rate: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def _drawing(seed: int, epoch: int, rank: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed((seed * 100_003 + epoch) * 1009 + rank)


def _is_over(epoch: int, best_epoch: int, spent: float, config: TrainConfig) -> bool:
    if epoch == 0:
        return False
    out_of_time = config.time_budget_s is not None and spent >= config.time_budget_s
    return out_of_time or epoch - best_epoch >= config.patience


def _snapshot(
    detector: Detector,
    best: dict[str, Any],
    optimizer: Optimizer,
    generator: torch.Generator,
    facts: dict[str, Any],
) -> Checkpoint:
    tensors = {f"now.{name}": tensor for name, tensor in detector.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    tensors["random.batches"] = generator.get_state()
    tensors["random.torch"] = torch.random.get_rng_state()
    return Checkpoint(tensors, facts)


def _restore(
    found: Checkpoint, detector: Detector, optimizer: Optimizer, generator: torch.Generator
) -> dict[str, Any]:
    """Put the detector, the optimizer and the random numbers back; gives the best epoch's weights."""
    groups: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimizer": {}, "random": {}}
    for name, tensor in found.tensors.items():
        group, rest = name.split(".", 1)
        groups[group][rest] = tensor
    detector.load_state_dict(groups["now"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        index, key = name.split(".", 1)
        states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    generator.set_state(groups["random"]["batches"])
    torch.random.set_rng_state(groups["random"]["torch"])
    return groups["best"]


def _batches(count: int, batch: int, passes: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(passes):
        order = torch.randperm(count, device=generator.device, generator=generator)
        if count > batch:
            order = order[: count - count % batch]  # a short last batch unsettles batch normalisation
        yield from torch.split(order, batch)


def decoupled(parameters: Iterable[nn.Parameter], config: TrainConfig) -> Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019)."""
    return AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)


def cosine(done: float) -> float:
    """Warm up over the first 5 %, then follow a cosine to 2 %."""
    return min(1.0, 0.1 + done / 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
