/* Products of quarters (quarters.h), included by kernels_body.h where QUARTERS is defined, upon the same primitives and
   vh: a vector as 16-bit integers. */

/* ---- sums of parts ---- */

/* The seven sums of four parts that one of Strassen's steps multiplies: of weights in their order, of activations in
   theirs, they are the same seven. */
#define SEVEN_SUMS(a00, a01, a10, a11, out)                                                                           \
    (out)[0] = (a00) + (a11), (out)[1] = (a00), (out)[2] = (a01) - (a11), (out)[3] = (a10) - (a00), (out)[4] = (a11), \
    (out)[5] = (a00) + (a01), (out)[6] = (a10) + (a11)

#define ALL_SUMS(type, a, out)                                                                 \
    do {                                                                                       \
        type outer[4][7];                                                                      \
        UNROLL for (int s = 0; s < 4; s++) {                                                   \
            const int first = s / 2 * 4 + s % 2;                                               \
            SEVEN_SUMS((a)[first], (a)[first + 2], (a)[first + 8], (a)[first + 10], outer[s]); \
        }                                                                                      \
        UNROLL for (int r = 0; r < 7; r++)                                                     \
            SEVEN_SUMS(outer[0][r], outer[1][r], outer[2][r], outer[3][r], (out) + 7 * r);     \
    } while (0)

typedef vh __attribute__((may_alias, aligned(4))) vh_memory;

/* parts[16][n vectors] of floats, or of 16-bit integers, to sums[49][n vectors]. */
static void sum_parts(bool whole, const uint32_t *parts, int n, uint32_t *sums) {
    const int size = n * LANES;
    for (int i = 0; i < size; i += LANES)
        if (whole) {
            vh a[PARTS], out[PART_SUMS];
            UNROLL for (int p = 0; p < PARTS; p++) a[p] = *(const vh_memory *)(parts + p * size + i);
            ALL_SUMS(vh, a, out);
            UNROLL_ALL for (int r = 0; r < PART_SUMS; r++) * (vh_memory *)(sums + r * size + i) = out[r];
        } else {
            vf a[PARTS], out[PART_SUMS];
            UNROLL for (int p = 0; p < PARTS; p++) a[p] = vf_load((const float *)parts + p * size + i);
            ALL_SUMS(vf, a, out);
            UNROLL_ALL for (int r = 0; r < PART_SUMS; r++) vf_store((float *)sums + r * size + i, out[r]);
        }
}

/* The length of the longest of the 49 sums of parts[16][PART_COLS], and of the longest part, times `inverse`. */
static float longest_sum(const float *const *parts, float inverse, float *longest_part) {
    vf squares[PART_SUMS], own[PARTS];
    UNROLL_ALL for (int r = 0; r < PART_SUMS; r++) squares[r] = vf_set1(0);
    UNROLL for (int p = 0; p < PARTS; p++) own[p] = vf_set1(0);
    for (int i = 0; i < PART_COLS; i += LANES) {
        vf a[PARTS], out[PART_SUMS];
        UNROLL for (int p = 0; p < PARTS; p++) {
            a[p] = vf_load(parts[p] + i) * vf_set1(inverse);
            own[p] = vf_fma(a[p], a[p], own[p]);
        }
        ALL_SUMS(vf, a, out);
        UNROLL_ALL for (int r = 0; r < PART_SUMS; r++) squares[r] = vf_fma(out[r], out[r], squares[r]);
    }
    float most = 0, most_own = 0;
    for (int r = 0; r < PART_SUMS; r++) most = fmaxf(most, vf_sum(squares[r]));
    for (int p = 0; p < PARTS; p++) most_own = fmaxf(most_own, vf_sum(own[p]));
    *longest_part = sqrtf(most_own);
    return sqrtf(most);
}

/* The largest magnitude of 16 parts, and the integer that it becomes. */
INLINE float parts_scale(const float *const *parts, float length_most, float part_most, float *whole) {
    float most = 0, part;
    for (int p = 0; p < PARTS; p++) {
        const float m = largest_magnitude(parts[p], PART_COLS);
        if (!(m <= most)) most = m;
        if (isnan(most)) break;
    }
    *whole = PART_MOST;
    if (quantise_inverse(most, 1) > 0) {
        const float sum = longest_sum(parts, quantise_inverse(most, 1), &part);
        *whole = fminf(PART_MOST, fminf(length_most / sum, part_most / part));
    }
    return most;
}

