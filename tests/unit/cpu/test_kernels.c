/* The kernel sets' smaller functions against libm, and how a set is chosen. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/kernels.h"

/* Set i of those that this processor can run; NULL beyond the last. */
static const struct kernels *usable(int i) {
    const char *missing;
    const struct kernels *k;
    for (int at = 0; (k = kernels_at(at, &missing)); at++)
        if (!missing && i-- == 0) return k;
    return NULL;
}

static uint64_t state = 1;

/* In [-1, 1). */
static float random_float(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) / (1 << 23) - 1;
}

static void choosing(void **unused) {
    (void)unused;
    const struct kernels *k, *best = NULL, *best512 = NULL;
    const char *missing;
    for (int i = 0; (k = kernels_at(i, &missing)); i++) {
        const struct kernels *found;
        if (missing) {
            assert_int_equal(kernels_find(k->name, &found), UTTER_UNSUPPORTED);
            assert_non_null(strstr(fail_message(), missing));
            assert_non_null(strstr(fail_message(), "portable"));
            assert_null(found);
        } else {
            assert_ok(kernels_find(k->name, &found));
            assert_ptr_equal(found, k);
            best = k;
            if (!strncmp(k->name, "avx512", 6)) best512 = k;
        }
    }
    assert_ok(kernels_find("auto", &k));
    assert_ptr_equal(k, best);
    assert_ok(kernels_find(NULL, &k));
    assert_ptr_equal(k, best);
    if (best512) {
        assert_ok(kernels_find("avx512", &k));
        assert_ptr_equal(k, best512);
    } else {
        assert_int_not_equal(kernels_find("avx512", &k), UTTER_OK);
    }
    assert_int_equal(kernels_find("sse9", &k), UTTER_INVALID);
    assert_non_null(strstr(fail_message(), "sse9"));
    assert_non_null(strstr(fail_message(), "portable"));
    assert_null(kernels_at(-1, &missing));
}

static void silu_everywhere(void **unused) {
    (void)unused;
    enum { N = 2003 };
    float x[N], up[N], y[N];
    for (int set = 0; usable(set); set++)
        for (int with_up = 0; with_up < 2; with_up++) {
            for (int i = 0; i < N; i++) {
                y[i] = x[i] = (float)(i - N / 2) * 0.1f + random_float();
                up[i] = random_float() * 3;
            }
            usable(set)->silu(y, with_up ? up : NULL, N);
            for (int i = 0; i < N; i++) {
                const double want = x[i] / (1 + exp(-(double)x[i])) * (with_up ? (double)up[i] : 1);
                if (fabs(y[i] - want) > 4e-7 * fabs(want) + 1e-30)
                    fail_msg("%s: silu(%g) is %.9g, not %.9g", usable(set)->name, (double)x[i], (double)y[i], want);
            }
        }
}

static void norms(void **unused) {
    (void)unused;
    enum { MOST = 130 };
    float x[MOST], gain[MOST], y[MOST];
    for (int set = 0; usable(set); set++)
        for (int n = 1; n <= MOST; n += 3) {
            double squares = 0;
            for (int i = 0; i < n; i++) {
                x[i] = random_float() * 10;
                gain[i] = random_float();
                squares += (double)x[i] * x[i];
            }
            usable(set)->rms_norm(x, gain, 1e-5f, n, y);
            for (int i = 0; i < n; i++) {
                const double want = x[i] * (double)gain[i] / sqrt(squares / n + 1e-5);
                assert_true(fabs(y[i] - want) <= 1e-6 * fabs(want) + 1e-9);
            }
            float z[MOST];
            memcpy(z, x, sizeof z);
            usable(set)->rms_norm(z, gain, 1e-5f, n, z);
            assert_memory_equal(z, y, sizeof(float) * (size_t)n);
        }
}

