#include "cli/bench_listener.h"

void listener_hear(struct listener *l, double now_s, double audio_s) {
    if (l->audio_s == 0) {
        l->first_s = l->until_s = now_s;
        l->spare_s = 1e9;
    } else {
        if (l->until_s - now_s < l->spare_s) l->spare_s = l->until_s - now_s;
        if (now_s > l->until_s) {
            l->n_gaps++;
            l->late_s += now_s - l->until_s;
            l->until_s = now_s;
        }
    }
    l->until_s += audio_s;
    l->audio_s += audio_s;
}
