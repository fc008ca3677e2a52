#include <string.h>

#include "gguf/layouts.h"
#include "gpu/internal.h"

/* The pieces of struct weights, in its order. */
enum { QUANTS, HIGHS, SCALES, SUPERS, N_PLANES };

/* Bytes of a group in each plane; of supers, of eight groups. */
static const int plane_bytes[N_GPU_FORMATS][N_PLANES] = {
    [GPU_FORMAT_f32] = {128},          [GPU_FORMAT_f16] = {64},           [GPU_FORMAT_bf16] = {64},
    [GPU_FORMAT_q4_0] = {16, 0, 2},    [GPU_FORMAT_q4_1] = {16, 0, 4},    [GPU_FORMAT_q5_0] = {16, 4, 2},
    [GPU_FORMAT_q5_1] = {16, 4, 4},    [GPU_FORMAT_q8_0] = {32, 0, 2},    [GPU_FORMAT_q4_k] = {16, 0, 2, 4},
    [GPU_FORMAT_q5_k] = {16, 4, 2, 4}, [GPU_FORMAT_q6_k] = {16, 8, 2, 4},
};

static const block_type types[N_GPU_FORMATS] = {
#define MEMBER(name, type) type,
    GPU_FORMATS(MEMBER)
#undef MEMBER
};

enum gpu_format gpu_format_of(block_type type) {
    int f = 0;
    while (types[f] != type) f++;  // the list holds every type there is
    return (enum gpu_format)f;
}

/* Bytes of a row in each plane. */
static void row_bytes(enum gpu_format format, int64_t cols, size_t out[N_PLANES]) {
    size_t groups = (size_t)(cols + GROUP - 1) / GROUP;
    for (int p = 0; p < N_PLANES; p++) out[p] = (p == SUPERS ? groups / 8 : groups) * (size_t)plane_bytes[format][p];
}

status gpu_place_matrix(struct gpu *g, struct device_memory *memory, const struct matrix *m, int64_t rows,
                        struct gpu_matrix *out) {
    *out = (struct gpu_matrix){.format = gpu_format_of(m->type)};
    out->w.rows = (i32)rows;
    out->w.cols = (i32)m->cols;
    out->w.groups = (i32)((m->cols + GROUP - 1) / GROUP);
    size_t bytes[N_PLANES];
    row_bytes(out->format, m->cols, bytes);
    const void **planes[N_PLANES] = {&out->w.quants, &out->w.highs, &out->w.scales, &out->w.supers};
    for (int p = 0; p < N_PLANES; p++)
        if (bytes[p]) TRY(gpu_alloc(g, memory, bytes[p] * (size_t)rows, planes[p]));
    return UTTER_OK;
}

/* ---- blocks to planes ---- */

/* out: where this group goes in each plane (of supers: its block's place). */
struct group_out {
    unsigned char *quants, *highs, *scales, *supers;
};

static void put_words(unsigned char *to, uint32_t a, uint32_t b) {
    memcpy(to, &a, 4);
    memcpy(to + 4, &b, 4);
}

