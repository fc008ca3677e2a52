"""HTS parameters to sound: what hts_engine's own vocoder does, in batches on any torch device, and with a better source.

The filter is the same mel-cepstral one (here computed exactly, per frame, in the frequency domain). The excitation is
not hts_engine's bare pulses: they are band-limited, placed between samples, and above a few kHz give way to noise as
breath does in a real voice. Moving the warping `alpha` away from the recorded 0.45 lengthens or shortens the vocal
tract, which, with the pitch, makes another speaker of the same parameters.

Shapes: B utterances, T frames of 5 ms, N = T * FRAME samples, F = FFT // 2 + 1 bins, M = 45 cepstral coefficients.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as nnf
from torch import Tensor

SAMPLE_RATE = 24_000
FRAME = 120  # samples in 5 ms
FFT = 2048
CEPSTRUM_RATE = 32_000  # the rate at which the voice's mel-cepstrum was analysed
PULSE_TAPS = 16  # samples on each side of a band-limited pulse


@dataclass(frozen=True)
class Voice:
    """How a speaker is made of the teacher's parameters."""

    note: str
    alpha: float  # frequency warping; 0.45 as recorded, higher is a longer vocal tract
    semitones: float  # pitch against the recording
    noise_from_hz: float  # where voiced frames turn from pulses to noise (the middle of the slope)
    noise_slope_hz: float
    noise_floor: float = 0.002  # share of noise below that


VOICES = {
    "slt": Voice("a woman, American English", alpha=0.47, semitones=-1.5, noise_from_hz=5500, noise_slope_hz=1100),
    "sam": Voice("a man, American English", alpha=0.51, semitones=-8.0, noise_from_hz=4500, noise_slope_hz=1000),
}


def synthesize(mel_cepstrum: Tensor, log_f0: Tensor, voice: Voice, generator: torch.Generator) -> Tensor:
    """mel_cepstrum [B, T, M], log_f0 [B, T] (natural log of Hz, 0 in unvoiced frames) to samples [B, N]."""
    n_frames = mel_cepstrum.shape[1]
    device = mel_cepstrum.device
    pitch, voiced = continuous(log_f0)
    pitch = pitch + voice.semitones * math.log(2) / 12

    pulses = pulse_train(pitch, n_frames * FRAME)
    noise = torch.randn(pulses.shape, device=device, generator=generator)
    pulse_spectrum = torch.fft.rfft(windowed_frames(pulses, n_frames), FFT)  # [B, T, F]
    noise_spectrum = torch.fft.rfft(windowed_frames(noise, n_frames), FFT)

    hz = torch.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1, device=device)
    breath = torch.sigmoid((hz - voice.noise_from_hz) / voice.noise_slope_hz)
    breath = voice.noise_floor + (1 - voice.noise_floor) * breath  # [F]: share of noise in a voiced frame, as power
    is_voiced = voiced.float()[:, :, None]
    source = pulse_spectrum * (is_voiced * (1 - breath).sqrt())
    source = source + noise_spectrum * (is_voiced * breath.sqrt() + (1 - is_voiced))

    # exp of the warped cepstrum: c_0 + c_1 z~^-1 + ..., z~ the all-pass warped variable.
    cosines, sines = warped_basis(voice.alpha, mel_cepstrum.shape[2], device)
    log_magnitude = (mel_cepstrum.float() @ cosines).clamp(max=16)
    phase = -(mel_cepstrum.float() @ sines)
    response = torch.polar(log_magnitude.exp(), phase)
    return overlap_add(torch.fft.irfft(source * response, FFT), n_frames)


