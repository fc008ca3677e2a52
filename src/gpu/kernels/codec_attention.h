/* The codec's attention: every frame of a piece sees all of it. A block makes 64 queries of a head, a warp 16 of them,
   over keys that come in turns; scores stay in registers. */
#ifndef UTTER_GPU_KERNELS_CODEC_ATTENTION_H
#define UTTER_GPU_KERNELS_CODEC_ATTENTION_H

#include "gpu/kernels/codec_args.h"
#include "gpu/kernels/codec_halves.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/ptx.h"

enum { HEAD_ROW_BYTES = 2 * CODEC_HEAD_DIM, HEAD_CHUNKS = CODEC_HEAD_DIM / 8 };

/* Where 16 bytes of a head's row lie: those of 8 rows one below the other are in different banks. */
INLINE int head_chunk(int row, int chunk) { return row * HEAD_ROW_BYTES + ((chunk ^ (row & 7)) << 4); }

/* Rows first.. of the piece, [n_rows, CODEC_HEAD_DIM] from column `column`; zeros outside the piece and the head. */
INLINE void copy_head(const struct codec_attention_args *a, const struct codec_tile *tile, const u16 *from, int column,
                      int first, int n_rows, shared_place to) {
    UNROLL for (int i = 0; i < n_rows * HEAD_CHUNKS / 128; i++) {
        int row = (i * 128 + thread_x()) / HEAD_CHUNKS, chunk = thread_x() % HEAD_CHUNKS;
        int given = first + row < tile->n && chunk * 8 < a->head_dim;
        i64 at = given ? (i64)(tile->row + first + row) * a->qkv_stride + column + chunk * 8 : 0;
        copy16(to + head_chunk(row, chunk), from + at, given);
    }
}

/* products: 1, or 3 for pairs of halves. q: [products > 1 ? 2 : 1] of 64 rows; kv: two stages of keys, keys' low
   halves, values, values' low halves, `keys` rows each. */
