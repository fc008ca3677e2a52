/* What C has no name for on a GPU: where a thread stands, shared memory, barriers, shuffles, half-precision floats. On
   the device these are PTX instructions; on the host, where the same kernels are compiled for the tests, functions of a
   thread-block emulator (tests/gpu/emulator.h).

   A kernel is written once:

       KERNEL(scale, struct scale_args, 256) { a->y[thread_x()] = 2 * a->x[thread_x()]; }

   Its one parameter `a` points to its arguments; 256 is the number of threads of every block it is launched with. */
#ifndef UTTER_GPU_KERNELS_PTX_H
#define UTTER_GPU_KERNELS_PTX_H

#include "gpu/kernels/types.h"

enum { WARP = 32 };

#define INLINE static inline __attribute__((always_inline))
/* A part of a large kernel that is compiled by itself: registers are shared out anew. */
#define PART static __attribute__((noinline))
/* Loops over arrays that are to stay in registers. */
#if defined(__NVPTX__)
#define UNROLL _Pragma("GCC unroll 32")
#define UNROLL_SOME _Pragma("GCC unroll 8")  // of a number that is not known
#define NO_UNROLL _Pragma("nounroll")
#else
#define UNROLL
#define UNROLL_SOME
#define NO_UNROLL
#endif

#if defined(__NVPTX__)

/* The build turns the comment into .maxntid, for which clang has no name in C: without it the driver may give a thread
   more registers than a block of that size can have. */
