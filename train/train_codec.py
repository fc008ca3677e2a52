"""Stage 3: trains the codec on the teacher's sound, then writes every utterance as codes.

    python train_codec.py work/sound --eval work/eval -o work/codec

Mel loss alone at first; for the rest of the steps discriminators too. What is kept is a running mean of the weights.
Writes OUT.safetensors (decoder, encoder) and the corpus OUT (codes of every utterance).
"""

import argparse
import copy
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

import codec
from data import Corpus, CorpusWriter
from discriminators import adversarial_loss, all_judges, feature_loss, hinge_loss

SECOND = 24_000  # samples
MEL_WEIGHT, FEATURE_WEIGHT = 15.0, 5.0
RATE, JUDGE_RATE = 5e-4, 2e-4
WARM_UP = 300  # steps to the full learning rate
VALIDATION = 24  # utterances


def autocast(device: torch.device):
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


class Excerpts:
    """Random stretches of sound: many of one second, some of two, a few of four, so that attention meets lengths."""

    def __init__(self, corpus: Corpus, device: torch.device):
        self.values, self.device = corpus.values, device
        self.rng = np.random.default_rng(1)

    def draw(self, seconds: int) -> Tensor:
        """[seconds / length, length], length 1, 2 or 4 s."""
        length = int(self.rng.choice([1, 2, 4], p=[0.5, 0.3, 0.2]))
        starts = self.rng.integers(0, len(self.values) - length * SECOND, max(1, seconds // length))
        batch = np.stack([self.values[s : s + length * SECOND] for s in starts])
        return torch.from_numpy(batch).to(self.device).float() / 32767


class Mels(nn.Module):
    """Mean distance of log mel spectrograms at four resolutions."""

    def __init__(self):
        super().__init__()
        shapes = ((256, 20), (512, 40), (1024, 80), (2048, 128))
        self.mels = nn.ModuleList(codec.LogMel(SECOND, n_fft, n_fft // 4, n) for n_fft, n in shapes)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        return sum(nnf.l1_loss(mel(made), mel(real)) for mel in self.mels) / len(self.mels)


def step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], limit: float) -> None:
    """Clipped; left out when the gradient is not finite."""
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if torch.isfinite(norm):
        optimizer.step()


def validate(encoder: nn.Module, decoder: nn.Module, mels: Mels, corpus: Corpus, device: torch.device) -> float:
    with torch.no_grad():
        losses = []
        for i in np.linspace(0, len(corpus) - 1, VALIDATION).astype(int):
            sound = torch.from_numpy(np.array(corpus[i])).to(device).float()[None] / 32767
            losses.append(mels(decoder(codec.quantize(encoder(sound))), sound).item())
    return sum(losses) / len(losses)


def train(args: argparse.Namespace, corpus: Corpus, device: torch.device) -> tuple[codec.Encoder, codec.Decoder]:
    config = codec.Config()
    encoder, decoder = codec.Encoder(config).to(device), codec.Decoder(config).to(device)
    kept_encoder, kept_decoder = copy.deepcopy(encoder).eval(), copy.deepcopy(decoder).eval()
    judges, mels = all_judges().to(device), Mels().to(device)
    excerpts, evaluation = Excerpts(corpus, device), Corpus.open(args.eval)

    own = [*encoder.parameters(), *decoder.parameters()]
    kept = [*kept_encoder.parameters(), *kept_decoder.parameters()]
    theirs = list(judges.parameters())
    shared = {"betas": (0.8, 0.99), "weight_decay": 0.01, "fused": device.type == "cuda"}
    optimizer = torch.optim.AdamW(own, RATE, **shared)
    judge_optimizer = torch.optim.AdamW(theirs, JUDGE_RATE, **shared)
    judged_from = int(args.steps * args.mel_share)
    lead = args.judge_lead  # steps that the judges learn before they are listened to
    began = time.time()

    for n in range(args.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * n / args.steps))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, n / WARM_UP) * (0.97 * cosine + 0.03)
        for group in judge_optimizer.param_groups:
            group["lr"] = JUDGE_RATE * (0.9 * cosine + 0.1)

        judged = n >= judged_from
        real = excerpts.draw(args.judged_seconds if judged else args.seconds)
        with autocast(device):
            z = encoder(real)
        with autocast(device):
            made = decoder(codec.quantize(z.float()))
        mel = mels(made, real)
        loss = MEL_WEIGHT * mel
        verdict = ""

        if judged:
            real_pieces, made_pieces = real.view(-1, SECOND), made.view(-1, SECOND)
            with autocast(device):
                of_real = [judge(real_pieces) for judge in judges]
                of_made = [judge(made_pieces.detach()) for judge in judges]
            judge_loss = hinge_loss([v for v, _ in of_real], [v for v, _ in of_made])
            judge_optimizer.zero_grad()
            judge_loss.backward()
            verdict = f" judges {judge_loss.item():.3f}" if n % args.every == 0 else ""

            weight = min(1.0, max(0, n - judged_from - lead) / (2.5 * lead))
            if weight > 0:
                judges.requires_grad_(False)
                with autocast(device):
                    of_made = [judge(made_pieces) for judge in judges]
                adversarial = adversarial_loss([v for v, _ in of_made])
                features = feature_loss([f for _, f in of_real], [f for _, f in of_made])
                loss = loss + weight * (adversarial + FEATURE_WEIGHT * features)
                judges.requires_grad_(True)

        optimizer.zero_grad()
        loss.backward()
        step(optimizer, own, 5.0)
        if judged:
            step(judge_optimizer, theirs, 20.0)
        with torch.no_grad():
            torch._foreach_lerp_(kept, own, 1 - min(0.999, (2 + n) / (21 + n)))

        if n % args.every == 0 or n == args.steps - 1:
            heard = validate(kept_encoder, kept_decoder, mels, evaluation, device)
            print(f"step {n} {time.time() - began:.0f} s: mel {mel.item():.3f}, kept {heard:.3f}{verdict}", flush=True)

    codec.save(args.out.with_suffix(".safetensors"), kept_encoder, kept_decoder, config)
    return kept_encoder, kept_decoder