/* 32 numbers of 4 bits as quants lie: q[j] and q[j + 16] share byte j. */
static void put_nibbles(unsigned char *to, const uint8_t q[32]) {
    for (int j = 0; j < 16; j++) to[j] = (unsigned char)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static uint32_t bit_plane(const uint8_t q[32], int bit) {
    uint32_t plane = 0;
    for (int j = 0; j < 32; j++) plane |= (uint32_t)(q[j] >> bit & 1) << j;
    return plane;
}

static void k_scales(const uint8_t s[12], int i, unsigned char out[2]) {
    if (i < 4) {
        out[0] = s[i] & 63;
        out[1] = s[i + 4] & 63;
    } else {
        out[0] = (unsigned char)((s[i + 4] & 15) | (s[i - 4] >> 6) << 4);
        out[1] = (unsigned char)(s[i + 4] >> 4 | (s[i] >> 6) << 4);
    }
}

/* Group i of a row in the file's layout. */
static void pack_group(enum gpu_format format, const void *row, int64_t i, int64_t cols, struct group_out o) {
    uint8_t q[32];
    switch (format) {
        case GPU_FORMAT_f32:
        case GPU_FORMAT_f16:
        case GPU_FORMAT_bf16: {
            size_t each = format == GPU_FORMAT_f32 ? 4 : 2;
            int64_t n = cols - i * GROUP < GROUP ? cols - i * GROUP : GROUP;
            memset(o.quants, 0, GROUP * each);
            memcpy(o.quants, (const unsigned char *)row + (size_t)i * GROUP * each, (size_t)n * each);
            break;
        }
        case GPU_FORMAT_q4_0: {
            const struct q4_0 *b = (const struct q4_0 *)row + i;
            memcpy(o.quants, b->qs, 16);
            memcpy(o.scales, &b->d, 2);
            break;
        }
        case GPU_FORMAT_q4_1: {
            const struct q4_1 *b = (const struct q4_1 *)row + i;
            memcpy(o.quants, b->qs, 16);
            memcpy(o.scales, &b->d, 2);
            memcpy(o.scales + 2, &b->m, 2);
            break;
        }
        case GPU_FORMAT_q5_0: {
            const struct q5_0 *b = (const struct q5_0 *)row + i;
            memcpy(o.quants, b->qs, 16);
            memcpy(o.highs, b->qh, 4);
            memcpy(o.scales, &b->d, 2);
            break;
        }
        case GPU_FORMAT_q5_1: {
            const struct q5_1 *b = (const struct q5_1 *)row + i;
            memcpy(o.quants, b->qs, 16);
            memcpy(o.highs, b->qh, 4);
            memcpy(o.scales, &b->d, 2);
            memcpy(o.scales + 2, &b->m, 2);
            break;
        }
        case GPU_FORMAT_q8_0: {
            const struct q8_0 *b = (const struct q8_0 *)row + i;
            memcpy(o.quants, b->qs, 32);
            memcpy(o.scales, &b->d, 2);
            break;
        }
        case GPU_FORMAT_q4_k: {
            const struct q4_k *b = (const struct q4_k *)row + i / 8;
            int part = (int)(i % 8);
            for (int j = 0; j < 32; j++) q[j] = b->qs[part / 2 * 32 + j] >> (part % 2 * 4) & 15;
            put_nibbles(o.quants, q);
            k_scales(b->scales, part, o.scales);
            if (part == 0) {
                memcpy(o.supers, &b->d, 2);
                memcpy(o.supers + 2, &b->dmin, 2);
            }
            break;
        }
        case GPU_FORMAT_q5_k: {
            const struct q5_k *b = (const struct q5_k *)row + i / 8;
            int part = (int)(i % 8);
            for (int j = 0; j < 32; j++)
                q[j] = (uint8_t)((b->qs[part / 2 * 32 + j] >> (part % 2 * 4) & 15) | (b->qh[j] >> part & 1) << 4);
            put_nibbles(o.quants, q);
            uint32_t fifth = bit_plane(q, 4);
            memcpy(o.highs, &fifth, 4);
            k_scales(b->scales, part, o.scales);
            if (part == 0) {
                memcpy(o.supers, &b->d, 2);
                memcpy(o.supers + 2, &b->dmin, 2);
            }
            break;
        }
        case GPU_FORMAT_q6_k: {
            const struct q6_k *b = (const struct q6_k *)row + i / 8;
            int half = (int)(i % 8) / 4, part = (int)(i % 4);
            for (int j = 0; j < 32; j++) {
                int low = b->ql[half * 64 + part % 2 * 32 + j] >> (part / 2 * 4) & 15;
                int high = b->qh[half * 32 + j] >> (part * 2) & 3;
                q[j] = (uint8_t)(low | high << 4);
            }
            put_nibbles(o.quants, q);
            put_words(o.highs, bit_plane(q, 4), bit_plane(q, 5));
            memcpy(o.scales, b->scales + (i % 8) * 2, 2);
            if (i % 8 == 0) {
                memcpy(o.supers, &b->d, 2);
                memset(o.supers + 2, 0, 2);
            }
            break;
        }
        case N_GPU_FORMATS:
            break;
    }
}

/* ---- staging ---- */

static status upload_job(void *context) {
    struct gpu *g = context;
    for (int i = 0; i < g->n_copies; i++)
        TRY(gpu_upload(g, g->copies[i].to, g->staging + g->copies[i].from, g->copies[i].n_bytes));
    return gpu_wait(g, gpu_limit(g, STAGING_BYTES, 0), "uploading weights");
}

status gpu_flush(struct gpu *g) {
    if (g->n_copies == 0) return UTTER_OK;
    status s = gpu_call(g, upload_job, NO_DEADLINE, gpu_limit(g, STAGING_BYTES, 0));
    g->n_copies = 0;
    g->staged = 0;
    return s;
}

/* Room in staging that goes to `to`. n_bytes is at most STAGING_BYTES / N_PLANES. */
static status stage(struct gpu *g, device_address to, size_t n_bytes, unsigned char **out) {
    if (g->staged + n_bytes > STAGING_BYTES || g->n_copies == MAX_COPIES) TRY(gpu_flush(g));
    *out = g->staging + g->staged;
    g->copies[g->n_copies++] = (struct copy){.to = to, .from = g->staged, .n_bytes = n_bytes};
    g->staged += (n_bytes + 15) & ~(size_t)15;
    return UTTER_OK;
}

status gpu_upload_bytes(struct gpu *g, const void *from, size_t n_bytes, const void *to) {
    const unsigned char *source = from;
    device_address target = (device_address)(uintptr_t)to;
    while (n_bytes > 0) {
        size_t n = n_bytes < STAGING_BYTES / N_PLANES ? n_bytes : STAGING_BYTES / N_PLANES;
        unsigned char *room;
        TRY(stage(g, target, n, &room));
        memcpy(room, source, n);
        source += n;
        target += n;
        n_bytes -= n;
    }
    return UTTER_OK;
}

status gpu_upload_matrix(struct gpu *g, const struct matrix *m, const int32_t *rows, const struct gpu_matrix *to) {
    const void *const targets[N_PLANES] = {to->w.quants, to->w.highs, to->w.scales, to->w.supers};
    size_t bytes[N_PLANES], all = 0, file_row = block_row_bytes(m->type, m->cols);
    row_bytes(to->format, m->cols, bytes);
    for (int p = 0; p < N_PLANES; p++) all += bytes[p];
    int64_t at_once = (int64_t)((STAGING_BYTES - 64) / all);
    if (at_once < 1)
        return fail(UTTER_UNSUPPORTED, "a matrix with rows of %lld weights is too wide for the GPU",
                    (long long)m->cols);
    for (int64_t first = 0; first < to->w.rows; first += at_once) {
        int64_t n = to->w.rows - first < at_once ? to->w.rows - first : at_once;
        if (g->staged + all * (size_t)n + 64 > STAGING_BYTES || g->n_copies + N_PLANES > MAX_COPIES) TRY(gpu_flush(g));
        unsigned char *room[N_PLANES] = {0};
        for (int p = 0; p < N_PLANES; p++)
            if (bytes[p])
                TRY(stage(g, (device_address)(uintptr_t)targets[p] + bytes[p] * (size_t)first, bytes[p] * (size_t)n,
                          &room[p]));
        for (int64_t r = 0; r < n; r++) {
            int64_t source = rows ? rows[first + r] : first + r;
            const unsigned char *row = (const unsigned char *)m->data + (size_t)source * file_row;
            for (int64_t i = 0; i < to->w.groups; i++) {
                size_t at = (size_t)(r * to->w.groups + i);
                const int *each = plane_bytes[to->format];
                struct group_out o = {
                    .quants = room[QUANTS] + at * (size_t)each[QUANTS],
                    .highs = room[HIGHS] ? room[HIGHS] + at * (size_t)each[HIGHS] : NULL,
                    .scales = room[SCALES] ? room[SCALES] + at * (size_t)each[SCALES] : NULL,
                    .supers = room[SUPERS]
                                  ? room[SUPERS] + (size_t)(r * (to->w.groups / 8) + i / 8) * (size_t)each[SUPERS]
                                  : NULL,
                };
                pack_group(to->format, row, i, m->cols, o);
            }
        }
    }
    return UTTER_OK;
}
