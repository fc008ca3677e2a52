/* Passes of a shape that comes again, as streaming's windows do, are recorded and then launched as one: a hundred
   launches cost more time than their work. Where a driver cannot, they are launched one by one. */
#include "gpu/codec.h"

static bool can_record(const struct driver *d) {
    return d->capture_begin && d->capture_end && d->graph_destroy && d->graph_instantiate && d->graph_exec_destroy &&
           d->graph_launch;
}

void codec_drop_graphs(struct gpu *g, struct gpu_codec *d) {
    for (int i = 0; i < CODEC_GRAPHS; i++) {
        if (d->graphs[i].exec && !worker_lost(g->worker)) g->driver.graph_exec_destroy(d->graphs[i].exec);
        d->graphs[i] = (struct codec_graph){0};
    }
}

/* The shape's, or the one that was used least lately, emptied for it. */
static struct codec_graph *graph_of(struct gpu *g, struct gpu_codec *d, const struct codec_part *p) {
    struct codec_graph *oldest = &d->graphs[0];
    for (int i = 0; i < CODEC_GRAPHS; i++) {
        struct codec_graph *s = &d->graphs[i];
        if (s->n_rows == p->n_rows && s->n_pieces == p->n_pieces && s->n_tiles == p->n_tiles) return s;
        if (s->last_use < oldest->last_use) oldest = s;
    }
    if (oldest->exec) g->driver.graph_exec_destroy(oldest->exec);
    *oldest = (struct codec_graph){.n_rows = p->n_rows, .n_pieces = p->n_pieces, .n_tiles = p->n_tiles};
    return oldest;
}

/* *exec: NULL when the driver does not record. */
static status record(struct gpu *g, status (*launch)(struct gpu *), cuda_graph_exec *exec) {
    const struct driver *driver = &g->driver;
    *exec = NULL;
    if (driver->capture_begin(g->stream, CUDA_CAPTURE_RELAXED) != CUDA_SUCCESS) return UTTER_OK;
    status s = launch(g);
    cuda_graph graph = NULL;
    cuda_result r = driver->capture_end(g->stream, &graph);
    if (s == UTTER_OK && r == CUDA_SUCCESS && driver->graph_instantiate(exec, graph, 0) != CUDA_SUCCESS) *exec = NULL;
    if (graph) driver->graph_destroy(graph);
    return s;
}

status codec_launch_as_one(struct gpu *g, status (*launch)(struct gpu *)) {
    struct gpu_codec *d = g->codec;
    const struct codec_part *p = d->launching;
    if (d->no_graphs || p->n_rows > CODEC_GRAPH_ROWS || !can_record(&g->driver)) return launch(g);
    struct codec_graph *s = graph_of(g, d, p);
    s->last_use = ++d->n_graph_uses;
    if (!s->exec && ++s->n_seen > 1) {
        TRY(record(g, launch, &s->exec));
        d->no_graphs = !s->exec;
    }
    if (!s->exec) return launch(g);
    if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more");
    cuda_result r = g->driver.graph_launch(s->exec, g->stream);
    return r == CUDA_SUCCESS ? UTTER_OK : gpu_failed(g, r, "launching the codec's kernels");
}
