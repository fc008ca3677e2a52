/* Number types that kernels and host agree on; the kernels are compiled without any header of a C library. */
#ifndef UTTER_GPU_KERNELS_TYPES_H
#define UTTER_GPU_KERNELS_TYPES_H

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;
typedef u32 u32x4 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));

#endif
