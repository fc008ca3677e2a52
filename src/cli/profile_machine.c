#include "cli/profile_machine.h"

#include <pthread.h>
#include <stdbool.h>
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
#include "cpu/kernels.h"
#include "cpu/pages.h"

enum { MAX_THREADS = 256, CHAINS = 10, FLOAT_ROUNDS = 20000, BUFFER_BYTES = 192 << 20 };
#define RUN_NS 80000000

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
#define WORD_OPS ((double)FLOAT_ROUNDS * CHAINS * 32 * 2)
#define BYTE_OPS ((double)FLOAT_ROUNDS * CHAINS * 64 * 2)
#define TILE_OPS ((double)FLOAT_ROUNDS * 4 * 16 * 16 * 32 * 2)

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
/* A round of integer products into CHAINS sums of 512 bits, or twice as many of 256. */
#define INTEGER_ROUND(NAME, TARGET, VECTOR, N, SET8, ADD, ONE_STEP)                          \
    __attribute__((target(TARGET))) static double NAME(const void *data, size_t n_bytes) {   \
        (void)data, (void)n_bytes;                                                           \
        VECTOR sum[CHAINS], a = SET8(3), b = SET8(1);                                        \
        uint32_t out[16] = {0};                                                              \
        for (int k = 0; k < CHAINS; k++) sum[k] = SET8((char)k);                             \
        for (int r = 0; r < (N)*FLOAT_ROUNDS; r++) {                                         \
            _Pragma("GCC unroll 10") for (int k = 0; k < CHAINS; k++) sum[k] = ONE_STEP;     \
            __asm__ volatile("" : "+x"(a), "+x"(b)); /* they are not known to be constant */ \
        }                                                                                    \
        for (int k = 1; k < CHAINS; k++) sum[0] = ADD(sum[0], sum[k]);                       \
        memcpy(out, &sum[0], sizeof sum[0]);                                                 \
        return (double)(out[0] ^ out[7]);                                                    \
    }
INTEGER_ROUND(bytes_vnni, "avx512f,avx512vnni", __m512i, 1, _mm512_set1_epi8, _mm512_add_epi32,
              _mm512_dpbusd_epi32(sum[k], a, b))
INTEGER_ROUND(words_vnni, "avx512f,avx512vnni", __m512i, 1, _mm512_set1_epi8, _mm512_add_epi32,
              _mm512_dpwssd_epi32(sum[k], a, b))
INTEGER_ROUND(bytes_avx512, "avx512f,avx512bw", __m512i, 1, _mm512_set1_epi8, _mm512_add_epi32,
              _mm512_add_epi16(sum[k], _mm512_maddubs_epi16(a, b)))
INTEGER_ROUND(words_avx512, "avx512f,avx512bw", __m512i, 1, _mm512_set1_epi8, _mm512_add_epi32,
              _mm512_add_epi32(sum[k], _mm512_madd_epi16(a, b)))
INTEGER_ROUND(bytes_avxvnni, "avx2,avxvnni", __m256i, 2, _mm256_set1_epi8, _mm256_add_epi32,
              _mm256_dpbusd_avx_epi32(sum[k], a, b))
INTEGER_ROUND(words_avxvnni, "avx2,avxvnni", __m256i, 2, _mm256_set1_epi8, _mm256_add_epi32,
              _mm256_dpwssd_avx_epi32(sum[k], a, b))
INTEGER_ROUND(bytes_avx2, "avx2", __m256i, 2, _mm256_set1_epi8, _mm256_add_epi32,
              _mm256_add_epi16(sum[k], _mm256_maddubs_epi16(a, b)))
INTEGER_ROUND(words_avx2, "avx2", __m256i, 2, _mm256_set1_epi8, _mm256_add_epi32,
              _mm256_add_epi32(sum[k], _mm256_madd_epi16(a, b)))

/* Four sums of tiles, from two and two. */
__attribute__((target("amx-tile,amx-bf16"))) static double tiles_amx(const void *data, size_t n_bytes) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    (void)data, (void)n_bytes;
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int r = 0; r < FLOAT_ROUNDS; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return 0;
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

/* ---- on all threads ---- */

struct runner {
    round_fn *round;
    const void *data;
    size_t n_bytes;
    pthread_mutex_t *gate;  // held until all are there
    const int64_t *since;
    double rounds_s;  // out
    double sum;       // out, for nothing but to be there
};

static void *run(void *user) {
    struct runner *r = user;
    pthread_mutex_lock(r->gate);
    pthread_mutex_unlock(r->gate);
    int64_t now, n = 0;
    do {  // one that the system lets run late does some all the same
        r->sum += r->round(r->data, r->n_bytes);
        n++;
        now = clock_ns();
    } while (now < *r->since + RUN_NS);
    r->rounds_s = (double)n / ((double)(now - *r->since) * 1e-9);
    return NULL;
}

