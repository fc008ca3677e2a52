/* What the parts of the GPU device share. Functions marked "job" run on the worker's thread. */
#ifndef UTTER_GPU_INTERNAL_H
#define UTTER_GPU_INTERNAL_H

#include <pthread.h>

#include "base/clock.h"
#include "gpu/driver.h"
#include "gpu/gpu.h"
#include "gpu/kernels/args.h"
#include "gpu/kernels/list.h"
#include "gpu/worker.h"

enum gpu_module {
#define MEMBER(name) MODULE_##name,
    GPU_MODULES(MEMBER)
#undef MEMBER
        N_MODULES
};

enum gpu_kernel {
#define MEMBER(module, name, n_threads) KERNEL_##name,
    GPU_KERNELS(MEMBER)
#undef MEMBER
        N_KERNELS
};

enum gpu_format {
#define MEMBER(name, type) GPU_FORMAT_##name,
    GPU_FORMATS(MEMBER)
#undef MEMBER
        N_GPU_FORMATS
};

enum {
    STAGING_BYTES = 16 << 20,
    MAX_COPIES = 256,
};

/* Device memory of one owner, taken from the driver in chunks and given back all at once. */
struct device_memory {
    const char *what;        // it is for, in messages
    bool measuring;          // nothing is taken, only counted in n_bytes
    size_t total;            // what all of it will be, for messages
    device_address *chunks;  // [n_chunks]
    int n_chunks;
    device_address next;  // in the last chunk
    size_t left;
    size_t n_bytes;  // taken in all
};

/* A matrix on the device. */
struct gpu_matrix {
    struct weights w;
    enum gpu_format format;
};

struct gpu {
    struct device base;
    struct gpu_options options;
    int64_t compile_ns;  // that the driver may take for kernels that it has not seen yet
    struct log log;
    struct worker *worker;
    pthread_mutex_t lanes;  // both lanes' calls use the job, the staging and the stream
    job_fn *job;            // in hand
    int64_t job_limit;

    struct driver driver;
    struct driver_device info;
    cuda_context context;
    cuda_stream stream;
    const char *kernels;                 // "sm_80"
    struct modules *modules;             // modules.c
    cuda_function functions[N_KERNELS];  // NULL: its module was not waited for

    /* Memory that the card reads and writes itself; everything to and from the card passes through it. */
    unsigned char *staging;  // [STAGING_BYTES]
    size_t staged;
    struct copy {
        device_address to;
        size_t from, n_bytes;  // in staging
    } copies[MAX_COPIES];      // waiting to be uploaded
    int n_copies;

    struct gpu_backbone *backbone;
    struct gpu_codec *codec;
    char description[256];
};

/* ---- run.c: launches, waiting, memory ---- */

/* Has the worker do a job; see worker_call. When the job fails, what it had launched is waited for before the next. */
status gpu_call(struct gpu *g, job_fn *job, int64_t deadline, int64_t limit_ns);

/* fail() with what the driver's result means; after anything but a lack of memory the card is lost. Job. */
status gpu_failed(struct gpu *g, cuda_result result, const char *doing);

/* Job. `args` is the struct that the kernel takes. */
status gpu_launch(struct gpu *g, enum gpu_kernel kernel, int64_t grid_x, int64_t grid_y, const void *args);
/* With so much shared memory besides, that gpu_allow_shared allowed. Job. */
status gpu_launch_shared(struct gpu *g, enum gpu_kernel kernel, int64_t grid_x, int64_t grid_y, const void *args,
                         int shared_bytes);
/* Blocks of the kernel can have so much shared memory from now on; the card has it. Job. */
status gpu_allow_shared(struct gpu *g, enum gpu_kernel kernel, int shared_bytes);
/* Blocks that wait for each other: all run at once, or the launch fails. Job. */
status gpu_launch_decode(struct gpu *g, enum gpu_kernel kernel, int n_blocks, int shared_bytes,
                         const struct decode_args *args);
