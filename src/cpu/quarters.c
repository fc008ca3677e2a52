#include "cpu/quarters.h"

#include <string.h>

#include "cpu/pack.h"

/* A part, and whether it is subtracted: row and column, of two by two. */
struct term {
    int8_t row, col;
    bool minus;
};

/* One of Strassen's seven products: sum of weights times sum of activations, added to one or two of the results. Sums
   of activations are SEVEN_SUMS in the order of `activations`. */
static const struct step {
    int n_weights, activations, n_results;
    struct term weights[2], results[2];
} steps[7] = {
    {2, 0, 2, {{0, 0, false}, {1, 1, false}}, {{0, 0, false}, {1, 1, false}}},
    {2, 1, 2, {{1, 0, false}, {1, 1, false}}, {{1, 0, false}, {1, 1, true}}},
    {1, 2, 2, {{0, 0, false}}, {{0, 1, false}, {1, 1, false}}},
    {1, 3, 2, {{1, 1, false}}, {{0, 0, false}, {1, 0, false}}},
    {2, 4, 2, {{0, 0, false}, {0, 1, false}}, {{0, 0, true}, {0, 1, false}}},
    {2, 5, 1, {{1, 0, false}, {0, 0, true}}, {{1, 1, false}}},
    {2, 6, 1, {{0, 1, false}, {1, 1, true}}, {{0, 0, false}}},
};

/* One of the 49 products. */
struct plan {
    int n_weights, n_plus_weights, sum, n_results, n_plus_results;
    int64_t weights[4];  // bytes from those of the first part; the subtracted ones are last
    int results[4];      // row * 4 + column, of four by four; the subtracted ones are last
};

struct job {
    const struct kernels *k;
    const struct packed *w;
    const float *x;
    int64_t x_stride, n;
    const float *bias;
    float *y;
    int64_t y_stride;

    int n_threads;
    int64_t quarter;    // tokens of each quarter: the last one may lack some
    int64_t n_tiles;    // of a quarter
    int64_t chunk;      // of columns
    uint32_t *sums;     // [tiles][49][PART_COLS][n of the tile]
    float *scale;       // [quarter]
    uint32_t *threads;  // [n_threads][THREAD_WORDS]
    struct plan plans[PART_SUMS];
};

/* A thread's room: parts before they are summed, and rows with zeros in place of tokens that do not exist. */
enum {
    PART_WORDS = PARTS * PART_COLS * TILE_PARTS_MOST,
    ROW_FLOATS = TILE_PARTS_MOST * QUARTERS_COLS,
    THREAD_WORDS = PART_WORDS + 4 * ROW_FLOATS,
};

bool quarters_fit(const struct kernels *k, const struct matrix *m) {
    const enum format format = pack_format(k, m->type, m->cols);
    return k->multiply_parts && (format == FORMAT_F32 || format == FORMAT_I16) && m->cols % QUARTERS_COLS == 0 &&
           m->rows % (4 * 2 * k->lanes) == 0;
}

static int64_t tokens_of_quarter(int64_t n) { return (n + 3) / 4; }

size_t quarters_bytes(int64_t n, int n_threads) {
    return ((size_t)tokens_of_quarter(n) * (PART_SUMS * PART_COLS + 1) + (size_t)n_threads * THREAD_WORDS) * 4;
}

static int64_t part_bytes(const struct job *j, int64_t cols) {
    return (int64_t)pack_panel_bytes(j->w->panels.format, j->k->lanes, cols);
}

static int64_t quarter_panels(const struct job *j) { return j->w->rows / 4 / j->k->lanes; }

/* Pairs of panels in a quarter of the rows. */
static int64_t count_pairs(const struct job *j, const struct packed *w) { return w->rows / 8 / j->k->lanes; }

/* A few for each thread, and of two pairs at least, since the last results of a task are waited for. */
static int count_tasks(const struct job *j, const struct packed *w) {
    const int64_t pairs = count_pairs(j, w), most = 4 * (int64_t)j->n_threads;
    const int64_t n = pairs / 2 < j->n_threads ? pairs : pairs / 2;
    return (int)(n < most ? n : most);
}

/* ---- activations ---- */

static int64_t tile_begin(const struct job *j, int64_t tile) { return j->quarter * tile / j->n_tiles; }

static uint32_t *tile_sums(const struct job *j, int64_t tile) {
    return j->sums + tile_begin(j, tile) * PART_SUMS * PART_COLS;
}

/* Rows [t, t + n) of the tokens. */
static struct part_rows rows_at(const struct job *j, int64_t t, int n, float *padded) {
    const float *x = j->x + j->chunk * QUARTERS_COLS;
    if (t + n <= j->n) return (struct part_rows){x + t * j->x_stride, j->x_stride};
    memset(padded, 0, ROW_FLOATS * sizeof *padded);
    for (int64_t i = t; i < j->n; i++)
        memcpy(padded + (i - t) * QUARTERS_COLS, x + i * j->x_stride, QUARTERS_COLS * sizeof *padded);
    return (struct part_rows){padded, QUARTERS_COLS};
}

