"""How well the voices are understood: pocketsphinx's word error rate on the sentences of eval.tsv.

    ./evaluate utter                                the built program, both voices
    ./evaluate teacher codec utter --sound work/eval --encoder work/codec.safetensors

teacher  the sound that the model was taught with (made by teacher.py from eval.tsv: --sound)
codec    the same through the encoder (torch: --encoder) and back through `utter codec decode`
utter    `utter say`, one sentence at a time, at the model's own sampling or as --say says

Every set has the sentences of --text, none of which was trained on. The recogniser is no person: its figures are good
for comparing sets with one another. The interval is that of the sentences drawn anew (95 %, 1,000 draws).
"""

import argparse
import json
import multiprocessing
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

from data import Corpus, read_sentences

HERE = Path(__file__).parent
SAMPLE_RATE, LISTENING_RATE = 24_000, 16_000
MARGIN = LISTENING_RATE * 3 // 10  # silence before and after
FRAME = 480  # samples of a code


@dataclass(frozen=True)
class Sources:
    """Where the sets come from."""

    texts: list[str]
    utter: Path
    say: list[str]  # further options of `utter say`
    sound: Path | None
    encoder: Path | None
    codec: list[str]  # options of `utter codec decode`


# ---- the sets: each gives one utterance at 24 kHz, float in -1 .. 1 ----


def teacher(sources: Sources, voice: str, i: int) -> np.ndarray:
    corpus = opened(sources.sound)
    (found,) = np.nonzero((corpus.sentence == i) & (corpus.voice == corpus.voices.index(voice)))
    return np.array(corpus[int(found[0])]).astype(np.float32) / 32767 if len(found) else np.zeros(FRAME, np.float32)


def codec(sources: Sources, voice: str, i: int) -> np.ndarray:
    import torch

    from codec import quantize, to_codes

    sound = torch.from_numpy(teacher(sources, voice, i))[None]
    with torch.no_grad():
        codes = to_codes(quantize(loaded_encoder(sources.encoder)(sound)))[0]
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "codes.npy", Path(folder) / "sound.npy"
        np.save(given, codes.numpy().astype(np.int32))
        subprocess.run([sources.utter, "codec", "decode", *sources.codec, given, "-o", made], check=True)
        return np.load(made).reshape(-1)


def utter(sources: Sources, voice: str, i: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "sound.wav"
        command = [sources.utter, "say", "--quiet", "--voice", voice, *sources.say, "-o", made, sources.texts[i]]
        subprocess.run(command, check=True)
        rate, samples = wavfile.read(made)
    assert rate == SAMPLE_RATE, f"{rate} Hz"
    return samples.astype(np.float32) / 32768


SETS: dict[str, Callable[[Sources, str, int], np.ndarray]] = {"teacher": teacher, "codec": codec, "utter": utter}


@lru_cache
def opened(path: Path) -> Corpus:
    return Corpus.open(path)


@lru_cache
def loaded_encoder(path: Path):
    import torch

    from codec import load_encoder

    torch.set_num_threads(1)
    return load_encoder(path)


# ---- listening ----


@lru_cache
def recogniser():
    from pocketsphinx import Decoder

    return Decoder(samprate=LISTENING_RATE, loglevel="FATAL")


def listen(sound: np.ndarray) -> str:
    quiet = np.zeros(MARGIN)
    heard = resample_poly(sound.astype(np.float64), LISTENING_RATE, SAMPLE_RATE)
    heard = np.concatenate([quiet, heard / (np.abs(heard).max() + 1e-9) * 0.7 * 32767, quiet])
    heard += np.random.default_rng(0).integers(-4, 5, len(heard))  # pocketsphinx dislikes digital silence
    decoder = recogniser()
    decoder.start_utt()
    decoder.process_raw(heard.astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


@dataclass(frozen=True)
class Result:
    heard: str
    seconds: float


def attempt(job: tuple[str, Sources, str, int]) -> Result:
    name, sources, voice, i = job
    sound = SETS[name](sources, voice, i)
    return Result(listen(sound), len(sound) / SAMPLE_RATE)


# ---- figures ----


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def distance(a: list[str] | str, b: list[str] | str) -> int:
    """Levenshtein's."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def figures(texts: list[str], results: list[Result]) -> dict[str, float]:
    spoken = [words(text) for text in texts]
    heard = [words(result.heard) for result in results]
    wrong = np.array([distance(s, h) for s, h in zip(spoken, heard)])
    count = np.array([len(s) for s in spoken])
    letters = [(" ".join(s), " ".join(h)) for s, h in zip(spoken, heard)]
    draws = np.random.default_rng(0).integers(0, len(texts), (1000, len(texts)))
    rates = wrong[draws].sum(1) / count[draws].sum(1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return {
        "wer": wrong.sum() / count.sum(),
        "low": low,
        "high": high,
        "cer": sum(distance(s, h) for s, h in letters) / sum(len(s) for s, _ in letters),
        "right": int((wrong == 0).sum()),
        "seconds": sum(result.seconds for result in results) / len(results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--voices", nargs="+", default=["slt", "sam"])
    parser.add_argument("--text", type=Path, default=HERE / "eval.tsv")
    parser.add_argument("--utter", type=Path, default=HERE.parent / "build/utter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--say", default="", help='further options of utter say, such as "--temperature 0.8"')
    parser.add_argument("--sound", type=Path, default=HERE / "work/eval", help="the teacher's corpus of --text")
    parser.add_argument("--encoder", type=Path, default=HERE / "work/codec.safetensors")
    parser.add_argument("--codec", default="", help="GGUF of the codec; default: the built-in one")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--misheard", action="store_true", help="print what was misheard")
    parser.add_argument("--json", type=Path, help="write what was heard and the figures")
    args = parser.parse_args()

    texts = [sentence.text for sentence in read_sentences(args.text)]
    say = ["--seed", str(args.seed), "--threads", "1", *shlex.split(args.say)]
    codec_options = ["--codec", args.codec] if args.codec else []
    sources = Sources(texts, args.utter.resolve(), say, args.sound, args.encoder, codec_options)
    report = {}
    print("| set | voice | WER | 95 % | CER | all right | seconds |\n|---|---|---|---|---|---|---|")
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for name in args.sets:
            for voice in args.voices:
                jobs = [(name, sources, voice, i) for i in range(len(texts))]
                results = pool.map(attempt, jobs, chunksize=4)
                f = figures(texts, results)
                interval = f"{f['low']:.3f}–{f['high']:.3f}"
                right = f"{f['right']} of {len(texts)}"
                print(f"| {name} | {voice} | {f['wer']:.3f} | {interval} | {f['cer']:.3f} | {right} | {f['seconds']:.2f} |")
                heard = [{"text": t, "heard": r.heard, "seconds": r.seconds} for t, r in zip(texts, results)]
                report[f"{name} {voice}"] = {"figures": f, "heard": heard}
                for text, result in zip(texts, results) if args.misheard else ():
                    if words(text) != words(result.heard):
                        print(f"    {text}\n      {result.heard}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
