/* A block of a K type is 256 weights in groups, with two levels of scales: a half-precision one for the block, and a
   small whole number for each group. The quantisers look for the group scales of the smallest weighted squared error
   (the search that ggml-quants.c of llama.cpp describes: start values around the range, then least squares for the
   whole numbers that these give), round the scales, and round the weights again with what became of the scales. */
#include "gguf/quantize_k.h"

#include <math.h>
#include <string.h>

#include "gguf/layouts.h"

enum { BLOCK = 256, GROUP = 32, SMALL_GROUP = 16 };

static float low_of(const float *x, int n) {
    float v = x[0];
    for (int i = 1; i < n; i++)
        if (x[i] < v) v = x[i];
    return v;
}

static float high_of(const float *x, int n) {
    float v = x[0];
    for (int i = 1; i < n; i++)
        if (x[i] > v) v = x[i];
    return v;
}

// The whole number nearest to v (ties to even) that is not beyond low and high; low for NaN. The addition rounds: at
// 1.5 * 2^23 floats are whole numbers.
static inline float nearest(float v, float low, float high) {
    v = v > low ? v : low;
    v = v < high ? v : high;
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

static int clamp(float v, int low, int high) { return (int)nearest(v, (float)low, (float)high); }

/* ---- scale and minimum: Q4_K, Q5_K ---- */

// x is near scale * q - min, q from 0 to `top`.
struct line {
    float scale, min;
};

// How the search for a line goes: start scales (from + step * i + top) / range, i = 0 .. n.
struct search {
    float from, step;
    int n;
};

// Sums are kept in lanes, which a compiler puts side by side.
enum { LANES = 8 };

static float total(const float lanes[LANES]) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

static void round_all(const float x[GROUP], float low, float inverse, float top, float q[GROUP]) {
    for (int i = 0; i < GROUP; i++) q[i] = nearest(inverse * (x[i] - low), 0, top);
}

static float line_error(const float x[GROUP], const float w[GROUP], const float q[GROUP], struct line l) {
    float sum[LANES] = {0};
    for (int i = 0; i < GROUP; i += LANES)
        for (int k = 0; k < LANES; k++) {
            float d = l.scale * q[i + k] - l.min - x[i + k];
            sum[k] += w[i + k] * d * d;
        }
    return total(sum);
}

// Sums over the group that stay the same, whatever the whole numbers.
struct sums {
    float w, x;
};

// The line of least squares for whole numbers q; false when they do not tell one.
static bool fit_line(const float x[GROUP], const float w[GROUP], const float q[GROUP], struct sums s,
                     struct line *out) {
    float q_lanes[LANES] = {0}, qq_lanes[LANES] = {0}, qx_lanes[LANES] = {0};
    for (int i = 0; i < GROUP; i += LANES)
        for (int k = 0; k < LANES; k++) {
            float wq = w[i + k] * q[i + k];
            q_lanes[k] += wq;
            qq_lanes[k] += wq * q[i + k];
            qx_lanes[k] += wq * x[i + k];
        }
    float sq = total(q_lanes), sqq = total(qq_lanes), sqx = total(qx_lanes);
    float determinant = s.w * sqq - sq * sq;
    if (!(determinant > 0)) return false;
    out->scale = (s.w * sqx - s.x * sq) / determinant;
    out->min = (sq * sqx - sqq * s.x) / determinant;
    if (out->min < 0) {  // the file has no negative ones
        out->min = 0;
        out->scale = sqx / sqq;
    }
    return true;
}

static struct line find_line(const float x[GROUP], int top, struct search search) {
    float low = low_of(x, GROUP), high = high_of(x, GROUP), sum = 0, w[GROUP];
    if (low > 0) low = 0;
    if (high == low) return (struct line){0, -low};
    for (int i = 0; i < GROUP; i++) sum += x[i] * x[i];
    float mean = sqrtf(sum / GROUP);
    struct sums sums = {0, 0};
    for (int i = 0; i < GROUP; i++) {
        w[i] = mean + fabsf(x[i]);  // large weights matter more
        sums.w += w[i];
        sums.x += w[i] * x[i];
    }

    struct line best = {(high - low) / (float)top, -low};
    float q[GROUP];
    round_all(x, low, (float)top / (high - low), (float)top, q);
    float best_error = line_error(x, w, q, best);
    for (int s = 0; s <= search.n && high > low; s++) {
        float inverse = (search.from + search.step * (float)s + (float)top) / (high - low);
        round_all(x, low, inverse, (float)top, q);
        struct line l;
        if (!fit_line(x, w, q, sums, &l)) continue;
        float error = line_error(x, w, q, l);
        if (error < best_error) {
            best_error = error;
            best = l;
            low = -l.min;  // the search goes on from there
        }
    }
    return best;
}

// Eight scales and eight minimums of six bits in twelve bytes (see k_scale in blocks.c).
static void put_scales(const uint8_t scales[8], const uint8_t mins[8], uint8_t out[12]) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(scales[i] | (scales[i + 4] >> 4) << 6);
        out[i + 4] = (uint8_t)(mins[i] | (mins[i + 4] >> 4) << 6);
        out[i + 8] = (uint8_t)((scales[i + 4] & 15) | (mins[i + 4] & 15) << 4);
    }
}

