/* AAC in ADTS back to samples, for the test of its encoder. */
#ifndef UTTER_TESTS_DECODE_AAC_H
#define UTTER_TESTS_DECODE_AAC_H

#include <stddef.h>

/* Decodes bytes[n]; returns how many samples there are, at most `capacity`; -1: they cannot be decoded, or
   libavcodec is not there. */
int decode_aac(const unsigned char *bytes, size_t n, float *samples, int capacity, int *rate_hz);

#endif
