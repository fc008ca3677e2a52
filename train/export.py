"""Stage 5: the trained weights as the two files that `utter models convert` reads.

    python export.py work/codec.safetensors work/lm.safetensors -o work/export

writes backbone.safetensors (Hugging Face's names of Qwen2, with the GGUF metadata as JSON) and codec.safetensors
(NeuCodec's names, with the geometry as JSON); the encoder stays behind. Nothing of this model is known to the engine:
vocabulary, prompt, voices and sampling are all said here.

The inputs hold tensors under lm., codec. and encoder., in any number of files, and in their metadata `config` (geometry)
and `vocab`: {"codes": n, "chars": "…", "specials": {"TEXT_START": id, …}, "size": n}. Ids 0 .. codes-1 are the codes,
then come the phoneme characters, then the specials.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from vocoder import VOICES

NAME = "utter built-in voices slt and sam"
LICENSE = "Apache-2.0; teacher: festvox-us-slt-hts (CMU), see assets/LICENSES"
PROMPT = "<|TEXT_PROMPT_START|>{text}<|TEXT_PROMPT_END|>{voice}<|SPEECH_GENERATION_START|>"
SAMPLING = {"temperature": 0.6, "top_k": 50, "top_p": 0.95, "min_p": 0.05}
FRAMES_PER_SYMBOL = 3.9  # codes for each phoneme character other than stress and space: README.md, "Lengths"
JOIN_FRAMES = 0  # sentences are not joined: it was trained on one at a time
MAX_FRAMES = 400  # and none was longer: README.md, "Lengths"

# Marks that the training text does not have act as the nearest one that it has.
STAND_INS = {";": ",", ":": ","}

TOKEN_NORMAL, TOKEN_CONTROL, TOKEN_USER_DEFINED = 1, 3, 4  # as llama.cpp numbers them


def read(paths: list[Path]) -> tuple[dict[str, np.ndarray], dict, dict]:
    """All tensors, the config and the vocabulary of several files together."""
    tensors, config, vocab = {}, {}, {}
    for path in paths:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            config |= json.loads(metadata["config"])
            vocab |= json.loads(metadata.get("vocab", "{}"))
            tensors |= {name: file.get_tensor(name) for name in file.keys()}
    return tensors, config, vocab


def part(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def token_text(special: str) -> str:
    """TEXT_START -> <|TEXT_PROMPT_START|>, as NeuTTS's vocabularies spell it."""
    for short, spelled in (("TEXT_", "TEXT_PROMPT_"), ("SPEECH_", "SPEECH_GENERATION_")):
        if special.startswith(short):
            special = spelled + special[len(short) :]
    return f"<|{special}|>"


def vocabulary(vocab: dict) -> tuple[list[str], list[int]]:
    """Texts and types of all tokens. Every one is user-defined: found in the prompt as it is written, nothing merges."""
    texts = [f"<|speech_{i}|>" for i in range(vocab["codes"])] + list(vocab["chars"])
    specials = sorted(vocab["specials"].items(), key=lambda item: item[1])
    assert [number for _, number in specials] == list(range(len(texts), vocab["size"])), "specials come last"
    types = [TOKEN_USER_DEFINED] * len(texts) + [TOKEN_CONTROL] * len(specials)
    return texts + [token_text(name) for name, _ in specials], types


def gguf_metadata(config: dict, vocab: dict) -> dict:
    lm = config["lm"]
    texts, types = vocabulary(vocab)
    voices = [
        {"name": name, "language": "en-us", "note": voice.note, "token": f"<|VOICE_{name}|>"}
        for name, voice in VOICES.items()
    ]
    return {
        "general.architecture": "qwen2",
        "general.name": NAME,
        "general.license": LICENSE,
        "qwen2.block_count": lm["num_hidden_layers"],
        "qwen2.context_length": lm["max_position_embeddings"],
        "qwen2.embedding_length": lm["hidden_size"],
        "qwen2.feed_forward_length": lm["intermediate_size"],
        "qwen2.attention.head_count": lm["num_attention_heads"],
        "qwen2.attention.head_count_kv": lm["num_key_value_heads"],
        "qwen2.attention.layer_norm_rms_epsilon": lm["rms_norm_eps"],
        "qwen2.rope.freq_base": lm["rope_theta"],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": vocab["specials"]["SPEECH_END"],
        "tokenizer.ggml.add_bos_token": False,
        "neuphonic.input_format": "phonemes",
        "utter.prompt": PROMPT,
        "utter.language": "en-us",
        "utter.voices": json.dumps(voices),
        "utter.frames_per_symbol": FRAMES_PER_SYMBOL,
        "utter.join_frames": JOIN_FRAMES,
        "utter.max_frames": MAX_FRAMES,
        **{f"utter.sampling.{key}": value for key, value in SAMPLING.items()},
    }


def codec_metadata(config: dict) -> dict:
    codec = config["codec"]
    return {
        "general.name": "utter built-in codec",
        "general.license": LICENSE,
        "sample_rate": codec["sample_rate"],
        "hop_length": codec["hop"],
        "fft_length": codec["n_fft"],
        "head_count": codec["heads"],
        "group_count": codec["groupnorm_groups"],
        "fsq_levels": codec["fsq_levels"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help="safetensors files of the codec and the language model")
    parser.add_argument("-o", "--out", type=Path, default=Path("work/export"), help="folder to write to")
    args = parser.parse_args()

    tensors, config, vocab = read(args.weights)
    backbone, codec = part(tensors, "lm."), part(tensors, "codec.")
    embedding = backbone["model.embed_tokens.weight"].copy()  # [vocabulary, width]
    assert len(embedding) == vocab["size"]
    for mark, like in STAND_INS.items():
        if mark in vocab["chars"]:
            embedding[vocab["codes"] + vocab["chars"].index(mark)] = embedding[vocab["codes"] + vocab["chars"].index(like)]
    backbone["model.embed_tokens.weight"] = embedding

    dump = lambda value: json.dumps(value, ensure_ascii=False)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, part_tensors, key, metadata in (
        ("backbone", backbone, "utter.gguf", gguf_metadata(config, vocab)),
        ("codec", codec, "utter.codec", codec_metadata(config)),
    ):
        path = args.out / f"{name}.safetensors"
        save_file({k: v.astype(np.float16) for k, v in part_tensors.items()}, path, {key: dump(metadata)})
        n = sum(v.size for v in part_tensors.values())
        print(f"{path}: {n / 1e6:.2f} M parameters, {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
