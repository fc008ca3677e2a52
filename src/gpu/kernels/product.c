/* Matrices times many columns on tensor cores, for the block format that the build names: -DFORMAT=q4_0. Up to three
   matrices stand side by side, or gate and up as a pair. Activations are halves in the order of fragments.h, rows
   padded to whole steps of 128 with zeros.

   A block takes a tile of rows and columns, a warp 32 rows of it, and goes down the depth by stages of two groups.
   Weights as they lie and activations are on their way to shared memory some stages ahead; weights become halves in
   registers. Where few tiles are left for the card, several blocks share the depth of one; who takes the sums from
   `partial` adds them up. */
#include "gpu/kernels/fragments.h"
#include "gpu/kernels/math.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define OF_FORMAT(name) JOIN(name, FORMAT)
static const enum format format = JOIN(AS, FORMAT);

enum {
    STAGE = PRODUCT_STAGE_GROUPS * GROUP,
    PIECES = STAGE / 8,                           // of 16 bytes, of a column's activations
    UNITS = JOIN(AS, FORMAT) == AS_q8_0 ? 2 : 1,  // of 16 bytes, of a group's quants
    HAS_HIGHS = JOIN(AS, FORMAT) == AS_q5_0,
    MOST_TILES = 8,  // of 8 columns, of a warp
};

/* A block's tile. Of a pair every other 16 of its rows are of the second matrix. */
struct tile {
    struct product_part part;
    struct weights second;
    int row, column, slice;  // the first; which share of the depth
    int rows, columns;       // how many; constants
};

/* Where in a concatenation of matrices the block stands. Parts are copied: they would else be looked up in memory. */
INLINE struct tile tile_of_block(const struct product_args *a, int rows, int columns) {
    int tile = block_x(), across = (a->n + columns - 1) / columns, part_rows = a->inner ? rows / 2 : rows;
    struct tile t = {a->parts[0], a->parts[1].w, 0, block_y() % across * columns, block_y() / across, rows, columns};
    UNROLL for (int i = 1; i < 3; i++) {
        int tiles = (t.part.w.rows + part_rows - 1) / part_rows;
        if (a->inner || i >= a->n_parts || tile < tiles) break;
        tile -= tiles;
        t.part = a->parts[i];
    }
    t.row = tile * part_rows;
    return t;
}

/* Which row of its matrix row `at` of the tile is. Those of a pair are in an order that gives a lane two rows whose
   numbers are neighbours in the order of fragments.h. */
INLINE int row_of_tile(const struct product_args *a, const struct tile *tile, int at) {
    return tile->row + (a->inner ? at / 32 * 16 + at % 8 / 2 * 4 + at % 2 + at % 16 / 8 * 2 : at);
}

/* Where the parts of a stage begin, in bytes. */
INLINE int quants_at(const struct tile *tile) { return tile->columns * STAGE * 2; }
INLINE int scales_at(const struct tile *tile) {
    return quants_at(tile) + tile->rows * PRODUCT_STAGE_GROUPS * UNITS * 16;
}
INLINE int highs_at(const struct tile *tile) { return scales_at(tile) + tile->rows * PRODUCT_STAGE_GROUPS * 2; }

/* Units and pieces are moved about so that a warp's reads fall into different banks. */
INLINE int unit_place(int row, int unit) {
    return (row * PRODUCT_STAGE_GROUPS * UNITS + (unit ^ (UNITS == 2 ? row / 2 % 2 : 0))) * 16;
}
INLINE int piece_place(int column, int piece) { return (column * PIECES + (piece ^ column % 2)) * 16; }

/* The row of the tile that a thread's unit i belongs to. */
INLINE int row_of_unit(const struct tile *tile, int i) { return thread_x() / (2 * UNITS) + i * (tile->rows / UNITS); }

/* What a thread sends for every stage, and where it lies for the next one. */
struct sender {
    const u16 *x;
    i64 x_apart;
    int n_columns;
    const u8 *quants[UNITS];
    int n_quants[UNITS];  // groups that are left of the row; none of a row that is not there
    const u32 *highs;
    int n_highs;
    const u16 *scales;
    int n_scales, odd;
};

/* A group of a row of the tile: in which matrix, at which place there, and how many groups of the row are left. */
struct place {
    int second, left;
    u64 group;
};

INLINE struct place place_of_group(const struct product_args *a, const struct tile *tile, int at, int group) {
    int row = row_of_tile(a, tile, at), groups = tile->part.w.groups;
    return (struct place){a->inner && at / 16 % 2, row < tile->part.w.rows ? groups - group : 0,
                          (u64)row * (u64)groups + (u64)group};
}

