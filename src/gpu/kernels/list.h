/* Every kernel, by module: what the host looks up and the emulator runs. X(name, threads of a block). */
#ifndef UTTER_GPU_KERNELS_LIST_H
#define UTTER_GPU_KERNELS_LIST_H

/* Block formats; each has a module of its own, loaded when a model has weights of it. X(name, block_type). */
#define GPU_FORMATS(X)                                                                                  \
    X(f32, BLOCK_F32)                                                                                   \
    X(f16, BLOCK_F16)                                                                                   \
    X(bf16, BLOCK_BF16) X(q4_0, BLOCK_Q4_0) X(q4_1, BLOCK_Q4_1) X(q5_0, BLOCK_Q5_0) X(q5_1, BLOCK_Q5_1) \
        X(q8_0, BLOCK_Q8_0) X(q4_k, BLOCK_Q4_K) X(q5_k, BLOCK_Q5_K) X(q6_k, BLOCK_Q6_K)

/* Kernels of a format's module; their names go on with _FORMAT. */
#define GPU_FORMAT_KERNELS(X) X(embed, 256) X(matvec, 256) X(matmul_rows, 256) X(matmul_tile, 256)

/* Formats that decode.c is made for, a module each: decode_FORMAT. */
#define GPU_DECODE_FORMATS(X) X(q4_0, BLOCK_Q4_0) X(q8_0, BLOCK_Q8_0)

/* Formats of product.c; its kernels' names go on with _FORMAT. Not F32, which halves cannot hold; not F16 and BF16, whose
   groups are too large for the registers; not the types with a minimum and the K types: rounded to halves they come
   out further from the reference than they may. */
#define GPU_PRODUCT_FORMATS(X) X(q4_0, BLOCK_Q4_0) X(q5_0, BLOCK_Q5_0) X(q8_0, BLOCK_Q8_0)
#define GPU_PRODUCT_KERNELS(X) \
    X(product_few, 256) X(product_few_pair, 256) X(product_many, 256) X(product_many_pair, 256)

/* Kernels of the common module. */
#define GPU_COMMON_KERNELS(X)                                                                                       \
    X(norm_rows, 256)                                                                                               \
    X(attend_prompt_64, 256) X(attend_prompt_128, 256) X(attend_step_64, 256) X(attend_step_128, 256)               \
    X(gather_rows, 256)                                                                                             \
    X(rope_store, 256) X(attention_cache, 256) X(attention_full, 256) X(swiglu, 256) X(sample, 512)                 \
        GPU_CODEC_KERNELS(X)

#define GPU_CODEC_KERNELS(X)                                                                                        \
    X(codec_start, 256) X(codec_norm, 256) X(codec_norm_rows, 256) X(codec_group_norm, 512) X(codec_matmul_tile, 128)                       \
    X(codec_matmul_strip, 256) X(codec_attention, 128) X(codec_attention_exact, 128) X(codec_attention_any, 128)    \
    X(codec_spectrum, 256) X(codec_overlap_add, 256)                                                                \
    X(codec_halves, 256) X(codec_fold, 256)

#endif
