"""Stage 4: trains the language model on phonemes and codes.

    python train_lm.py work/text.tsv work/codec -o work/lm.safetensors

The loss counts codes and the end token only: the phonemes are given, not learned. Sequences of like length share a batch;
a batch has about --tokens positions. The learning rate falls by a cosine over --steps.
"""

import argparse
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

import codec
import lm
from data import Corpus, Sentence, read_sentences

BUCKETS = (112, 144, 176, 208, 240, 288, 352, 448, 576, 768, 1024)  # positions; longer sequences are left out
RATE, LOWEST = 1.5e-3, 0.02  # LOWEST: share of RATE at the end
WARM_UP = 400  # steps
WEIGHT_DECAY = 0.05
RARE = 20  # a character seen less often than this is no part of the vocabulary


def autocast(device: torch.device):
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def plausible(n_codes: int, n_chars: int) -> bool:
    """Whether the teacher read what espeak-ng wrote: its pace is 2.9 codes a character, a little slower in short texts."""
    return 1.6 * n_chars <= n_codes <= 5 * n_chars + 30


class Batches:
    """Sequences by length. A batch is (tokens [B, S], first code's position [B], length [B])."""

    def __init__(self, sequences: list[tuple[np.ndarray, int]], device: torch.device):
        self.device, self.rng = device, np.random.default_rng(5)
        self.buckets: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for shortest, longest in zip((0, *BUCKETS), BUCKETS):
            members = [(tokens, begin) for tokens, begin in sequences if shortest < len(tokens) <= longest]
            if members:
                padded = np.zeros((len(members), longest), np.int16)
                for row, (tokens, _) in zip(padded, members):
                    row[: len(tokens)] = tokens
                begins = np.array([begin for _, begin in members])
                self.buckets[longest] = padded, begins, np.array([len(tokens) for tokens, _ in members])
        self.order = {size: np.empty(0, np.int64) for size in self.buckets}
        positions = np.array([rows.size for rows, _, _ in self.buckets.values()], float)
        self.share = positions / positions.sum()

    def batch(self, size: int, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(torch.from_numpy(part[rows]).to(self.device).long() for part in self.buckets[size])

    def draw(self, n_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        """A random bucket's next sequences; each bucket goes through all of its own before it starts again."""
        size = int(self.rng.choice(list(self.buckets), p=self.share))
        total = len(self.buckets[size][0])
        wanted = min(total, max(1, n_tokens // size))
        if len(self.order[size]) < wanted:
            self.order[size] = self.rng.permutation(total)
        rows, self.order[size] = np.split(self.order[size], [wanted])
        return self.batch(size, rows)

    def all(self, n_tokens: int):
        for size, (tokens, _, _) in self.buckets.items():
            for rows in np.array_split(np.arange(len(tokens)), -(-tokens.size // n_tokens)):
                yield self.batch(size, rows)


def loss(model: lm.LanguageModel, hidden_of, batch: tuple[Tensor, Tensor, Tensor], reduction: str) -> Tensor:
    tokens, begin, length = batch
    at = torch.arange(1, tokens.shape[1], device=tokens.device)
    spoken = (at >= begin[:, None]) & (at < length[:, None])  # [B, S - 1]: the next token is a code or the end
    with autocast(tokens.device):
        logits = model.logits(hidden_of(tokens[:, :-1].contiguous())[spoken])
    return nnf.cross_entropy(logits.float(), tokens[:, 1:][spoken], reduction=reduction)


def sequences(
    corpus: Corpus, sentences: list[Sentence], vocabulary: lm.Vocabulary
) -> tuple[list[tuple[np.ndarray, int]], list[int]]:
    """(tokens, position of the first code) and the sentence of each."""
    out, of_sentence = [], []
    for i in range(len(corpus)):
        number = int(corpus.sentence[i])
        codes, phonemes = corpus[i], sentences[number].phonemes
        prompt = vocabulary.prompt(phonemes, corpus.voices[corpus.voice[i]])
        if plausible(len(codes), len(phonemes)) and len(prompt) + len(codes) < BUCKETS[-1]:
            out.append((np.array([*prompt, *codes, vocabulary.specials["SPEECH_END"]], np.int16), len(prompt)))
            of_sentence.append(number)
    return out, of_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("corpus", type=Path, help="codes of the text's sentences")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=17_000)
    parser.add_argument("--tokens", type=int, default=32_768, help="positions in a batch")
    parser.add_argument("--validation", type=int, default=200, help="sentences kept for validation")
    parser.add_argument("--every", type=int, default=1000, help="steps between reports")
    args = parser.parse_args()

    torch.manual_seed(3)
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sentences, corpus = read_sentences(args.text), Corpus.open(args.corpus)
    seen = Counter(c for sentence in sentences for c in sentence.phonemes)
    chars = "".join(sorted(c for c, n in seen.items() if n >= RARE))
    vocabulary, config = lm.Vocabulary(codec.Config().n_codes, chars, corpus.voices), lm.Config()
    print(f"characters: {chars}; left out: {sorted(set(seen) - set(chars))}", flush=True)

    items, of_sentence = sequences(corpus, sentences, vocabulary)
    learned = Batches([item for item, n in zip(items, of_sentence) if n >= args.validation], device)
    held_out = Batches([item for item, n in zip(items, of_sentence) if n < args.validation], device)
    n_learned = sum(n >= args.validation for n in of_sentence)
    print(f"{n_learned} of {len(corpus)} utterances to learn, {len(items) - n_learned} held out", flush=True)

    model = lm.LanguageModel(config, vocabulary).to(device)
    hidden_of = torch.compile(model, dynamic=True) if device.type == "cuda" else model
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, RATE, (0.9, 0.95), fused=device.type == "cuda")
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, vocabulary {vocabulary.size}")

    def validate() -> float:
        """Nats a code."""
        model.eval()
        with torch.no_grad():
            batches = list(held_out.all(args.tokens))
            total = sum(loss(model, model, batch, "sum").item() for batch in batches)
        model.train()
        return total / sum(int((length - begin).sum()) for _, begin, length in batches)

    began, n_tokens = time.time(), 0
    for n in range(args.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * n / args.steps))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (n + 1) / WARM_UP) * ((1 - LOWEST) * cosine + LOWEST)
        batch = learned.draw(args.tokens)
        current = loss(model, hidden_of, batch, "mean")
        optimizer.zero_grad()
        current.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        n_tokens += batch[0].numel()
        if n % args.every == 0 or n == args.steps - 1:
            seconds = time.time() - began
            report = f"step {n} {seconds:.0f} s: {current.item():.4f}, held out {validate():.4f} nats a code"
            print(f"{report}; {n_tokens / 1e6:.0f} M tokens", flush=True)
    lm.save(args.out, model, config, vocabulary)


if __name__ == "__main__":
    main()
