/* What the encoders of single formats share with encode.c. */
#ifndef UTTER_AUDIO_ENCODE_PARTS_H
#define UTTER_AUDIO_ENCODE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "audio/encode.h"

enum { ENCODE_BLOCK = 1024 };

/* A format. All but push may be NULL. */
struct encoder_kind {
    const char *name, *mime;
    status (*available)(void);  // whether this machine can
    status (*open)(struct audio_encoder *e);
    status (*push)(struct audio_encoder *e, const float *samples, size_t n);  // in [-1, 1], n <= ENCODE_BLOCK
    status (*end)(struct audio_encoder *e);
    void (*close)(struct audio_encoder *e);
};

struct audio_encoder {
    const struct encoder_kind *kind;
    int rate_hz;
    bool has_head;  // what is only known at the end is wanted
    audio_write_fn *write;
    void *user;
    void *state;  // the kind's own
    status failed;
    uint64_t n_samples;   // pushed
    uint64_t n_bytes;     // written
    unsigned char *head;  // [n_head] what the first bytes are to be replaced with
    size_t n_head;
};

/* Hands bytes[n] on. */
status encode_write(struct audio_encoder *e, const void *bytes, size_t n);

/* out: [n] */
void encode_pcm16(const float *samples, size_t n, int16_t *out);

status encode_flac_open(struct audio_encoder *e);
status encode_flac_push(struct audio_encoder *e, const float *samples, size_t n);
status encode_flac_end(struct audio_encoder *e);
void encode_flac_close(struct audio_encoder *e);

status encode_vorbis_open(struct audio_encoder *e);
status encode_vorbis_push(struct audio_encoder *e, const float *samples, size_t n);
status encode_vorbis_end(struct audio_encoder *e);
void encode_vorbis_close(struct audio_encoder *e);

status encode_opus_open(struct audio_encoder *e);
status encode_opus_push(struct audio_encoder *e, const float *samples, size_t n);
status encode_opus_end(struct audio_encoder *e);
void encode_opus_close(struct audio_encoder *e);

status encode_mp3_open(struct audio_encoder *e);
status encode_mp3_push(struct audio_encoder *e, const float *samples, size_t n);
status encode_mp3_end(struct audio_encoder *e);
void encode_mp3_close(struct audio_encoder *e);

status encode_aac_available(void);
status encode_aac_open(struct audio_encoder *e);
status encode_aac_push(struct audio_encoder *e, const float *samples, size_t n);
status encode_aac_end(struct audio_encoder *e);
void encode_aac_close(struct audio_encoder *e);

#endif
