#include "cpu/matmul.h"

#include <string.h>

#include "base/memory.h"
#include "cpu/pack.h"
#include "cpu/quarters.h"

/* Rows and columns that one thread takes at a time: weights stay in the second cache while all tokens pass. */
enum { FLOAT_COLS = 256, FLOAT_PANELS = 8, SMALL_BYTES = 256 << 10 };

/* A task is worth at least this many bytes of weights times tiles of tokens (about 2 microseconds); a few tasks for
   each thread, so that a thread that is late costs little. */
enum { TASK_BYTES = 48 << 10, TASKS_PER_THREAD = 8 };

enum { HUGE_PAGE = 2 << 20 };

/* ---- weights ---- */

static int64_t count_panels(const struct kernels *k, int64_t n_rows) { return (n_rows + k->lanes - 1) / k->lanes; }

static struct packed packed_of(const struct kernels *k, const struct to_pack *p) {
    const struct matrix *m = p->m;
    const enum format format = pack_format(k, m->type, m->cols);
    const int64_t n_rows = p->rows ? p->n_rows : m->rows;
    const size_t panel_bytes = pack_panel_bytes(format, k->lanes, m->cols);
    return (struct packed){.type = m->type,
                           .rows = n_rows,
                           .cols = m->cols,
                           .quarters = p->quarters && quarters_fit(k, m),
                           .panels = {format, n_rows, m->cols, NULL, panel_bytes},
                           .n_bytes = (size_t)count_panels(k, n_rows) * panel_bytes};
}

struct packing {
    const struct kernels *k;
    const struct to_pack *list;
    int n;
    uint8_t *memory;
    int64_t skew;   // bytes of the first huge page before the memory
    float *scales;  // of 16-bit integers for products by quarters, one matrix after another
};

/* How many of a matrix. */
static int64_t n_scales(const struct packed *w) {
    return w->quarters && w->panels.format == FORMAT_I16 ? w->rows / 4 * (w->cols / QUARTERS_COLS) : 0;
}

static void find_scales(void *argument, int task, int n_tasks) {
    const struct packing *p = argument;
    float *scales = p->scales;
    for (int i = 0; i < p->n; scales += n_scales(p->list[i++].out)) {
        const struct packed *w = p->list[i].out;
        if (!n_scales(w)) continue;
        int64_t begin, end;
        pool_share(w->rows / 4, 1, task, n_tasks, &begin, &end);
        for (int64_t r = begin; r < end; r++)
            pack_scales(p->k, p->list[i].m, r, scales + r * (w->cols / QUARTERS_COLS));
    }
}

/* The first panel of w, which begins at byte `start`, that begins at byte `at` or behind it. */
static int64_t first_panel(const struct packed *w, int64_t n_panels, int64_t start, int64_t at) {
    const int64_t bytes = (int64_t)w->panels.panel_bytes, i = at <= start ? 0 : (at - start + bytes - 1) / bytes;
    return i < n_panels ? i : n_panels;
}

/* The panels that begin in huge page `task`: two threads that touch one for the first time at once would both have it
   zeroed by the system. */
static void pack_page(void *argument, int task, int n_tasks) {
    const struct packing *p = argument;
    const int64_t page = (int64_t)task * HUGE_PAGE - p->skew;
    (void)n_tasks;
    int64_t start = 0;
    const float *scales = p->scales;
    for (int i = 0; i < p->n && start < page + HUGE_PAGE; start += (int64_t)p->list[i++].out->n_bytes) {
        const struct packed *w = p->list[i].out;
        const float *own = n_scales(w) ? scales : NULL;
        scales += n_scales(w);
        const int64_t n_panels = count_panels(p->k, w->rows);
        const int64_t end = first_panel(w, n_panels, start, page + HUGE_PAGE);
        for (int64_t k = first_panel(w, n_panels, start, page); k < end; k++)
            pack_panel(p->k, p->list[i].m, p->list[i].rows, w->rows, k, own,
                       p->memory + start + k * (int64_t)w->panels.panel_bytes);
    }
}

status pack_all(const struct kernels *k, struct pool *pool, const struct to_pack *list, int n, const char *what,
                struct pages *memory) {
    size_t n_bytes = 0;
    for (int i = 0; i < n; i++) {
        *list[i].out = packed_of(k, &list[i]);
        n_bytes += list[i].out->n_bytes;
    }
    TRY(pages_new(n_bytes, what, memory));
    pages_stream(memory);
    uint8_t *at = memory->data;
    for (int i = 0; i < n; at += list[i++].out->n_bytes) {
        list[i].out->panels.data = at;
        if (i + 1 < n) list[i].out->next = list[i + 1].out;
    }
    struct packing p = {k, list, n, memory->data, (int64_t)((uintptr_t)memory->data % HUGE_PAGE), NULL};
    int64_t all_scales = 0;
    for (int i = 0; i < n; i++) all_scales += n_scales(list[i].out);
    if (all_scales > 0) {
        TRY(alloc_for(&p.scales, (size_t)all_scales, sizeof *p.scales, what));
        pool_run_tasks(pool, find_scales, &p, pool_n_threads(pool) * 8);
    }
    pool_run_tasks(pool, pack_page, &p, (int)(((size_t)p.skew + n_bytes + HUGE_PAGE - 1) / HUGE_PAGE));
    free_aligned(p.scales);
    return UTTER_OK;
}

