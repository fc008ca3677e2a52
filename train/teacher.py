"""Stage 2: the teacher reads the sentences.

festival's front end turns text into labels, hts_engine with the slt voice turns labels into mel-cepstrum and pitch, and
vocoder.py turns those into each voice's sound. The first two run on all cores, the vocoder on the GPU where there
is one. Utterances are trimmed to a little silence at both ends and brought to the same peak.

    python teacher.py work/text.tsv work/sound
"""

import argparse
import ctypes
import multiprocessing
import re
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

import vocoder
from data import CorpusWriter, read_sentences

HTS_VOICE = "/usr/share/festival/voices/us/cmu_us_slt_arctic_hts/hts/cmu_us_slt_arctic_hts.htsvoice"
LABELS = Path(__file__).with_name("labels.scm")
CEPSTRUM = 45  # coefficients a frame
CODEC_FRAME = 4  # vocoder frames (5 ms) in a codec frame (20 ms)
CHUNK = 200  # sentences a festival process reads

SILENCE = 0.008  # a frame below this share of the loudest frame's RMS is silence
MARGIN = 20  # frames of it that stay at both ends
SHORTEST, LONGEST = 60, 2800  # frames; utterances outside are left out (0.3 s, 14 s)
PEAK = 10 ** (-3 / 20) * 32767


class Engine:
    """libHTSEngine: labels to parameters. Its own vocoder, which cannot be left out, makes one sample a frame."""

    SIZE = 4096  # more than a struct HTS_Engine has

    def __init__(self):
        self.hts, self.c = ctypes.CDLL("libHTSEngine.so.1"), ctypes.CDLL(None)
        self.c.fopen.restype = ctypes.c_void_p
        self.hts.HTS_Engine_load.restype = ctypes.c_bool
        self.hts.HTS_Engine_synthesize_from_fn.restype = ctypes.c_bool
        self.state = ctypes.create_string_buffer(self.SIZE)
        self.hts.HTS_Engine_initialize(self.state)
        voices = (ctypes.c_char_p * 1)(HTS_VOICE.encode())
        if not self.hts.HTS_Engine_load(self.state, voices, ctypes.c_size_t(1)):
            raise RuntimeError(f"{HTS_VOICE} is no voice that libHTSEngine reads")
        self.hts.HTS_Engine_set_fperiod(self.state, ctypes.c_size_t(1))

    def parameters(self, labels: Path) -> np.ndarray | None:
        """[T, 1 + CEPSTRUM]: log f0 (0 where unvoiced), mel-cepstrum."""
        if not self.hts.HTS_Engine_synthesize_from_fn(self.state, str(labels).encode()):
            return None
        cepstrum, log_f0 = (self.stream(i, labels.with_suffix(".par")) for i in (0, 1))
        self.hts.HTS_Engine_refresh(self.state)
        log_f0[log_f0 < 0] = 0  # -1e10 marks unvoiced frames
        return np.concatenate([log_f0[:, None], cepstrum.reshape(-1, CEPSTRUM)], axis=1)

    def stream(self, index: int, file: Path) -> np.ndarray:
        handle = ctypes.c_void_p(self.c.fopen(str(file).encode(), b"wb"))
        self.hts.HTS_Engine_save_generated_parameter(self.state, ctypes.c_size_t(index), handle)
        self.c.fclose(handle)
        return np.fromfile(file, np.float32)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """One a process."""
    return Engine()


