/* Opus in Ogg, by libopus and libogg (RFC 6716, RFC 7845). The encoder takes the sound at its own rate, and of Opus's
   two ways the transform alone (CELT, "low delay") at its least complexity: a sixteenth of the time that its speech
   mode takes at its highest, and at this rate nearer to the original. bench/encode measures both. */
#include <ogg/ogg.h>
#include <opus.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "audio/encode_parts.h"

enum {
    BITS_PER_SECOND = 64000,
    COMPLEXITY = 0,
    FRAMES_A_SECOND = 50,
    MAX_FRAME = 48000 / FRAMES_A_SECOND,
    MAX_PACKET = 1275,  // of one frame
    PAGE_PACKETS = 3,   // 60 ms, so that sound comes out soon
    CLOCK_HZ = 48000,   // in which Ogg counts Opus's samples, whatever their rate
};

struct opus_state {
    OpusEncoder *encoder;
    ogg_stream_state ogg;
    bool has_ogg;
    float samples[MAX_FRAME];  // [n] being collected
    int n, frame;              // samples of a frame
    int per_sample;            // the clock's, for each sample
    int skip;                  // samples that the encoder puts before the sound
    int64_t at;                // samples encoded, with those
    int n_packets;             // since the last page
};

static status write_pages(struct audio_encoder *e, bool all) {
    struct opus_state *state = e->state;
    ogg_page page;
    while (all ? ogg_stream_flush(&state->ogg, &page) : ogg_stream_pageout(&state->ogg, &page)) {
        TRY(encode_write(e, page.header, (size_t)page.header_len));
        TRY(encode_write(e, page.body, (size_t)page.body_len));
        state->n_packets = 0;
    }
    return UTTER_OK;
}

// Takes a copy of bytes[n]. position: where the sound is behind them, in the clock's samples.
static status put_packet(struct audio_encoder *e, unsigned char *bytes, size_t n, int64_t position, bool last) {
    struct opus_state *state = e->state;
    ogg_packet packet = {.packet = bytes,
                         .bytes = (long)n,
                         .b_o_s = state->ogg.packetno == 0,
                         .e_o_s = last,
                         .granulepos = position,
                         .packetno = state->ogg.packetno};
    if (ogg_stream_packetin(&state->ogg, &packet) != 0) return fail_memory(n, "an Ogg page");
    return UTTER_OK;
}

static void put_number(unsigned char *p, uint32_t v, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) p[i] = (unsigned char)(v >> 8 * i);
}

// Two packets, each on a page of its own: what the stream is, and who wrote it.
static status write_headers(struct audio_encoder *e) {
    struct opus_state *state = e->state;
    unsigned char head[19] = "OpusHead\1\1", tags[8 + 4 + 64 + 4] = "OpusTags";
    put_number(head + 10, (uint32_t)(state->skip * state->per_sample), 2);
    put_number(head + 12, (uint32_t)e->rate_hz, 4);
    TRY(put_packet(e, head, sizeof head, 0, false));
    TRY(write_pages(e, true));
    const char *vendor = opus_get_version_string();
    size_t len = strnlen(vendor, 64);
    put_number(tags + 8, (uint32_t)len, 4);
    memcpy(tags + 12, vendor, len);
    TRY(put_packet(e, tags, 12 + len + 4, 0, false));
    return write_pages(e, true);
}

status encode_opus_open(struct audio_encoder *e) {
    struct opus_state *state = e->state = calloc(1, sizeof *state);
    if (!state) return fail_memory(sizeof *state, "an encoder");
    int error;
    state->encoder = opus_encoder_create(e->rate_hz, 1, OPUS_APPLICATION_RESTRICTED_LOWDELAY, &error);
    if (error == OPUS_BAD_ARG)
        return fail(UTTER_UNSUPPORTED, "Opus has no sound of %d Hz, but of 8, 12, 16, 24 and 48 kHz; choose wav",
                    e->rate_hz);
    if (!state->encoder) return fail_memory(sizeof *state, "an Opus encoder");
    opus_encoder_ctl(state->encoder, OPUS_SET_BITRATE(BITS_PER_SECOND));
    opus_encoder_ctl(state->encoder, OPUS_SET_COMPLEXITY(COMPLEXITY));
    opus_encoder_ctl(state->encoder, OPUS_GET_LOOKAHEAD(&state->skip));
    state->frame = e->rate_hz / FRAMES_A_SECOND;
    state->per_sample = CLOCK_HZ / e->rate_hz;
    int serial = 0;  // to be another in each stream, as streams may be put behind each other
    if (getrandom(&serial, sizeof serial, GRND_NONBLOCK) < 0) serial = (int)(intptr_t)e;
    if (ogg_stream_init(&state->ogg, serial) != 0) return fail_memory(sizeof state->ogg, "an Ogg stream");
    state->has_ogg = true;
    return write_headers(e);
}

static status encode_frame(struct audio_encoder *e, bool last) {
    struct opus_state *state = e->state;
    unsigned char bytes[MAX_PACKET];
    int n = opus_encode_float(state->encoder, state->samples, state->frame, bytes, sizeof bytes);
    if (n < 0) return fail(UTTER_INTERNAL, "libopus cannot encode (%s); choose wav", opus_strerror(n));
    state->at += state->frame;
    state->n = 0;
    int64_t sound = last ? (int64_t)e->n_samples + state->skip : state->at;
    TRY(put_packet(e, bytes, (size_t)n, sound * state->per_sample, last));
    return write_pages(e, ++state->n_packets == PAGE_PACKETS || last);
}

status encode_opus_push(struct audio_encoder *e, const float *samples, size_t n) {
    struct opus_state *state = e->state;
    while (n > 0) {
        size_t room = (size_t)(state->frame - state->n), now = n < room ? n : room;
        memcpy(state->samples + state->n, samples, now * sizeof *samples);
        state->n += (int)now;
        samples += now;
        n -= now;
        if (state->n == state->frame) TRY(encode_frame(e, false));
    }
    return UTTER_OK;
}

// Silence until all of the sound is through the encoder; the last page says where the sound ends in it.
status encode_opus_end(struct audio_encoder *e) {
    struct opus_state *state = e->state;
    bool last = false;
    while (!last) {
        memset(state->samples + state->n, 0, (size_t)(state->frame - state->n) * sizeof *state->samples);
        last = state->at + state->frame >= (int64_t)e->n_samples + state->skip;
        TRY(encode_frame(e, last));
    }
    return UTTER_OK;
}

void encode_opus_close(struct audio_encoder *e) {
    struct opus_state *state = e->state;
    if (!state) return;
    if (state->encoder) opus_encoder_destroy(state->encoder);
    if (state->has_ogg) ogg_stream_clear(&state->ogg);
    free(state);
}
