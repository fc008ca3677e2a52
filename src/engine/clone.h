/* Cloning: a recording becomes a voice file. The encoder is loaded for this alone. */
#ifndef UTTER_ENGINE_CLONE_H
#define UTTER_ENGINE_CLONE_H

#include <stdint.h>

#include "base/str.h"

enum { CLONE_RATE_HZ = 16000, CLONE_MAX_SECONDS = 60 };

/* What of a recording is used, and what it is like. */
struct clip {
    const float *pcm;  // [n] inside the recording, without the silence around it
    int64_t n;
    double seconds;
    double snr_db;  // speech to what is heard between it, estimated
};

/* Finds the speech in a recording of CLONE_RATE_HZ. Refuses silence, and more than CLONE_MAX_SECONDS of sound. */
status clip_find(const char *label, const float *pcm, int64_t n, struct clip *out);

/* Calls warn with a sentence for everything that will make the voice worse: shorter than 3 s or longer than 15 s,
   noise, clipping (n_clipped samples at full scale), a transcript too long or too short to be of this recording. */
typedef void clip_warn_fn(void *user, const char *sentence);
void clip_judge(const struct clip *c, int64_t n_clipped, const char *transcript, clip_warn_fn *warn, void *user);

/* The encoder that `name` stands for: one that has been pulled, or a file. NULL: the first *encoder*.gguf beside the
   file `codec` (NULL: none) or above the folder of voices, or the largest that has been pulled. UTTER_INVALID, with how
   to get one, when there is none. */
status encoder_find(const char *name, const char *codec, struct str *out);

/* An encoder at work, on the CPU as options say (n_threads, kernels). */
struct voice_encoder;

/* With options->codec an encoder that is not that codec's is refused. */
status voice_encoder_open(const char *encoder, const utter_options *options, struct voice_encoder **out);
void voice_encoder_close(struct voice_encoder *c);
/* The name of the codec whose codes it makes. */
const char *voice_encoder_codec(const struct voice_encoder *c);
/* codes: new memory (free_aligned). progress (may be NULL) is called about twice a second from another thread, while
   the clip is encoded, with the seconds that it has taken. */
typedef void voice_encoder_progress(void *user, double seconds);
status voice_encoder_encode(struct voice_encoder *c, const struct clip *clip, voice_encoder_progress *progress,
                            void *user, int32_t **codes, int *n_codes);

/* Opens, encodes one clip and closes. codec: new memory (free). */
status clip_encode(const struct clip *c, const char *encoder, const utter_options *options, int32_t **codes,
                   int *n_codes, char **codec);

struct voice_draft {
    const char *name;
    const char *language;  // NULL: the model's
    const char *note;      // NULL: none
    const char *text;
    const char *codec;
    const int32_t *codes;  // [n_codes]
    int n_codes;
};

/* Writes a voice file (docs/voices.md), whole or not at all. */
status voice_write(const struct voice_draft *v, const char *path);

#endif
