"""The fit: restore corrupted good images, find what was corrupted; keep the epoch best on held-out images."""

import copy
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from model.config import TrainConfig, Watch
from model.corruption import corrupt
from model.detector import Detector
from model.inference import has_fast_bf16
from model.network import Restored
from model.residuals import structure
from model.template import fit_template

_LEAST_BATCHES = 12
_VALIDATION_SEED = 20_210_110  # the corruptions of held-out images are the same in every epoch and training


def fit(detector: Detector, good: Tensor, held_out: Tensor, config: TrainConfig, watch: Watch) -> int:
    """Fit `detector` in place to `good` images, (N, C, H, W) in [0, 1] on the detector's device.

    Ends with the weights of the epoch that was best on `held_out`, and returns that epoch, counted from 1.
    """
    device = good.device
    bf16 = has_fast_bf16(device)
    generator = torch.Generator(device).manual_seed(config.seed)
    detector.mean.copy_(good.mean((0, 2, 3), keepdim=True))
    detector.deviation.copy_(
        (good - detector.mean).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)
    )
    standard = detector.standardise(good)
    folds = fit_template(detector.network.template, standard)
    optimizer = torch.optim.AdamW(detector.parameters(), config.learning_rate, weight_decay=1e-3)
    batches = max(1, len(good) // config.batch)
    passes = math.ceil(_LEAST_BATCHES / batches)  # of few images an epoch makes several
    batches *= passes
    best, best_epoch, best_state = math.inf, 0, detector.state_dict()
    started = time.monotonic()
    for epoch in range(1, config.epochs + 1):
        detector.train()
        for step, chosen in enumerate(_batches(len(good), config.batch, passes, generator)):
            watch.check()
            done = (epoch - 1 + step / batches) / config.epochs
            if config.time_budget_s is not None:
                done = max(done, min(1.0, (time.monotonic() - started) / config.time_budget_s))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(done)
            clean = standard[chosen]
            corrupted, mask = corrupt(clean, generator)
            drawn = folds.draw(corrupted, chosen)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                restored = detector.network(corrupted.contiguous(memory_format=torch.channels_last), drawn)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(restored, clean, mask))
            optimizer.step()
        watch.losses.append(validate(detector, held_out, config.batch))
        if watch.losses[-1] < best:
            best, best_epoch, best_state = watch.losses[-1], epoch, copy.deepcopy(detector.state_dict())
        spent = time.monotonic() - started
        left = spent / epoch * (config.epochs - epoch)
        if config.time_budget_s is not None:
            left = min(left, max(0.0, config.time_budget_s - spent))
        watch.report("fit", left)
        if epoch - best_epoch >= config.patience or (config.time_budget_s is not None and left <= 0):
            break
    detector.load_state_dict(best_state)
    detector.eval()
    return best_epoch


def loss(restored: Restored, clean: Tensor, mask: Tensor) -> Tensor:
    """Restoration (pixels, structure) and the comparison's cross entropy (defect and rest in equal parts)."""
    image, logits = restored.image.float(), restored.logits.float()
    target = functional.max_pool2d(mask, 2)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    found = (entropy * target).sum() / target.sum().clamp_min(1) + (entropy * (1 - target)).mean()
    pixels = (image - clean).abs().mean() + (image - clean).square().mean()
    return pixels + structure(image, clean).mean() + 0.5 * found


def validate(detector: Detector, held_out: Tensor, batch: int) -> float:
    """The loss on held-out images with corruptions that never change."""
    generator = torch.Generator(held_out.device).manual_seed(_VALIDATION_SEED)
    detector.eval()
    total = 0.0
    with torch.inference_mode():
        for part in torch.split(held_out, batch):
            clean = detector.standardise(part)
            corrupted, mask = corrupt(clean, generator)
            total += float(loss(detector.network(corrupted), clean, mask)) * len(part)
    return total / len(held_out)


def _batches(count: int, batch: int, passes: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(passes):
        order = torch.randperm(count, device=generator.device, generator=generator)
        if count > batch:
            order = order[: count - count % batch]  # a short last batch unsettles batch normalisation
        yield from torch.split(order, batch)


def _schedule(done: float) -> float:
    """Warm up over the first 5 %, then follow a cosine to 2 %."""
    return min(1.0, 0.1 + done / 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