/* Asks for a block's shared memory. *resident: blocks that a multiprocessor can hold. Job. */
status gpu_resident_blocks(struct gpu *g, enum gpu_kernel kernel, int n_threads, int shared_bytes, int *resident);
/* y = W x for n columns, by the kernel that suits n. Job. */
status gpu_matmul(struct gpu *g, const struct gpu_matrix *m, struct matmul_args args);
/* product.c for n_parts matrices of one format, which args does not name yet. Job. */
status gpu_product(struct gpu *g, const struct gpu_matrix *const *parts, struct product_args args);
/* Among how many blocks its depth is best shared out, with room for n_partial floats of sums. */
int gpu_product_slices(const struct gpu *g, const struct gpu_matrix *m, int n, int64_t n_partial);
/* Once the modules are there. Job. */
status gpu_prepare_products(struct gpu *g);
status gpu_embed(struct gpu *g, const struct gpu_matrix *m, const int32_t *tokens, int n, float *x);
status gpu_clear(struct gpu *g, device_address to, size_t n_bytes);
status gpu_download(struct gpu *g, void *to, device_address from, size_t n_bytes);
status gpu_upload(struct gpu *g, device_address to, const void *from, size_t n_bytes);
/* What was launched before is done when the event is. Job. */
status gpu_record(struct gpu *g, cuda_event event);
/* Until the stream is done; lost after limit_ns. Job. */
status gpu_wait(struct gpu *g, int64_t limit_ns, const char *doing);
/* Until what was launched before the event's record is done; NULL: the stream. */
status gpu_wait_event(struct gpu *g, cuda_event event, int64_t limit_ns, const char *doing);

/* How long work may take at the very most: the patience, and the time of a hundredth of a slow card's speed. */
int64_t gpu_limit(const struct gpu *g, double bytes, double multiplications);

/* *out: n_bytes of device memory, aligned to 256 bytes. Job. */
status gpu_alloc(struct gpu *g, struct device_memory *m, size_t n_bytes, void *out);
/* Job; does nothing on a lost card. */
void gpu_free(struct gpu *g, struct device_memory *m);

enum gpu_module gpu_module_of(enum gpu_kernel kernel);
/* Marks the modules that a format needs. The last: false when product.c is not made for it. */
void gpu_want_embed(enum gpu_format format, bool wanted[N_MODULES]);
void gpu_want_matmul(enum gpu_format format, bool wanted[N_MODULES]);
bool gpu_want_product(enum gpu_format format, bool wanted[N_MODULES]);

/* ---- modules.c ---- */

/* Job. */
status gpu_open_modules(struct gpu *g);
/* Has those compiled that are not yet; does not wait for it. */
status gpu_want_modules(struct gpu *g, const bool wanted[N_MODULES]);
/* The same, and their kernels can be launched after. Says so when it takes a while; lost after the job's limit. Job. */
status gpu_wait_modules(struct gpu *g, const bool wanted[N_MODULES]);
/* False: the driver is still at it, and the context must be left alone. */
bool gpu_close_modules(struct gpu *g, bool lost);

/* ---- upload.c: weights to the device. On the caller's thread: the files that are read belong to the caller, who may
   take them away once a call has failed ---- */

enum gpu_format gpu_format_of(block_type type);
/* Sets the shape, with `rows` rows, and takes the memory. Job. */
status gpu_place_matrix(struct gpu *g, struct device_memory *memory, const struct matrix *m, int64_t rows,
                        struct gpu_matrix *out);

/* Rows `rows[n]` of the file's matrix (NULL: all, in order) to rows 0.. of the device's. */
status gpu_upload_matrix(struct gpu *g, const struct matrix *m, const int32_t *rows, const struct gpu_matrix *to);
status gpu_upload_bytes(struct gpu *g, const void *from, size_t n_bytes, const void *to);
/* What is still in staging. */
status gpu_flush(struct gpu *g);

/* ---- backbone_load.c, backbone.c, sampling.c, codec.c ---- */

status gpu_load_backbone(struct device *d, const struct backbone *b, bool speech_only, int n_slots, int n_ctx);
void gpu_reset(struct device *d, int slot);
status gpu_prefill(struct device *d, int slot, const int32_t *tokens, int n, float *logits, int64_t deadline);
status gpu_generate(struct device *d, struct generation *generations, int n, int steps, int64_t deadline);
void gpu_free_backbone(struct gpu *g);  // job
void gpu_modules_of_backbone(const struct gpu *g, const struct backbone *b, int n_head, bool wanted[N_MODULES]);

/* The sampler's settings and state to and from a row of a generate call. */
void gpu_sequence_of_sampler(const struct sampler *s, struct sequence *out);
void gpu_sampler_of_sequence(const struct sequence *s, struct sampler *out);

status gpu_load_codec(struct device *d, const struct codec *c);
status gpu_synthesize(struct device *d, const struct synthesis *pieces, int n, int64_t deadline);
void gpu_free_codec(struct gpu *g);  // job
void gpu_modules_of_codec(const struct gpu *g, const struct codec *c, bool wanted[N_MODULES]);

/* Device memory taken by what is loaded. */
size_t gpu_bytes_of_backbone(const struct gpu *g);
size_t gpu_bytes_of_codec(const struct gpu *g);
/* Makes the line that describe() gives. */
void gpu_describe(struct gpu *g);

#endif