INLINE struct sender sender_of(const struct product_args *a, const struct tile *tile, int first_stage) {
    int n_threads = tile->rows * 2, column = tile->column + thread_x() / PIECES;
    int group = first_stage * PRODUCT_STAGE_GROUPS;
    struct sender s;
    s.x = a->x + (i64)column * a->x_stride + first_stage * STAGE + thread_x() % PIECES * 8;
    s.x_apart = a->x_stride * (n_threads / PIECES);
    s.n_columns = a->n - column;
    UNROLL for (int i = 0; i < UNITS; i++) {
        int unit = thread_x() % (2 * UNITS);
        struct place p = place_of_group(a, tile, row_of_unit(tile, i), group + unit / UNITS);
        s.quants[i] = (const u8 *)(p.second ? tile->second.quants : tile->part.w.quants) +
                      (p.group * UNITS + (u64)(unit % UNITS)) * 16;
        s.n_quants[i] = p.left;
    }
    struct place p = place_of_group(a, tile, thread_x() / 2, group + thread_x() % 2);
    s.highs = (const u32 *)(p.second ? tile->second.highs : tile->part.w.highs) + p.group;
    s.n_highs = p.left;
    p = place_of_group(a, tile, thread_x() % tile->rows, group);
    s.scales = (const u16 *)(p.second ? tile->second.scales : tile->part.w.scales) + p.group;
    s.n_scales = p.left;
    s.odd = tile->part.w.groups % 2;
    return s;
}

/* begin: of the stage, in bytes of shared memory. */
INLINE void send_stage(const struct tile *tile, struct sender *s, int begin) {
    int n_threads = tile->rows * 2;
    shared_place to = DYNAMIC_SHARED_PLACE + begin;
    UNROLL for (int i = 0; i < tile->columns * PIECES / n_threads; i++)
        copy16(to + piece_place(thread_x() / PIECES + i * (n_threads / PIECES), thread_x() % PIECES),
               s->x + i * s->x_apart, i * (n_threads / PIECES) < s->n_columns);
    s->x += STAGE;
    UNROLL for (int i = 0; i < UNITS; i++) {
        copy16(to + quants_at(tile) + unit_place(row_of_unit(tile, i), thread_x() % (2 * UNITS)), s->quants[i],
               s->n_quants[i] > 0);
        s->quants[i] += PRODUCT_STAGE_GROUPS * UNITS * 16;
        s->n_quants[i] -= PRODUCT_STAGE_GROUPS;
    }
    if (HAS_HIGHS) {
        copy4(to + highs_at(tile) + thread_x() * 4, s->highs, s->n_highs > 0);
        s->highs += PRODUCT_STAGE_GROUPS;
        s->n_highs -= PRODUCT_STAGE_GROUPS;
    }
    if (thread_x() < tile->rows) {
        int there = scales_at(tile) + thread_x() * 4;
        if (!s->odd) {
            copy4(to + there, s->scales, s->n_scales > 0);
        } else {
            // in rows of an odd number of groups two scales may not lie in one word
            u32 first = s->n_scales > 0 ? s->scales[0] : 0, second = s->n_scales > 1 ? s->scales[1] : 0;
            *(u32 *)(DYNAMIC_SHARED(u8) + begin + there) = first | second << 16;
        }
    }
    s->scales += PRODUCT_STAGE_GROUPS;
    s->n_scales -= PRODUCT_STAGE_GROUPS;
}

/* A lane's share of a row in a stage: quarters 2 (t % 2) and the next of group t / 2, as quarters 0 and 1 of a group.
 */
INLINE struct raw_group raw_of_stage(const struct tile *tile, const u8 *stage, int row) {
    int t = lane() % 4;
    struct raw_group r = {0};
    UNROLL for (int i = 0; i < UNITS; i++) {
        const u32 *words = (const u32 *)(stage + quants_at(tile) + unit_place(row, t / 2 * UNITS + i) + t % 2 * 8);
        u32 *to = HAS_HIGHS ? (u32 *)&r.group.quants[0] : (u32 *)&r.quants[i];
        to[0] = words[0];
        to[1] = words[1];
    }
    u16 scale = *(const u16 *)(stage + scales_at(tile) + row * 4 + t / 2 * 2);
    r.scale = scale;
    if (HAS_HIGHS) {
        r.group.high[0] = *(const u32 *)(stage + highs_at(tile) + row * 8 + t / 2 * 4) >> t % 2 * 8;
        r.group.d[0] = half_to_f32(scale);
    }
    return r;
}

/* A warp's 32 rows, from `row` of the tile on, times 8 * n_tiles columns from `column` on. */
INLINE void multiply_stage(const struct tile *tile, const u8 *stage, int row, int column, int n_tiles,
                           float c[2][MOST_TILES][4]) {
    int g = lane() / 4, t = lane() % 4;
    struct raw_group raw[2][2];
    UNROLL for (int m = 0; m < 2; m++) UNROLL for (int h = 0; h < 2; h++) raw[m][h] =
        raw_of_stage(tile, stage, row + 16 * m + 8 * h + g);
    UNROLL for (int q = 0; q < 2; q++) {
        u32 w[2][2][4];
        UNROLL for (int m = 0; m < 2; m++) UNROLL for (int h = 0; h < 2; h++)
            pairs_of_raw(&raw[m][h], format, q, w[m][h]);
        UNROLL for (int i = 0; i < n_tiles; i++) {
            u32x4 v = *(const u32x4 *)(stage + piece_place(column + 8 * i + g, 2 * t + q));
            UNROLL for (int m = 0; m < 2; m++) {
                multiply_halves(c[m][i], (u32[4]){w[m][0][0], w[m][1][0], w[m][0][1], w[m][1][1]},
                                (u32[2]){v[0], v[1]});
                multiply_halves(c[m][i], (u32[4]){w[m][0][2], w[m][1][2], w[m][0][3], w[m][1][3]},
                                (u32[2]){v[2], v[3]});
            }
        }
    }
}

