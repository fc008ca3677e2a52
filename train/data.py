"""What the stages hand to one another: sentences, and utterances stored back to back.

sentences   a text file (or .gz), one sentence a line: the text, a tab, its phonemes (or the text alone)
NAME.npz    start [n+1], sentence [n], voice [n], voices: where each utterance lies, what it says, who says it
NAME.bin    the utterances themselves: samples (24 kHz) or codes (50 a second), int16
"""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Sentence(NamedTuple):
    text: str
    phonemes: str = ""


def read_sentences(path: Path, limit: int | None = None) -> list[Sentence]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        sentences = [Sentence(*line.rstrip("\n").split("\t")) for line in lines]
    return sentences[:limit]


@dataclass
class Corpus:
    """Utterances of several voices, memory-mapped. Utterance i is values[start[i]:start[i + 1]]."""

    values: np.ndarray  # int16 [start[-1]]
    start: np.ndarray  # int64 [n + 1]
    sentence: np.ndarray  # int32 [n], index into the sentences it was made from
    voice: np.ndarray  # int32 [n], index into voices
    voices: list[str]

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.start[i] : self.start[i + 1]]

    @classmethod
    def open(cls, path: Path) -> "Corpus":
        index = np.load(path.with_suffix(".npz"))
        values = np.memmap(path.with_suffix(".bin"), np.int16, "r")
        return cls(values, index["start"], index["sentence"], index["voice"], index["voices"].tolist())


class CorpusWriter:
    """Writes a corpus one utterance at a time. Use as a context manager; the index is written at its end."""

    def __init__(self, path: Path, voices: list[str]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.voices = voices
        self.start = [0]
        self.sentence: list[int] = []
        self.voice: list[int] = []

    def __enter__(self) -> "CorpusWriter":
        self.file = open(self.path.with_suffix(".bin"), "wb")
        return self

    def add(self, values: np.ndarray, sentence: int, voice: int) -> None:
        assert values.dtype == np.int16
        self.file.write(np.ascontiguousarray(values).data)
        self.start.append(self.start[-1] + len(values))
        self.sentence.append(sentence)
        self.voice.append(voice)

    def __exit__(self, kind, *_) -> None:
        self.file.close()
        if kind is None:
            np.savez(
                self.path.with_suffix(".npz"),
                start=np.array(self.start, np.int64),
                sentence=np.array(self.sentence, np.int32),
                voice=np.array(self.voice, np.int32),
                voices=np.array(self.voices),
            )
