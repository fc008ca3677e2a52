/* Vorbis in Ogg, by libsndfile, which writes it in order. */
#include <sndfile.h>
#include <stdlib.h>

#include "audio/encode_parts.h"

static const double page_ms = 50;  // pages are kept short, so that sound comes out soon

static sf_count_t io_length(void *user) { return (sf_count_t)((struct audio_encoder *)user)->n_bytes; }

static sf_count_t io_seek(sf_count_t offset, int whence, void *user) {
    sf_count_t end = io_length(user), to = whence == SEEK_SET ? offset : end + offset;
    return to == end ? end : -1;
}

static sf_count_t io_read(void *data, sf_count_t n, void *user) {
    (void)data, (void)n, (void)user;
    return 0;  // what has been written is gone
}

// A write that failed is remembered (e->failed) and not told: libsndfile would write a header again, and lose memory.
static sf_count_t io_write(const void *data, sf_count_t n, void *user) {
    encode_write(user, data, (size_t)n);
    return n;
}

status encode_vorbis_open(struct audio_encoder *e) {
    static SF_VIRTUAL_IO callbacks = {io_length, io_seek, io_read, io_write, io_length};
    SF_INFO info = {.samplerate = e->rate_hz, .channels = 1, .format = SF_FORMAT_OGG | SF_FORMAT_VORBIS};
    double ms = page_ms;
    e->state = sf_open_virtual(&callbacks, SFM_WRITE, &info, e);
    if (e->failed != UTTER_OK) return e->failed;
    if (!e->state)
        return fail(UTTER_UNSUPPORTED, "libsndfile does not write ogg sound of %d Hz: %s; choose wav", e->rate_hz,
                    sf_strerror(NULL));
    sf_command(e->state, SFC_SET_OGG_PAGE_LATENCY_MS, &ms, sizeof ms);
    return UTTER_OK;
}

status encode_vorbis_push(struct audio_encoder *e, const float *samples, size_t n) {
    sf_count_t done = sf_write_float(e->state, samples, (sf_count_t)n);
    if (e->failed != UTTER_OK || done == (sf_count_t)n) return e->failed;
    return fail(UTTER_IO, "cannot encode ogg: %s", sf_strerror(e->state));
}

status encode_vorbis_end(struct audio_encoder *e) {
    int result = sf_close(e->state);
    e->state = NULL;
    if (e->failed != UTTER_OK) return e->failed;
    return result == 0 ? UTTER_OK : fail(UTTER_IO, "cannot complete ogg: %s", sf_error_number(result));
}

void encode_vorbis_close(struct audio_encoder *e) {
    if (e->failed == UTTER_OK) e->failed = UTTER_CANCELLED;  // what closing would still write is not wanted
    if (e->state) sf_close(e->state);
}
