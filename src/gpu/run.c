#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "gguf/blocks.h"
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

/* ---- launches ---- */

static const struct {
    const char *name;
    int n_threads;
    enum gpu_module module;
} kernels[N_KERNELS] = {
#define MEMBER(module, name, n_threads) {#name, n_threads, MODULE_##module},
    GPU_KERNELS(MEMBER)
#undef MEMBER
};

status gpu_launch_shared(struct gpu *g, enum gpu_kernel kernel, int64_t grid_x, int64_t grid_y, const void *args,
                         int shared_bytes) {
    const char *name = kernels[kernel].name;
    if (grid_x < 1 || grid_x > INT32_MAX || grid_y < 1 || grid_y > 65535)
        return fail(UTTER_INTERNAL, "kernel %s was to be launched with %lld x %lld blocks", name, (long long)grid_x,
                    (long long)grid_y);
    if (!g->functions[kernel]) return fail(UTTER_INTERNAL, "kernel %s was to be launched and is not loaded", name);
    if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more");
    void *parameters[] = {(void *)(uintptr_t)args};
    cuda_result r = g->driver.launch(g->functions[kernel], (unsigned)grid_x, (unsigned)grid_y, 1,
                                     (unsigned)kernels[kernel].n_threads, 1, 1, (unsigned)shared_bytes, g->stream,
                                     parameters, NULL);
    if (r == CUDA_SUCCESS) return UTTER_OK;
    char doing[64];
    snprintf(doing, sizeof doing, "launching the kernel %s", name);
    return gpu_failed(g, r, doing);
}

status gpu_launch(struct gpu *g, enum gpu_kernel kernel, int64_t grid_x, int64_t grid_y, const void *args) {
    return gpu_launch_shared(g, kernel, grid_x, grid_y, args, 0);
}

status gpu_allow_shared(struct gpu *g, enum gpu_kernel kernel, int shared_bytes) {
    DRIVER_TRY(g->driver.function_attribute(g->functions[kernel], CUDA_FUNCTION_SHARED_BYTES, shared_bytes),
               "asking for shared memory");
    return UTTER_OK;
}

status gpu_resident_blocks(struct gpu *g, enum gpu_kernel kernel, int n_threads, int shared_bytes, int *resident) {
    TRY(gpu_allow_shared(g, kernel, shared_bytes));
    DRIVER_TRY(g->driver.occupancy(resident, g->functions[kernel], n_threads, (size_t)shared_bytes),
               "asking for room for blocks");
    return UTTER_OK;
}

status gpu_launch_decode(struct gpu *g, enum gpu_kernel kernel, int n_blocks, int shared_bytes,
                         const struct decode_args *args) {
    if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more");
    void *parameters[] = {(void *)(uintptr_t)args};
    DRIVER_TRY(g->driver.launch_together(g->functions[kernel], (unsigned)n_blocks, 1, 1, DECODE_THREADS, 1, 1,
                                         (unsigned)shared_bytes, g->stream, parameters),
               "launching the kernel decode");
    return UTTER_OK;
}

/* ---- by the matrix's format ---- */

