"""The official package behind HTTP, as the small servers do it that its users write: one model, one request at a time.

    server.py PORT MODEL.gguf CODEC.onnx VOICE.json CODES THREADS

Answers POST /v1/audio/speech with 16-bit samples, streamed as infer_stream makes them, so that `utter bench --server`
measures it as it measures utter. Models of random weights never end a sentence: it ends after CODES codes.
"""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from worker import Official

official = Official(*sys.argv[2:])
official.open()
one_at_a_time = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.send_response(200)
        self.send_header("Content-Type", "audio/pcm")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        voice = official.voice
        with one_at_a_time:
            for piece in official.tts.infer_stream(text, voice["codes"], voice["text"]):
                data = (piece.clip(-1, 1) * 32767).astype("<i2").tobytes()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
