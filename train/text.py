"""Stage 1: the sentences to read, from Debian's packages and from templates, with their phonemes.

Only sources that may be used for anything: WordNet's examples and definitions (WordNet licence), the World English
Bible, the Devil's Dictionary and the Jargon File (public domain), and everyday.py. Sentences of 1 to 230 letters, of
words that a dictionary knows, with every mark that a reader pauses at. None of train/eval.tsv is among them.

    python text.py work/text.tsv --utter ../build/utter
"""

import argparse
import gzip
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import everyday
from data import read_sentences

SHARE = Path("/usr/share")
WORD_LIST = SHARE / "dict/american-english"
EVALUATION = Path(__file__).with_name("eval.tsv")
LONGEST = 230  # letters in an item
JOINED = 0.12  # share of items that are two or three sentences
UNMARKED = 0.05  # share of items that lose the mark at their end, as titles and hasty messages do

MARKS = {"’": "'", "‘": "'", "“": "", "”": "", '"': "", "`": "", "*": "", "_": "", "--": " — ", "...": "… ", "\u00a0": " "}
ABBREVIATION = re.compile(r"\b(Mr|Mrs|Dr|St|vs|etc|Prof|Capt|Lt|Gen|Col|Jr|Sr|No|Vol|pp|cf|viz|[A-Z]|[ei]\.[ge])\.$")
SENTENCE = re.compile(r"[A-Z][A-Za-z ,;:—….'?!]*")


# ---- sources: each yields raw text, a sentence or a paragraph at a time ----


def wordnet() -> Iterator[tuple[str, str, str]]:
    """(lemma, part of speech, gloss) of every entry."""
    for kind in ("noun", "verb", "adj", "adv"):
        for line in (SHARE / "wordnet" / f"data.{kind}").read_text().splitlines():
            if not line.startswith("  ") and "|" in line:
                entry, gloss = line.split("|", 1)
                yield entry.split()[4].split("(")[0], kind, gloss.strip()


def wordnet_examples() -> Iterator[str]:
    for _, _, gloss in wordnet():
        for example in re.findall(r'"([^"]*)"', gloss):
            example = re.sub(r"\s*-\s*[A-Z][\w. ]*$", "", example.strip())  # the author of a quotation
            yield example if example.endswith((".", "?", "!")) else example.rstrip(" ,;:") + "."


def wordnet_definitions() -> Iterator[str]:
    seen: Counter[str] = Counter()
    for lemma, kind, gloss in wordnet():
        meaning = re.sub(r"\([^)]*\)", "", gloss.split('"')[0]).split(";")[0].strip(" ,.")
        seen[lemma] += 1
        if not lemma.isalpha() or not lemma.islower() or not meaning or seen[lemma] > 2:
            continue
        if kind == "verb":
            yield f"To {lemma} is to {meaning}."
        elif kind == "noun" and re.match(r"(the|an?|any|one|something|someone)\b", meaning):
            yield f"{lemma} is {meaning}."
        else:
            yield f"{lemma} means {meaning}."