static float scale16(bool bf16, const uint16_t *const *in) {
    float x[PARTS][PART_COLS], whole;
    const float *parts[PARTS];
    for (int p = 0; p < PARTS; p++) {
        for (int i = 0; i < PART_COLS; i += LANES)
            vf_store(x[p] + i, bf16 ? vf_load_bf16(in[p] + i) : vf_load_f16(in[p] + i));
        parts[p] = x[p];
    }
    const float most = parts_scale(parts, WEIGHT_LENGTH_MOST, LENGTH_MOST - 40, &whole);
    return most <= 1e-30f ? 1 : quantise_scale(most, whole);
}

static void prepare_whole_parts(const struct part_rows *rows, int n, uint32_t *room, uint32_t *sums, float *scale) {
    enum { WORDS = PART_COLS / 2 };
    uint32_t words[PARTS][TILE_MAX][WORDS];
    for (int t = 0; t < n; t++) {
        const float *parts[PARTS];
        for (int p = 0; p < PARTS; p++) parts[p] = rows[p % 4].x + t * rows[p % 4].stride + p / 4 * PART_COLS;
        float whole;
        const float most = parts_scale(parts, ACTIVATION_LENGTH_MOST, ACTIVATION_LENGTH_MOST, &whole);
        const float inverse = quantise_inverse(most, whole);
        scale[t] = quantise_scale(most, whole);
        for (int p = 0; p < PARTS; p++)
            if (inverse > 0)
                round_whole(parts[p], PART_COLS, inverse, words[p][t]);
            else
                memset(words[p][t], 0, sizeof words[p][t]);
    }
    for (int p = 0; p < PARTS; p++) transpose(words[p][0], WORDS, n, WORDS, room + p * WORDS * n);
    sum_parts(true, room, n * WORDS / LANES, sums);
}

static void prepare_parts(enum format format, const struct part_rows *rows, int n, uint32_t *room, uint32_t *sums,
                          float *scale) {
    if (format == FORMAT_I16) {
        prepare_whole_parts(rows, n, room, sums, scale);
        return;
    }
    (void)format, (void)scale;
    for (int p = 0; p < PARTS; p++) {
        const struct part_rows *from = &rows[p % 4];
        transpose((const four_bytes *)(from->x + p / 4 * PART_COLS), from->stride, n, PART_COLS,
                  (four_bytes *)room + p * PART_COLS * n);
    }
    sum_parts(false, room, n * PART_COLS / LANES, sums);
}

/* ---- products ---- */

/* How weights are put together: the only ways that come up. */
enum { ONE, PLUS, MINUS, PLUS_PLUS, PLUS_MINUS };

INLINE vf float_weights(const int how, const uint8_t *const *w, int64_t at) {
    vf v = vf_load((const float *)(w[0] + at));
    if (how == PLUS) v += vf_load((const float *)(w[1] + at));
    if (how == MINUS) v -= vf_load((const float *)(w[1] + at));
    if (how == PLUS_PLUS || how == PLUS_MINUS) {
        v += vf_load((const float *)(w[1] + at));
        const vf u = vf_load((const float *)(w[2] + at)) + vf_load((const float *)(w[3] + at));
        v = how == PLUS_PLUS ? v + u : v - u;
    }
    return v;
}

INLINE vi whole_weights(const int how, const uint8_t *const *w, int64_t at) {
    vh v = *(const vh_memory *)(w[0] + at);
    if (how != ONE && how != MINUS) v += *(const vh_memory *)(w[1] + at);
    if (how == MINUS) v -= *(const vh_memory *)(w[1] + at);
    if (how == PLUS_PLUS) v += *(const vh_memory *)(w[2] + at), v += *(const vh_memory *)(w[3] + at);
    if (how == PLUS_MINUS) v -= *(const vh_memory *)(w[2] + at), v -= *(const vh_memory *)(w[3] + at);
    return (vi)v;
}

INLINE void add_results(const int n, const struct part_product *p, vf (*const sums)[2]) {
    int i = 0;
    for (; i < p->n_plus; i++) {
        float *y = p->results[i];
        UNROLL for (int t = 0; t < n; t++, y += 2 * LANES) {
            vf_store(y, vf_load(y) + sums[t][0]);
            vf_store(y + LANES, vf_load(y + LANES) + sums[t][1]);
        }
    }
    for (; i < p->n_results; i++) {
        float *y = p->results[i];
        UNROLL for (int t = 0; t < n; t++, y += 2 * LANES) {
            vf_store(y, vf_load(y) - sums[t][0]);
            vf_store(y + LANES, vf_load(y + LANES) - sums[t][1]);
        }
    }
}