def parameters(texts: list[str]) -> list[np.ndarray | None]:
    """Each text's parameters [T, 1 + CEPSTRUM], None where festival gave up."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.lab" for i in range(len(texts))]
        jobs = Path(folder) / "jobs.scm"
        quote = lambda s: '"' + str(s).replace("\\", "\\\\").replace('"', '\\"') + '"'
        todo = list(zip(texts, files))
        while todo:  # a sentence can end festival itself, and what follows it is missing too: go on behind it
            jobs.write_text("".join(f"({quote(readable(text))} {quote(file)})\n" for text, file in todo))
            subprocess.run(["festival", "--batch", LABELS, f"(labels {quote(jobs)})"], stderr=subprocess.DEVNULL)
            written = [i for i, (_, file) in enumerate(todo) if file.exists()]
            todo = todo[max(written, default=-1) + 2 :]
        return [engine().parameters(f) if f.exists() and f.stat().st_size else None for f in files]


def readable(text: str) -> str:
    """festival reads ASCII and would name a dash: it pauses as at a comma instead."""
    return re.sub(r"\s*[—…]\s*", ", ", text).rstrip(", ")


def speak(batch: list[np.ndarray], voice: vocoder.Voice, generator: torch.Generator) -> list[np.ndarray | None]:
    """Parameters [T_i, 1 + CEPSTRUM] of several utterances to int16 samples, trimmed; None for one of odd length."""
    device = generator.device
    longest = max(len(p) for p in batch)
    padded = np.zeros((len(batch), longest, 1 + CEPSTRUM), np.float32)
    for row, utterance in zip(padded, batch):
        row[: len(utterance)] = utterance
    padded = torch.from_numpy(padded).to(device)
    n_frames = torch.tensor([len(p) for p in batch], device=device)

    sound = vocoder.synthesize(padded[:, :, 1:], padded[:, :, 0], voice, generator)
    frames = sound.view(len(batch), longest, vocoder.FRAME)
    at = torch.arange(longest, device=device)
    loudness = frames.pow(2).mean(-1).sqrt() * (at < n_frames[:, None])  # [B, T]
    loud = loudness > SILENCE * loudness.amax(1, keepdim=True)
    begin = (torch.where(loud, at, longest).amin(1) - MARGIN).clamp(min=0)
    end = torch.minimum(torch.where(loud, at + 1, 0).amax(1) + MARGIN, n_frames)
    end = begin + (end - begin) // CODEC_FRAME * CODEC_FRAME

    frames = frames * ((at >= begin[:, None]) & (at < end[:, None]))[:, :, None]
    scale = PEAK / frames.abs().amax((1, 2), keepdim=True).clamp(min=1)
    samples = (frames * scale).to(torch.int16).cpu().numpy()
    return [
        row[b:e].reshape(-1) if SHORTEST <= e - b <= LONGEST else None
        for row, b, e in zip(samples, begin.tolist(), end.tolist())
    ]


def batches(lengths: list[int], room: int) -> list[list[int]]:
    """Indices grouped by similar length so that a padded group has at most `room` frames."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or lengths[i] * (len(groups[-1]) + 1) > room:
            groups.append([])
        groups[-1].append(i)
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="sentences: text, tab, phonemes")
    parser.add_argument("out", type=Path, help="corpus to write (.bin and .npz)")
    parser.add_argument("--limit", type=int, help="read only the first sentences")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args()

    sentences = read_sentences(args.text, args.limit)
    chunks = [range(i, min(i + CHUNK, len(sentences))) for i in range(0, len(sentences), CHUNK)]
    pool = multiprocessing.get_context("fork").Pool(args.jobs)  # before CUDA starts in this process
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.backends.cuda.cufft_plan_cache.max_size = 16  # every group has a shape of its own; plans are large
    generator = torch.Generator(device).manual_seed(1)
    room = 60_000 if device.type == "cuda" else 3_000
    began, missing = time.time(), 0

    with pool, torch.no_grad(), CorpusWriter(args.out, list(vocoder.VOICES)) as corpus:
        texts = ([sentences[i].text for i in chunk] for chunk in chunks)
        for done, (chunk, spoken) in enumerate(zip(chunks, pool.imap(parameters, texts)), 1):
            said = [(i, p[:LONGEST]) for i, p in zip(chunk, spoken) if p is not None and len(p) >= SHORTEST]
            missing += len(chunk) - len(said)
            for number, voice in enumerate(vocoder.VOICES.values()):
                for group in batches([len(p) for _, p in said], room):
                    for j, samples in zip(group, speak([said[j][1] for j in group], voice, generator)):
                        if samples is not None:
                            corpus.add(samples, said[j][0], number)
            if done % 20 == 0 or done == len(chunks):
                hours = corpus.start[-1] / vocoder.SAMPLE_RATE / 3600
                print(f"{done}/{len(chunks)} chunks, {hours:.2f} h of sound, {time.time() - began:.0f} s", flush=True)
    print(f"{len(corpus.sentence)} utterances of {len(sentences)} sentences, {missing} sentences without")


if __name__ == "__main__":
    main()
