/* Every kernel, and the module that it is compiled in: what the host looks up and the emulator runs. A module is what
   the driver compiles at once, so that kernels which are not needed together, or take long, have one of their own. */
#ifndef UTTER_GPU_KERNELS_LIST_H
#define UTTER_GPU_KERNELS_LIST_H

/* Block formats. X(name, block_type). */
#define GPU_FORMATS(X)                                                                                  \
    X(f32, BLOCK_F32)                                                                                   \
    X(f16, BLOCK_F16)                                                                                   \
    X(bf16, BLOCK_BF16)                                                                                 \
    X(q4_0, BLOCK_Q4_0) X(q4_1, BLOCK_Q4_1) X(q5_0, BLOCK_Q5_0) X(q5_1, BLOCK_Q5_1) X(q8_0, BLOCK_Q8_0) \
        X(q4_k, BLOCK_Q4_K) X(q5_k, BLOCK_Q5_K) X(q6_k, BLOCK_Q6_K)

/* Formats that decode.c is made for. */
#define GPU_DECODE_FORMATS(X) X(q4_0, BLOCK_Q4_0) X(q8_0, BLOCK_Q8_0)

/* Formats of product.c. Not F32, which halves cannot hold; not F16 and BF16, whose groups are too large for the
   registers; not the types with a minimum and the K types: rounded to halves they come out further from the reference
   than they may. */
#define GPU_PRODUCT_FORMATS(X) X(q4_0, BLOCK_Q4_0) X(q5_0, BLOCK_Q5_0) X(q8_0, BLOCK_Q8_0)

// clang-format off

/* X(module), those that take the driver longest first. */
#define GPU_MODULES(X) \
    X(decode_q4_0) X(decode_q8_0) X(decode_staged_q4_0) X(decode_staged_q8_0) \
    X(product_q4_0) X(product_q5_0) X(product_q8_0) \
    X(attend_128) X(codec) X(codec_tile) X(sample) X(codec_attention_exact) X(codec_strip) X(codec_attention) \
    X(matmul_f32) X(matmul_f16) X(matmul_bf16) X(matmul_q4_0) X(matmul_q4_1) X(matmul_q5_0) X(matmul_q5_1) \
    X(matmul_q8_0) X(matmul_q4_k) X(matmul_q5_k) X(matmul_q6_k) \
    X(attend_64) X(backbone) X(codec_attention_any) X(attention) X(codec_load) \
    X(embed_f32) X(embed_f16) X(embed_bf16) X(embed_q4_0) X(embed_q4_1) X(embed_q5_0) X(embed_q5_1) \
    X(embed_q8_0) X(embed_q4_k) X(embed_q5_k) X(embed_q6_k)

#define GPU_KERNELS_OF_FORMAT(X, format) \
    X(embed_##format, embed_##format, 256) \
    X(matmul_##format, matvec_##format, 256) \
    X(matmul_##format, matmul_rows_##format, 256) \
    X(matmul_##format, matmul_tile_##format, 256)

#define GPU_KERNELS_OF_PRODUCT(X, format) \
    X(product_##format, product_64x64_##format, 128) \
    X(product_##format, product_128x64_##format, 256) \
    X(product_##format, product_128x128_##format, 256)

/* X(module, kernel, threads of a block). */
#define GPU_KERNELS(X) \
    X(backbone, norm_rows, 256) \
    X(backbone, gather_rows, 256) \
    X(backbone, rope_store, 256) \
    X(backbone, swiglu, 256) \
    X(backbone, add_norm, 256) \
    X(sample, sample, 512) \
    X(attend_64, attend_prompt_64, 256) \
    X(attend_64, attend_step_64, 128) \
    X(attend_128, attend_prompt_128, 256) \
    X(attend_128, attend_step_128, 128) \
    X(attention, attention_cache, 256) \
    X(codec_load, codec_halves, 256) \
    X(codec_load, codec_fold, 256) \
    X(codec, codec_start, 256) \
    X(codec, codec_norm, 256) \
    X(codec, codec_norm_rows, 256) \
    X(codec, codec_group_norm, 512) \
    X(codec, codec_spectrum, 256) \
    X(codec, codec_overlap_add, 256) \
    X(codec_tile, codec_matmul_tile, 128) \
    X(codec_strip, codec_matmul_strip, 256) \
    X(codec_attention, codec_attention, 128) \
    X(codec_attention_exact, codec_attention_exact, 128) \
    X(codec_attention_any, codec_attention_any, 128) \
    GPU_KERNELS_OF_FORMAT(X, f32) \
    GPU_KERNELS_OF_FORMAT(X, f16) \
    GPU_KERNELS_OF_FORMAT(X, bf16) \
    GPU_KERNELS_OF_FORMAT(X, q4_0) \
    GPU_KERNELS_OF_FORMAT(X, q4_1) \
    GPU_KERNELS_OF_FORMAT(X, q5_0) \
    GPU_KERNELS_OF_FORMAT(X, q5_1) \
    GPU_KERNELS_OF_FORMAT(X, q8_0) \
    GPU_KERNELS_OF_FORMAT(X, q4_k) \
    GPU_KERNELS_OF_FORMAT(X, q5_k) \
    GPU_KERNELS_OF_FORMAT(X, q6_k) \
    GPU_KERNELS_OF_PRODUCT(X, q4_0) \
    GPU_KERNELS_OF_PRODUCT(X, q5_0) \
    GPU_KERNELS_OF_PRODUCT(X, q8_0) \
    X(decode_q4_0, decode_q4_0, DECODE_THREADS) \
    X(decode_q8_0, decode_q8_0, DECODE_THREADS) \
    X(decode_staged_q4_0, decode_staged_q4_0, DECODE_THREADS) \
    X(decode_staged_q8_0, decode_staged_q8_0, DECODE_THREADS)

// clang-format on

#endif
