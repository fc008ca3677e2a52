#include "audio/ring.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"

status ring_init(struct ring *r, size_t capacity) {
    *r = (struct ring){.capacity = capacity};
    return alloc_for(&r->data, capacity, sizeof(float), "the playback buffer");
}

void ring_free(struct ring *r) {
    free_aligned(r->data);
    *r = (struct ring){0};
}

size_t ring_length(struct ring *r) {
    uint64_t popped = atomic_load_explicit(&r->popped, memory_order_acquire);
    return (size_t)(atomic_load_explicit(&r->pushed, memory_order_acquire) - popped);
}

size_t ring_push(struct ring *r, const float *samples, size_t n) {
    uint64_t pushed = atomic_load_explicit(&r->pushed, memory_order_relaxed);
    size_t room = r->capacity - (size_t)(pushed - atomic_load_explicit(&r->popped, memory_order_acquire));
    if (n > room) n = room;
    if (n == 0) return 0;
    size_t at = (size_t)(pushed % r->capacity);
    size_t first = n < r->capacity - at ? n : r->capacity - at;
    memcpy(r->data + at, samples, first * sizeof *samples);
    memcpy(r->data, samples + first, (n - first) * sizeof *samples);
    atomic_store_explicit(&r->pushed, pushed + n, memory_order_release);
    return n;
}

size_t ring_pop(struct ring *r, float *samples, size_t n) {
    uint64_t popped = atomic_load_explicit(&r->popped, memory_order_relaxed);
    size_t length = (size_t)(atomic_load_explicit(&r->pushed, memory_order_acquire) - popped);
    if (n > length) n = length;
    if (n == 0) return 0;
    size_t at = (size_t)(popped % r->capacity);
    size_t first = n < r->capacity - at ? n : r->capacity - at;
    memcpy(samples, r->data + at, first * sizeof *samples);
    memcpy(samples + first, r->data, (n - first) * sizeof *samples);
    atomic_store_explicit(&r->popped, popped + n, memory_order_release);
    return n;
}

bool ring_push_all(struct ring *r, const float *samples, size_t n, int64_t stall_ns, const atomic_bool *stop,
                   size_t *n_pushed) {
    static const struct timespec nap = {0, 5000000};  // a callback cannot wake anybody without a lock, so look again
    *n_pushed = 0;
    int64_t moved_ns = clock_ns();
    for (;;) {
        size_t now = ring_push(r, samples + *n_pushed, n - *n_pushed);
        *n_pushed += now;
        if (*n_pushed == n) return true;
        if (stop && atomic_load(stop)) return false;
        if (now > 0)
            moved_ns = clock_ns();
        else if (clock_ns() - moved_ns >= stall_ns)
            return false;
        nanosleep(&nap, NULL);
    }
}
