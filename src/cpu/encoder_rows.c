/* Work on rows that both kinds of encoder have, shared among the threads. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/encoder_parts.h"
#include "cpu/layer_norm.h"

void encoder_layer_norm(struct cpu_encoder *e, const struct encoder_norm *norm, const float *in, int64_t n,
                        int64_t width, float *out) {
    layer_norm_rows(e->pool, in, norm->weight, norm->bias, ENCODER_NORM_EPS, n, width, out);
}

struct gelu_job {
    float *x;
    int64_t n;
};

static void gelu_job(void *argument, int thread, int n_threads) {
    const struct gelu_job *job = argument;
    int64_t begin, end;
    pool_share(job->n, 16, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) job->x[i] *= 0.5f * (1 + erff(job->x[i] * 0.70710678f));
}

void encoder_gelu(struct cpu_encoder *e, float *x, int64_t n) {
    struct gelu_job job = {x, n};
    pool_run(e->pool, gelu_job, &job);
}

void encoder_soft_max(float *scores, int64_t n) {
    float most = scores[0];
    double sum = 0;
    for (int64_t t = 1; t < n; t++)
        if (scores[t] > most) most = scores[t];
    for (int64_t t = 0; t < n; t++) {
        scores[t] = expf(scores[t] - most);
        sum += scores[t];
    }
    float scale = (float)(1 / sum);
    for (int64_t t = 0; t < n; t++) scores[t] *= scale;
}

/* ---- attention ---- */

struct attention_job {
    const struct encoder_attention *a;
    float *threads;  // [n_threads][thread_floats] keys of a head and scores
    int64_t thread_floats;
};

/* scores[i] = q . key first + i, for n keys that lie transposed, [dim, n_all]. */
INLINE void score(const struct encoder_attention *a, const float *q, const float *keys, int64_t first, int64_t n,
                  float *restrict scores) {
    float scale = (float)(1 / sqrt((double)a->head_dim));
    memset(scores, 0, (size_t)n * sizeof *scores);
    for (int d = 0; d < a->head_dim; d++) {
        const float *restrict k = keys + d * a->n + first;
        float x = q[d] * scale;
        for (int64_t i = 0; i < n; i++) scores[i] += x * k[i];
    }
}

/* The work is heads times queries; a share may begin inside a head. */
static WIDE void attention_job(void *argument, int thread, int n_threads) {
    const struct attention_job *job = argument;
    const struct encoder_attention *a = job->a;
    int64_t begin, end, gathered = -1, dim = a->head_dim, width = a->n_heads * dim;
    float *keys = job->threads + thread * job->thread_floats, *scores = keys + a->n * dim;
    pool_share(a->n * a->n_heads, 1, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i / a->n, at = i % a->n;
        if (head != gathered)
            for (int64_t t = 0; t < a->n; t++)
                for (int64_t d = 0; d < dim; d++) keys[d * a->n + t] = a->k[t * a->stride + head * dim + d];
        gathered = head;
        int64_t first = 0, n = a->n;
        if (a->window) {
            first = at / a->window * a->window - a->window;
            if (first < 0) first = 0;
            n = at + 1 - first;
        }
        score(a, a->q + at * a->stride + head * dim, keys, first, n, scores);
        for (int64_t t = 0; t < n && a->window; t++) scores[t] += a->bias[(at - first - t) * a->n_heads + head];
        encoder_soft_max(scores, n);
        float *restrict out = a->out + at * width + head * dim;
        memset(out, 0, (size_t)dim * sizeof *out);
        for (int64_t t = 0; t < n; t++) {
            const float *restrict value = a->v + (first + t) * a->stride + head * dim;
            for (int64_t d = 0; d < dim; d++) out[d] += scores[t] * value[d];
        }
    }
}

status encoder_attend(struct cpu_encoder *e, const struct encoder_attention *a) {
    struct attention_job job = {.a = a, .thread_floats = round_up(a->n * (a->head_dim + 1), 16)};
    TRY(alloc_for(&job.threads, (size_t)(job.thread_floats * pool_n_threads(e->pool)), sizeof *job.threads,
                  "encoding a recording"));
    pool_run(e->pool, attention_job, &job);
    free_aligned(job.threads);
    return encoder_in_time(e);
}
