#include "gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gpu/internal.h"

enum { OPEN_SECONDS = 60 };  // a driver that wakes up a sleeping card and compiles kernels takes seconds

static status open_job(void *context);
static status first_modules_job(void *context);
static status want_modules(struct gpu *g);
static void release(void *context, bool lost);
static int64_t n_bytes(const struct device *d);
static const char *describe(const struct device *d);
static void close_gpu(struct device *d);

/* ---- one lane at a time ---- */

static status prefill(struct device *d, int slot, const int32_t *tokens, int n, float *logits, int64_t deadline) {
    pthread_mutex_lock(&((struct gpu *)d)->lanes);
    status s = gpu_prefill(d, slot, tokens, n, logits, deadline);
    pthread_mutex_unlock(&((struct gpu *)d)->lanes);
    return s;
}

static status generate(struct device *d, struct generation *generations, int n, int steps, int64_t deadline) {
    pthread_mutex_lock(&((struct gpu *)d)->lanes);
    status s = gpu_generate(d, generations, n, steps, deadline);
    pthread_mutex_unlock(&((struct gpu *)d)->lanes);
    return s;
}

static status synthesize(struct device *d, const struct synthesis *pieces, int n, int64_t deadline) {
    pthread_mutex_lock(&((struct gpu *)d)->lanes);
    status s = gpu_synthesize(d, pieces, n, deadline);
    pthread_mutex_unlock(&((struct gpu *)d)->lanes);
    return s;
}

static const struct device_ops ops = {
    .load_backbone = gpu_load_backbone,
    .load_codec = gpu_load_codec,
    .reset = gpu_reset,
    .prefill = prefill,
    .generate = generate,
    .synthesize = synthesize,
    .n_bytes = n_bytes,
    .describe = describe,
    .close = close_gpu,
};

status gpu_open(const struct gpu_options *options, const struct log *log, struct device **out) {
    *out = NULL;
#ifndef UTTER_GPU_KERNELS
    (void)options, (void)log, (void)open_job, (void)first_modules_job, (void)want_modules, (void)release, (void)ops;
    return fail(UTTER_UNSUPPORTED,
                "this utter was built without GPU kernels (the build found no clang 17 or later); use a build that has "
                "them, or --device cpu");
#else
    struct gpu *g = calloc(1, sizeof *g);
    if (!g) return fail_memory(sizeof *g, "a GPU");
    g->base.ops = &ops;
    g->options = *options;
    g->compile_ns = options->patience_ns > 0 ? options->patience_ns : OPEN_SECONDS * (int64_t)1000000000;
    if (g->options.patience_ns <= 0) g->options.patience_ns = 10 * (int64_t)1000000000;
    if (g->options.chunk_bytes == 0) g->options.chunk_bytes = 32 << 20;
    if (log) g->log = *log;
    pthread_mutex_init(&g->lanes, NULL);
    status s = worker_start(g, release, &g->worker);
    if (s != UTTER_OK) {
        pthread_mutex_destroy(&g->lanes);
        free(g);
        return s;
    }
    int64_t start = clock_ns();
    s = gpu_call(g, open_job, NO_DEADLINE, g->compile_ns);
    if (s == UTTER_OK) s = want_modules(g);
    if (s == UTTER_OK) s = gpu_call(g, first_modules_job, NO_DEADLINE, g->compile_ns);
    if (s != UTTER_OK) {
        char sentence[1024];
        snprintf(sentence, sizeof sentence, "%s", fail_message());
        close_gpu(&g->base);
        return fail(s, "%s", sentence);
    }
    log_say(&g->log, UTTER_LOG_DEBUG, "%s: ready in %.0f ms", g->description, (double)(clock_ns() - start) / 1e6);
    *out = &g->base;
    return UTTER_OK;
#endif
}

/* Why the card cannot be used. */
static status check_device(const struct driver_device *info, int index) {
    if (info->capability < DRIVER_MIN_CAPABILITY)
        return fail(UTTER_DEVICE,
                    "GPU %d (%.100s) is too old: its compute capability is %d.%d and utter needs 7.5 or later (GTX 16, "
                    "RTX 20 and newer)",
                    index, info->name, info->capability / 10, info->capability % 10);
    if (info->compute_mode == CUDA_MODE_PROHIBITED)
        return fail(UTTER_DEVICE,
                    "GPU %d (%.100s) is set to prohibited: no program may use it; run `nvidia-smi -c DEFAULT` as "
                    "administrator",
                    index, info->name);
    return UTTER_OK;
}