def encode(encoder: codec.Encoder, corpus: Corpus, out: Path, device: torch.device) -> None:
    """Every utterance as codes, those of one length together."""
    torch.backends.cudnn.benchmark = False  # every length would be measured anew
    hop, room = codec.Config().hop, 20_000 if device.type == "cuda" else 1_500  # room: frames at a time
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(np.diff(corpus.start) // hop):
        by_length[int(length)].append(i)
    used = torch.zeros(codec.Config().n_codes, dtype=torch.long)
    with torch.no_grad(), CorpusWriter(out, corpus.voices) as writer:
        for length, members in by_length.items():
            size = max(1, room // length)
            for group in (members[i : i + size] for i in range(0, len(members), size)):
                sound = torch.from_numpy(np.stack([corpus[i] for i in group])).to(device).float() / 32767
                codes = codec.to_codes(codec.quantize(encoder(sound))).cpu()  # [len(group), length]
                used += torch.bincount(codes.flatten(), minlength=len(used))
                for i, row in zip(group, codes.to(torch.int16).numpy()):
                    writer.add(row, int(corpus.sentence[i]), int(corpus.voice[i]))
    share = used[used > 0] / used.sum()
    bits = -(share * share.log2()).sum().item()
    print(f"{len(corpus)} utterances, {used.sum() / 180_000:.1f} h as codes: {len(share)} in use, {bits:.2f} bits each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="the teacher's sound")
    parser.add_argument("--eval", type=Path, required=True, help="the teacher's sound of the evaluation sentences")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--mel-share", type=float, default=0.5, help="share of the steps without discriminators")
    parser.add_argument("--judge-lead", type=int, default=150, help="steps that discriminators learn unheard")
    parser.add_argument("--seconds", type=int, default=64, help="of sound a step")
    parser.add_argument("--judged-seconds", type=int, default=32, help="of sound a step with discriminators")
    parser.add_argument("--every", type=int, default=500, help="steps between reports")
    args = parser.parse_args()

    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpus = Corpus.open(args.corpus)
    encoder, _ = train(args, corpus, device)
    encode(encoder, corpus, args.out, device)


if __name__ == "__main__":
    main()
