/* How much each caller may ask for: requests a minute, by a bucket of tokens that fills as time goes by, and requests
   at once. A caller is a key, or without keys an address. The table is bounded: callers that have been still long
   enough for their bucket to be full are forgotten. */
#ifndef UTTER_SERVER_LIMITS_H
#define UTTER_SERVER_LIMITS_H

#include <stdint.h>

#include "base/status.h"

struct limits;

status limits_new(struct limits **out);
void limits_free(struct limits *l);

/* One more request of `caller`. rate: a minute, 0: no bound; as many as come in `burst_s` may come at once.
   at_once: 0: no bound. UTTER_LIMIT with *retry_s; else limits_end is to be called when the request is over: not while
   it is put aside for want of a reader, as what is put aside has a bound for all callers together, which one who never
   reads would use up. */
status limits_begin(struct limits *l, const char *caller, double rate, double burst_s, int at_once, int64_t now_ns,
                    double *retry_s);
void limits_end(struct limits *l, const char *caller);

#endif
