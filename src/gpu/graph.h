/* Launches of a shape that comes again are recorded and then launched as one: hundreds of launches cost more time than
   their work. Where a driver cannot, they are launched one by one. */
#ifndef UTTER_GPU_GRAPH_H
#define UTTER_GPU_GRAPH_H

#include "gpu/internal.h"

enum { GRAPH_KEY = 3, GRAPHS = 8 };

struct gpu_graphs {
    struct gpu_graph {
        int64_t key[GRAPH_KEY];  // all that the launches depend on
        int n_seen;
        int64_t last_use;
        cuda_graph_exec exec;  // NULL until the key is seen again
    } all[GRAPHS];
    int64_t n_uses;
    bool off;  // the driver does not record
};

/* launch(g), recorded when its key has been seen before. `doing`: for messages. Job. */
status gpu_launch_as_one(struct gpu *g, struct gpu_graphs *graphs, const int64_t key[GRAPH_KEY],
                         status (*launch)(struct gpu *), const char *doing);
/* What was recorded holds addresses that are not valid any more. Job. */
void gpu_drop_graphs(struct gpu *g, struct gpu_graphs *graphs);

#endif
