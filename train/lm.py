"""The language model: a small Qwen2 over phoneme characters and speech codes, with Hugging Face's names.

A sequence is <|TEXT_PROMPT_START|> phonemes <|TEXT_PROMPT_END|> <|VOICE_x|> <|SPEECH_GENERATION_START|> codes
<|SPEECH_GENERATION_END|>; there is no reference recording, a voice is a token.

Shapes: B sequences, S positions, E = hidden, H heads of HEAD.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as nnf
from safetensors.torch import save_file
from torch import Tensor, nn

HEAD = 64
SPECIALS = ("TEXT_START", "TEXT_END", "SPEECH_START", "SPEECH_END")


@dataclass(frozen=True)
class Config:
    hidden_size: int = 256
    num_hidden_layers: int = 10
    intermediate_size: int = 768
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 1280
    dropout: float = 0.1

    @property
    def num_heads(self) -> int:
        return self.hidden_size // HEAD


@dataclass(frozen=True)
class Vocabulary:
    """Ids: codes, then phoneme characters, then SPECIALS, then one VOICE_x a voice."""

    codes: int
    chars: str
    voices: list[str]

    @cached_property
    def specials(self) -> dict[str, int]:
        names = [*SPECIALS, *(f"VOICE_{voice}" for voice in self.voices)]
        return {name: self.codes + len(self.chars) + i for i, name in enumerate(names)}

    @cached_property
    def char_ids(self) -> dict[str, int]:
        return {char: self.codes + i for i, char in enumerate(self.chars)}

    @property
    def size(self) -> int:
        return self.codes + len(self.chars) + len(SPECIALS) + len(self.voices)

    def prompt(self, phonemes: str, voice: str) -> list[int]:
        special = self.specials
        text = [self.char_ids[char] for char in phonemes if char in self.char_ids]
        return [special["TEXT_START"], *text, special["TEXT_END"], special[f"VOICE_{voice}"], special["SPEECH_START"]]


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, H, S, HEAD]; dimension i turns with dimension i + HEAD / 2; cos, sin [S, HEAD / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = [p(x).unflatten(-1, (-1, HEAD)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)]
        q, k, v = rotate(heads[0], cos, sin), rotate(heads[1], cos, sin), heads[2]
        y = nnf.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nnf.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class LanguageModel(nn.Module):
    def __init__(self, config: Config, vocabulary: Vocabulary):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary.size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        residual = 1 / math.sqrt(2 * config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 * (residual if into_residual else 1))
        frequency = config.rope_theta ** (-torch.arange(HEAD // 2) / (HEAD // 2))
        angle = torch.arange(config.max_position_embeddings)[:, None] * frequency
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:  # [B, S] -> [B, S, E]
        n = tokens.shape[1]
        x = self.dropout(self.embed_tokens(tokens))
        for layer in self.layers:
            x = layer(x, self.cos[:n], self.sin[:n])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:  # [..., E] -> [..., vocabulary]; the embedding is the output, too
        return nnf.linear(hidden, self.embed_tokens.weight)


def save(path: Path, model: LanguageModel, config: Config, vocabulary: Vocabulary) -> None:
    tensors = {f"lm.model.{name}": value.float().cpu().contiguous() for name, value in model.state_dict().items()}
    lm = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.rms_norm_eps,
        "max_position_embeddings": config.max_position_embeddings,
    }
    words = {
        "codes": vocabulary.codes,
        "chars": vocabulary.chars,
        "specials": vocabulary.specials,
        "size": vocabulary.size,
    }
    metadata = {"config": json.dumps({"lm": lm}), "vocab": json.dumps(words, ensure_ascii=False)}
    save_file(tensors, path, metadata)
