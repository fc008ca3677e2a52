#include "plot.h"

#include <math.h>

enum { WIDTH = 640, HEIGHT = 320, LEFT = 70, RIGHT = 20, TOP = 40, BOTTOM = 50, TICKS = 5 };

static const char *const colours[PLOT_CURVES] = {"#1b6ac9", "#d9480f", "#2b8a3e", "#862e9c"};

void curve_add(struct curve *c, double x, double y) {
    if (c->n == PLOT_POINTS) return;
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

struct line curve_line(const struct curve *c) {
    return line_fit(c->x, c->y, c->n);
}

// The next number of the form 1, 2 or 5 times a power of ten.
static double round_step(double x) {
    double power = pow(10, floor(log10(x)));
    double m = x / power;
    return power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
}

struct scale {
    double most, step;
    int from, to;  // pixels
};

static struct scale scale_of(double most, int from, int to) {
    if (!(most > 0)) most = 1;
    double step = round_step(most / TICKS);
    return (struct scale){ceil(most / step) * step, step, from, to};
}

static double pixel(const struct scale *s, double value) { return s->from + (s->to - s->from) * value / s->most; }

static void write_axes(const struct plot *p, const struct scale *x, const struct scale *y, FILE *to) {
    fprintf(to, "<text x='%d' y='%d' font-weight='bold'>%s</text>\n", LEFT, TOP - 18, p->title);
    for (double v = 0; v <= x->most * 1.0001; v += x->step)
        fprintf(to,
                "<line x1='%.1f' y1='%d' x2='%.1f' y2='%d' stroke='#ddd'/><text x='%.1f' y='%d' "
                "text-anchor='middle'>%g</text>\n",
                pixel(x, v), y->from, pixel(x, v), y->to, pixel(x, v), y->from + 16, v);
    for (double v = 0; v <= y->most * 1.0001; v += y->step)
        fprintf(to,
                "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' stroke='#ddd'/><text x='%d' y='%.1f' "
                "text-anchor='end'>%g</text>\n",
                x->from, pixel(y, v), x->to, pixel(y, v), x->from - 6, pixel(y, v) + 4, v);
    fprintf(to, "<text x='%d' y='%d' text-anchor='middle'>%s</text>\n", (x->from + x->to) / 2, y->from + 36, p->x_name);
    fprintf(to, "<text transform='translate(18 %d) rotate(-90)' text-anchor='middle'>%s</text>\n",
            (y->from + y->to) / 2, p->y_name);
}

static void write_curve(const struct curve *c, int i, const struct scale *x, const struct scale *y, FILE *to) {
    for (int k = 0; k < c->n; k++)
        fprintf(to, "<circle cx='%.1f' cy='%.1f' r='3.5' fill='%s'/>\n", pixel(x, c->x[k]), pixel(y, c->y[k]),
                colours[i]);
    struct line l = curve_line(c);
    double end = c->n ? c->x[c->n - 1] : 0;
    fprintf(to, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s'/>\n", pixel(x, 0), pixel(y, l.at_zero),
            pixel(x, end), pixel(y, l.at_zero + l.slope * end), colours[i]);
    fprintf(to, "<text x='%d' y='%d' fill='%s'>%s: %.4g + %.3g x</text>\n", LEFT + 12, TOP + 16 + i * 16, colours[i],
            c->name, l.at_zero, l.slope);
}

void plot_write(const struct plot *plots, int n, FILE *to) {
    fprintf(to,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' font-size='12'>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n",
            WIDTH, HEIGHT * n);
    for (int i = 0; i < n; i++) {
        double x_most = 0, y_most = 0;
        for (int c = 0; c < plots[i].n; c++)
            for (int k = 0; k < plots[i].curves[c].n; k++) {
                x_most = fmax(x_most, plots[i].curves[c].x[k]);
                y_most = fmax(y_most, plots[i].curves[c].y[k]);
            }
        const struct scale x = scale_of(x_most, LEFT, WIDTH - RIGHT), y = scale_of(y_most, HEIGHT - BOTTOM, TOP);
        fprintf(to, "<g transform='translate(0 %d)'>\n", HEIGHT * i);
        write_axes(&plots[i], &x, &y, to);
        for (int c = 0; c < plots[i].n; c++) write_curve(&plots[i].curves[c], c, &x, &y, to);
        fputs("</g>\n", to);
    }
    fputs("</svg>\n", to);
}