// Rounds a second of all threads together. Thread i reads its own part of data[n_bytes].
static status rounds_s(int n_threads, round_fn *round, const uint8_t *data, size_t part, double *out) {
    struct runner runners[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int64_t since = 0;
    int n = 0;
    pthread_mutex_lock(&gate);
    for (; n < n_threads; n++) {
        runners[n] = (struct runner){round, data ? data + (size_t)n * part : NULL, part, &gate, &since, 0, 0};
        if (pthread_create(&threads[n], NULL, run, &runners[n]) != 0) break;
    }
    since = clock_ns();
    pthread_mutex_unlock(&gate);
    *out = 0;
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        *out += runners[i].rounds_s;
    }
    return n == n_threads ? UTTER_OK : fail(UTTER_LIMIT, "the system gives no more than %d threads", n);
}

#if defined(__x86_64__)
/* What the compiler cannot ask for: of AMX the system's permission, too. */
static bool can_run(const char *set) {
    const struct kernels *k;
    const char *missing;
    for (int i = 0; (k = kernels_at(i, &missing)); i++)
        if (!strcmp(k->name, set)) return !missing;
    return false;
}
#endif

struct choice {
    round_fn *read, *rounds[N_ARITHMETIC];  // NULL where there is nothing
    const char *by[N_ARITHMETIC];
};

#define TAKE(c, which, function, name) ((c).rounds[which] = (function), (c).by[which] = (name))

static struct choice choose(void) {
    struct choice c = {.read = read_plain, .by = {"", "", "", ""}};
    TAKE(c, ON_FLOATS, floats_plain, "plain vectors");
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        c.read = read_avx2;
        TAKE(c, ON_FLOATS, floats_avx2, "AVX2");
        TAKE(c, ON_WORDS, words_avx2, "AVX2");
        TAKE(c, ON_BYTES, bytes_avx2, "AVX2");
        if (can_run("avxvnni")) {
            TAKE(c, ON_WORDS, words_avxvnni, "AVX-VNNI");
            TAKE(c, ON_BYTES, bytes_avxvnni, "AVX-VNNI");
        }
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        c.read = read_avx512;
        TAKE(c, ON_FLOATS, floats_avx512, "AVX-512");
        TAKE(c, ON_WORDS, words_avx512, "AVX-512");
        TAKE(c, ON_BYTES, bytes_avx512, "AVX-512");
        if (__builtin_cpu_supports("avx512vnni")) {
            TAKE(c, ON_WORDS, words_vnni, "AVX-512 VNNI");
            TAKE(c, ON_BYTES, bytes_vnni, "AVX-512 VNNI");
        }
    }
    if (can_run("amx")) TAKE(c, ON_TILES, tiles_amx, "AMX");
#elif defined(__aarch64__)
    c.read = read_neon;
    TAKE(c, ON_FLOATS, floats_neon, "NEON");
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) TAKE(c, ON_BYTES, bytes_dotprod, "dotprod");
    if (getauxval(AT_HWCAP2) & HWCAP2_I8MM) TAKE(c, ON_BYTES, bytes_i8mm, "i8mm");
#endif
    return c;
}

static int threads_of(int n_threads) {
    if (n_threads <= 0) n_threads = cores_to_use();
    return n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
}

static void raise_to(double *most, double value) {
    if (value > *most) *most = value;
}

status machine_bandwidth(int n_threads, size_t n_bytes, double *bytes_s) {
    n_threads = threads_of(n_threads);
    if (n_bytes > BUFFER_BYTES) n_bytes = BUFFER_BYTES;
    const size_t part = n_bytes / (size_t)n_threads / 512 * 512 + 512;
    struct pages buffer;  // as weights lie
    double rounds;
    TRY(pages_new(part * (size_t)n_threads, "a measurement of the memory", &buffer));
    pages_stream(&buffer);
    memset(buffer.data, 1, buffer.n_bytes);
    status s = rounds_s(n_threads, choose().read, buffer.data, part, &rounds);
    pages_free(&buffer);
    if (s == UTTER_OK) raise_to(bytes_s, rounds * (double)part);
    return s;
}

status machine_peaks(int n_threads, struct machine_peaks *out) {
    static const double ops[N_ARITHMETIC] = {FLOAT_OPS, WORD_OPS, BYTE_OPS, TILE_OPS};
    const struct choice c = choose();
    out->n_threads = threads_of(n_threads);
    TRY(machine_bandwidth(n_threads, BUFFER_BYTES, &out->bytes_s));
    for (int i = 0; i < N_ARITHMETIC; i++) {
        double rounds;
        out->by[i] = c.by[i];
        if (!c.rounds[i]) continue;
        TRY(rounds_s(out->n_threads, c.rounds[i], NULL, 0, &rounds));
        raise_to(&out->ops_s[i], rounds * ops[i]);
    }
    return UTTER_OK;
}