static void halves(void **unused) {
    (void)unused;
    enum { N = 1000 };
    float x[N];
    uint16_t h[N + 1];
    for (int set = 0; usable(set); set++)
        for (int n = 0; n < N; n = n * 2 + 1) {
            for (int i = 0; i < n; i++) x[i] = ldexpf(random_float(), (i % 44) - 26);
            h[n] = 0xabcd;
            usable(set)->to_f16(x, n, h);
            for (int i = 0; i < n; i++) assert_int_equal(h[i], f32_to_f16(x[i]));
            assert_int_equal(h[n], 0xabcd);
        }
}

struct problem {
    int head_dim, n_keys, n_queries;
    bool half;
};

static float cached(float x, bool half) { return half ? f16_to_f32(f32_to_f16(x)) : x; }

static void check_attention(const struct kernels *k, const struct problem *p) {
    const int d = p->head_dim, stride = d + 5, n = p->n_keys, lanes = k->lanes;
    const int64_t value_width = round_up(d, lanes);
    const size_t n_cached = (size_t)(round_up(n, lanes) * value_width);
    float *key = alloc_aligned((size_t)(n * d), sizeof(float)), *value = alloc_aligned((size_t)(n * d), sizeof(float));
    float *q = alloc_aligned((size_t)(p->n_queries * stride), sizeof(float));
    float *out = alloc_aligned((size_t)(p->n_queries * stride), sizeof(float));
    float *scores = alloc_aligned((size_t)attention_room(lanes, n), sizeof(float));
    double *weight = alloc_aligned((size_t)n, sizeof(double));
    void *keys = alloc_aligned(n_cached, sizeof(float)), *values = alloc_aligned(n_cached, sizeof(float));
    for (int i = 0; i < n * d; i++) {
        key[i] = cached(random_float() * 2, p->half);
        value[i] = cached(random_float(), p->half);
        const int64_t at_key = key_index(lanes, d, i / d, i % d), at_value = i / d * value_width + i % d;
        if (p->half) {
            ((uint16_t *)keys)[at_key] = f32_to_f16(key[i]);
            ((uint16_t *)values)[at_value] = f32_to_f16(value[i]);
        } else {
            ((float *)keys)[at_key] = key[i];
            ((float *)values)[at_value] = value[i];
        }
    }
    for (int i = 0; i < p->n_queries * stride; i++) q[i] = random_float() * 2, out[i] = 77;
    const struct attention a = {d, n, p->half, keys, values, 0.3f, p->n_queries, q, stride, out, stride, scores};
    k->attend(&a);
    for (int t = 0; t < p->n_queries; t++) {
        double most = -INFINITY, sum = 0;
        for (int i = 0; i < n; i++) {
            weight[i] = 0;
            for (int j = 0; j < d; j++) weight[i] += 0.3 * q[t * stride + j] * key[i * d + j];
            most = fmax(most, weight[i]);
        }
        for (int i = 0; i < n; i++) sum += weight[i] = exp(weight[i] - most);
        for (int j = 0; j < d; j++) {
            double want = 0;
            for (int i = 0; i < n; i++) want += weight[i] / sum * value[i * d + j];
            if (!(fabs(out[t * stride + j] - want) <= 1e-5))
                fail_msg("%s: head %d, %d keys, query %d of %d: %g, not %g", k->name, d, n, t, p->n_queries,
                         (double)out[t * stride + j], want);
        }
        for (int j = d; j < stride && t + 1 < p->n_queries; j++) assert_true(out[t * stride + j] == 77);
    }
    void *all[] = {key, value, q, out, scores, weight, keys, values};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free_aligned(all[i]);
}

static void attention(void **unused) {
    (void)unused;
    static const int dims[] = {2, 24, 64, 80, 128}, n_keys[] = {1, 2, 15, 16, 17, 100}, n_queries[] = {1, 3, 7, 8, 21};
    for (int set = 0; usable(set); set++)
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < 6; j++)
                for (int l = 0; l < 5; l++)
                    for (int half = 0; half < 2; half++)
                        check_attention(usable(set), &(struct problem){dims[i], n_keys[j], n_queries[l], half});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choosing), cmocka_unit_test(silu_everywhere), cmocka_unit_test(norms),
        cmocka_unit_test(halves),   cmocka_unit_test(attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