/* ---- activations ---- */

struct matmul_scratch {
    uint8_t *memory;
    size_t n_bytes;
};

status matmul_scratch_new(struct matmul_scratch **out) {
    return alloc_for(out, 1, sizeof **out, "the matrix products");
}

void matmul_scratch_free(struct matmul_scratch *s) {
    if (!s) return;
    free_aligned(s->memory);
    free_aligned(s);
}

/* Bytes that one token needs: floats; or words, scales, starts and sums, one after the other for all tokens. Words take
   up to 4 bytes a column, two halves of 16 bits. */
static size_t token_bytes(enum format format, int64_t cols) {
    return (size_t)(format_is_float(format) ? cols * 4 : 4 * cols + cols / 8 + cols / 4 + cols / 8);
}

static status scratch_grow(struct matmul_scratch *s, int64_t n, size_t per_token) {
    uint64_t n_bytes;
    if (size_mul((uint64_t)n, per_token, &n_bytes) && n_bytes <= s->n_bytes) return UTTER_OK;
    free_aligned(s->memory);
    s->memory = NULL;
    s->n_bytes = 0;
    TRY(alloc_for(&s->memory, (size_t)n + TILE_MAX, per_token,
                  "the matrix products"));  // tiles may be read to their end
    s->n_bytes = (size_t)n_bytes;
    return UTTER_OK;
}

/* ---- products ---- */

/* Products of one x with matrices that want it in the same form. */
struct group {
    const struct kernels *k;
    const struct product *products;
    int n_products;
    enum format format;  // of the first; the others' x is the same
    bool coarse;
    int64_t cols;
    const float *x;
    int64_t x_stride, n;
    int64_t n_tiles;
    uint8_t *room;  // scratch; NULL for one token of floats, which is taken as it is
};

/* Tile i has tokens [n * i / n_tiles, n * (i + 1) / n_tiles). */
static int64_t tile_begin(const struct group *g, int64_t i) { return g->n * i / g->n_tiles; }

static struct tile_room tile_room(const struct group *g, int64_t i) {
    const int64_t t = tile_begin(g, i), cols = g->cols, all = g->n * cols;
    if (format_is_float(g->format)) return (struct tile_room){.f = (float *)g->room + t * cols};
    uint8_t *scale = g->room + 4 * all, *start = scale + all / 8, *sum = start + all / 4;
    return (struct tile_room){
        .q = (uint32_t *)g->room + t * cols,
        .scale = (float *)scale + t * cols / BLOCK,
        .start = (int32_t *)start + t * cols / (g->format == FORMAT_Q8H ? BLOCK / 2 : BLOCK),
        .sum = (float *)sum + t * cols / BLOCK,
    };
}

static struct tile tile_at(const struct group *g, int64_t i, int64_t ahead) {
    if (!g->room) return (struct tile){.n = 1, .f = g->x, .ahead = ahead, .n_parts = 1};
    const struct tile_room r = tile_room(g, i);
    const int n = (int)(tile_begin(g, i + 1) - tile_begin(g, i));
    return (struct tile){n, g->coarse, r.f, r.q, r.scale, r.start, r.sum, ahead, (int)i, (int)g->n_tiles};
}

static void prepare_tiles(void *argument, int thread, int n_threads) {
    const struct group *g = argument;
    int64_t begin, end;
    pool_share(g->n_tiles, 1, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const struct tile_room room = tile_room(g, i);
        const int64_t t = tile_begin(g, i);
        g->k->prepare(g->format, g->coarse, g->x + t * g->x_stride, g->x_stride, (int)(tile_begin(g, i + 1) - t),
                      g->cols, &room);
    }
}

/* Panels [begin, end) of one matrix. */
static void multiply_float(const struct group *g, const struct product *p, int64_t begin, int64_t end) {
    const struct panels *w = &p->w->panels;
    for (int64_t at = begin; at < end; at += FLOAT_PANELS) {
        const int64_t to = at + FLOAT_PANELS < end ? at + FLOAT_PANELS : end;
        for (int64_t c = 0; c < g->cols; c += FLOAT_COLS) {
            const int64_t c_end = c + FLOAT_COLS < g->cols ? c + FLOAT_COLS : g->cols;
            for (int64_t pair = at; pair < to; pair += 2)
                for (int64_t i = 0; i < g->n_tiles; i++) {
                    const struct tile tile = tile_at(g, i, 2 * (int64_t)w->panel_bytes);
                    g->k->multiply(w, pair, pair + 2 < to ? pair + 2 : to, c, c_end, &tile, p->bias,
                                   p->y + tile_begin(g, i) * p->y_stride, p->y_stride);
                }
        }
    }
}

