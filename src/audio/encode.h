/* Sound into the formats that players know, as it is made: samples are pushed, and bytes come out within a tenth of a
   second of their samples (of Vorbis only, whose pages are large, within some seconds). Nothing is written twice, so
   that the bytes can go down a pipe or a socket; where a format says its length at its start, it is given as unknown,
   and audio_encoder_head tells what should stand there when the bytes went into a file. Sound is mono, clipped to [-1,
   1], and what is not a number is silence.

   What decoders give back: of WAV, FLAC, Vorbis and Opus the samples that were pushed, no more and no fewer. MP3 and
   AAC have a beginning of silence; an MP3 says how long it is, so that most players leave it out, and with its head
   written its end too. ADTS has no room to say it: 1,024 samples at the start, and up to as many at the end. */
#ifndef UTTER_AUDIO_ENCODE_H
#define UTTER_AUDIO_ENCODE_H

#include <stddef.h>

#include "base/status.h"

enum audio_format {
    AUDIO_WAV,     // 16 bits
    AUDIO_FLAC,    // 16 bits
    AUDIO_MP3,     // 96 kbit/s
    AUDIO_OPUS,    // 64 kbit/s, in Ogg
    AUDIO_AAC,     // 64 kbit/s, in ADTS
    AUDIO_PCM,     // 16 bits, little endian, nothing else
    AUDIO_VORBIS,  // in Ogg
};

/* "wav", "flac", "mp3", "opus", "aac", "pcm", "ogg"; UTTER_INVALID with a sentence that names them, UTTER_UNSUPPORTED
   for one that this machine lacks the library of. */
status audio_format_parse(const char *name, enum audio_format *out);
const char *audio_format_name(enum audio_format f);
/* As in Content-Type. */
const char *audio_format_mime(enum audio_format f);

/* Takes bytes[n]. What it fails with is passed up through the encoder. */
typedef status audio_write_fn(void *user, const void *bytes, size_t n);

struct audio_encoder;

/* UTTER_UNSUPPORTED for a rate that the format has not (Opus: 8, 12, 16, 24 and 48 kHz). May write. */
status audio_encoder_new(enum audio_format f, int rate_hz, audio_write_fn *write, void *user,
                         struct audio_encoder **out);
/* As it, for bytes that nobody goes back to: there will be no head, nor the work that only a head would show (FLAC's
   checksum of all samples). */
status audio_encoder_new_stream(enum audio_format f, int rate_hz, audio_write_fn *write, void *user,
                                struct audio_encoder **out);
/* samples: float [n]. After a failure only audio_encoder_free is of use. */
status audio_encoder_push(struct audio_encoder *e, const float *samples, size_t n);
/* Writes what was held back. */
status audio_encoder_end(struct audio_encoder *e);
/* After audio_encoder_end: *bytes[*n] are to replace the first *n bytes of a file; *n is 0 where they are right as
   they are. They live as long as the encoder. */
void audio_encoder_head(const struct audio_encoder *e, const unsigned char **bytes, size_t *n);
/* NULL is allowed. */
void audio_encoder_free(struct audio_encoder *e);

#endif
