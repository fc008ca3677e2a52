#include "test.h"

#include "rig.h"

#include <math.h>

#include "fixtures/folder.h"

void rig_open(struct rig *rig, const char *path, const struct kernels *kernels, int n_threads) {
    struct gguf *g;
    assert_ok(gguf_open(path, &g));
    assert_ok(codec_load(g, &rig->codec));
    assert_ok(pool_new(n_threads, &rig->pool));
    assert_ok(cpu_codec_new(rig->codec, kernels, rig->pool, &rig->cpu));
}

void rig_close(struct rig *rig) {
    cpu_codec_free(rig->cpu);
    pool_free(rig->pool);
    codec_free(rig->codec);
}

struct npy fixture_npy(const char *name) {
    char path[FIXTURE_PATH];
    struct npy a;
    assert_ok(fixture_stored(name, path));
    assert_ok(npy_read(path, &a));
    return a;
}

double largest_difference(const float *a, const float *b, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - b[i]);
        if (isnan(difference)) return INFINITY;
        if (difference > largest) largest = difference;
    }
    return largest;
}

double signal_to_noise(const float *a, const float *b, int64_t n) {
    double signal = 0, noise = 0;
    for (int64_t i = 0; i < n; i++) {
        signal += (double)a[i] * a[i];
        noise += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    }
    return 10 * log10(signal / noise);
}