// Scales of the block and its groups, and the weights as whole numbers from 0 to `top`.
static void quantize_lines(const float x[BLOCK], int top, struct search search, uint16_t *d, uint16_t *dmin,
                           uint8_t packed[12], uint8_t q[BLOCK]) {
    struct line lines[8];
    float scale = 0, min = 0;
    for (int g = 0; g < 8; g++) {
        lines[g] = find_line(x + g * GROUP, top, search);
        if (lines[g].scale > scale) scale = lines[g].scale;
        if (lines[g].min > min) min = lines[g].min;
    }
    uint8_t scales[8], mins[8];
    for (int g = 0; g < 8; g++) {
        scales[g] = (uint8_t)(scale > 0 ? clamp(63 / scale * lines[g].scale, 0, 63) : 0);
        mins[g] = (uint8_t)(min > 0 ? clamp(63 / min * lines[g].min, 0, 63) : 0);
    }
    put_scales(scales, mins, packed);
    *d = f32_to_f16(scale / 63);
    *dmin = f32_to_f16(min / 63);
    for (int g = 0; g < 8; g++) {
        float group_d = f16_to_f32(*d) * (float)scales[g], group_min = f16_to_f32(*dmin) * (float)mins[g];
        for (int i = g * GROUP; i < (g + 1) * GROUP; i++)
            q[i] = (uint8_t)(group_d != 0 ? clamp((x[i] + group_min) / group_d, 0, top) : 0);
    }
}

static void quantize_q4_k(const float *x, struct q4_k *b) {
    uint8_t q[BLOCK];
    quantize_lines(x, 15, (struct search){-1.0f, 0.1f, 20}, &b->d, &b->dmin, b->scales, q);
    for (int pair = 0; pair < 4; pair++)
        for (int i = 0; i < GROUP; i++)
            b->qs[pair * GROUP + i] = (uint8_t)(q[pair * 2 * GROUP + i] | q[(pair * 2 + 1) * GROUP + i] << 4);
}

static void quantize_q5_k(const float *x, struct q5_k *b) {
    uint8_t q[BLOCK];
    quantize_lines(x, 31, (struct search){-0.5f, 0.1f, 15}, &b->d, &b->dmin, b->scales, q);
    memset(b->qh, 0, sizeof b->qh);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < GROUP; i++) b->qh[i] |= (uint8_t)((q[g * GROUP + i] >> 4) << g);
    for (int pair = 0; pair < 4; pair++)
        for (int i = 0; i < GROUP; i++)
            b->qs[pair * GROUP + i] =
                (uint8_t)((q[pair * 2 * GROUP + i] & 15) | (q[(pair * 2 + 1) * GROUP + i] & 15) << 4);
}

/* ---- a scale alone: Q6_K ---- */

// x is near scale * q, q from -32 to 31; the scale has the sign that gives the extreme weight the -32.
static float find_scale(const float x[SMALL_GROUP]) {
    float extreme = 0, best = 0, best_gain = 0;
    for (int i = 0; i < SMALL_GROUP; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (fabsf(extreme) < 1e-15f) return 0;
    for (int s = 0; s <= 18; s++) {
        // The plain scale first: of equal ones it stays.
        float top = s == 0 ? 32.0f : s <= 9 ? 32.0f - 0.1f * (float)s : 32.0f + 0.1f * (float)(s - 9);
        float inverse = -top / extreme, xq = 0, qq = 0;
        for (int i = 0; i < SMALL_GROUP; i++) {
            float w = x[i] * x[i], q = nearest(inverse * x[i], -32, 31);
            xq += w * x[i] * q;
            qq += w * q * q;
        }
        // The error is what the squares of x have more than xq * xq / qq.
        if (qq > 0 && xq * xq > best_gain * qq) {
            best_gain = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

static void quantize_q6_k(const float *x, struct q6_k *b) {
    float scales[16], extreme = 0;
    for (int g = 0; g < 16; g++) {
        scales[g] = find_scale(x + g * SMALL_GROUP);
        if (fabsf(scales[g]) > fabsf(extreme)) extreme = scales[g];
    }
    memset(b, 0, sizeof *b);
    if (fabsf(extreme) < 1e-15f) return;
    b->d = f32_to_f16(extreme / -128);
    uint8_t q[BLOCK];
    for (int g = 0; g < 16; g++) {
        b->scales[g] = (int8_t)clamp(-128 / extreme * scales[g], -128, 127);
        float d = f16_to_f32(b->d) * (float)b->scales[g];
        for (int i = g * SMALL_GROUP; i < (g + 1) * SMALL_GROUP; i++)
            q[i] = (uint8_t)((d != 0 ? clamp(x[i] / d, -32, 31) : 0) + 32);
    }
    for (int half = 0; half < 2; half++)
        for (int part = 0; part < 4; part++)
            for (int j = 0; j < 32; j++) {
                uint8_t v = q[half * 128 + part * 32 + j];
                b->ql[half * 64 + part % 2 * 32 + j] |= (uint8_t)((v & 15) << (part / 2 * 4));
                b->qh[half * 32 + j] |= (uint8_t)((v >> 4) << (part * 2));
            }
}

/* ---- rows ---- */

void quantize_k_row(block_type type, const float *src, void *dst, int64_t n) {
    struct q4_k *q4 = dst;
    struct q5_k *q5 = dst;
    struct q6_k *q6 = dst;
    for (int64_t i = 0; i < n / BLOCK; i++) switch (type) {
            case BLOCK_Q4_K:
                quantize_q4_k(src + i * BLOCK, q4 + i);
                break;
            case BLOCK_Q5_K:
                quantize_q5_k(src + i * BLOCK, q5 + i);
                break;
            default:
                quantize_q6_k(src + i * BLOCK, q6 + i);
        }
}
