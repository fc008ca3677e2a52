#include "cli/bench_series.h"

#include <stdlib.h>
#include <string.h>

void series_add(struct series *s, double value) {
    if (s->n < SERIES_MAX) s->values[s->n++] = value;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread series_spread(const struct series *s) {
    if (s->n == 0) return (struct spread){0};
    struct series t = *s;
    qsort(t.values, (size_t)t.n, sizeof *t.values, ascending);
    double median = t.n % 2 ? t.values[t.n / 2] : (t.values[t.n / 2 - 1] + t.values[t.n / 2]) / 2;
    return (struct spread){median, t.values[0], t.values[t.n - 1]};
}

struct line line_fit(const double *x, const double *y, int n) {
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (int i = 0; i < n; i++) {
        sx += x[i];
        sy += y[i];
        sxx += x[i] * x[i];
        sxy += x[i] * y[i];
    }
    const double d = n * sxx - sx * sx;
    if (n < 2 || d == 0) return (struct line){n ? sy / n : 0, 0};
    const double slope = (n * sxy - sx * sy) / d;
    return (struct line){(sy - slope * sx) / n, slope};
}
