#include "test.h"

#include "encoder_rig.h"

void encoder_rig_open(struct encoder_rig *rig, const char *path, const struct kernels *kernels, int n_threads) {
    struct gguf *g;
    assert_ok(gguf_open(path, &g));
    assert_ok(codec_encoder_load(g, &rig->encoder));
    assert_ok(pool_new(n_threads, &rig->pool));
    assert_ok(cpu_encoder_new(rig->encoder, kernels, rig->pool, &rig->cpu));
}

void encoder_rig_close(struct encoder_rig *rig) {
    cpu_encoder_free(rig->cpu);
    pool_free(rig->pool);
    codec_encoder_free(rig->encoder);
}