/* To about 1e-6 of its value, before it becomes a half. */
INLINE float silu_fast(float x) { return x * reciprocal_fast(1 + exp2_fast(x * -1.44269504f)); }

/* Feed-forward: the products of the pair's rows, as activations of the next matrix. */
INLINE void put_inner(const struct product_args *a, int row, int column, int n_tiles, float c[2][MOST_TILES][4]) {
    row += lane() / 4 / 2 * 4 + lane() / 4 % 2;
    UNROLL for (int i = 0; i < n_tiles; i++) UNROLL for (int e = 0; e < 2; e++) {
        int to = column + 8 * i + lane() % 4 * 2 + e;
        if (row >= a->parts[0].w.rows || to >= a->n) continue;
        float v[2];
        UNROLL for (int h = 0; h < 2; h++) v[h] =
            within_half(silu_fast(c[0][i][2 * h + e]) * c[1][i][2 * h + e] * (1 / FFN_SCALE));
        *(u32 *)(a->inner + (i64)to * a->inner_stride + place_of(row)) = pair_of_halves(v[0], v[1]);
    }
}

INLINE void put_rows(const struct product_args *a, const struct tile *tile, int row, int column, int n_tiles,
                     float c[2][MOST_TILES][4]) {
    const struct product_part *p = &tile->part;
    float *y = a->partial ? a->partial + (i64)tile->slice * a->n * p->w.rows : p->y;
    UNROLL for (int m = 0; m < 2; m++) UNROLL for (int h = 0; h < 2; h++) {
        int r = row + 16 * m + 8 * h + lane() / 4;
        if (r >= p->w.rows) continue;
        float bias = p->bias ? p->bias[r] : 0;
        UNROLL for (int i = 0; i < n_tiles; i++) UNROLL for (int e = 0; e < 2; e++) {
            int to = column + 8 * i + lane() % 4 * 2 + e;
            if (to < a->n) y[(i64)to * p->w.rows + r] = c[m][i][2 * h + e] + bias;
        }
    }
}

/* block_x: tiles of rows; block_y: of columns, for each slice of the depth. Two warps stand side by side. */
INLINE void multiply(const struct product_args *a, int rows, int n_tiles) {
    struct tile tile = tile_of_block(a, rows, 2 * n_tiles * 8);
    int n_stages = (tile.part.w.groups + PRODUCT_STAGE_GROUPS - 1) / PRODUCT_STAGE_GROUPS;
    int each = (n_stages + a->slices - 1) / a->slices, begin = tile.slice * each;
    int n = min_int(each, n_stages - begin),
        bytes = PRODUCT_STAGE_BYTES(rows, 2 * n_tiles * 8, UNITS * 16 + HAS_HIGHS * 4 + 2);
    int row = warp() / 2 * 32, column = warp() % 2 * n_tiles * 8, place = 0, ahead = a->stages - 1;
    float c[2][MOST_TILES][4];
    UNROLL for (int m = 0; m < 2; m++) UNROLL for (int i = 0; i < n_tiles; i++) UNROLL for (int j = 0; j < 4; j++)
        c[m][i][j] = 0;

    struct sender sender = sender_of(a, &tile, begin);
    NO_UNROLL for (int i = 0; i < ahead; i++) {
        if (i < n) send_stage(&tile, &sender, i * bytes);
        copies_commit();
    }
    NO_UNROLL for (int i = 0; i < n; i++) {
        copies_wait(a->stages - 2);
        barrier();
        // over the stage before this one, which all have gone through
        int next = place == 0 ? ahead : place - 1;
        if (i + ahead < n) send_stage(&tile, &sender, next * bytes);
        copies_commit();
        multiply_stage(&tile, DYNAMIC_SHARED(u8) + place * bytes, row, column, n_tiles, c);
        place = place == ahead ? 0 : place + 1;
    }
    if (a->inner) {
        put_inner(a, tile.row + row / 2, tile.column + column, n_tiles, c);
    } else {
        put_rows(a, &tile, tile.row + row, tile.column + column, n_tiles, c);
    }
}

KERNEL_SHARING(OF_FORMAT(product_64x64), struct product_args, 128, 4) { multiply(a, 64, 4); }
KERNEL_SHARING(OF_FORMAT(product_128x64), struct product_args, 256, 2) { multiply(a, 128, 4); }
KERNEL(OF_FORMAT(product_128x128), struct product_args, 256) { multiply(a, 128, 8); }
