#include "test.h"

#include "rig.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "fixtures/folder.h"
#include "fixtures/tiny.h"

struct standin *rig_standin_now(void) {
    const char *path = getenv("UTTER_STANDIN");
    if (!path || !*path) return NULL;
    setenv("UTTER_CUDA_LIBRARY", path, 1);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    struct standin *s = dlsym(library, "standin");
    assert_non_null(s);
    return s;
}

struct standin *rig_standin(void) {
    struct standin *s = rig_standin_now();
    if (s) s->restore();
    return s;
}

struct device *rig_open(void) {
    rig_standin();
    return rig_open_now();
}

struct device *rig_open_now(void) {
    struct device *d;
    assert_ok(gpu_open(&(struct gpu_options){.patience_ns = 120 * (int64_t)1000000000, .chunk_bytes = 1}, NULL, &d));
    return d;
}

void rig_close(struct device *d) {
    d->ops->close(d);
    const char *path = getenv("UTTER_STANDIN");
    if (!path || !*path) return;
    struct standin *s = dlsym(dlopen(path, RTLD_NOW | RTLD_LOCAL), "standin");
    assert_string_equal(s->failure, "");
    assert_int_equal(s->live_allocations, 0);
    assert_int_equal(s->live_bytes, 0);
    assert_int_equal(s->live_host, 0);
    assert_int_equal(s->live_modules, 0);
    assert_int_equal(s->live_streams, 0);
    assert_int_equal(s->live_events, 0);
    assert_int_equal(s->live_graphs, 0);
    assert_int_equal(s->live_contexts, 0);
}

struct backbone *rig_backbone(const char *name) {
    char path[FIXTURE_PATH];
    struct gguf *g;
    struct backbone *b;
    assert_ok(fixture_path("model.gguf", path));
    assert_ok(fixture_tiny(name, path));
    assert_ok(gguf_open(path, &g));
    assert_ok(backbone_load(g, &b));
    return b;
}