@lru_cache(maxsize=None)
def warped_basis(alpha: float, order: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of k times the warped frequency of each bin: [M, F] each."""
    hz = torch.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1, dtype=torch.float64)
    omega = 2 * math.pi * hz / CEPSTRUM_RATE
    warped = omega + 2 * torch.atan(alpha * torch.sin(omega) / (1 - alpha * torch.cos(omega)))
    angle = torch.arange(order, dtype=torch.float64)[:, None] * warped
    return angle.cos().float().to(device), angle.sin().float().to(device)


def continuous(log_f0: Tensor) -> tuple[Tensor, Tensor]:
    """[B, T] with zeros where unvoiced -> the same with the gaps bridged linearly, and where it was voiced (bool)."""
    n_batch, n_frames = log_f0.shape
    voiced = log_f0 > 0
    at = torch.arange(n_frames, device=log_f0.device).expand(n_batch, n_frames)
    before = torch.where(voiced, at, -1).cummax(1).values  # the last voiced frame so far, -1 for none
    after = torch.where(voiced, at, n_frames).flip(1).cummin(1).values.flip(1)  # the next one, T for none
    left = torch.where(before < 0, after, before).clamp(0, n_frames - 1)
    right = torch.where(after >= n_frames, before, after).clamp(0, n_frames - 1)
    share = (at - left).float() / (right - left).clamp(min=1).float()
    start, end = log_f0.gather(1, left), log_f0.gather(1, right)
    bridged = start + (end - start) * share
    never = ~voiced.any(1, keepdim=True)  # an utterance without voice: any pitch will do, no pulse is heard
    return torch.where(never, 5.0, bridged), voiced


def pulse_train(pitch: Tensor, n_samples: int) -> Tensor:
    """pitch [B, T] (log Hz) -> [B, N]: one windowed-sinc pulse a period, of unit power whatever the pitch."""
    n_batch, device = pitch.shape[0], pitch.device
    hz = nnf.interpolate(pitch[:, None].exp(), size=n_samples, mode="linear", align_corners=False)[:, 0].double()
    cycles = torch.cumsum(hz / SAMPLE_RATE, 1)
    whole = torch.floor(cycles)
    starts = torch.zeros_like(whole, dtype=torch.bool)
    starts[:, 1:] = whole[:, 1:] > whole[:, :-1]
    row, sample = starts.nonzero(as_tuple=True)  # one entry a pulse

    hz_there = hz[row, sample]
    late = ((cycles[row, sample] - whole[row, sample]) / (hz_there / SAMPLE_RATE)).clamp(0, 1).float()
    amplitude = (SAMPLE_RATE / hz_there).sqrt().float()
    offset = torch.arange(-PULSE_TAPS, PULSE_TAPS + 1, device=device)
    x = offset.float() + late[:, None]
    taps = torch.sinc(x) * (0.5 + 0.5 * torch.cos(math.pi * x / (PULSE_TAPS + 1))).clamp(min=0) * amplitude[:, None]

    padded = torch.zeros(n_batch, n_samples + 4 * PULSE_TAPS, device=device)
    index = row[:, None] * padded.shape[1] + sample[:, None] + offset + 2 * PULSE_TAPS
    padded.view(-1).index_add_(0, index.reshape(-1), taps.reshape(-1))
    return padded[:, 2 * PULSE_TAPS : 2 * PULSE_TAPS + n_samples]


def windowed_frames(signal: Tensor, n_frames: int) -> Tensor:
    """[B, N] -> [B, T, 2 * FRAME]: Hann windows of two frames, centred on each frame; they sum to one."""
    window = torch.hann_window(2 * FRAME, device=signal.device)
    padded = nnf.pad(signal, (FRAME // 2, FRAME // 2 + FRAME))
    return padded.unfold(1, 2 * FRAME, FRAME)[:, :n_frames] * window


def overlap_add(frames: Tensor, n_frames: int) -> Tensor:
    """[B, T, FFT] filtered frames -> [B, N]."""
    frames = nnf.pad(frames, (0, -FFT % FRAME))
    n_pieces = frames.shape[-1] // FRAME
    frames = frames.view(frames.shape[0], n_frames, n_pieces, FRAME)
    out = torch.zeros(frames.shape[0], n_frames + n_pieces, FRAME, device=frames.device)
    for piece in range(n_pieces):
        out[:, piece : piece + n_frames] += frames[:, :, piece]
    return out.view(frames.shape[0], -1)[:, FRAME // 2 : FRAME // 2 + n_frames * FRAME]
