"""Makes a detector faster to score with; its scores move by LOADING_TOLERANCE at most."""

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.detector import Detector
from model.inference import to_device
from model.resnet import BasicBlock, Bottleneck, ResNet


def for_scoring(detector: Detector, device: torch.device) -> Detector:
    """Give a copy on the device: batch norms folded, half-precision buffers widened, channels-last.

    The given detector stays as it is: its state dict is the bundle's.
    """
    ready = copy.deepcopy(detector).eval()
    for module in list(ready.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module, list(module._modules))  # noqa: SLF001  # the order in which it calls them
        elif isinstance(module, (BasicBlock, Bottleneck, ResNet)):
            _fold(module, [name for name, _ in module.named_children() if name[:-1] in ("conv", "bn")])
    for module in ready.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.dtype in (torch.float16, torch.bfloat16):
                # Kept narrow for the disk; widening is exact, and would otherwise be paid for each time.
                setattr(module, name, buffer.float())
    return to_device(ready, device)


def _fold(parent: nn.Module, names: list[str]) -> None:
    """Fold each batch norm of `parent` that follows a convolution into it, and put nothing in its place."""
    for before, after in itertools.pairwise(names):
        convolution, norm = parent.get_submodule(before), parent.get_submodule(after)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(parent, before, fuse_conv_bn_eval(convolution, norm))
            setattr(parent, after, nn.Identity())
