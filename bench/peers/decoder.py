"""The neucodec package's decoder with weights of a file, in PyTorch and as ONNX.

    decoder.py CODEC.safetensors OUT.onnx

The package's own loader fetches an encoder of 2 GB first; here its classes are filled by hand. For ONNX, which has no
complex numbers, the inverse transform is a transposed convolution with the windowed Fourier basis, and codes become
digits by a table, both as in the published decoder.
"""
import sys

import torch
from neucodec.codec_decoder_vocos import CodecDecoderVocos
from safetensors.torch import load_file

HOP, N_FFT, LEVELS, DIGITS = 480, 1920, 4, 8


class Decoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = CodecDecoderVocos(hop_length=HOP)
        self.fc_post_a = torch.nn.Linear(2048, 1024)

    def forward(self, codes):
        embedding = self.generator.quantizer.get_output_from_indices(codes.transpose(1, 2))
        return self.generator(self.fc_post_a(embedding), vq=False)[0]


class OnnxDecoder(torch.nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.backbone = decoder.generator.backbone
        self.project_out = decoder.generator.quantizer.project_out
        self.fc_post_a = decoder.fc_post_a
        self.out = decoder.generator.head.out
        digits = torch.arange(LEVELS ** DIGITS)[:, None] // LEVELS ** torch.arange(DIGITS) % LEVELS
        self.register_buffer("table", (digits.float() - LEVELS // 2) / (LEVELS // 2))
        window = torch.hann_window(N_FFT)
        n_bins = N_FFT // 2 + 1
        identity = torch.eye(n_bins, dtype=torch.complex64)
        real = torch.fft.irfft(identity, N_FFT)
        imaginary = torch.fft.irfft(identity * 1j, N_FFT)
        self.register_buffer("basis", (torch.cat([real, imaginary]) * window)[:, None])
        self.register_buffer("window_squared", (window ** 2)[None, None])

    def forward(self, codes):
        values = torch.nn.functional.embedding(codes[:, 0].long(), self.table)
        x = self.out(self.backbone(self.fc_post_a(self.project_out(values)))).transpose(1, 2)
        magnitude, phase = x.chunk(2, dim=1)
        magnitude = torch.clip(torch.exp(magnitude), max=1e2)
        spectrum = torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=1)
        sound = torch.nn.functional.conv_transpose1d(spectrum, self.basis, stride=HOP)
        weight = torch.nn.functional.conv_transpose1d(torch.ones_like(spectrum[:1, :1]), self.window_squared, stride=HOP)
        cut = N_FFT // 2  # the published decoder cuts as much
        return (sound / (weight + 1e-8))[:, :, cut:-cut]


def load_decoder(path):
    decoder = Decoder().eval()
    weights = load_file(path)
    missing, _ = decoder.load_state_dict(weights, strict=False)
    missing = [name for name in missing if "project_in" not in name and "rotary" not in name and "istft" not in name]
    if missing:
        raise ValueError(f"{path} lacks {missing[:3]}")
    return decoder


def main():
    decoder = load_decoder(sys.argv[1])
    codes = torch.randint(0, LEVELS ** DIGITS, (1, 1, 60), dtype=torch.int32)
    exported = OnnxDecoder(decoder).eval()
    with torch.no_grad():
        apart = (exported(codes)[0, 0, 2400:-2400] - decoder(codes.long())[0, 0, 2640:-2640]).abs().max()
    if apart > 1e-3:
        raise ValueError(f"the two decoders differ by {apart}")
    program = torch.onnx.export(exported, (codes,), dynamo=True,
                                dynamic_shapes={"codes": {2: torch.export.Dim("frames", min=2, max=6000)}})
    program.save(sys.argv[2])


if __name__ == "__main__":
    main()
