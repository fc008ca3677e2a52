#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gpu/internal.h"

/* ---- failures ---- */

status gpu_failed(struct gpu *g, cuda_result result, const char *doing) {
    char what[640];
    snprintf(what, sizeof what, "GPU %d (%.100s), %s", g->options.index, g->info.name, doing);
    status s = driver_fail(&g->driver, result, what);
    if (s != UTTER_MEMORY) worker_lose(g->worker);
    return s;
}

#define DRIVER_TRY(call, doing)                                                          \
    do {                                                                                 \
        cuda_result driver_result_ = (call);                                             \
        if (driver_result_ != CUDA_SUCCESS) return gpu_failed(g, driver_result_, doing); \
    } while (0)

/* ---- jobs ---- */

static status run_job(void *context) {
    struct gpu *g = context;
    status s = g->job(g);
    if (s == UTTER_OK || worker_lost(g->worker) || !g->stream) return s;
    // copies under way would write over what the next call puts into staging
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", fail_message());
    TRY(gpu_wait(g, g->job_limit, "ending a call that failed"));
    return fail(s, "%s", sentence);
}

status gpu_call(struct gpu *g, job_fn *job, int64_t deadline, int64_t limit_ns) {
    TRY(worker_ready(g->worker, deadline));
    g->job = job;
    g->job_limit = limit_ns;
    return worker_call(g->worker, run_job, deadline, 2 * limit_ns);  // a call of the driver may hang as well
}

/* ---- modules ---- */

#define MODULE_TEXTS(name, type) extern const char gpu_ptx_75_##name[], gpu_ptx_80_##name[];
#ifdef UTTER_GPU_KERNELS
#define DECODE_TEXTS(name, type) MODULE_TEXTS(decode_##name, type)
MODULE_TEXTS(common, )
GPU_FORMATS(MODULE_TEXTS)
#define PRODUCT_TEXTS(name, type) MODULE_TEXTS(product_##name, type)
GPU_PRODUCT_FORMATS(PRODUCT_TEXTS)
GPU_DECODE_FORMATS(DECODE_TEXTS)
static const char *const common_texts[2] = {gpu_ptx_75_common, gpu_ptx_80_common};
static const char *const format_texts[N_GPU_FORMATS][2] = {
#define MEMBER(name, type) {gpu_ptx_75_##name, gpu_ptx_80_##name},
    GPU_FORMATS(MEMBER)
#undef MEMBER
};
static const char *const product_texts[N_GPU_FORMATS][2] = {
#define MEMBER(name, type) [GPU_FORMAT_##name] = {gpu_ptx_75_product_##name, gpu_ptx_80_product_##name},
    GPU_PRODUCT_FORMATS(MEMBER)
#undef MEMBER
};
static const char *const decode_texts[N_DECODE_KERNELS][2] = {
#define MEMBER(name, type) {gpu_ptx_75_decode_##name, gpu_ptx_80_decode_##name},
    GPU_DECODE_FORMATS(MEMBER)
#undef MEMBER
};
#else
static const char *const common_texts[2] = {NULL, NULL};
static const char *const format_texts[N_GPU_FORMATS][2] = {{NULL}};
static const char *const product_texts[N_GPU_FORMATS][2] = {{NULL}};
static const char *const decode_texts[N_DECODE_KERNELS][2] = {{NULL}};
#endif

static const char *const format_names[N_GPU_FORMATS] = {
#define MEMBER(name, type) #name,
    GPU_FORMATS(MEMBER)
#undef MEMBER
};

