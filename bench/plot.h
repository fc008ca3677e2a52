/* Points and their fitted lines, as SVG. */
#ifndef UTTER_BENCH_PLOT_H
#define UTTER_BENCH_PLOT_H

#include <stdio.h>

#include "cli/bench_series.h"

enum { PLOT_POINTS = 16, PLOT_CURVES = 4 };

struct curve {
    const char *name;
    double x[PLOT_POINTS], y[PLOT_POINTS];
    int n;
};

struct plot {
    const char *title, *x_name, *y_name;
    struct curve curves[PLOT_CURVES];
    int n;
};

void curve_add(struct curve *c, double x, double y);
struct line curve_line(const struct curve *c);

/* Plots[n] below one another. */
void plot_write(const struct plot *plots, int n, FILE *to);

#endif
