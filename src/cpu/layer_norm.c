#include "cpu/layer_norm.h"

#include <math.h>

struct job {
    const float *in, *weight, *bias;
    float eps;
    int64_t n, width;
    float *out;
};

static void norm(void *argument, int thread, int n_threads) {
    const struct job *job = argument;
    int64_t begin, end, width = job->width;
    pool_share(job->n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *in = job->in + t * width;
        float *out = job->out + t * width;
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < width; i++) sum += in[i];
        double mean = sum / (double)width;
        for (int64_t i = 0; i < width; i++) squares += (in[i] - mean) * (in[i] - mean);
        float scale = (float)(1 / sqrt(squares / (double)width + (double)job->eps));
        for (int64_t i = 0; i < width; i++) out[i] = (in[i] - (float)mean) * scale * job->weight[i] + job->bias[i];
    }
}

void layer_norm_rows(struct pool *pool, const float *in, const float *weight, const float *bias, float eps, int64_t n,
                     int64_t width, float *out) {
    struct job job = {in, weight, bias, eps, n, width, out};
    pool_run(pool, norm, &job);
}