def bible() -> Iterator[str]:
    """Chapters of the World English Bible, verses run together."""
    command = ["diatheke", "-b", "engWEB2015eb", "-f", "plain", "-k", "Gen-Rev"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    chapter, verses = "", []
    for found in re.finditer(r"^ *([\w ]+ \d+):\d+:(.*?)(?=^ *[\w ]+ \d+:\d+:|\Z)", output, re.M | re.S):
        if found[1] != chapter:
            yield " ".join(verses)
            chapter, verses = found[1], []
        verses.append(found[2].split("\n\n")[0])  # a heading may follow the verse
    yield " ".join(verses)


def dictionary(name: str) -> Iterator[str]:
    text = gzip.open(SHARE / "dictd" / f"{name}.dict.dz", "rt", encoding="utf-8", errors="ignore").read()
    for paragraph in re.split(r"\n\s*\n", text):
        yield re.sub(r"[{}]", "", paragraph)


def single_words(n: int, rng: random.Random) -> list[str]:
    words = [word for word in WORD_LIST.read_text().split() if re.fullmatch(r"[a-z]{2,14}", word)]
    return [word + rng.choice(".....?!") for word in rng.sample(words, n)]


# ---- from raw text to sentences ----


def clean(text: str) -> str:
    for mark, plain in MARKS.items():
        text = text.replace(mark, plain)
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    text = re.sub(r"\s*([,;:])[\s,;:]*", r"\1 ", text)
    return re.sub(r"\s+", " ", text).strip(" ,;:—-'")


def split(text: str) -> Iterator[str]:
    """Sentences of a cleaned paragraph."""
    current = ""
    for piece in re.split(r"(?<=[.!?])\s+", text):
        current = f"{current} {piece}".strip()
        if not ABBREVIATION.search(current):
            yield current[:1].upper() + current[1:]
            current = ""


def shorten(sentence: str) -> Iterator[str]:
    """Sentences too long for one breath end at a semicolon or colon."""
    while len(sentence) > LONGEST and (cut := max(sentence.rfind(mark, 0, LONGEST) for mark in (";", ":"))) > 0:
        yield sentence[:cut] + "."
        sentence = sentence[cut + 2 :]
        sentence = sentence[:1].upper() + sentence[1:]
    yield sentence


class Filter:
    """Keeps what festival and espeak-ng read alike: plain sentences of known words, each once."""

    def __init__(self, taken: Iterable[str]):
        words = WORD_LIST.read_text().split()
        self.known = {word for word in words if word[0].islower()} | {"o'clock"}
        self.names = {word for word in words if word[0].isupper()}
        self.seen = {self.key(sentence) for sentence in taken}

    @staticmethod
    def key(sentence: str) -> str:
        return re.sub(r"[^a-z' ]", "", sentence.lower()).strip()

    def knows(self, word: str, first: bool) -> bool:
        plain = re.sub(r"'(s|d|ll|re|ve|m)$|(?<=s)'$", "", word)
        if plain in self.names or plain == "I" or len(plain) == 1 and plain.isupper():
            return True
        if len(plain) == 1 and plain not in "aA":
            return False
        return (first or plain.islower()) and plain.lower() in self.known

    def take(self, sentence: str) -> bool:
        words = re.sub(r"[,;:—….?!]", " ", sentence).split()
        ok = (
            len(sentence) <= LONGEST
            and SENTENCE.fullmatch(sentence)
            and sentence[-1] in ".?!"
            and not re.search(r"[.?!,;:] *[.?!,;:]|[.,;:?!…](?=[A-Za-z])|[.?!] ", sentence)
            and len(re.findall(r"[,;:—…]", sentence)) <= 7
            and all(self.knows(word, i == 0) for i, word in enumerate(words))
            and self.key(sentence) not in self.seen
        )
        if ok:
            self.seen.add(self.key(sentence))
        return bool(ok)


def gather(scale: float, rng: random.Random) -> Counter[str]:
    """Sentences of all sources, with how many each gave. `scale` shrinks the whole for a quick run."""
    sources = {  # name: (raw text, how many sentences to keep at most)
        "wordnet examples": (wordnet_examples(), 60_000),
        "wordnet definitions": (wordnet_definitions(), 30_000),
        "world english bible": (bible(), 30_000),
        "devil's dictionary": (dictionary("devil"), 10_000),
        "jargon file": (dictionary("jargon"), 10_000),
        "single words": (single_words(4_000, rng), 4_000),
        "everyday": (everyday.sentences(60_000, rng), 45_000),
    }
    accept = Filter(sentence.text for sentence in read_sentences(EVALUATION)).take
    kept: list[str] = []
    for name, (texts, most) in sources.items():
        found = [s for text in texts for whole in split(clean(text)) for s in shorten(whole) if accept(s)]
        rng.shuffle(found)
        found = found[: int(most * scale)]
        kept += join(found, rng)
        print(f"{name}: {len(found)} sentences", flush=True)
    rng.shuffle(kept)
    return [s.rstrip(".") if rng.random() < UNMARKED else s for s in kept]


def join(sentences: list[str], rng: random.Random) -> list[str]:
    """Some of them two or three together, as a paragraph has them."""
    items: list[str] = []
    for sentence in sentences:
        if items and rng.random() < JOINED and len(items[-1]) + len(sentence) < LONGEST:
            items[-1] += " " + sentence
        else:
            items.append(sentence)
    return items


def phonemes(sentences: list[str], utter: Path) -> list[str]:
    """What the engine will make of them: one line in, one line out."""
    text = "".join(sentence + "\n" for sentence in sentences)
    command = [utter, "phonemes", "--lang", "en-us", "--raw"]
    lines = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == len(sentences), f"{len(sentences)} lines went in and {len(lines)} came out"
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--utter", type=Path, required=True, help="the built program, for its phonemes")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the sentences to keep")
    args = parser.parse_args()

    sentences = gather(args.scale, random.Random(5))
    lines = [f"{s}\t{p}\n" for s, p in zip(sentences, phonemes(sentences, args.utter)) if p]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(lines), encoding="utf-8")
    letters = sum(map(len, sentences))
    words = Counter(word for s in sentences for word in Filter.key(s).split())
    print(f"{len(lines)} items, {letters / len(lines):.0f} letters each, {len(words)} different words")


if __name__ == "__main__":
    main()