static status load_module(struct gpu *g, const char *text, const char *name, cuda_module *out) {
    char log[2048] = "";
    int options[] = {CUDA_JIT_ERROR_LOG, CUDA_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    cuda_result r = g->driver.module_load(out, text, 2, options, values);
    if (r == CUDA_SUCCESS) return UTTER_OK;
    log[sizeof log - 1] = '\0';
    log[strcspn(log, "\r\n")] = '\0';
    char doing[400];
    snprintf(doing, sizeof doing, "compiling the kernels '%s'%s%.300s%s", name,
             *log ? " (the driver's compiler says: " : "", log, *log ? ")" : "");
    return gpu_failed(g, r, doing);
}

static status find_function(struct gpu *g, cuda_module module, const char *name, cuda_function *out) {
    char doing[96];
    snprintf(doing, sizeof doing, "looking for the kernel %s", name);
    DRIVER_TRY(g->driver.module_function(out, module, name), doing);
    return UTTER_OK;
}

status gpu_load_common(struct gpu *g) {
    static const char *const names[N_KERNELS] = {
#define MEMBER(name, n_threads) #name,
        GPU_COMMON_KERNELS(MEMBER)
#undef MEMBER
    };
    bool newer = g->info.capability >= 80;
    g->kernels = newer ? "sm_80" : "sm_75";
    TRY(load_module(g, common_texts[newer], "common", &g->common));
    for (int i = 0; i < N_KERNELS; i++) TRY(find_function(g, g->common, names[i], &g->functions[i]));
    return UTTER_OK;
}

/* A module and its n kernels, which are called names[i]_format. */
static status load_kernels(struct gpu *g, const char *text, const char *format, const char *const *names, int n,
                           cuda_module *module, cuda_function *functions) {
    TRY(load_module(g, text, format, module));
    for (int i = 0; i < n; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s_%s", names[i], format);
        TRY(find_function(g, *module, name, &functions[i]));
    }
    return UTTER_OK;
}

status gpu_load_formats(struct gpu *g) {
    static const char *const names[N_FORMAT_KERNELS] = {
#define MEMBER(name, n_threads) #name,
        GPU_FORMAT_KERNELS(MEMBER)
#undef MEMBER
    };
    static const char *const product_names[N_PRODUCT_KERNELS] = {
#define MEMBER(name, n_threads) #name,
        GPU_PRODUCT_KERNELS(MEMBER)
#undef MEMBER
    };
    int newer = g->info.capability >= 80;
    for (int f = 0; f < N_GPU_FORMATS; f++) {
        if (g->formats_wanted[f] && !g->format_modules[f])
            TRY(load_kernels(g, format_texts[f][newer], format_names[f], names, N_FORMAT_KERNELS,
                             &g->format_modules[f], g->format_functions[f]));
        if (g->products_wanted[f] && !g->product_modules[f])
            TRY(load_kernels(g, product_texts[f][newer], format_names[f], product_names, N_PRODUCT_KERNELS,
                             &g->product_modules[f], g->product_functions[f]));
    }
    return UTTER_OK;
}

status gpu_load_decode(struct gpu *g, int kernel, int shared_bytes, int *resident) {
    static const char *const names[N_DECODE_KERNELS] = {
#define MEMBER(name, type) "decode_" #name,
        GPU_DECODE_FORMATS(MEMBER)
#undef MEMBER
    };
    const char *name = names[kernel];
    if (!g->decode_modules[kernel]) {
        TRY(load_module(g, decode_texts[kernel][g->info.capability >= 80], name, &g->decode_modules[kernel]));
        TRY(find_function(g, g->decode_modules[kernel], name, &g->decode_functions[kernel]));
    }
    cuda_function f = g->decode_functions[kernel];
    DRIVER_TRY(g->driver.function_attribute(f, CUDA_FUNCTION_SHARED_BYTES, shared_bytes), "asking for shared memory");
    DRIVER_TRY(g->driver.occupancy(resident, f, DECODE_THREADS, (size_t)shared_bytes), "asking for room for blocks");
    return UTTER_OK;
}

/* ---- launches ---- */

static status launch(struct gpu *g, cuda_function function, const char *name, int n_threads, int64_t grid_x,
                     int64_t grid_y, const void *args, int shared_bytes) {
    if (grid_x < 1 || grid_x > INT32_MAX || grid_y < 1 || grid_y > 65535)
        return fail(UTTER_INTERNAL, "kernel %s was to be launched with %lld x %lld blocks", name, (long long)grid_x,
                    (long long)grid_y);
    if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more");
    void *parameters[] = {(void *)(uintptr_t)args};
    cuda_result r = g->driver.launch(function, (unsigned)grid_x, (unsigned)grid_y, 1, (unsigned)n_threads, 1, 1,
                                     (unsigned)shared_bytes, g->stream, parameters, NULL);
    if (r == CUDA_SUCCESS) return UTTER_OK;
    char doing[64];
    snprintf(doing, sizeof doing, "launching the kernel %s", name);
    return gpu_failed(g, r, doing);
}

status gpu_launch(struct gpu *g, enum gpu_kernel kernel, int64_t grid_x, int64_t grid_y, const void *args) {
    return gpu_launch_shared(g, kernel, grid_x, grid_y, args, 0);
}

status gpu_launch_shared(struct gpu *g, enum gpu_kernel kernel, int64_t grid_x, int64_t grid_y, const void *args,
                         int shared_bytes) {
    static const struct {
        const char *name;
        int n_threads;
    } kernels[N_KERNELS] = {
#define MEMBER(name, n_threads) {#name, n_threads},
        GPU_COMMON_KERNELS(MEMBER)
#undef MEMBER
    };
    return launch(g, g->functions[kernel], kernels[kernel].name, kernels[kernel].n_threads, grid_x, grid_y, args,
                  shared_bytes);
}

status gpu_allow_shared(struct gpu *g, enum gpu_kernel kernel, int shared_bytes, bool *allowed) {
    int most = 0;
    DRIVER_TRY(g->driver.device_attribute(&most, CUDA_SHARED_BYTES_OPTIN, g->info.device), "reading its properties");
    *allowed = most >= shared_bytes;
    if (!*allowed) return UTTER_OK;
    DRIVER_TRY(g->driver.function_attribute(g->functions[kernel], CUDA_FUNCTION_SHARED_BYTES, shared_bytes),
               "setting a kernel up");
    return UTTER_OK;
}

status gpu_launch_decode(struct gpu *g, int kernel, int n_blocks, int shared_bytes, const struct decode_args *args) {
    if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more");
    void *parameters[] = {(void *)(uintptr_t)args};
    DRIVER_TRY(g->driver.launch_together(g->decode_functions[kernel], (unsigned)n_blocks, 1, 1, DECODE_THREADS, 1, 1,
                                         (unsigned)shared_bytes, g->stream, parameters),
               "launching the kernel decode");
    return UTTER_OK;
}

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

status gpu_matmul(struct gpu *g, const struct gpu_matrix *m, struct matmul_args args) {
    args.w = m->w;
    cuda_function *functions = g->format_functions[m->format];
    int64_t row_blocks = div_up(m->w.rows, ROWS_PER_BLOCK);
    if (args.n == 1) return launch(g, functions[FORMAT_KERNEL_matvec], "matvec", 256, row_blocks, 1, &args, 0);
    if (args.n <= MATVEC_MAX)
        return launch(g, functions[FORMAT_KERNEL_matmul_rows], "matmul_rows", 256, row_blocks, 1, &args, 0);
    return launch(g, functions[FORMAT_KERNEL_matmul_tile], "matmul_tile", 256, div_up(m->w.rows, TILE),
                  div_up(args.n, TILE), &args, 0);
}

status gpu_product(struct gpu *g, const struct gpu_matrix *const *parts, bool pair, struct product_args args) {
    // many columns share what a block reads; but so few blocks would leave most multiprocessors idle
    enum { FEW_ROWS = 16, FEW_COLUMNS = 64, MANY_COLUMNS = 128, MIN_BLOCKS = 48 };
    int64_t few = 0, many = 0;
    for (int i = 0; i < args.n_parts; i++) {
        args.parts[i].w = parts[i]->w;
        if (pair && i > 0) continue;
        few += div_up(parts[i]->w.rows, FEW_ROWS);
        many += div_up(parts[i]->w.rows, pair ? 64 : 32);
    }
    cuda_function *functions = g->product_functions[parts[0]->format];
    int64_t across = div_up(args.n, MANY_COLUMNS);
    if (args.n > FEW_COLUMNS && many * across >= MIN_BLOCKS)
        return launch(g, functions[pair ? PRODUCT_KERNEL_product_many_pair : PRODUCT_KERNEL_product_many],
                      "product_many", 256, many, across, &args, 0);
    return launch(g, functions[pair ? PRODUCT_KERNEL_product_few_pair : PRODUCT_KERNEL_product_few], "product_few", 256,
                  few, div_up(args.n, pair ? FEW_COLUMNS / 2 : FEW_COLUMNS), &args, 0);
}

status gpu_embed(struct gpu *g, const struct gpu_matrix *m, const int32_t *tokens, int n, float *x) {
    struct embed_args args = {.w = m->w, .tokens = tokens, .x = x};
    return launch(g, g->format_functions[m->format][FORMAT_KERNEL_embed], "embed", 256, n, 1, &args, 0);
}

status gpu_clear(struct gpu *g, device_address to, size_t n_bytes) {
    DRIVER_TRY(g->driver.memory_set(to, 0, n_bytes, g->stream), "clearing memory");
    return UTTER_OK;
}

status gpu_download(struct gpu *g, void *to, device_address from, size_t n_bytes) {
    DRIVER_TRY(g->driver.copy_to_host(to, from, n_bytes, g->stream), "copying results back");
    return UTTER_OK;
}

status gpu_upload(struct gpu *g, device_address to, const void *from, size_t n_bytes) {
    DRIVER_TRY(g->driver.copy_to_device(to, from, n_bytes, g->stream), "copying to the card");
    return UTTER_OK;
}

status gpu_record(struct gpu *g, cuda_event event) {
    DRIVER_TRY(g->driver.event_record(event, g->stream), "marking a place in its work");
    return UTTER_OK;
}

/* ---- waiting ---- */

status gpu_wait(struct gpu *g, int64_t limit_ns, const char *doing) { return gpu_wait_event(g, NULL, limit_ns, doing); }

status gpu_wait_event(struct gpu *g, cuda_event event, int64_t limit_ns, const char *doing) {
    enum { SPIN_NS = 1000000 };  // most waits are short; later ones sleep
    int64_t start = clock_ns();
    for (;;) {
        cuda_result r = event ? g->driver.event_query(event) : g->driver.stream_query(g->stream);
        if (r == CUDA_SUCCESS) return UTTER_OK;
        if (r != CUDA_NOT_READY) return gpu_failed(g, r, doing);
        int64_t waited = clock_ns() - start;
        if (waited > limit_ns) {
            fail(UTTER_DEVICE,
                 "GPU %d (%.100s), %s: no answer for %.1f seconds; it is not used any more. See `nvidia-smi` and the "
                 "system log, and restart the machine if it does not come back",
                 g->options.index, g->info.name, doing, (double)waited / 1e9);
            worker_lose(g->worker);
            return UTTER_DEVICE;
        }
        if (waited > SPIN_NS) nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

int64_t gpu_limit(const struct gpu *g, double bytes, double multiplications) {
    return g->options.patience_ns + (int64_t)(bytes + multiplications / 10);  // 1 GB/s, 10 G/s
}

/* ---- memory ---- */

status gpu_alloc(struct gpu *g, struct device_memory *m, size_t n_bytes, void *out) {
    size_t rounded = g->options.chunk_bytes > 256 ? (n_bytes + 255) & ~(size_t)255 : n_bytes;
    if (rounded == 0) rounded = 4;
    if (m->measuring) {
        m->n_bytes += rounded;
        return UTTER_OK;
    }
    if (rounded > m->left) {
        device_address *chunks = realloc(m->chunks, (size_t)(m->n_chunks + 1) * sizeof *chunks);
        if (!chunks) return fail_memory((size_t)(m->n_chunks + 1) * sizeof *chunks, "a list of device memory");
        m->chunks = chunks;
        size_t size = rounded > g->options.chunk_bytes ? rounded : g->options.chunk_bytes;
        cuda_result r = g->driver.memory_alloc(&chunks[m->n_chunks], size);
        if (r == CUDA_OUT_OF_MEMORY) {
            size_t free_bytes = 0, total_bytes = 0;
            g->driver.memory_info(&free_bytes, &total_bytes);
            char needed[32], free_text[32], total_text[32];
            return fail(
                UTTER_MEMORY,
                "GPU %d (%.100s): not enough memory for %s: it needs %s, of which %s could be had, and %s of %s "
                "are still free; close other programs that use the card, or use a smaller model",
                g->options.index, g->info.name, m->what, driver_size_text(m->total, needed),
                driver_size_text(m->n_bytes, (char[32]){0}), driver_size_text(free_bytes, free_text),
                driver_size_text(total_bytes, total_text));
        }
        if (r != CUDA_SUCCESS) return gpu_failed(g, r, "taking memory");
        m->next = chunks[m->n_chunks++];
        m->left = size;
        m->n_bytes += size;
    }
    memcpy(out, &m->next, sizeof m->next);
    m->next += rounded;
    m->left -= rounded;
    return UTTER_OK;
}

void gpu_free(struct gpu *g, struct device_memory *m) {
    if (!worker_lost(g->worker))
        for (int i = 0; i < m->n_chunks; i++) g->driver.memory_free(m->chunks[i]);
    free(m->chunks);
    *m = (struct device_memory){0};
}