static void prepare(void *argument, int thread, int n_threads) {
    const struct job *j = argument;
    uint32_t *room = j->threads + (int64_t)thread * THREAD_WORDS;
    int64_t begin, end;
    pool_share(j->n_tiles, 1, thread, n_threads, &begin, &end);
    for (int64_t tile = begin; tile < end; tile++) {
        const int64_t t = tile_begin(j, tile);
        const int n = (int)(tile_begin(j, tile + 1) - t);
        struct part_rows rows[4];
        for (int q = 0; q < 4; q++)
            rows[q] = rows_at(j, q * j->quarter + t, n, (float *)room + PART_WORDS + q * ROW_FLOATS);
        j->k->prepare_parts(j->w->panels.format, rows, n, room, tile_sums(j, tile), j->scale + t);
    }
}

/* ---- products ---- */

/* The product that is step `a` of the two by two and step `b` inside. */
static struct plan plan_of(const struct job *j, const struct step *a, const struct step *b) {
    struct plan p = {.n_weights = a->n_weights * b->n_weights,
                     .sum = 7 * a->activations + b->activations,
                     .n_results = a->n_results * b->n_results};
    for (int i = 0, n_minus = 0; i < p.n_weights; i++) {
        const struct term *s = &a->weights[i / b->n_weights], *t = &b->weights[i % b->n_weights];
        const int at = s->minus != t->minus ? p.n_weights - ++n_minus : p.n_plus_weights++;
        p.weights[at] = (2 * s->row + t->row) * quarter_panels(j) * (int64_t)j->w->panels.panel_bytes +
                        (2 * s->col + t->col) * part_bytes(j, PART_COLS);
    }
    for (int i = 0, n_minus = 0; i < p.n_results; i++) {
        const struct term *s = &a->results[i / b->n_results], *t = &b->results[i % b->n_results];
        const int at = s->minus != t->minus ? p.n_results - ++n_minus : p.n_plus_results++;
        p.results[at] = 4 * (2 * s->row + t->row) + 2 * s->col + t->col;
    }
    return p;
}

/* Where the weights lie that this thread will probably multiply after those of a pair, if all threads are as fast:
   panels of the next chunk of columns, or of the next matrix, where this one has no more. */
struct ahead {
    const uint8_t *from;  // the first of two panels; NULL: nobody knows
    int64_t panel_bytes, quarter_bytes;
    int n_lines;
};

static struct ahead ahead_of(const struct job *j, int64_t pair, int64_t end, int task) {
    const struct packed *w = j->w;
    int64_t chunk = j->chunk, unused;
    if (++pair == end) {
        int n_tasks = count_tasks(j, w);
        task += j->n_threads;
        if (task >= n_tasks) {
            if (++chunk == w->cols / QUARTERS_COLS) {
                w = w->next;
                chunk = 0;
                if (!w || !w->quarters) return (struct ahead){0};
            }
            task -= n_tasks;
            n_tasks = count_tasks(j, w);
            if (task >= n_tasks) return (struct ahead){0};
        }
        pool_share(count_pairs(j, w), 1, task, n_tasks, &pair, &unused);
    }
    const int64_t bytes = (int64_t)pack_panel_bytes(w->panels.format, j->k->lanes, QUARTERS_COLS);
    const int64_t panel_bytes = (int64_t)w->panels.panel_bytes;
    return (struct ahead){w->panels.data + 2 * pair * panel_bytes + chunk * bytes, panel_bytes,
                          2 * count_pairs(j, w) * panel_bytes, (int)(bytes / 64)};
}

/* The share of them that product `at` of 49 fetches: eight panels, one after another. */
static void fetch(const struct ahead *a, int at, struct part_product *p) {
    const int pieces = PART_SUMS / 8, panel = at % 8, piece = at / 8, n = (a->n_lines + pieces - 1) / pieces;
    p->fetch = p->fetch_end = NULL;
    if (!a->from || piece == pieces) return;
    p->fetch = a->from + panel / 2 * a->quarter_bytes + panel % 2 * a->panel_bytes + piece * n * 64;
    p->fetch_end = p->fetch + n * 64;
}

/* Results of a tile on their way to y: a few rows after each product of the next, since each row takes long to come. */
struct pending {
    int64_t row, first;    // of y: of the first part
    int n, part, t;        // tokens; where the next row is
    const float *results;  // [16][n][2 * lanes]
};

/* Where the next row of a part goes; NULL: its token does not exist. */
static float *next_row(const struct job *j, struct pending *p) {
    if (p->t == p->n) p->t = 0, p->part++;
    const int64_t token = p->part % 4 * j->quarter + p->first + p->t++;
    return token < j->n ? j->y + token * j->y_stride + p->part / 4 * (j->w->rows / 4) + p->row : NULL;
}

