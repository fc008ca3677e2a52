/* What was measured: repetitions, and lines fitted to points. */
#ifndef UTTER_CLI_BENCH_SERIES_H
#define UTTER_CLI_BENCH_SERIES_H

enum { SERIES_MAX = 32 };

struct series {
    double values[SERIES_MAX];
    int n;
};

struct spread {
    double median, least, most;
};

void series_add(struct series *s, double value);
struct spread series_spread(const struct series *s);

/* y = at_zero + slope * x, by least squares over x[n], y[n]. */
struct line {
    double at_zero, slope;
};
struct line line_fit(const double *x, const double *y, int n);

#endif
