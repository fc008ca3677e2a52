#include "audio/tempo.h"

#include <math.h>
#include <sonic.h>
#include <stdlib.h>

enum { BLOCK = 1024 };

struct tempo {
    sonicStream sonic;
};

status tempo_new(int rate_hz, double speed, struct tempo **out) {
    *out = NULL;
    if (!(speed >= TEMPO_MIN && speed <= TEMPO_MAX))
        return fail(UTTER_INVALID, "speed is %g; it can be %g to %g, and 1 is as the voice speaks", speed, TEMPO_MIN,
                    TEMPO_MAX);
    struct tempo *t = calloc(1, sizeof *t);
    if (!t) return fail_memory(sizeof *t, "a change of speed");
    t->sonic = sonicCreateStream(rate_hz, 1);
    if (!t->sonic) {
        free(t);
        return fail_memory(sizeof *t, "a change of speed");
    }
    sonicSetSpeed(t->sonic, (float)speed);
    *out = t;
    return UTTER_OK;
}

status tempo_push(struct tempo *t, const float *samples, size_t n) {
    while (n > 0) {
        float clipped[BLOCK];
        size_t now = n < BLOCK ? n : BLOCK;
        for (size_t i = 0; i < now; i++) {
            float v = samples[i];
            clipped[i] = isnan(v) ? 0 : v < -1 ? -1 : v > 1 ? 1 : v;
        }
        if (!sonicWriteFloatToStream(t->sonic, clipped, (int)now))
            return fail_memory(now * sizeof *samples, "a change of speed");
        samples += now;
        n -= now;
    }
    return UTTER_OK;
}

status tempo_end(struct tempo *t) {
    return sonicFlushStream(t->sonic) ? UTTER_OK : fail_memory(BLOCK, "a change of speed");
}

status tempo_pull(struct tempo *t, float *samples, size_t capacity, size_t *n) {
    *n = (size_t)sonicReadFloatFromStream(t->sonic, samples, capacity < BLOCK ? (int)capacity : BLOCK);
    return UTTER_OK;
}

void tempo_free(struct tempo *t) {
    if (!t) return;
    sonicDestroyStream(t->sonic);
    free(t);
}
