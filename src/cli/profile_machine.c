#include "cli/profile_machine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "base/clock.h"
#include "base/cores.h"
#include "base/memory.h"

enum { MAX_THREADS = 256, CHAINS = 10, FLOAT_ROUNDS = 20000, BUFFER_BYTES = 192 << 20 };
#define RUN_NS 120000000

#define INLINE static inline __attribute__((always_inline))

/* ---- what is run for a while ---- */

/* One round returns something that depends on all of its work, so that nothing is left out. */
typedef double round_fn(const void *data, size_t n_bytes);

typedef float floats __attribute__((vector_size(64)));
typedef uint64_t words __attribute__((vector_size(64)));

// CHAINS independent sums, as many as hide the latency of one.
INLINE double float_round(void) {
    floats sum[CHAINS], a, b;
    for (int i = 0; i < 16; i++) a[i] = 0.999f, b[i] = 0.001f;
    for (int k = 0; k < CHAINS; k++) sum[k] = a + (float)k;
    for (int r = 0; r < FLOAT_ROUNDS; r++)
#pragma GCC unroll 10
        for (int k = 0; k < CHAINS; k++)
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) sum[k][i] = __builtin_fmaf(sum[k][i], a[i], b[i]);
    float all = 0;
    for (int k = 0; k < CHAINS; k++)
        for (int i = 0; i < 16; i++) all += sum[k][i];
    return (double)all;
}
#define FLOAT_OPS ((double)FLOAT_ROUNDS * CHAINS * 16 * 2)

INLINE double read_round(const void *data, size_t n_bytes) {
    const words *w = data;
    words sum[8] = {0};
    for (size_t i = 0; i < n_bytes / sizeof *w; i += 8)
#pragma GCC unroll 8
        for (size_t k = 0; k < 8; k++) sum[k] ^= w[i + k];
    for (int k = 1; k < 8; k++) sum[0] ^= sum[k];
    return (double)(sum[0][0] ^ sum[0][7]);
}

static double floats_plain(const void *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
    return float_round();
}
static double read_plain(const void *data, size_t n_bytes) { return read_round(data, n_bytes); }

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static double floats_avx2(const void *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
    return float_round();
}
__attribute__((target("avx512f"))) static double floats_avx512(const void *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
    return float_round();
}
__attribute__((target("avx2"))) static double read_avx2(const void *data, size_t n_bytes) {
    return read_round(data, n_bytes);
}
__attribute__((target("avx512f"))) static double read_avx512(const void *data, size_t n_bytes) {
    return read_round(data, n_bytes);
}
__attribute__((target("avx512f,avx512vnni"))) static double bytes_vnni(const void *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
    __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(1);
    for (int k = 0; k < CHAINS; k++) sum[k] = _mm512_set1_epi32(k);
    for (int r = 0; r < FLOAT_ROUNDS; r++)
#pragma GCC unroll 10
        for (int k = 0; k < CHAINS; k++) sum[k] = _mm512_dpbusd_epi32(sum[k], a, b);
    for (int k = 1; k < CHAINS; k++) sum[0] = _mm512_add_epi32(sum[0], sum[k]);
    return (double)_mm512_reduce_add_epi32(sum[0]);
}
#elif defined(__aarch64__)
enum { REGISTERS = 20 };  // sums, of 16 bytes each: half of CHAINS * 64 bytes

static double floats_neon(const void *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
    float32x4_t sum[REGISTERS], a = vdupq_n_f32(0.999f), b = vdupq_n_f32(0.001f);
    for (int k = 0; k < REGISTERS; k++) sum[k] = vdupq_n_f32((float)k);
    for (int r = 0; r < 2 * FLOAT_ROUNDS; r++)
#pragma GCC unroll 20
        for (int k = 0; k < REGISTERS; k++) sum[k] = vfmaq_f32(a, sum[k], b);
    for (int k = 1; k < REGISTERS; k++) sum[0] += sum[k];
    return (double)vaddvq_f32(sum[0]);
}

static double read_neon(const void *data, size_t n_bytes) {
    const uint8_t *p = data;
    uint8x16_t sum[8];
    for (int k = 0; k < 8; k++) sum[k] = vdupq_n_u8(0);
    for (size_t i = 0; i < n_bytes; i += sizeof sum)
#pragma GCC unroll 8
        for (size_t k = 0; k < 8; k++) sum[k] ^= vld1q_u8(p + i + k * 16);
    for (int k = 1; k < 8; k++) sum[0] ^= sum[k];
    return (double)vaddlvq_u8(sum[0]);
}

/* As machine code upon v0 to v19 and whatever v30 and v31 hold: not every compiler and assembler takes these
   instructions in a file that is built for processors without them. */