static void multiply_small(const struct group *g, const struct product *p, int64_t begin, int64_t end) {
    const struct panels *w = &p->w->panels;
    int64_t n_panels = (int64_t)(SMALL_BYTES / w->panel_bytes);
    n_panels = n_panels < 2 ? 2 : n_panels / 2 * 2;
    for (int64_t at = begin; at < end; at += n_panels)
        for (int64_t i = 0; i < g->n_tiles; i++) {
            const struct tile tile = tile_at(g, i, n_panels * (int64_t)w->panel_bytes);
            g->k->multiply(w, at, at + n_panels < end ? at + n_panels : end, 0, g->cols, &tile, p->bias,
                           p->y + tile_begin(g, i) * p->y_stride, p->y_stride);
        }
}

static int64_t panel_pairs(const struct group *g, int i) {
    return (g->products[i].w->rows + 2 * g->k->lanes - 1) / (2 * g->k->lanes);
}

/* The pairs of panels of all matrices in one row, an even share for each task. */
static void multiply_share(void *argument, int task, int n_tasks) {
    const struct group *g = argument;
    int64_t all = 0, begin, end, first = 0;
    for (int i = 0; i < g->n_products; i++) all += panel_pairs(g, i);
    pool_share(all, 1, task, n_tasks, &begin, &end);
    for (int i = 0; i < g->n_products; i++) {
        const int64_t n = panel_pairs(g, i), n_panels = (g->products[i].w->rows + g->k->lanes - 1) / g->k->lanes;
        const int64_t from = begin > first ? begin - first : 0, to = end < first + n ? end - first : n;
        const int64_t to_panel = 2 * to < n_panels ? 2 * to : n_panels;
        if (from < to) {
            if (format_is_float(g->format))
                multiply_float(g, &g->products[i], 2 * from, to_panel);
            else
                multiply_small(g, &g->products[i], 2 * from, to_panel);
        }
        first += n;
    }
}

static int count_tasks(const struct group *g, int n_threads) {
    const int64_t most = (int64_t)n_threads * TASKS_PER_THREAD;
    double work = 0;
    for (int i = 0; i < g->n_products; i++) work += (double)g->products[i].w->n_bytes * (double)g->n_tiles;
    const double n = work / TASK_BYTES;
    return n_threads == 1 || n < 2 ? 1 : n < (double)most ? (int)n : (int)most;
}

static status run_group(struct group *g, struct pool *pool, struct matmul_scratch *scratch) {
    const bool floats = format_is_float(g->format);
    const int width = floats                    ? g->k->n_tile_float
                      : g->format == FORMAT_I16 ? g->k->n_tile_whole
                      : g->coarse               ? g->k->n_tile_coarse
                                                : g->k->n_tile_small;
    g->n_tiles = (g->n + width - 1) / width;
    if (!(floats && g->n == 1)) {
        TRY(scratch_grow(scratch, g->n, token_bytes(g->format, g->cols)));
        g->room = scratch->memory;
        if (g->n_tiles == 1)
            prepare_tiles(g, 0, 1);
        else
            pool_run(pool, prepare_tiles, g);
    }
    pool_run_tasks(pool, multiply_share, g, count_tasks(g, pool_n_threads(pool)));
    return UTTER_OK;
}

static bool rounds_coarsely(const struct packed *w) { return w->coarse && w->panels.format > FORMAT_I16; }

/* Whether x is prepared alike for both. */
static bool same_preparation(const struct packed *a, const struct packed *b) {
    if (format_is_float(a->panels.format)) return format_is_float(b->panels.format);
    return a->panels.format == b->panels.format && rounds_coarsely(a) == rounds_coarsely(b);
}

status matmul_group(const struct kernels *k, struct pool *pool, struct matmul_scratch *scratch,
                    const struct product *products, int n_products, const float *x, int64_t x_stride, int64_t n) {
    if (n <= 0) return UTTER_OK;
    for (int i = 0, next; i < n_products; i = next) {
        const struct packed *w = products[i].w;
        struct group g = {.k = k,
                          .products = products + i,
                          .format = w->panels.format,
                          .coarse = rounds_coarsely(w),
                          .cols = w->cols,
                          .x = x,
                          .x_stride = x_stride,
                          .n = n};
        for (next = i + 1; next < n_products; next++)
            if (!same_preparation(products[next].w, w)) break;
        g.n_products = next - i;
        TRY(run_group(&g, pool, scratch));
    }
    return UTTER_OK;
}

status matmul(const struct kernels *k, struct pool *pool, struct matmul_scratch *scratch, const struct packed *w,
              const float *x, int64_t x_stride, int64_t n, const float *bias, float *y, int64_t y_stride) {
    if (w->quarters && n >= QUARTERS_LEAST) {
        TRY(scratch_grow(scratch, (int64_t)quarters_bytes(n, pool_n_threads(pool)) / 64 + 1, 64));
        quarters_multiply(k, pool, w, x, x_stride, n, bias, y, y_stride, scratch->memory);
        return UTTER_OK;
    }
    const struct product product = {w, bias, y, y_stride};
    return matmul_group(k, pool, scratch, &product, 1, x, x_stride, n);
}