static void store(const struct job *j, struct pending *p, int n_rows) {
    const int width = 2 * j->k->lanes, n_left = (PARTS - p->part) * p->n - p->t;
    n_rows = n_rows < n_left ? n_rows : n_left;
    for (int i = 0; i < n_rows; i++) {
        float *restrict y = next_row(j, p);
        const float *from = p->results + (p->part * p->n + p->t - 1) * width, *bias = j->bias;
        if (!y) continue;
        if (j->chunk > 0)
            for (int r = 0; r < width; r++) y[r] += from[r];
        else if (bias)
            for (int r = 0; r < width; r++) y[r] = from[r] + bias[p->part / 4 * (j->w->rows / 4) + p->row + r];
        else
            memcpy(y, from, (size_t)width * sizeof *y);
    }
    struct pending ahead = *p;
    for (int i = 0; i < n_rows && ahead.part * ahead.n + ahead.t < PARTS * ahead.n; i++) {
        const float *y = next_row(j, &ahead);
        for (int r = 0; y && r < width; r += 16) __builtin_prefetch(y + r, 1, 2);
    }
}

static void multiply_pair(const struct job *j, int64_t pair, struct ahead next,
                          float (*room)[PARTS * TILE_PARTS_MOST * 2 * TILE_MAX], struct pending *pending) {
    const struct panels *w = &j->w->panels;
    const uint8_t *weights = w->data + (size_t)(2 * pair) * w->panel_bytes + j->chunk * part_bytes(j, QUARTERS_COLS);
    const int words = w->format == FORMAT_F32 ? PART_COLS : PART_COLS / 2, width = 2 * j->k->lanes;
    for (int64_t tile = 0; tile < j->n_tiles; tile++) {
        const struct ahead ahead = tile < j->n_tiles - 1 ? (struct ahead){0} : next;
        const int64_t t = tile_begin(j, tile);
        const int n = (int)(tile_begin(j, tile + 1) - t);
        float *results = pending->results == room[0] ? room[1] : room[0];
        memset(results, 0, (size_t)(PARTS * n * width) * sizeof *results);
        struct part_product p = {.format = w->format, .panel_bytes = w->panel_bytes, .n = n, .scale = j->scale + t};
        for (int r = 0; r < PART_SUMS; r++) {
            const struct plan *plan = &j->plans[r];
            p.n_weights = plan->n_weights;
            p.differ = plan->n_plus_weights < plan->n_weights;
            p.x = tile_sums(j, tile) + plan->sum * words * n;
            p.n_results = plan->n_results;
            p.n_plus = plan->n_plus_results;
            for (int i = 0; i < 4; i++) {
                p.weights[i] = weights + plan->weights[i];
                p.results[i] = results + plan->results[i] * n * width;
            }
            fetch(&ahead, r, &p);
            store(j, pending, PARTS * TILE_PARTS_MOST / PART_SUMS + 1);
            j->k->multiply_parts(&p);
        }
        *pending = (struct pending){.row = pair * width, .first = t, .n = n, .results = results};
    }
}

static void multiply(void *argument, int task, int n_tasks) {
    const struct job *j = argument;
    int64_t begin, end;
    pool_share(count_pairs(j, j->w), 1, task, n_tasks, &begin, &end);
    _Alignas(64) float room[2][PARTS * TILE_PARTS_MOST * 2 * TILE_MAX];
    struct pending pending = {.part = PARTS};
    for (int64_t pair = begin; pair < end; pair++) multiply_pair(j, pair, ahead_of(j, pair, end, task), room, &pending);
    store(j, &pending, PARTS * TILE_PARTS_MOST);
}

void quarters_multiply(const struct kernels *k, struct pool *pool, const struct packed *w, const float *x,
                       int64_t x_stride, int64_t n, const float *bias, float *y, int64_t y_stride, void *room) {
    struct job j = {.k = k, .w = w, .x = x, .x_stride = x_stride, .n = n, .bias = bias, .y = y, .y_stride = y_stride};
    j.n_threads = pool_n_threads(pool);
    j.quarter = tokens_of_quarter(n);
    j.n_tiles = (j.quarter + TILE_PARTS_MOST - 1) / TILE_PARTS_MOST;
    j.threads = room;
    j.sums = j.threads + (int64_t)pool_n_threads(pool) * THREAD_WORDS;
    j.scale = (float *)(j.sums + j.quarter * PART_SUMS * PART_COLS);
    for (int r = 0; r < PART_SUMS; r++) j.plans[r] = plan_of(&j, &steps[r / 7], &steps[r % 7]);
    for (; j.chunk < w->cols / QUARTERS_COLS; j.chunk++) {
        pool_run(pool, prepare, &j);
        pool_run_tasks(pool, multiply, &j, count_tasks(&j, w));
    }
}
