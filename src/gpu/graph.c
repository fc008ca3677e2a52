#include "gpu/graph.h"

#include <string.h>

static bool can_record(const struct driver *d) {
    return d->capture_begin && d->capture_end && d->graph_destroy && d->graph_instantiate && d->graph_exec_destroy &&
           d->graph_launch;
}

void gpu_drop_graphs(struct gpu *g, struct gpu_graphs *graphs) {
    for (int i = 0; i < GRAPHS; i++) {
        struct gpu_graph *graph = &graphs->all[i];
        if (graph->exec && !worker_lost(g->worker)) g->driver.graph_exec_destroy(graph->exec);
        *graph = (struct gpu_graph){0};
    }
}

/* The key's, or the one that was used least lately, emptied for it. */
static struct gpu_graph *graph_of(struct gpu *g, struct gpu_graphs *graphs, const int64_t key[GRAPH_KEY]) {
    struct gpu_graph *oldest = &graphs->all[0];
    for (int i = 0; i < GRAPHS; i++) {
        struct gpu_graph *graph = &graphs->all[i];
        if (graph->n_seen && memcmp(graph->key, key, sizeof graph->key) == 0) return graph;
        if (graph->last_use < oldest->last_use) oldest = graph;
    }
    if (oldest->exec) g->driver.graph_exec_destroy(oldest->exec);
    *oldest = (struct gpu_graph){0};
    memcpy(oldest->key, key, sizeof oldest->key);
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

status gpu_launch_as_one(struct gpu *g, struct gpu_graphs *graphs, const int64_t key[GRAPH_KEY],
                         status (*launch)(struct gpu *), const char *doing) {
    if (graphs->off || !can_record(&g->driver)) return launch(g);
    struct gpu_graph *graph = graph_of(g, graphs, key);
    graph->last_use = ++graphs->n_uses;
    if (++graph->n_seen > 1 && !graph->exec) {
        TRY(record(g, launch, &graph->exec));
        graphs->off = !graph->exec;
    }
    if (!graph->exec) return launch(g);
    if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's result any more");
    cuda_result r = g->driver.graph_launch(graph->exec, g->stream);
    return r == CUDA_SUCCESS ? UTTER_OK : gpu_failed(g, r, doing);
}
