"""The codec: NeuCodec's decoder at a small geometry, with its tensor names, and an encoder of our own to train it with.

Sound at 24 kHz <-> codes at 50 a second. A code is six digits of four levels (FSQ), so there are 4,096.
Only the decoder ships; the encoder makes the codes that the language model learns.

Shapes: B utterances, T frames of 20 ms, C channels, Q digits, N = T * hop samples.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as nnf
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

HEAD = 64  # width of an attention head
LEVELS = 4
DIGITS = 6


@dataclass(frozen=True)
class Config:
    hidden: int = 320
    depth: int = 4
    vq_dim: int = 640
    fsq_levels: list[int] = field(default_factory=lambda: [LEVELS] * DIGITS)
    groupnorm_groups: int = 32
    sample_rate: int = 24_000
    hop: int = 480
    n_fft: int = 1920
    encoder_hidden: int = 256

    @property
    def n_codes(self) -> int:
        return LEVELS**DIGITS


# ---- codes ----


def quantize(z: Tensor) -> Tensor:
    """z [..., Q], any values, to the nearest of -1, -0.5, 0, 0.5; the gradient passes as if it had not been rounded."""
    half = (LEVELS - 1) * 1.001 / 2
    shift = math.atanh(0.5 / half)
    bounded = torch.tanh(z + shift) * half - 0.5
    return (bounded + (bounded.round() - bounded).detach()) / (LEVELS // 2)


def place_values(device: torch.device) -> Tensor:
    return LEVELS ** torch.arange(DIGITS, device=device)


def to_codes(quantized: Tensor) -> Tensor:
    """[..., Q] -> [...]; the first digit is the least significant."""
    digits = (quantized * (LEVELS // 2) + LEVELS // 2).round().long()
    return (digits * place_values(digits.device)).sum(-1)


def from_codes(codes: Tensor) -> Tensor:
    """[...] -> [..., Q]"""
    digits = codes[..., None] // place_values(codes.device) % LEVELS
    return (digits.float() - LEVELS // 2) / (LEVELS // 2)


# ---- the decoder, named as NeuCodec names its parts ----


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.weight


class Attention(nn.Module):
    """Over all frames, both ways, without positions. (NeuCodec's rotary embedding turns q and k of a head by the same
    angle in every frame, which changes nothing.)"""

    def __init__(self, width: int):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_frames, width = x.shape
        q, k, v = self.c_attn(x).view(n_batch, n_frames, 3, width // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        y = nnf.scaled_dot_product_attention(q, k, v)  # [B, heads, T, HEAD]
        return self.c_proj(y.transpose(1, 2).reshape(n_batch, n_frames, width))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width, bias=False)
        self.fc2 = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nnf.silu(self.fc1(x)))


class TransformerBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.att_norm = RMSNorm(width)
        self.att = Attention(width)
        self.ffn_norm = RMSNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.att(self.att_norm(x))
        return x + self.mlp(self.ffn_norm(x))


class ResnetBlock(nn.Module):
    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv1 = nn.Conv1d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width, eps=1e-6)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, T]
        y = self.conv1(nnf.silu(self.norm1(x)))
        return x + self.conv2(nnf.silu(self.norm2(y)))


class DecoderBackbone(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        width, groups = config.hidden, config.groupnorm_groups
        self.embed = nn.Conv1d(width, width, 7, padding=3)
        self.prior_net = nn.Sequential(*(ResnetBlock(width, groups) for _ in range(2)))
        self.transformers = nn.Sequential(*(TransformerBlock(width) for _ in range(config.depth)))
        self.post_net = nn.Sequential(*(ResnetBlock(width, groups) for _ in range(2)))
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, C]
        x = self.prior_net(self.embed(x.transpose(1, 2))).transpose(1, 2)
        x = self.transformers(x).transpose(1, 2)
        return self.final_layer_norm(self.post_net(x).transpose(1, 2))


class Head(nn.Module):
    """Magnitude and phase of every bin, then the inverse short-time Fourier transform."""

    def __init__(self, config: Config):
        super().__init__()
        self.hop, self.n_fft = config.hop, config.n_fft
        self.out = nn.Linear(config.hidden, config.n_fft + 2)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, C] -> [B, N]
        log_magnitude, phase = self.out(x).float().chunk(2, -1)
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.polar(torch.exp(log_magnitude).clamp(max=100), phase)
            frames = torch.fft.irfft(spectrum, self.n_fft) * self.window  # [B, T, n_fft]
            envelope = self.window.square().expand(1, frames.shape[1], -1)
            trim = (self.n_fft - self.hop) // 2
            sound = self.overlap_add(frames)[:, trim:-trim]
            return sound / self.overlap_add(envelope)[:, trim:-trim].clamp(min=1e-8)

    def overlap_add(self, frames: Tensor) -> Tensor:
        n_pieces = self.n_fft // self.hop
        pieces = frames.unflatten(-1, (n_pieces, self.hop))  # [B, T, n_pieces, hop]
        shifted = (nnf.pad(pieces[:, :, i], (0, 0, i, n_pieces - 1 - i)) for i in range(n_pieces))
        return sum(shifted).flatten(1)


class Generator(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.quantizer = nn.ModuleDict({"project_out": nn.Linear(DIGITS, config.vq_dim)})
        self.backbone = DecoderBackbone(config)
        self.head = Head(config)


class Decoder(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.generator = Generator(config)
        self.fc_post_a = nn.Linear(config.vq_dim, config.hidden)
        for module in self.generator.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)) and module is not self.generator.quantizer["project_out"]:
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, quantized: Tensor) -> Tensor:  # [B, T, Q] -> [B, N]
        x = self.fc_post_a(self.generator.quantizer["project_out"](quantized))
        return self.generator.head(self.generator.backbone(x))


# ---- the encoder ----


class LogMel(nn.Module):
    """[B, N] -> [B, n_mels, N / hop], natural log of mel-weighted magnitudes (HTK's scale, triangles of height 1)."""

    def __init__(self, sample_rate: int, n_fft: int, hop: int, n_mels: int):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        top = 2595 * math.log10(1 + sample_rate / 2 / 700)
        corner = torch.tensor([700 * (10 ** (top * i / (n_mels + 1) / 2595) - 1) for i in range(n_mels + 2)])
        left, middle, right = (corner[i : n_mels + i, None] for i in range(3))
        hz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1)
        triangles = torch.minimum((hz - left) / (middle - left), (right - hz) / (right - middle)).clamp(min=0)
        self.register_buffer("triangles", triangles, persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        with torch.autocast(sound.device.type, enabled=False):
            margin = (self.n_fft - self.hop) // 2
            padded = nnf.pad(sound.float()[:, None], (margin, margin), mode="reflect")[:, 0]
            bins = torch.stft(padded, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
            magnitude = (bins.real.square() + bins.imag.square() + 1e-12).sqrt()
            return torch.log((self.triangles @ magnitude).clamp(min=1e-5))


class ConvNeXt(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.dw = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 3 * width)
        self.fc2 = nn.Linear(3 * width, width)
        self.g = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor) -> Tensor:  # [B, C, T]
        y = self.norm(self.dw(x).transpose(1, 2))
        return x + (self.fc2(nnf.silu(self.fc1(y))) * self.g).transpose(1, 2)


class Encoder(nn.Module):
    """Log mel at 100 frames a second, convolutions, halved to 50."""

    def __init__(self, config: Config):
        super().__init__()
        width, n_mels = config.encoder_hidden, 100
        self.mel = LogMel(config.sample_rate, 1024, config.hop // 2, n_mels)
        self.conv_in = nn.Conv1d(n_mels, width, 7, padding=3)
        self.a = nn.Sequential(*(ConvNeXt(width) for _ in range(2)))
        self.down = nn.Conv1d(width, width, 4, stride=2, padding=1)
        self.b = nn.Sequential(*(ConvNeXt(width) for _ in range(5)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.out = nn.Linear(width, DIGITS)

    def forward(self, sound: Tensor) -> Tensor:  # [B, N] -> [B, T, Q], not yet quantised
        mel = (self.mel(sound) + 4) / 3
        x = self.b(self.down(self.a(self.conv_in(mel))))
        return self.out(self.norm(x.transpose(1, 2)))


# ---- files ----


def save(path: Path, encoder: Encoder, decoder: Decoder, config: Config) -> None:
    parts = {"codec": decoder, "encoder": encoder}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    metadata = {"config": json.dumps({"codec": {**asdict(config), "heads": config.hidden // HEAD}})}
    save_file({key: value.float().cpu().contiguous() for key, value in tensors.items()}, path, metadata)


def load_encoder(path: Path) -> Encoder:
    """The encoder of a trained codec; it is all that evaluation needs of it in torch."""
    with safe_open(path, framework="pt") as file:
        keys = [key for key in file.keys() if key.startswith("encoder.")]
        state = {key.removeprefix("encoder."): file.get_tensor(key).float() for key in keys}
    encoder = Encoder(Config(encoder_hidden=state["out.weight"].shape[1]))
    encoder.load_state_dict(state)
    return encoder.eval()
