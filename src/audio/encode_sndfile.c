/* FLAC and Vorbis, by libsndfile. It writes in order until the end; then it goes back to complete FLAC's header,
   which is done here in a copy of the first bytes. */
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

#include "audio/encode_parts.h"

enum { HEAD = 4096 };  // bytes that can be gone back to; FLAC's header has 86

// Pages and blocks are kept short, so that sound comes out soon.
static const double ogg_page_ms = 50;
static const double flac_level = 0;  // blocks of 1,152 samples; of higher levels: 4,096

static sf_count_t io_length(void *user);
static sf_count_t io_seek(sf_count_t offset, int whence, void *user);
static sf_count_t io_read(void *data, sf_count_t n, void *user);
static sf_count_t io_write(const void *data, sf_count_t n, void *user);
static sf_count_t io_tell(void *user);

struct sndfile_state {
    SNDFILE *file;
    uint64_t at;  // where libsndfile writes next; below n_bytes: in the head
};

status encode_sndfile_open(struct audio_encoder *e) {
    static SF_VIRTUAL_IO callbacks = {io_length, io_seek, io_read, io_write, io_tell};
    SF_INFO info = {.samplerate = e->rate_hz, .channels = 1};
    info.format = e->format == AUDIO_FLAC ? SF_FORMAT_FLAC | SF_FORMAT_PCM_16 : SF_FORMAT_OGG | SF_FORMAT_VORBIS;
    struct sndfile_state *state = e->state = calloc(1, sizeof *state);
    if (!state) return fail_memory(sizeof *state, "an encoder");
    if (e->format == AUDIO_FLAC && !(e->head = malloc(HEAD))) return fail_memory(HEAD, "a FLAC header");
    state->file = sf_open_virtual(&callbacks, SFM_WRITE, &info, e);
    if (e->failed != UTTER_OK) return e->failed;
    if (!state->file)
        return fail(UTTER_UNSUPPORTED, "libsndfile does not write %s sound of %d Hz: %s; choose wav", e->kind->name,
                    e->rate_hz, sf_strerror(NULL));
    double page_ms = ogg_page_ms, level = flac_level;
    if (e->format == AUDIO_FLAC)
        sf_command(state->file, SFC_SET_COMPRESSION_LEVEL, &level, sizeof level);
    else
        sf_command(state->file, SFC_SET_OGG_PAGE_LATENCY_MS, &page_ms, sizeof page_ms);
    return UTTER_OK;
}

status encode_sndfile_push(struct audio_encoder *e, const float *samples, size_t n) {
    struct sndfile_state *state = e->state;
    sf_count_t done = sf_write_float(state->file, samples, (sf_count_t)n);
    if (e->failed != UTTER_OK || done == (sf_count_t)n) return e->failed;
    return fail(UTTER_IO, "cannot encode %s: %s", e->kind->name, sf_strerror(state->file));
}

status encode_sndfile_end(struct audio_encoder *e) {
    struct sndfile_state *state = e->state;
    int result = sf_close(state->file);
    state->file = NULL;
    if (e->failed != UTTER_OK) return e->failed;
    if (result != 0) return fail(UTTER_IO, "cannot complete %s: %s", e->kind->name, sf_error_number(result));
    if (e->head) e->n_head = e->n_bytes < HEAD ? (size_t)e->n_bytes : HEAD;
    return UTTER_OK;
}

void encode_sndfile_close(struct audio_encoder *e) {
    struct sndfile_state *state = e->state;
    if (e->failed == UTTER_OK) e->failed = UTTER_CANCELLED;  // what closing would still write is not wanted
    if (state && state->file) sf_close(state->file);
    free(state);
}

// ---- the file that libsndfile believes to write ----

static struct sndfile_state *state_of(void *user) { return ((struct audio_encoder *)user)->state; }

static sf_count_t io_length(void *user) { return (sf_count_t)((struct audio_encoder *)user)->n_bytes; }

static sf_count_t io_tell(void *user) { return (sf_count_t)state_of(user)->at; }

static sf_count_t io_seek(sf_count_t offset, int whence, void *user) {
    struct audio_encoder *e = user;
    struct sndfile_state *state = e->state;
    sf_count_t to = offset + (sf_count_t)(whence == SEEK_CUR ? state->at : whence == SEEK_END ? e->n_bytes : 0);
    if (to < 0 || (to != (sf_count_t)e->n_bytes && (!e->head || to >= HEAD))) return -1;
    state->at = (uint64_t)to;
    return to;
}

static sf_count_t io_read(void *data, sf_count_t n, void *user) {
    (void)data, (void)n, (void)user;
    return 0;  // what has been written is gone
}

// A write that failed is remembered (e->failed) and not told: libsndfile would write a header again, and lose memory.
static sf_count_t io_write(const void *data, sf_count_t n, void *user) {
    struct audio_encoder *e = user;
    struct sndfile_state *state = e->state;
    bool back = state->at < e->n_bytes;
    if (back && state->at + (uint64_t)n > HEAD) return 0;
    if (e->head && state->at < HEAD) {
        uint64_t room = HEAD - state->at;
        memcpy(e->head + state->at, data, (uint64_t)n < room ? (size_t)n : (size_t)room);
    }
    if (!back) encode_write(e, data, (size_t)n);
    state->at += (uint64_t)n;
    return n;
}
