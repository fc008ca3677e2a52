/* A sound file that lies in memory, as libsndfile reads and writes it. */
#ifndef UTTER_AUDIO_MEMORY_FILE_H
#define UTTER_AUDIO_MEMORY_FILE_H

#include <sndfile.h>

#include "base/str.h"

struct memory_file {
    struct str *out;  // writing
    const void *in;   // reading [len]
    size_t len;
    sf_count_t at;
};

/* As sf_open; m must live until sf_close. */
SNDFILE *memory_file_open(struct memory_file *m, int mode, SF_INFO *info);

#endif
