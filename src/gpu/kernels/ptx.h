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
/* Loops over arrays that are to stay in registers. */
#if defined(__NVPTX__)
#define UNROLL _Pragma("GCC unroll 32")
#else
#define UNROLL
#endif

#if defined(__NVPTX__)

/* The build turns the comment into .maxntid, for which clang has no name in C: without it the driver may give a thread
   more registers than a block of that size can have. */
#define KERNEL(name, args_type, n_threads) KERNEL_NAMED(name, args_type, n_threads)
#define KERNEL_NAMED(name, args_type, n_threads)                 \
    INLINE void name##_body(const args_type *a);                 \
    __attribute__((nvptx_kernel)) void name(const args_type a);  \
    __attribute__((nvptx_kernel)) void name(const args_type a) { \
        __asm__ volatile("// n_threads " #n_threads);            \
        name##_body(&a);                                         \
    }                                                            \
    INLINE void name##_body(const args_type *a)

/* Shared memory of the block: SHARED float x[256]; inside a function. */
#define SHARED static __attribute__((address_space(3)))
/* A pointer to shared memory as any other pointer; the compiler finds the address space again. */
#define AS_GENERIC(type, p) ((type *)(p))

INLINE int thread_x(void) { return (int)__nvvm_read_ptx_sreg_tid_x(); }
INLINE int block_x(void) { return (int)__nvvm_read_ptx_sreg_ctaid_x(); }
INLINE int block_y(void) { return (int)__nvvm_read_ptx_sreg_ctaid_y(); }
INLINE int grid_x(void) { return (int)__nvvm_read_ptx_sreg_nctaid_x(); }

/* All threads of the block arrive before any goes on; what they wrote before is seen after. */
INLINE void barrier(void) { __syncthreads(); }

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

#else

#define KERNEL(name, args_type, n_threads) KERNEL_NAMED(name, args_type)
#define KERNEL_NAMED(name, args_type)                                     \
    static void name##_body(const args_type *a);                          \
    extern const u32 name##_args_bytes;                                   \
    const u32 name##_args_bytes = sizeof(args_type);                      \
    void name(const void *args);                                          \
    void name(const void *args) { name##_body((const args_type *)args); } \
    static void name##_body(const args_type *a)

#define SHARED static
#define AS_GENERIC(type, p) ((type *)(p))

/* The emulator's (tests/gpu/emulator.c). */
struct emulated_thread {
    int thread_x, block_x, block_y, grid_x;
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
INLINE void barrier(void) { emulator_barrier(); }

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
INLINE float exp2_fast(float x) { return __builtin_exp2f(x); }

#endif

INLINE int lane(void) { return thread_x() % WARP; }
INLINE int warp(void) { return thread_x() / WARP; }

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
