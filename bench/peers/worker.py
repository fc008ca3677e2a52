"""The peers' side of a comparison: measures one repetition each time it is asked (bench/worker.c tells the commands).

    worker.py llama MODEL.gguf THREADS           llama-cpp-python: prefill, decode
    worker.py onnx CODEC.onnx THREADS            onnxruntime: codec
    worker.py torch CODEC.safetensors THREADS    the neucodec package's decoder in PyTorch: codec
    worker.py encoder LAYERS THREADS             the neucodec package's encoder in PyTorch: encode
    worker.py official MODEL.gguf CODEC.onnx VOICE.json CODES THREADS [watermark]
                                                 the neutts package: speak, as its infer and infer_stream do it

Models of random weights never end a sentence, so `official` ends after CODES codes.
"""
import ctypes
import json
import os
import random
import sys
import time

OUT = os.dup(1)
os.dup2(2, 1)  # what libraries print must not be taken for answers


def answer(*values):
    os.write(OUT, (" ".join(["ok", *(f"{v:.6f}" for v in values)]) + "\n").encode())


class Llama:
    """As the neutts package opens it, but for the number of threads."""

    def __init__(self, model, threads):
        self.model, self.threads = model, int(threads)

    def open(self):
        import llama_cpp
        self.llm = llama_cpp.Llama(model_path=self.model, verbose=False, n_gpu_layers=0, n_ctx=2048, n_batch=512,
                                   n_ubatch=512, n_threads=self.threads, n_threads_batch=self.threads, use_mlock=True,
                                   flash_attn=False)
        self.tokens = [self.llm.tokenize(f"<|speech_{i}|>".encode(), add_bos=False, special=True)[0]
                       for i in range(0, 65536, 97)]

    def prompt(self, n):
        return [self.tokens[i * 7919 % len(self.tokens)] for i in range(n)]

    def prefill(self, n):
        self.llm.reset()
        tokens = self.prompt(n)
        since = time.perf_counter()
        self.llm.eval(tokens)
        return time.perf_counter() - since

    def decode(self, streams, depth, steps):
        assert streams == 1
        depth = max(depth, 1)
        if not depth <= self.llm.n_tokens <= depth + 512 or self.llm.n_tokens + steps > 2048:
            self.prefill(depth)
        # Everything that the package's own loop does for a token, but for turning it into text.
        since = time.perf_counter()
        for _ in range(steps):
            token = self.llm.sample(temp=1.0, top_k=50, top_p=0.95, min_p=0.05)
            self.llm.eval([token])
        return time.perf_counter() - since


class Onnx:
    """As neucodec's NeuCodecOnnxDecoder opens it, but for the number of threads."""

    def __init__(self, path, threads):
        self.path, self.threads = path, int(threads)

    def open(self):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])

    def codec(self, frames, pieces):
        import numpy
        codes = numpy.array([random.Random(i).randrange(65536) for i in range(frames)], dtype=numpy.int32)[None, None]
        codes = numpy.repeat(codes, pieces, axis=0)
        since = time.perf_counter()
        self.session.run(None, {"codes": codes})
        return time.perf_counter() - since


class Torch:
    def __init__(self, path, threads):
        self.path, self.threads = path, int(threads)

    def open(self):
        import torch
        from decoder import load_decoder
        torch.set_num_threads(self.threads)
        self.torch, self.decoder = torch, load_decoder(self.path)

    def codec(self, frames, pieces):
        codes = self.torch.randint(0, 65536, (1, 1, frames)).repeat(pieces, 1, 1)
        since = time.perf_counter()
        with self.torch.no_grad():
            self.decoder(codes)
        return time.perf_counter() - since


class Encoder:
    """The package's NeuCodec, with weights as PyTorch draws them, in place of what it would fetch. It computes all 24
    layers of the semantic model, of which it uses 16: as it is, or with these alone."""

    def __init__(self, layers, threads):
        self.layers, self.threads = int(layers), int(threads)

    def open(self):
        import neucodec.model as package
        import torch
        import transformers
        torch.set_num_threads(self.threads)
        self.torch = torch
        package.Wav2Vec2BertModel.from_pretrained = lambda *_, **options: transformers.Wav2Vec2BertModel(
            transformers.Wav2Vec2BertConfig(**options))
        package.AutoFeatureExtractor.from_pretrained = lambda *_: transformers.SeamlessM4TFeatureExtractor()
        self.model = package.NeuCodec(24000, 480).eval()
        semantic = self.model.semantic_model.encoder
        semantic.layers = semantic.layers[:self.layers]

    def encode(self, seconds):
        recording = self.torch.rand(1, 1, 16000 * seconds) - 0.5
        since = time.perf_counter()
        with self.torch.no_grad():
            self.model.encode_code(recording)
        return time.perf_counter() - since


class Official:
    """The package's own class and methods; changed are the number of threads and how many codes it writes."""

    def __init__(self, model, codec, voice, codes, threads, watermark=""):
        self.model, self.codec_path, self.codes, self.threads = model, codec, int(codes), int(threads)
        self.voice, self.watermark = json.load(open(voice)), watermark

    def open(self):
        import neutts.neutts
        import onnxruntime
        neutts.neutts._n_perf_cores = lambda: self.threads
        neutts.neutts.os.cpu_count = lambda: self.threads
        plain = onnxruntime.SessionOptions

        def session_options():
            options = plain()
            options.intra_op_num_threads = self.threads
            return options

        onnxruntime.SessionOptions = session_options
        since = time.perf_counter()
        self.tts = neutts.neutts.NeuTTS(backbone_repo=self.model, codec_repo=self.codec_path, language="en-us", seed=1)
        self.load_s = time.perf_counter() - since
        if not self.watermark:
            self.tts.watermarker = None
        self.tts.max_context = self.codes  # from here on the limit of what is written

    def speak(self, how, text):
        since = time.perf_counter()
        first, samples = 0.0, 0
        if how:
            for piece in self.tts.infer_stream(text, self.voice["codes"], self.voice["text"]):
                first = first or time.perf_counter() - since
                samples += len(piece)
                if how == 2:
                    break
        else:
            samples = len(self.tts.infer(text, self.voice["codes"], self.voice["text"]))
            first = time.perf_counter() - since
        return first, time.perf_counter() - since, samples / 24000, self.codes


def memory():
    values = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(values[key].split()[0]) * 1024.0 for key in ("VmRSS", "VmHWM", "RssAnon")]


def main():
    worker = {"llama": Llama, "onnx": Onnx, "torch": Torch, "encoder": Encoder, "official": Official}[sys.argv[1]](*sys.argv[2:])
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        try:
            if command == "open":
                since = time.perf_counter()
                worker.open()
                answer(getattr(worker, "load_s", time.perf_counter() - since))
            elif command == "memory":
                answer(*memory())
            elif command == "speak":
                how, _, text = rest.partition(" ")
                answer(*worker.speak(int(how), text))
            else:
                answer(getattr(worker, command)(*map(int, rest.split())))
        except Exception as e:
            os.write(OUT, f"error {type(e).__name__}: {e}".replace("\n", " ").encode() + b"\n")


if __name__ == "__main__":
    main()