#define BYTES_ROUND(NAME, ROUNDS, INSTRUCTION)                                                                       \
    static double NAME(const void *data, size_t n_bytes) {                                                           \
        (void)data, (void)n_bytes;                                                                                   \
        for (int r = 0; r < (ROUNDS); r++)                                                                           \
            __asm__ volatile(                                                                                        \
                ".irp d,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19\n"                                         \
                " .inst " INSTRUCTION                                                                                \
                " + (31 << 16) + (30 << 5) + \\d\n"                                                                  \
                ".endr" ::                                                                                           \
                    : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", \
                      "v15", "v16", "v17", "v18", "v19");                                                            \
        return 0;                                                                                                    \
    }
BYTES_ROUND(bytes_dotprod, 2 * FLOAT_ROUNDS, "0x4e809400")  // sdot
BYTES_ROUND(bytes_i8mm, FLOAT_ROUNDS, "0x4e80a400")         // smmla: twice the products
#endif
#define BYTE_OPS ((double)FLOAT_ROUNDS * CHAINS * 64 * 2)

/* ---- on all threads ---- */

struct runner {
    round_fn *round;
    const void *data;
    size_t n_bytes;
    int64_t until;
    double rounds_s;  // out
    double sum;       // out, for nothing but to be there
};

static void *run(void *user) {
    struct runner *r = user;
    const int64_t since = clock_ns();
    int64_t now = since, n = 0;
    for (; now < r->until; now = clock_ns(), n++) r->sum += r->round(r->data, r->n_bytes);
    r->rounds_s = (double)n / ((double)(now - since) * 1e-9);
    return NULL;
}

// Rounds a second of all threads together. Thread i reads its own part of data[n_bytes].
static status rounds_s(int n_threads, round_fn *round, const uint8_t *data, size_t n_bytes, double *out) {
    struct runner runners[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    const size_t part = n_bytes / (size_t)n_threads / 512 * 512;
    const int64_t until = clock_ns() + RUN_NS;
    int n = 0;
    for (; n < n_threads; n++) {
        runners[n] = (struct runner){round, data ? data + (size_t)n * part : NULL, part, until, 0, 0};
        if (pthread_create(&threads[n], NULL, run, &runners[n]) != 0) break;
    }
    *out = 0;
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        *out += runners[i].rounds_s;
    }
    return n == n_threads ? UTTER_OK : fail(UTTER_LIMIT, "the system gives no more than %d threads", n);
}

struct choice {
    round_fn *floats, *read, *bytes;  // bytes: NULL where there is nothing
};

static struct choice choose(struct machine_peaks *out) {
    struct choice c = {floats_plain, read_plain, NULL};
    out->float_by = "plain vectors";
    out->byte_by = "";
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        c.floats = floats_avx2;
        c.read = read_avx2;
        out->float_by = "AVX2";
    }
    if (__builtin_cpu_supports("avx512f")) {
        c.floats = floats_avx512;
        c.read = read_avx512;
        out->float_by = "AVX-512";
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
        c.bytes = bytes_vnni;
        out->byte_by = "AVX-512 VNNI";
    }
#elif defined(__aarch64__)
    c = (struct choice){floats_neon, read_neon, NULL};
    out->float_by = "NEON";
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) {
        c.bytes = bytes_dotprod;
        out->byte_by = "dotprod";
    }
    if (getauxval(AT_HWCAP2) & HWCAP2_I8MM) {
        c.bytes = bytes_i8mm;
        out->byte_by = "i8mm";
    }
#endif
    return c;
}

status machine_peaks(int n_threads, struct machine_peaks *out) {
    if (n_threads <= 0) n_threads = cores_to_use();
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    *out = (struct machine_peaks){.n_threads = n_threads};
    const struct choice c = choose(out);
    uint8_t *buffer;
    TRY(alloc_for(&buffer, BUFFER_BYTES, 1, "a measurement of the memory"));
    memset(buffer, 1, BUFFER_BYTES);
    status s = rounds_s(n_threads, c.read, buffer, BUFFER_BYTES, &out->bytes_s);
    out->bytes_s *= (double)(BUFFER_BYTES / (size_t)n_threads / 512 * 512);
    free_aligned(buffer);
    if (s == UTTER_OK) s = rounds_s(n_threads, c.floats, NULL, 0, &out->float_ops_s);
    out->float_ops_s *= FLOAT_OPS;
    if (s == UTTER_OK && c.bytes) s = rounds_s(n_threads, c.bytes, NULL, 0, &out->byte_ops_s);
    out->byte_ops_s *= BYTE_OPS;
    return s;
}
