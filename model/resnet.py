"""ResNet encoders (He et al., 2016), whose parameters have torchvision's names: its files load as they are.

Of a 50-layer bottleneck the 3x3 convolution has the stride, as in the weights that torchvision publishes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
STRIDE = 32  # of the last stage
# The images that torchvision's weights have seen: RGB in [0, 1], standardised by these.
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; gives `width` channels."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + kept)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; gives 4 * `width` channels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + kept)


class ResNet(nn.Module):
    """The encoder without its classifier; `stages` of 1 to 4 leaves out the later ones, and their cost."""

    def __init__(self, depth: int = 18, stages: int = 4) -> None:
        super().__init__()
        if depth not in _BLOCKS or not 1 <= stages <= 4:
            raise ValueError(f"there is no ResNet of depth {depth!r} with {stages} stages: 18 or 50, 1 to 4")
        self.depth = depth
        block = BasicBlock if depth == 18 else Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        self.stages: list[str] = []
        self.widths: list[int] = []  # channels that each stage gives
        for stage, count in enumerate(_BLOCKS[depth][:stages]):
            width = 64 * 2**stage
            layers = []
            for number in range(count):
                layers.append(block(inputs, width, 2 if stage > 0 and number == 0 else 1))
                inputs = width * block.expansion
            name = f"layer{stage + 1}"
            self.add_module(name, nn.Sequential(*layers))
            self.stages.append(name)
            self.widths.append(inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 64, H/4, W/4)."""
        return functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Apply the stage with that number, counted from 1."""
        out: Tensor = self.get_submodule(f"layer{number}")(x)
        return out

    def features(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W), see `standardise_rgb`, to (B, widths[s], H/4/2^s, W/4/2^s) for each stage from 0."""
        x = self.stem(x)
        found = []
        for number in range(1, len(self.stages) + 1):
            x = self.stage(number, x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Give the last stage's features."""
        return self.features(x)[-1]


def standardise_rgb(images: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) in [0, 1] to (B, 3, H, W) as ImageNet's weights expect them; grey is repeated."""
    mean = torch.tensor(_IMAGENET_MEAN, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    deviation = torch.tensor(_IMAGENET_DEVIATION, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images - mean) / deviation  # one channel broadcasts to three


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