static const struct {
    enum gpu_kernel embed, matvec, rows, tile;
} of_format[N_GPU_FORMATS] = {
#define MEMBER(name, type) \
    {KERNEL_embed_##name, KERNEL_matvec_##name, KERNEL_matmul_rows_##name, KERNEL_matmul_tile_##name},
    GPU_FORMATS(MEMBER)
#undef MEMBER
};

/* Kernels of product.c, by the tile's rows and columns. */
static const struct {
    bool made;
    block_type type;
    enum gpu_kernel of_64x64, of_128x64, of_128x128;
} of_product[N_GPU_FORMATS] = {
#define MEMBER(name, type)                                                                        \
    [GPU_FORMAT_##name] = {true, type, KERNEL_product_64x64_##name, KERNEL_product_128x64_##name, \
                           KERNEL_product_128x128_##name},
    GPU_PRODUCT_FORMATS(MEMBER)
#undef MEMBER
};

enum gpu_module gpu_module_of(enum gpu_kernel kernel) { return kernels[kernel].module; }

void gpu_want_embed(enum gpu_format format, bool wanted[N_MODULES]) {
    wanted[kernels[of_format[format].embed].module] = true;
}

void gpu_want_matmul(enum gpu_format format, bool wanted[N_MODULES]) {
    wanted[kernels[of_format[format].matvec].module] = true;
}

bool gpu_want_product(enum gpu_format format, bool wanted[N_MODULES]) {
    if (of_product[format].made) wanted[kernels[of_product[format].of_64x64].module] = true;
    return of_product[format].made;
}

/* The shared memory that a tile's stages may take. */
static int product_shared(const struct gpu *g, enum gpu_format format, int rows, int columns, int *stages) {
    enum { MOST_STAGES = 4 };
    int stage = PRODUCT_STAGE_BYTES(rows, columns, (int)block_row_bytes(of_product[format].type, GROUP));
    *stages = g->info.shared_bytes / stage;
    if (*stages > MOST_STAGES) *stages = MOST_STAGES;
    return *stages * stage;
}

status gpu_prepare_products(struct gpu *g) {
    for (int f = 0; f < N_GPU_FORMATS; f++) {
        int stages;
        if (!of_product[f].made || !g->functions[of_product[f].of_64x64]) continue;
        TRY(gpu_allow_shared(g, of_product[f].of_64x64, product_shared(g, f, 64, 64, &stages)));
        TRY(gpu_allow_shared(g, of_product[f].of_128x64, product_shared(g, f, 128, 64, &stages)));
        TRY(gpu_allow_shared(g, of_product[f].of_128x128, product_shared(g, f, 128, 128, &stages)));
    }
    return UTTER_OK;
}

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

status gpu_matmul(struct gpu *g, const struct gpu_matrix *m, struct matmul_args args) {
    args.w = m->w;
    int64_t row_blocks = div_up(m->w.rows, ROWS_PER_BLOCK);
    if (args.n == 1) return gpu_launch(g, of_format[m->format].matvec, row_blocks, 1, &args);
    if (args.n <= MATVEC_MAX) return gpu_launch(g, of_format[m->format].rows, row_blocks, 1, &args);
    return gpu_launch(g, of_format[m->format].tile, div_up(m->w.rows, TILE), div_up(args.n, TILE), &args);
}

status gpu_product(struct gpu *g, const struct gpu_matrix *const *parts, struct product_args args) {
    enum gpu_format format = parts[0]->format;
    enum gpu_kernel kernel = of_product[format].of_64x64;
    int rows = 64, columns = 64;
    int64_t tiles = 0, tall = 0;
    for (int i = 0; i < args.n_parts; i++) {
        args.parts[i].w = parts[i]->w;
        tiles += div_up(parts[i]->w.rows, 64);
        tall += div_up(parts[i]->w.rows, 128);
    }
    // a large tile reads less, but each multiprocessor should have something to do
    int64_t least = g->info.multiprocessors * 2;
    if (!args.partial && args.n > 64 && tall * div_up(args.n, 128) >= least * 2) {
        kernel = of_product[format].of_128x128;
        rows = columns = 128;
        tiles = tall;
    } else if (!args.partial && tall * div_up(args.n, 64) >= least) {
        kernel = of_product[format].of_128x64;
        rows = 128;
        tiles = tall;
    }
    if (args.slices < 1) args.slices = 1;
    int shared = product_shared(g, format, rows, columns, &args.stages);
    return gpu_launch_shared(g, kernel, tiles, div_up(args.n, columns) * args.slices, &args, shared);
}

int gpu_product_slices(const struct gpu *g, const struct gpu_matrix *m, int n, int64_t n_partial) {
    enum { LEAST_STAGES = 4 };
    int64_t blocks = div_up(m->w.rows, 64) * div_up(n, 64), stages = div_up(m->w.groups, PRODUCT_STAGE_GROUPS);
    int64_t slices = 2 * g->info.multiprocessors / blocks, room = n_partial / ((int64_t)n * m->w.rows);
    if (slices > stages / LEAST_STAGES) slices = stages / LEAST_STAGES;
    if (slices > ADD_SLICES) slices = ADD_SLICES;
    if (slices > room) slices = room;
    return slices < 1 ? 1 : (int)slices;
}

status gpu_embed(struct gpu *g, const struct gpu_matrix *m, const int32_t *tokens, int n, float *x) {
    struct embed_args args = {.w = m->w, .tokens = tokens, .x = x};
    return gpu_launch(g, of_format[m->format].embed, n, 1, &args);
}

/* ---- memory and the stream ---- */

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
