#include "audio/encode.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "audio/encode_parts.h"
#include "base/str.h"

// ---- WAV and PCM ----

enum { WAV_HEADER = 44 };
static const uint32_t unknown_length = 0xffffffff;  // in a WAV header: read to the end

static void put_u32(unsigned char *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> 8 * i);
}

// A canonical header for mono PCM16. Sizes beyond 32 bits are given as unknown.
static void wav_header(unsigned char header[WAV_HEADER], int rate_hz, uint64_t n_samples) {
    uint32_t n_bytes = n_samples > (UINT32_MAX - WAV_HEADER) / 2 ? unknown_length : (uint32_t)n_samples * 2;
    memcpy(header, "RIFF....WAVEfmt \x10\0\0\0\1\0\1\0........\2\0\x10\0data....", WAV_HEADER);
    put_u32(header + 4, n_bytes == unknown_length ? unknown_length : n_bytes + WAV_HEADER - 8);
    put_u32(header + 24, (uint32_t)rate_hz);
    put_u32(header + 28, (uint32_t)rate_hz * 2);
    put_u32(header + 40, n_bytes);
}

static status wav_open(struct audio_encoder *e) {
    e->head = malloc(WAV_HEADER);
    if (!e->head) return fail_memory(WAV_HEADER, "a WAV header");
    wav_header(e->head, e->rate_hz, UINT64_MAX);
    return encode_write(e, e->head, WAV_HEADER);
}

static status pcm_push(struct audio_encoder *e, const float *samples, size_t n) {
    int16_t rounded[ENCODE_BLOCK];
    encode_pcm16(samples, n, rounded);
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        for (size_t i = 0; i < n; i++) rounded[i] = (int16_t)__builtin_bswap16((uint16_t)rounded[i]);
    return encode_write(e, rounded, n * 2);
}

static status wav_end(struct audio_encoder *e) {
    wav_header(e->head, e->rate_hz, e->n_samples);
    e->n_head = WAV_HEADER;
    return UTTER_OK;
}

// ---- the formats ----

static const struct encoder_kind kinds[] = {
    [AUDIO_WAV] = {"wav", "audio/wav", NULL, wav_open, pcm_push, wav_end, NULL},
    [AUDIO_FLAC] = {"flac", "audio/flac", NULL, encode_flac_open, encode_flac_push, encode_flac_end, encode_flac_close},
    [AUDIO_MP3] = {"mp3", "audio/mpeg", NULL, encode_mp3_open, encode_mp3_push, encode_mp3_end, encode_mp3_close},
    [AUDIO_OPUS] = {"opus", "audio/ogg; codecs=opus", NULL, encode_opus_open, encode_opus_push, encode_opus_end,
                    encode_opus_close},
    [AUDIO_AAC] = {"aac", "audio/aac", encode_aac_available, encode_aac_open, encode_aac_push, encode_aac_end,
                   encode_aac_close},
    [AUDIO_PCM] = {"pcm", "audio/pcm", NULL, NULL, pcm_push, NULL, NULL},
    [AUDIO_VORBIS] = {"ogg", "audio/ogg", NULL, encode_vorbis_open, encode_vorbis_push, encode_vorbis_end,
                      encode_vorbis_close},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

status audio_format_parse(const char *name, enum audio_format *out) {
    for (int i = 0; i < N_KINDS; i++) {
        if (strcasecmp(name, kinds[i].name) != 0) continue;
        *out = (enum audio_format)i;
        return kinds[i].available ? kinds[i].available() : UTTER_OK;
    }
    struct str names = {0};
    for (int i = 0; i < N_KINDS; i++)
        str_printf(&names, "%s%s", i == 0 ? "" : i == N_KINDS - 1 ? " and " : ", ", kinds[i].name);
    status s = fail(UTTER_INVALID, "there is no sound format \"%.40s\"; there are %s", name, str_text(&names));
    str_free(&names);
    return s;
}

const char *audio_format_name(enum audio_format f) { return kinds[f].name; }

const char *audio_format_mime(enum audio_format f) { return kinds[f].mime; }

// ---- any encoder ----

status encode_write(struct audio_encoder *e, const void *bytes, size_t n) {
    if (e->failed != UTTER_OK || n == 0) return e->failed;
    e->n_bytes += n;
    return e->failed = e->write(e->user, bytes, n);
}

// Added to so large a number, a small one is rounded to a whole one and stands in the lowest bits, without a call for
// each as lrintf would be.
void encode_pcm16(const float *samples, size_t n, int16_t *out) {
    const float large = 3 << 22;
    for (size_t i = 0; i < n; i++) {
        float rounded = samples[i] * 32767.0f + large;
        uint32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        out[i] = (int16_t)bits;
    }
}

static status open_encoder(enum audio_format f, int rate_hz, bool has_head, audio_write_fn *write, void *user,
                           struct audio_encoder **out) {
    *out = NULL;
    struct audio_encoder *e = calloc(1, sizeof *e);
    if (!e) return fail_memory(sizeof *e, "an encoder");
    *e = (struct audio_encoder){
        .kind = &kinds[f], .rate_hz = rate_hz, .has_head = has_head, .write = write, .user = user};
    status s = e->kind->open ? e->kind->open(e) : UTTER_OK;
    if (s != UTTER_OK) {
        audio_encoder_free(e);
        return s;
    }
    *out = e;
    return UTTER_OK;
}

status audio_encoder_new(enum audio_format f, int rate_hz, audio_write_fn *write, void *user,
                         struct audio_encoder **out) {
    return open_encoder(f, rate_hz, true, write, user, out);
}

status audio_encoder_new_stream(enum audio_format f, int rate_hz, audio_write_fn *write, void *user,
                                struct audio_encoder **out) {
    return open_encoder(f, rate_hz, false, write, user, out);
}

status audio_encoder_push(struct audio_encoder *e, const float *samples, size_t n) {
    while (n > 0) {
        float clipped[ENCODE_BLOCK];
        size_t now = n < ENCODE_BLOCK ? n : ENCODE_BLOCK;
        for (size_t i = 0; i < now; i++) {
            float v = samples[i];
            v = v == v ? v : 0;  // what is not a number
            v = v > -1 ? v : -1;
            clipped[i] = v < 1 ? v : 1;
        }
        if (e->failed == UTTER_OK) e->failed = e->kind->push(e, clipped, now);
        if (e->failed != UTTER_OK) return e->failed;
        e->n_samples += now;
        samples += now;
        n -= now;
    }
    return UTTER_OK;
}

status audio_encoder_end(struct audio_encoder *e) {
    if (e->failed == UTTER_OK && e->kind->end) e->failed = e->kind->end(e);
    return e->failed;
}

void audio_encoder_head(const struct audio_encoder *e, const unsigned char **bytes, size_t *n) {
    *bytes = e->head;
    *n = e->has_head ? e->n_head : 0;
}

void audio_encoder_free(struct audio_encoder *e) {
    if (!e) return;
    if (e->kind->close) e->kind->close(e);
    free(e->head);
    free(e);
}
