"""What the codec is trained against: judges of waveforms folded by a period and of spectrograms (as in HiFi-GAN and
UnivNet). None of it ships.

Each returns its verdict and the activations of its layers, which the codec is asked to match ("feature matching").
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
WINDOWS = (512, 1024, 2048)


class Judge(nn.Module):
    def __init__(self, layers: list[nn.Conv2d], verdict: nn.Conv2d):
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.verdict = weight_norm(verdict)

    def judge(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:  # [B, channels, ...]
        features = []
        for layer in self.layers:
            x = nnf.leaky_relu(layer(x), 0.1).contiguous(memory_format=torch.channels_last)
            features.append(x)
        return self.verdict(x), features


class PeriodJudge(Judge):
    def __init__(self, period: int):
        widths = (1, 32, 64, 128, 256)
        layers = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in zip(widths, widths[1:])]
        super().__init__([*layers, nn.Conv2d(256, 256, (5, 1), 1, (2, 0))], nn.Conv2d(256, 1, (3, 1), 1, (1, 0)))
        self.period = period

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:  # [B, N]
        sound = nnf.pad(sound, (0, -sound.shape[-1] % self.period))
        return self.judge(sound.view(sound.shape[0], 1, -1, self.period))


class SpectrumJudge(Judge):
    def __init__(self, window: int, width: int = 32):
        kernels = ((3, 9), (3, 9), (3, 9), (3, 5))
        inputs = (2, width, width, width)
        layers = [nn.Conv2d(n, width, k, (1, 2), (1, k[1] // 2)) for n, k in zip(inputs, kernels)]
        super().__init__([*layers, nn.Conv2d(width, width, 3, 1, 1)], nn.Conv2d(width, 1, 3, 1, 1))
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, sound: Tensor) -> tuple[Tensor, list[Tensor]]:  # [B, N]
        n_fft = len(self.window)
        with torch.autocast(sound.device.type, enabled=False):
            bins = torch.stft(sound.float(), n_fft, n_fft // 4, window=self.window, return_complex=True)
            parts = torch.view_as_real(bins)  # [B, bins, frames, 2]
            parts = parts * (parts.square().sum(-1, keepdim=True) + 1e-6).pow(-0.3)  # magnitude to the power 0.4
        return self.judge(parts.permute(0, 3, 2, 1))


def all_judges() -> nn.ModuleList:
    return nn.ModuleList([*(PeriodJudge(p) for p in PERIODS), *(SpectrumJudge(w) for w in WINDOWS)])


def hinge_loss(real: list[Tensor], made: list[Tensor]) -> Tensor:
    """What the judges minimise: verdicts above 1 for real sound, below -1 for made."""
    pairs = [(r.float(), m.float()) for r, m in zip(real, made)]
    return sum(nnf.relu(1 - r).mean() + nnf.relu(1 + m).mean() for r, m in pairs) / len(pairs)


def adversarial_loss(made: list[Tensor]) -> Tensor:
    """What the codec minimises: being told apart (bounded, so that one easy judge cannot lead)."""
    return sum(-m.float().mean().clamp(max=10) for m in made) / len(made)


def feature_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """And activations that differ from the real sound's, relative to their size; mean over layers and judges."""

    def distance(r: Tensor, m: Tensor) -> Tensor:
        r = r.detach().float()
        return (r - m.float()).abs().mean() / (r.abs().mean() + 1e-3)

    judges = [sum(distance(r, m) for r, m in zip(rs, ms)) / len(rs) for rs, ms in zip(real, made)]
    return sum(judges) / len(judges)
