/* What is to be spoken, and how; and what became of it. */
#ifndef UTTER_SERVER_ORDER_H
#define UTTER_SERVER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "audio/encode.h"
#include "server/folder.h"

struct order {
    char *text;
    char *voice;     // NULL: the engine's first
    char *language;  // NULL: the voice's
    char *emotion;   // NULL: none
    uint32_t seed;
    double speed;  // 1: as it is spoken
    enum audio_format format;
    bool events;               // the bytes come as server-sent events
    bool timestamps;           // and so does where each sentence lies
    int64_t deadline;          // clock_ns; the whole of it is done by then
    struct folder_file *file;  // the bytes go there, not to a reader; NULL: to the reader
    bool keep;                 // the samples are kept, for playing
};

void order_free(struct order *o);

/* What became of it, for the log and the metrics. */
struct outcome {
    double queue_s;        // until a thread took it
    double first_audio_s;  // until the first bytes of sound, from when it was asked for; 0: there are none
    double work_s;         // inside the engine
    double audio_s;        // of sound, as it is played
    int64_t n_codes;
    int n_retries;
};

#endif