static status open_job(void *context) {
    struct gpu *g = context;
    int n_devices, index = g->options.index;
    TRY(driver_open(&g->driver));
    TRY(driver_start(&g->driver, &n_devices));
    if (index < 0 || index >= n_devices)
        return fail(UTTER_INVALID, "there is no GPU %d: this machine has %d, numbered from 0", index, n_devices);
    TRY(driver_device_info(&g->driver, index, &g->info));
    TRY(check_device(&g->info, index));

    cuda_result r = g->driver.context_retain(&g->context, g->info.device);
    if (r != CUDA_SUCCESS) {
        g->context = NULL;
        return gpu_failed(g, r, "opening it");
    }
    r = g->driver.context_set(g->context);
    if (r == CUDA_SUCCESS) r = g->driver.stream_create(&g->stream, CUDA_STREAM_NON_BLOCKING);
    void *staging = NULL;
    if (r == CUDA_SUCCESS) r = g->driver.host_alloc(&staging, STAGING_BYTES, 0);
    g->staging = staging;
    if (r != CUDA_SUCCESS) return gpu_failed(g, r, "opening it");
    return gpu_open_modules(g);
}

/* A driver that takes these takes all. */
static const bool first_modules[N_MODULES] = {[MODULE_backbone] = true};

static status first_modules_job(void *context) {
    struct gpu *g = context;
    TRY(gpu_wait_modules(g, first_modules));
    gpu_describe(g);
    return UTTER_OK;
}

/* What is to be loaded is compiled from here on, side by side. */
static status want_modules(struct gpu *g) {
    bool wanted[N_MODULES] = {[MODULE_backbone] = true};
    if (g->options.backbone) gpu_modules_of_backbone(g, g->options.backbone, g->options.backbone->n_codes + 1, wanted);
    if (g->options.codec) gpu_modules_of_codec(g, g->options.codec, wanted);
    return gpu_want_modules(g, wanted);
}

/* On the worker's thread, as its last act. What a lost card holds is left to the end of the process: a call to give it
   back might never return. */
static void release(void *context, bool lost) {
    struct gpu *g = context;
    gpu_free_backbone(g);
    gpu_free_codec(g);
    if (gpu_close_modules(g, lost) && !lost && g->context) {
        if (g->staging) g->driver.host_free(g->staging);
        if (g->stream) g->driver.stream_destroy(g->stream);
        g->driver.context_release(g->info.device);
    }
    pthread_mutex_destroy(&g->lanes);
    free(g);
}

static void close_gpu(struct device *d) {
    struct gpu *g = (struct gpu *)d;
    // a lost one's thread is idle, or in a call that does not return
    int64_t limit = worker_lost(g->worker) ? 100000000 : g->options.patience_ns;
    worker_stop(g->worker, limit);
}

static int64_t n_bytes(const struct device *d) {
    const struct gpu *g = (const struct gpu *)d;
    return (int64_t)(gpu_bytes_of_backbone(g) + gpu_bytes_of_codec(g));
}

static const char *describe(const struct device *d) { return ((const struct gpu *)d)->description; }

void gpu_describe(struct gpu *g) {
    char memory[32], used[32];
    size_t n_bytes = gpu_bytes_of_backbone(g) + gpu_bytes_of_codec(g);
    snprintf(g->description, sizeof g->description, "GPU %d: %.100s, %s, %s kernels, %s in use", g->options.index,
             g->info.name, driver_size_text(g->info.n_bytes, memory), g->kernels, driver_size_text(n_bytes, used));
}

/* ---- probe ---- */

struct probe {
    struct driver driver;
    struct gpu_info *infos;  // [max]
    int max, n;
};

static status probe_job(void *context) {
    struct probe *p = context;
    TRY(driver_open(&p->driver));
    int n;
    TRY(driver_start(&p->driver, &n));
    for (int i = 0; i < n && i < p->max; i++) {
        struct driver_device device;
        struct gpu_info *info = &p->infos[p->n++];
        info->index = i;
        status s = driver_device_info(&p->driver, i, &device);
        snprintf(info->name, sizeof info->name, "%s", device.name);
        info->capability = device.capability;
        info->n_bytes = device.n_bytes;
        if (s == UTTER_OK) s = check_device(&device, i);
        if (s != UTTER_OK) snprintf(info->refusal, sizeof info->refusal, "%.255s", fail_message());
    }
    return UTTER_OK;
}

static void release_probe(void *context, bool lost) {
    (void)lost;
    struct probe *p = context;
    free(p->infos);
    free(p);
}

status gpu_probe(struct gpu_info *infos, int max, int *n, int *driver_version) {
    *n = 0;
    *driver_version = 0;
    struct probe *p = calloc(1, sizeof *p);
    if (p) p->infos = calloc(max > 0 ? (size_t)max : 1, sizeof *p->infos);
    if (!p || !p->infos) {
        free(p);
        return fail_memory(sizeof *p, "a list of GPUs");
    }
    p->max = max;
    struct worker *w;
    status s = worker_start(p, release_probe, &w);
    if (s != UTTER_OK) {
        release_probe(p, false);
        return s;
    }
    s = worker_call(w, probe_job, NO_DEADLINE, OPEN_SECONDS * (int64_t)1000000000);
    if (s == UTTER_OK) {
        memcpy(infos, p->infos, (size_t)p->n * sizeof *infos);
        *n = p->n;
    }
    if (!worker_lost(w)) *driver_version = p->driver.version;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", fail_message());
    worker_stop(w, 100000000);
    return s == UTTER_OK ? UTTER_OK : fail(s, "%s", sentence);
}
