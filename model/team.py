"""The processes of one training, one to each GPU, as torch's launcher starts them; most are alone.

Each takes its share of every batch, and DistributedDataParallel makes their gradients one. What only one can
say (whether time is up, how good an epoch was) the first says for all.
"""

from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Loss = Callable[[Tensor, torch.Generator], Tensor]


class Team:
    """`rank` counts from 0, the first; `size` is 1 for a training by one process."""

    def __init__(self, device: torch.device) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if together else 0
        self.size = distributed.get_world_size() if together else 1
        self._device = device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def shared(self, detector: nn.Module, loss: Loss) -> Loss:
        """Give the loss on this process's share of a batch, whose gradients become all processes' mean."""
        if self.size == 1:
            return loss
        # What is no parameter is the first one's, told once an epoch: much of it never changes.
        together = DistributedDataParallel(_Losing(detector, loss), broadcast_buffers=False)

        def part(chosen: Tensor, generator: torch.Generator) -> Tensor:
            lost: Tensor = together(chosen[self.rank :: self.size], generator)
            return lost

        return part

    def of_first(self, value: float) -> float:
        """Give what the first process has."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self._device)
        distributed.broadcast(told, 0)
        return float(told)

    def same_buffers(self, detector: nn.Module) -> None:
        """Let all have the first one's running statistics."""
        if self.size > 1:
            for buffer in detector.buffers():
                distributed.broadcast(buffer, 0)


class _Losing(nn.Module):
    """A loss as a module, so that DistributedDataParallel sees the parameters behind it."""

    def __init__(self, detector: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.detector = detector
        self._loss = loss

    def forward(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        return self._loss(chosen, generator)
