/* FLAC, by libFLAC. It writes in order; what it knows at the end alone (the number of samples, the sizes of its frames,
   the samples' checksum) is the beginning's description of the stream, and is put into a copy of that. */
#include <FLAC/stream_encoder.h>
#include <stdlib.h>
#include <string.h>

#include "audio/encode_parts.h"

enum {
    LEVEL = 0,         // blocks of 1,152 samples, so that sound comes out soon; of higher levels: 4,096
    BLOCK_HEADER = 4,  // type and length
    DESCRIPTION = 34,  // STREAMINFO
    HEAD = 4 + BLOCK_HEADER + DESCRIPTION,
};

struct flac_state {
    FLAC__StreamEncoder *encoder;
    FLAC__int32 samples[ENCODE_BLOCK];
};

static FLAC__StreamEncoderWriteStatus write_bytes(const FLAC__StreamEncoder *encoder, const FLAC__byte *bytes, size_t n,
                                                  uint32_t n_samples, uint32_t frame, void *user) {
    (void)encoder, (void)n_samples, (void)frame;
    struct audio_encoder *e = user;
    if (e->head && e->n_bytes < HEAD) {
        size_t room = HEAD - (size_t)e->n_bytes;
        memcpy(e->head + e->n_bytes, bytes, n < room ? n : room);
    }
    return encode_write(e, bytes, n) == UTTER_OK ? FLAC__STREAM_ENCODER_WRITE_STATUS_OK
                                                 : FLAC__STREAM_ENCODER_WRITE_STATUS_FATAL_ERROR;
}

static unsigned char *put(unsigned char *p, uint64_t v, int n_bytes) {
    for (int i = n_bytes - 1; i >= 0; i--) *p++ = (unsigned char)(v >> 8 * i);
    return p;
}

// The description as it is in the end.
static void complete_head(const FLAC__StreamEncoder *encoder, const FLAC__StreamMetadata *block, void *user) {
    (void)encoder;
    struct audio_encoder *e = user;
    const FLAC__StreamMetadata_StreamInfo *info = &block->data.stream_info;
    if (!e->head || e->n_bytes < HEAD) return;
    unsigned char *p = put(e->head + HEAD - DESCRIPTION, info->min_blocksize, 2);
    p = put(p, info->max_blocksize, 2);
    p = put(p, info->min_framesize, 3);
    p = put(p, info->max_framesize, 3);
    p = put(p,
            (uint64_t)info->sample_rate << 44 | (uint64_t)(info->channels - 1) << 41 |
                (uint64_t)(info->bits_per_sample - 1) << 36 | info->total_samples,
            8);
    memcpy(p, info->md5sum, sizeof info->md5sum);
    e->n_head = HEAD;
}

status encode_flac_open(struct audio_encoder *e) {
    struct flac_state *state = e->state = calloc(1, sizeof *state);
    if (!state) return fail_memory(sizeof *state, "an encoder");
    if (e->has_head && !(e->head = malloc(HEAD))) return fail_memory(HEAD, "a FLAC header");
    FLAC__StreamEncoder *encoder = state->encoder = FLAC__stream_encoder_new();
    if (!encoder) return fail_memory(sizeof *state, "a FLAC encoder");
    FLAC__stream_encoder_set_channels(encoder, 1);
    FLAC__stream_encoder_set_bits_per_sample(encoder, 16);
    FLAC__stream_encoder_set_sample_rate(encoder, (uint32_t)e->rate_hz);
    FLAC__stream_encoder_set_compression_level(encoder, LEVEL);
    bool ok = FLAC__stream_encoder_init_stream(encoder, write_bytes, NULL, NULL, complete_head, e) ==
              FLAC__STREAM_ENCODER_INIT_STATUS_OK;
    if (ok || e->failed != UTTER_OK) return e->failed;
    return fail(UTTER_UNSUPPORTED, "FLAC has no sound of %d Hz; choose wav", e->rate_hz);
}

static status broken(const struct audio_encoder *e) {
    const struct flac_state *state = e->state;
    if (e->failed != UTTER_OK) return e->failed;
    return fail(UTTER_INTERNAL, "libFLAC cannot encode (%s); choose wav",
                FLAC__stream_encoder_get_resolved_state_string(state->encoder));
}

status encode_flac_push(struct audio_encoder *e, const float *samples, size_t n) {
    struct flac_state *state = e->state;
    int16_t rounded[ENCODE_BLOCK];
    encode_pcm16(samples, n, rounded);
    for (size_t i = 0; i < n; i++) state->samples[i] = rounded[i];
    bool ok = FLAC__stream_encoder_process_interleaved(state->encoder, state->samples, (uint32_t)n);
    return ok ? UTTER_OK : broken(e);
}

status encode_flac_end(struct audio_encoder *e) {
    struct flac_state *state = e->state;
    return FLAC__stream_encoder_finish(state->encoder) ? UTTER_OK : broken(e);
}

void encode_flac_close(struct audio_encoder *e) {
    struct flac_state *state = e->state;
    if (e->failed == UTTER_OK) e->failed = UTTER_CANCELLED;  // what closing would still write is not wanted
    if (state && state->encoder) FLAC__stream_encoder_delete(state->encoder);
    free(state);
}