INLINE void attend_tile(const struct codec_attention_args *a, int products, int keys, shared_place q_place,
                        shared_place kv_place) {
    enum { MAX_KEYS = 64, DIM_PARTS = CODEC_HEAD_DIM / 16 };
    const struct codec_tile *tile = &a->tiles[block_y()];
    int head = block_x() * a->head_dim, width = a->n_heads * a->head_dim, l = lane();
    int n_stages = (tile->n + keys - 1) / keys, parts = products > 1 ? 2 : 1;
    int plane = keys * HEAD_ROW_BYTES;
#define COPY_KEYS(stage)                                                                      \
    UNROLL for (int p_ = 0; p_ < parts; p_++) {                                               \
        const u16 *from_ = p_ ? a->qkv_low : a->qkv;                                          \
        shared_place to_ = kv_place + ((stage) % 2 * 2 * parts + p_) * plane;                 \
        copy_head(a, tile, from_, width + head, (stage)*keys, keys, to_);                     \
        copy_head(a, tile, from_, 2 * width + head, (stage)*keys, keys, to_ + parts * plane); \
    }
    UNROLL for (int p = 0; p < parts; p++)
        copy_head(a, tile, p ? a->qkv_low : a->qkv, head, tile->first, 64, q_place + p * 64 * HEAD_ROW_BYTES);
    COPY_KEYS(0)
    copies_commit();
    fetch_ahead(&a->ahead[0], 128);
    fetch_ahead(&a->ahead[1], 128);

    u32 q[2][DIM_PARTS][4];
    float out[2 * DIM_PARTS][4] = {{0}}, largest[2] = {-INFINITE, -INFINITE}, total[2] = {0, 0};
    float scale = a->scale * 1.44269504f;  // scores in powers of two, so that exponentials are one instruction
    for (int stage = 0; stage < n_stages; stage++) {
        copies_wait(0);
        barrier();
        if (stage == 0) {
            UNROLL for (int p = 0; p < parts; p++) UNROLL for (int d = 0; d < DIM_PARTS; d++) load_matrices(
                q[p][d], q_place + p * 64 * HEAD_ROW_BYTES + head_chunk(warp() * 16 + l % 16, 2 * d + l / 16));
        }
        if (stage + 1 < n_stages) COPY_KEYS(stage + 1)
        copies_commit();
        shared_place k_place = kv_place + stage % 2 * 2 * parts * plane, v_place = k_place + parts * plane;

        float score[MAX_KEYS / 8][4] = {{0}};
        UNROLL for (int d = 0; d < DIM_PARTS; d++) UNROLL for (int j = 0; j < keys / 16; j++) {
            int at = head_chunk(j * 16 + l / 16 * 8 + l % 8, 2 * d + (l >> 3 & 1));
            u32 k[4];
            load_matrices(k, k_place + at);
            multiply_halves(score[2 * j], q[0][d], k);
            multiply_halves(score[2 * j + 1], q[0][d], k + 2);
            if (parts == 1) continue;
            multiply_halves(score[2 * j], q[1][d], k);
            multiply_halves(score[2 * j + 1], q[1][d], k + 2);
            load_matrices(k, k_place + plane + at);
            multiply_halves(score[2 * j], q[0][d], k);
            multiply_halves(score[2 * j + 1], q[0][d], k + 2);
        }

        if ((stage + 1) * keys > tile->n) {  // keys beyond the piece
            UNROLL for (int j = 0; j < keys / 8; j++)
                UNROLL for (int i = 0; i < 4; i++) if (stage * keys + j * 8 + l % 4 * 2 + i % 2 >= tile->n)
                    score[j][i] = -INFINITE;
        }
        float highest[2] = {-INFINITE, -INFINITE}, minus[2];
        UNROLL for (int j = 0; j < keys / 8; j++) UNROLL for (int i = 0; i < 4; i++) highest[i / 2] =
            max_f32(highest[i / 2], score[j][i]);
        UNROLL for (int r = 0; r < 2; r++) {
            highest[r] = max_f32(highest[r], shuffle_xor_f32(highest[r], 1));
            highest[r] = max_f32(highest[r], shuffle_xor_f32(highest[r], 2));
            highest[r] = max_f32(highest[r], largest[r]);
            float rescale = exp2_fast((largest[r] - highest[r]) * scale);
            largest[r] = highest[r];
            minus[r] = -highest[r] * scale;
            total[r] *= rescale;
            UNROLL for (int j = 0; j < 2 * DIM_PARTS; j++) {
                out[j][2 * r] *= rescale;
                out[j][2 * r + 1] *= rescale;
            }
        }
        UNROLL for (int j = 0; j < keys / 8; j++) UNROLL for (int i = 0; i < 4; i++) {
            score[j][i] = exp2_fast(score[j][i] * scale + minus[i / 2]);
            total[i / 2] += score[j][i];
        }

        UNROLL for (int j = 0; j < keys / 16; j++) {
            u32 p[4], p_low[4];
            UNROLL for (int i = 0; i < 4; i++) {
                const float *pair = score[2 * j + i / 2] + i % 2 * 2;
                p[i] = pair_of_halves(pair[0], pair[1]);
                if (parts > 1) p_low[i] = rest_of_pair(p[i], pair[0], pair[1]);
            }
            UNROLL for (int d = 0; d < DIM_PARTS; d++) {
                int at = head_chunk(j * 16 + l % 16, 2 * d + l / 16);
                u32 v[4];
                load_matrices_transposed(v, v_place + at);
                multiply_halves(out[2 * d], p, v);
                multiply_halves(out[2 * d + 1], p, v + 2);
                if (parts == 1) continue;
                multiply_halves(out[2 * d], p_low, v);
                multiply_halves(out[2 * d + 1], p_low, v + 2);
                load_matrices_transposed(v, v_place + plane + at);
                multiply_halves(out[2 * d], p, v);
                multiply_halves(out[2 * d + 1], p, v + 2);
            }
        }
    }
#undef COPY_KEYS

    UNROLL for (int r = 0; r < 2; r++) {
        total[r] += shuffle_xor_f32(total[r], 1);
        total[r] += shuffle_xor_f32(total[r], 2);
        int query = tile->first + warp() * 16 + l / 4 + 8 * r;
        if (query >= tile->n) continue;
        i64 row = (tile->row + query) * a->out_stride + head;
        float weight = 1 / total[r];
        UNROLL for (int j = 0; j < 2 * DIM_PARTS; j++) {
            int dim = j * 8 + l % 4 * 2;
            if (dim < a->head_dim)
                put_pair(a->out, a->out_low, row + dim, out[j][2 * r] * weight, out[j][2 * r + 1] * weight);
        }
    }
}

#endif
