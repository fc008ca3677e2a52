/* speak.c: says a sentence with libutter and writes it as 32-bit float WAV.

       cc speak.c $(pkg-config --cflags --libs utter) -o speak
       ./speak "Good morning." out.wav

   Everything libutter can do is in one header: utter.h. */
#include <stdio.h>
#include <string.h>
#include <utter.h>

static void put32(FILE *f, uint32_t v) { fwrite(&v, 4, 1, f); } // WAV is little-endian; so is every machine here

static void wav_header(FILE *f, uint32_t rate, uint32_t n_bytes) {
    fwrite("RIFF", 1, 4, f), put32(f, 36 + n_bytes), fwrite("WAVEfmt ", 1, 8, f), put32(f, 16);
    put32(f, 3 | 1 << 16), put32(f, rate), put32(f, rate * 4), put32(f, 4 | 32 << 16); // float, one channel
    fwrite("data", 1, 4, f), put32(f, n_bytes);
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: speak TEXT OUT.wav\n"), 2;
    utter_options options = utter_options_default();
    utter_request request = utter_request_default();
    request.text = argv[1];

    utter *engine = NULL;
    utter_stream *stream = NULL;
    FILE *out = fopen(argv[2], "wb");
    utter_status status = out ? utter_open(&options, &engine) : UTTER_IO;
    if (status == UTTER_OK) status = utter_speak(engine, &request, &stream);

    float samples[4096];
    size_t n = 1, total = 0;
    if (status == UTTER_OK) wav_header(out, (uint32_t)utter_sample_rate(engine), 0);
    while (status == UTTER_OK && n > 0) {
        status = utter_read(stream, samples, 4096, &n);
        total += fwrite(samples, sizeof *samples, n, out);
    }
    if (status == UTTER_OK) rewind(out), wav_header(out, (uint32_t)utter_sample_rate(engine), (uint32_t)total * 4);
    if (status != UTTER_OK) fprintf(stderr, "speak: %s\n", out ? utter_error_message() : "cannot write the file");
    utter_stream_close(stream);
    utter_close(engine);
    if (out) fclose(out);
    return status == UTTER_OK ? 0 : 1;
}
