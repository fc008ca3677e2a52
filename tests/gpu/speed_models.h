/* Models of random weights in the shapes of NeuTTS Air and NeuCodec, and what else the programs that measure share.
   They are never freed. */
#ifndef UTTER_TESTS_GPU_SPEED_MODELS_H
#define UTTER_TESTS_GPU_SPEED_MODELS_H

#include "gpu/gpu.h"

/* Q4_0, embedding and head Q8_0. */
void speed_backbone(struct backbone *b, int n_ctx);
/* type: F32, F16 or Q8_0. */
void speed_codec(struct codec *c, block_type type);

uint32_t speed_random(void);
void *speed_room(size_t n_bytes);
/* Ends the program with the sentence. */
void speed_must(status s, const char *what);
double speed_ms_since(int64_t start);

#endif