#define KERNEL(name, args_type, n_threads) KERNEL_NAMED(name, args_type, n_threads, 1)
/* n_blocks of it are to have room on a multiprocessor. */
#define KERNEL_SHARING(name, args_type, n_threads, n_blocks) KERNEL_NAMED(name, args_type, n_threads, n_blocks)
#define KERNEL_NAMED(name, args_type, n_threads, n_blocks)          \
    INLINE void name##_body(const args_type *a);                    \
    __attribute__((nvptx_kernel)) void name(const args_type a);     \
    __attribute__((nvptx_kernel)) void name(const args_type a) {    \
        __asm__ volatile("// n_threads " #n_threads " " #n_blocks); \
        name##_body(&a);                                            \
    }                                                               \
    INLINE void name##_body(const args_type *a)

/* Shared memory of the block: SHARED float x[256]; inside a function. */
#define SHARED static __attribute__((address_space(3)))
/* A pointer to shared memory as any other pointer; the compiler finds the address space again. */
#define AS_GENERIC(type, p) ((type *)(p))

INLINE int thread_x(void) { return (int)__nvvm_read_ptx_sreg_tid_x(); }
INLINE int block_x(void) { return (int)__nvvm_read_ptx_sreg_ctaid_x(); }
INLINE int block_y(void) { return (int)__nvvm_read_ptx_sreg_ctaid_y(); }
INLINE int grid_x(void) { return (int)__nvvm_read_ptx_sreg_nctaid_x(); }
INLINE int grid_y(void) { return (int)__nvvm_read_ptx_sreg_nctaid_y(); }

/* All threads of the block arrive before any goes on; what they wrote before is seen after. */
INLINE void barrier(void) { __syncthreads(); }
/* The same for the warp. */
INLINE void warp_barrier(void) { __asm__ volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

/* The value that lane ^ mask (lane `from`) of the warp gives. All 32 lanes take part. */
INLINE float shuffle_xor_f32(float v, int mask) { return __nvvm_shfl_sync_bfly_f32(0xffffffffu, v, mask, 31); }
INLINE float shuffle_f32(float v, int from) { return __nvvm_shfl_sync_idx_f32(0xffffffffu, v, from, 31); }

INLINE float half_to_f32(u16 h) {
    float f;
    __asm__("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

INLINE u16 f32_to_half(float f) {
    u16 h;
    __asm__("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}

INLINE float rsqrt_f32(float x) {
    float y;
    __asm__("{ .reg .f32 root; sqrt.rn.f32 root, %1; rcp.rn.f32 %0, root; }" : "=f"(y) : "f"(x));
    return y;
}

/* 2^x to 2 units of the last place. */
INLINE float exp2_fast(float x) {
    float y;
    __asm__("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 1 / sqrt x to 2 units of the last place. */
INLINE float rsqrt_fast(float x) {
    float y;
    __asm__("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 1 / x to a unit of the last place. */
INLINE float reciprocal_fast(float x) {
    float y;
    __asm__("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* log2 x to about 1e-7. */
INLINE float log2_fast(float x) {
    float y;
    __asm__("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* On pairs of halves. */
INLINE u32 multiply_pairs(u32 a, u32 b) {
    u32 c;
    __asm__("mul.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
    return c;
}

INLINE u32 subtract_pairs(u32 a, u32 b) {
    u32 c;
    __asm__("sub.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
    return c;
}

/* What no kernel writes while this one runs. Loads start where they stand in the program, long before they are used. */
INLINE u32x4 load_constant(const u32x4 *p) {
    u32x4 v;
    __asm__ volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                     : "l"(p));
    return v;
}

INLINE u16 load_constant_half(const u16 *p) {
    u16 v;
    __asm__ volatile("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}

/* Asks for the bytes at p to be brought into the card's cache. */
INLINE void prefetch(const void *p) { __asm__ volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

/* ---- between the blocks of a cooperative launch ---- */

/* 16 bytes that other blocks write while this one runs; all of them or none arrive. */
INLINE u32x4 load_shared_by_blocks(const u32x4 *p) {
    u64 low, high;
    __asm__ volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(low), "=l"(high) : "l"(p) : "memory");
    return (u32x4){(u32)low, (u32)(low >> 32), (u32)high, (u32)(high >> 32)};
}

INLINE void store_shared_by_blocks(u32x4 *p, u32x4 v) {
    u64 low = v[0] | (u64)v[1] << 32, high = v[2] | (u64)v[3] << 32;
    __asm__ volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(p), "l"(low), "l"(high) : "memory");
}

/* The same for 4 bytes. */
INLINE u32 load_word_shared_by_blocks(const u32 *p) {
    u32 v;
    __asm__ volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

INLINE void store_word_shared_by_blocks(u32 *p, u32 v) {
    __asm__ volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

/* 16 bytes past the caches of this multiprocessor: other blocks may have written them since. */
INLINE u32x4 load_from_cache(const u32x4 *p) {
    u32x4 v;
    __asm__ volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                     : "l"(p)
                     : "memory");
    return v;
}

/* What this thread wrote is seen by all before what it writes later. */
INLINE void publish(void) { __asm__ volatile("membar.gl;" ::: "memory"); }

/* Between two looks at what another block is to write. */
INLINE void pause(void) {}

INLINE i64 timer_ns(void) {
    i64 t;
    __asm__ volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}

/* Shared memory of the size that the launch asks for. */
extern __attribute__((address_space(3), aligned(16))) unsigned char gpu_dynamic_shared[];
#define DYNAMIC_SHARED(type) ((type *)(gpu_dynamic_shared))
#define DYNAMIC_SHARED_PLACE SHARED_PLACE(gpu_dynamic_shared)

/* ---- a warp's matrix products: every function here is called by all 32 lanes ---- */

/* A place in shared memory for what follows; counts bytes. */
typedef u32 shared_place;
#define SHARED_PLACE(array) ((shared_place)(u64)(array))

/* 16 bytes to shared memory, both sides aligned to 16; zeros when not `given`. Not there before copies_wait. */
INLINE void copy16(shared_place to, const void *from, int given) {
#if UTTER_SM >= 80
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(given ? 16 : 0)
                     : "memory");
#else
    u32x4 v = {0, 0, 0, 0};
    if (given) v = *(const u32x4 *)from;
    __asm__ volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                     : "memory");
#endif
}

/* The same for 4 bytes. */
INLINE void copy4(shared_place to, const void *from, int given) {
#if UTTER_SM >= 80
    __asm__ volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(given ? 4 : 0)
                     : "memory");
#else
    u32 v = given ? *(const u32 *)from : 0;
    __asm__ volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(v) : "memory");
#endif
}

/* Ends a group of copies of this thread. */
INLINE void copies_commit(void) {
#if UTTER_SM >= 80
    __asm__ volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Until all but the newest n groups (0..3) of this thread are there; other threads need a barrier as well. */
INLINE void copies_wait(int n) {
#if UTTER_SM >= 80
    if (n == 0) {
        __asm__ volatile("cp.async.wait_group 0;" ::: "memory");
    } else if (n == 1) {
        __asm__ volatile("cp.async.wait_group 1;" ::: "memory");
    } else if (n == 2) {
        __asm__ volatile("cp.async.wait_group 2;" ::: "memory");
    } else {
        __asm__ volatile("cp.async.wait_group 3;" ::: "memory");
    }
#else
    (void)n;
#endif
}

/* Four matrices of 8 x 8 halves from shared memory. Lane 8 i + j points at row j of matrix i (16 bytes); r[i] is halves
   2 (lane % 4) and the next of row lane / 4 of matrix i (transposed: of column lane / 4). */
INLINE void load_matrices(u32 r[4], shared_place row) {
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(row)
                     : "memory");
}

INLINE void load_matrices_transposed(u32 r[4], shared_place row) {
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(row)
                     : "memory");
}

/* c += a b: 16 x 16 halves times 16 x 8 halves, sums in floats. With g = lane / 4 and t = 2 (lane % 4), a pair each:
   a[0] row g column t, a[1] row g + 8, a[2] row g column t + 8, a[3] row g + 8 column t + 8; b[0] rows t of column g,
   b[1] rows t + 8; c[0..1] row g columns t and t + 1, c[2..3] row g + 8. */
INLINE void multiply_halves(float c[4], const u32 a[4], const u32 b[2]) {
#if UTTER_SM >= 80
    __asm__ volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __asm__ volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%8}, {%0, %1, %2, %3};\n\t"
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%6, %7}, {%9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* Two halves in a word, the first in its low bits. */
INLINE u32 pair_of_halves(float first, float second) {
    u32 pair;
#if UTTER_SM >= 80
    __asm__("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
#else
    pair = f32_to_half(first) | (u32)f32_to_half(second) << 16;
#endif
    return pair;
}

#else

#define KERNEL(name, args_type, n_threads) KERNEL_NAMED(name, args_type)
#define KERNEL_SHARING(name, args_type, n_threads, n_blocks) KERNEL_NAMED(name, args_type)
#define KERNEL_NAMED(name, args_type)                                     \
    static void name##_body(const args_type *a);                          \
    extern const u32 name##_args_bytes;                                   \
    const u32 name##_args_bytes = sizeof(args_type);                      \
    void name(const void *args);                                          \
    void name(const void *args) { name##_body((const args_type *)args); } \
    static void name##_body(const args_type *a)

/* In a section that the tests' build names, so that the emulator can fill them before a block begins. */
#ifdef SHARED_SECTION
#define SHARED static __attribute__((section(SHARED_SECTION)))
static char shared_section_begins __attribute__((section(SHARED_SECTION), used));
#else
#define SHARED static
#endif
#define AS_GENERIC(type, p) ((type *)(p))

/* The emulator's (tests/gpu/emulator.c). */
struct emulated_thread {
    int thread_x, block_x, block_y, grid_x, grid_y;
};
extern struct emulated_thread emulated;  // the thread that runs now
void emulator_barrier(void);
u32 emulator_shuffle(u32 value, int from);
u16 emulator_f32_to_half(float f);
float emulator_half_to_f32(u16 h);

INLINE int thread_x(void) { return emulated.thread_x; }
INLINE int block_x(void) { return emulated.block_x; }
INLINE int block_y(void) { return emulated.block_y; }
INLINE int grid_x(void) { return emulated.grid_x; }
INLINE int grid_y(void) { return emulated.grid_y; }
INLINE void barrier(void) { emulator_barrier(); }
INLINE void warp_barrier(void) { emulator_shuffle(0, 0); }

INLINE float shuffle_f32(float v, int from) {
    u32 bits;
    __builtin_memcpy(&bits, &v, 4);
    bits = emulator_shuffle(bits, from);
    __builtin_memcpy(&v, &bits, 4);
    return v;
}
INLINE float shuffle_xor_f32(float v, int mask) { return shuffle_f32(v, (thread_x() % WARP) ^ mask); }
INLINE float half_to_f32(u16 h) { return emulator_half_to_f32(h); }
INLINE u16 f32_to_half(float f) { return emulator_f32_to_half(f); }
INLINE float rsqrt_f32(float x) { return 1.0f / __builtin_sqrtf(x); }
INLINE float rsqrt_fast(float x) { return rsqrt_f32(x); }
INLINE float exp2_fast(float x) { return __builtin_exp2f(x); }

INLINE float reciprocal_fast(float x) { return 1 / x; }
INLINE float log2_fast(float x) { return __builtin_log2f(x); }
u32 emulator_pairs(u32 a, u32 b, int product);
INLINE u32 multiply_pairs(u32 a, u32 b) { return emulator_pairs(a, b, 1); }
INLINE u32 subtract_pairs(u32 a, u32 b) { return emulator_pairs(a, b, 0); }
INLINE u32x4 load_constant(const u32x4 *p) { return *p; }
INLINE u16 load_constant_half(const u16 *p) { return *p; }
INLINE void prefetch(const void *p) { (void)p; }
INLINE u32x4 load_shared_by_blocks(const u32x4 *p) { return *p; }
INLINE void store_shared_by_blocks(u32x4 *p, u32x4 v) { *p = v; }
INLINE u32 load_word_shared_by_blocks(const u32 *p) { return *p; }
INLINE void store_word_shared_by_blocks(u32 *p, u32 v) { *p = v; }
INLINE u32x4 load_from_cache(const u32x4 *p) { return *p; }
INLINE void publish(void) {}
void emulator_pause(void);
i64 emulator_timer_ns(void);
void *emulator_dynamic_shared(void);
INLINE void pause(void) { emulator_pause(); }
INLINE i64 timer_ns(void) { return emulator_timer_ns(); }
#define DYNAMIC_SHARED(type) ((type *)emulator_dynamic_shared())
#define DYNAMIC_SHARED_PLACE SHARED_PLACE(emulator_dynamic_shared())

typedef char *shared_place;
#define SHARED_PLACE(array) ((shared_place)(array))
void emulator_copy(void *to, const void *from, int n_bytes);  // from: NULL for zeros
void emulator_copies_commit(void);
void emulator_copies_wait(int n);
void emulator_load_matrices(u32 r[4], const void *row, int transposed);
void emulator_multiply_halves(float c[4], const u32 a[4], const u32 b[2]);

INLINE void copy16(shared_place to, const void *from, int given) { emulator_copy(to, given ? from : (void *)0, 16); }
INLINE void copy4(shared_place to, const void *from, int given) { emulator_copy(to, given ? from : (void *)0, 4); }
INLINE void copies_commit(void) { emulator_copies_commit(); }
INLINE void copies_wait(int n) { emulator_copies_wait(n); }
INLINE void load_matrices(u32 r[4], shared_place row) { emulator_load_matrices(r, row, 0); }
INLINE void load_matrices_transposed(u32 r[4], shared_place row) { emulator_load_matrices(r, row, 1); }
INLINE void multiply_halves(float c[4], const u32 a[4], const u32 b[2]) { emulator_multiply_halves(c, a, b); }
INLINE u32 pair_of_halves(float first, float second) { return f32_to_half(first) | (u32)f32_to_half(second) << 16; }

#endif

INLINE int lane(void) { return thread_x() % WARP; }
INLINE int warp(void) { return thread_x() / WARP; }

INLINE u32 shuffle_u32(u32 v, int from) {
    float f;
    __builtin_memcpy(&f, &v, 4);
    f = shuffle_f32(f, from);
    __builtin_memcpy(&v, &f, 4);
    return v;
}

INLINE float warp_sum(float v) {
    UNROLL for (int mask = WARP / 2; mask > 0; mask /= 2) v += shuffle_xor_f32(v, mask);
    return v;
}

INLINE float warp_max(float v) {
    UNROLL for (int mask = WARP / 2; mask > 0; mask /= 2) {
        float other = shuffle_xor_f32(v, mask);
        v = other > v ? other : v;
    }
    return v;
}

/* The sum over all threads of a block of n_threads (at most 1024); every thread gets it. */
INLINE float block_sum(float v, int n_threads) {
    SHARED float part[WARP];
    v = warp_sum(v);
    barrier();  // a former sum has been read by all
    if (lane() == 0) part[warp()] = v;
    barrier();
    float sum = 0;
    for (int w = 0; w < n_threads / WARP; w++) sum += part[w];
    return sum;
}

#endif
