/* MP3, by LAME: frames of constant size, so that players can tell the length of what they have. The first frame holds
   no sound but says how much silence the encoder puts before it; what it cannot know before the end (the silence
   behind, the number of frames, a seek table) is in the head. */
#include <lame/lame.h>
#include <stdlib.h>
#include <string.h>

#include "audio/encode_parts.h"

enum {
    KBITS = 96,
    FAST = 7,                            // LAME's quality, 0 slowest: at this rate no worse than 5
    ROOM = ENCODE_BLOCK * 5 / 4 + 7200,  // what LAME says it may need for a block
    SIDE_MPEG1 = 17,                     // bytes between the header of a mono frame and its "Info"
    SIDE_MPEG2 = 9,
    INFO_DELAYS = 4 + 4 + 21,  // in an Info that has neither counts nor a table
};

struct mp3_state {
    lame_t lame;
    unsigned char out[ROOM];
};

// The first frame as LAME reserves it has a header and zeros. It gets the encoder's name and delay.
static void describe_delay(struct mp3_state *state) {
    unsigned char *info = state->out + 4 + (lame_get_version(state->lame) == 1 ? SIDE_MPEG1 : SIDE_MPEG2);
    unsigned delay = (unsigned)lame_get_encoder_delay(state->lame);
    memcpy(info, "Info\0\0\0\0LAME", 12);
    info[INFO_DELAYS] = (unsigned char)(delay >> 4);
    info[INFO_DELAYS + 1] = (unsigned char)(delay << 4);
}

status encode_mp3_open(struct audio_encoder *e) {
    struct mp3_state *state = e->state = calloc(1, sizeof *state);
    if (!state) return fail_memory(sizeof *state, "an encoder");
    lame_t lame = state->lame = lame_init();
    if (!lame) return fail_memory(sizeof *state, "LAME");
    lame_set_num_channels(lame, 1);
    lame_set_mode(lame, MONO);
    lame_set_in_samplerate(lame, e->rate_hz);
    lame_set_out_samplerate(lame, e->rate_hz);
    lame_set_brate(lame, KBITS);
    lame_set_quality(lame, FAST);
    lame_set_bWriteVbrTag(lame, 1);
    lame_set_errorf(lame, NULL);
    lame_set_msgf(lame, NULL);
    lame_set_debugf(lame, NULL);
    if (lame_init_params(lame) < 0)
        return fail(UTTER_UNSUPPORTED, "LAME does not write mp3 sound of %d Hz; choose wav", e->rate_hz);
    return UTTER_OK;
}

// n as LAME returns it: bytes in state->out, or negative.
static status hand_on(struct audio_encoder *e, int n) {
    struct mp3_state *state = e->state;
    if (n < 0) return fail(UTTER_INTERNAL, "LAME cannot encode (error %d); choose wav", n);
    if (n > 0 && e->n_bytes == 0) describe_delay(state);
    return encode_write(e, state->out, (size_t)n);
}

status encode_mp3_push(struct audio_encoder *e, const float *samples, size_t n) {
    struct mp3_state *state = e->state;
    return hand_on(e, lame_encode_buffer_ieee_float(state->lame, samples, samples, (int)n, state->out, ROOM));
}

status encode_mp3_end(struct audio_encoder *e) {
    struct mp3_state *state = e->state;
    TRY(hand_on(e, lame_encode_flush(state->lame, state->out, ROOM)));
    size_t n = e->has_head ? lame_get_lametag_frame(state->lame, NULL, 0) : 0;
    if (n == 0 || n > e->n_bytes) return UTTER_OK;
    e->head = malloc(n);
    if (!e->head) return fail_memory(n, "an MP3 header");
    e->n_head = lame_get_lametag_frame(state->lame, e->head, n);
    return UTTER_OK;
}

void encode_mp3_close(struct audio_encoder *e) {
    struct mp3_state *state = e->state;
    if (state && state->lame) lame_close(state->lame);
    free(state);
}