/* Two panels; weights that will be read next are fetched on the way. */
INLINE void part_product(const int n, const enum format format, const int how, const struct part_product *p) {
    const uint8_t *w0[4], *w1[4], *fetch = p->fetch;
    UNROLL for (int i = 0; i < 4; i++) w0[i] = p->weights[i], w1[i] = p->weights[i] + p->panel_bytes;
    enum { STEP = LANES * 4 };
    vf sums[TILE_PARTS_MOST][2];
    if (format == FORMAT_F32) {
        UNROLL for (int t = 0; t < n; t++) sums[t][0] = sums[t][1] = vf_set1(0);
        const float *x = (const float *)p->x;
        for (int64_t at = 0; at < PART_COLS * STEP; at += STEP, x += n) {
            if (fetch < p->fetch_end) {
                __builtin_prefetch(fetch, 0, 2);
                fetch += 64;
            }
            const vf a = float_weights(how, w0, at), b = float_weights(how, w1, at);
            UNROLL for (int t = 0; t < n; t++) {
                const vf v = vf_set1(x[t]);
                sums[t][0] = vf_fma(a, v, sums[t][0]);
                sums[t][1] = vf_fma(b, v, sums[t][1]);
            }
        }
    } else {
        vi dot0[TILE_MAX], dot1[TILE_MAX];
        UNROLL for (int t = 0; t < n; t++) dot0[t] = dot1[t] = vi_set1(0);
        const uint32_t *x = p->x;
        for (int64_t at = 0; at < PART_COLS / 2 * STEP; at += STEP, x += n) {
            if (fetch < p->fetch_end) {
                __builtin_prefetch(fetch, 0, 2);
                fetch += 64;
            }
            const vi a = whole_weights(how, w0, at), b = whole_weights(how, w1, at);
            UNROLL for (int t = 0; t < n; t++) {
                const __typeof__(set1_word(0)) v = set1_word(x[t]);
                dot0[t] = dot_pairs(dot0[t], a, v);
                dot1[t] = dot_pairs(dot1[t], b, v);
            }
        }
        const vf d0 = vf_load((const float *)(w0[0] + PART_COLS / 2 * STEP));
        const vf d1 = vf_load((const float *)(w1[0] + PART_COLS / 2 * STEP));
        UNROLL for (int t = 0; t < n; t++) {
            const vf d = vf_set1(p->scale[t]);
            sums[t][0] = vf_from_int(dot0[t]) * (d0 * d);
            sums[t][1] = vf_from_int(dot1[t]) * (d1 * d);
        }
    }
    add_results(n, p, sums);
}

#define PART_FUNCTION(FORMAT, HOW, N)                                                          \
    static __attribute__((noinline)) void FORMAT##_##HOW##_##N(const struct part_product *p) { \
        part_product(N, FORMAT, HOW, p);                                                       \
    }
#define PART_ENTRY(FORMAT, HOW, N) [HOW][N - TILE_PARTS_LEAST] = FORMAT##_##HOW##_##N,
#define PART_TILES(DO, FORMAT, HOW) \
    DO(FORMAT, HOW, 7)              \
    DO(FORMAT, HOW, 8)              \
    DO(FORMAT, HOW, 9)              \
    DO(FORMAT, HOW, 10) DO(FORMAT, HOW, 11) DO(FORMAT, HOW, 12) DO(FORMAT, HOW, 13) DO(FORMAT, HOW, 14)
#define PART_WAYS(DO, FORMAT)    \
    PART_TILES(DO, FORMAT, ONE)  \
    PART_TILES(DO, FORMAT, PLUS) \
    PART_TILES(DO, FORMAT, MINUS) PART_TILES(DO, FORMAT, PLUS_PLUS) PART_TILES(DO, FORMAT, PLUS_MINUS)

typedef void part_function(const struct part_product *);
#if !defined(BASE)
PART_WAYS(PART_FUNCTION, FORMAT_F32)
static part_function *const float_parts[][TILE_PARTS_MOST - TILE_PARTS_LEAST + 1] = {PART_WAYS(PART_ENTRY, FORMAT_F32)};
#endif
PART_WAYS(PART_FUNCTION, FORMAT_I16)
static part_function *const whole_parts[][TILE_PARTS_MOST - TILE_PARTS_LEAST + 1] = {PART_WAYS(PART_ENTRY, FORMAT_I16)};

static void multiply_parts(const struct part_product *p) {
    const int how = p->n_weights == 1   ? ONE
                    : p->n_weights == 2 ? (p->differ ? MINUS : PLUS)
                                        : (p->differ ? PLUS_MINUS : PLUS_PLUS);
    if (p->format == FORMAT_I16)
        whole_parts[how][p->n - TILE_PARTS_LEAST](p);
    else
#if defined(BASE)
        BASE.multiply_parts(p);
#else
        float_parts[how][p->n - TILE_PARTS_LEAST](p);
#endif
}
