#include "results.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int digits;
} units[] = {{"tokens/s", 1}, {"s of sound a second", 2}, {"ms", 1}, {"MB", 0}};
enum { N_UNITS = sizeof units / sizeof *units };

status results_begin(struct results *r, const struct plot plots[N_PLOTS], const char *name) {
    char path[512];
    json_error_t error;
    *r = (struct results){.rows = json_array()};
    memcpy(r->plots, plots, sizeof r->plots);
    snprintf(path, sizeof path, "%s.json", name ? name : "");
    if (name) r->earlier = json_load_file(path, 0, &error);
    if (!name || r->earlier || json_error_code(&error) == json_error_cannot_open_file) return UTTER_OK;
    return fail(UTTER_FORMAT, "%s, to which these results belong, cannot be read: %s", path, error.text);
}

void results_free(struct results *r) {
    json_decref(r->rows);
    json_decref(r->earlier);
    *r = (struct results){0};
}

/* ---- rows ---- */

static double shown(const struct row *r, double value) {
    switch (r->unit) {
        case TOKENS_A_SECOND:
        case SOUND_A_SECOND:
            return r->amount / value;
        case MILLISECONDS:
            return value * 1000;
        case MEGABYTES:
            break;
    }
    return value / 1e6;
}

static json_t *spread_json(const struct series *s) {
    const struct spread v = series_spread(s);
    return json_pack("{s:f, s:f, s:f, s:i}", "median", v.median, "least", v.least, "most", v.most, "runs", s->n);
}

static json_t *values_json(const struct row *r, const struct series *s) {
    struct series t = {.n = s->n};
    for (int i = 0; i < s->n; i++) t.values[i] = shown(r, s->values[i]);
    return spread_json(&t);
}

static void put_spread(struct str *to, const json_t *v, int digits) {
    double median = 0, least = 0, most = 0;
    json_unpack((json_t *)v, "{s:F, s:F, s:F}", "median", &median, "least", &least, "most", &most);
    str_printf(to, "%.*f (%.*f–%.*f)", digits, median, digits, least, digits, most);
}

static const char *text_of(const json_t *row, const char *key) {
    const char *value = json_string_value(json_object_get(row, key));
    return value ? value : "";
}

/* A line for each peer, or one without. */
static void put_row(struct str *to, const json_t *row) {
    const char *what = text_of(row, "what"), *unit = text_of(row, "unit"), *key;
    const int threads = (int)json_integer_value(json_object_get(row, "threads"));
    int digits = 0, n_peers = 0;
    for (int i = 0; i < N_UNITS; i++)
        if (!strcmp(unit, units[i].name)) digits = units[i].digits;
    json_t *value;
    json_object_foreach((json_t *)row, key, value) n_peers += json_object_get(value, "times") != NULL;
    json_object_foreach((json_t *)row, key, value) {
        const json_t *times = json_object_get(value, "times");
        if (!times && (n_peers > 0 || strcmp(key, "utter"))) continue;
        str_printf(to, "| %s | %d | ", what, threads);
        put_spread(to, json_object_get(row, "utter"), digits);
        str_printf(to, " %s | ", unit);
        if (times) {
            str_printf(to, "%s ", key);
            put_spread(to, json_object_get(value, "value"), digits);
            str_puts(to, " | ");
            put_spread(to, times, 2);
            str_puts(to, " |\n");
        } else {
            str_puts(to, " |  |\n");
        }
    }
}

void results_add(struct results *r, const struct row *row, const char *date, const struct series *series,
                 const char *const *programs, int n) {
    json_t *entry = json_pack("{s:s, s:i, s:s, s:s, s:o}", "what", row->what, "threads", row->threads, "unit",
                              units[row->unit].name, "date", date, "utter", values_json(row, &series[0]));
    for (int i = 1; i < n; i++) {
        struct series ratio = {.n = series[i].n};
        if (ratio.n == 0) continue;
        for (int k = 0; k < ratio.n; k++) ratio.values[k] = series[i].values[k] / series[0].values[k];
        json_object_set_new(
            entry, programs[i],
            json_pack("{s:o, s:o}", "value", values_json(row, &series[i]), "times", spread_json(&ratio)));
    }
    json_array_append_new(r->rows, entry);
    struct str line = {0};
    put_row(&line, entry);
    fputs(str_text(&line), stdout);
    fflush(stdout);
    str_free(&line);
}

/* ---- what was measured before ---- */

static bool is_same(const json_t *a, const json_t *b) {
    return !strcmp(text_of(a, "what"), text_of(b, "what")) &&
           json_equal(json_object_get(a, "threads"), json_object_get(b, "threads"));
}

static bool has_row(const json_t *rows, const json_t *row) {
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (is_same(json_array_get(rows, i), row)) return true;
    return false;
}

static void take_rows(struct results *r) {
    const json_t *rows = json_object_get(r->earlier, "rows");
    const char *date = text_of(json_object_get(r->earlier, "machine"), "date");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        if (has_row(r->rows, row)) continue;
        if (!json_object_get(row, "date")) json_object_set_new(row, "date", json_string(date));
        json_array_append(r->rows, row);
    }
}

static void take_curves(struct results *r) {
    const json_t *lines = json_object_get(r->earlier, "lines");
    bool measured[N_PLOTS];
    for (int i = 0; i < N_PLOTS; i++) measured[i] = r->plots[i].n > 0;
    for (size_t k = 0; k < json_array_size(lines); k++) {
        const json_t *line = json_array_get(lines, k), *points = json_object_get(line, "points");
        for (int i = 0; i < N_PLOTS; i++) {
            struct plot *p = &r->plots[i];
            if (measured[i] || p->n == PLOT_CURVES || strcmp(p->title, text_of(line, "what"))) continue;
            struct curve *c = &p->curves[p->n++];
            *c = (struct curve){.name = text_of(line, "program")};
            for (size_t j = 0; j < json_array_size(points) && c->n < PLOT_POINTS; j++) {
                const json_t *at = json_array_get(points, j);
                curve_add(c, json_number_value(json_array_get(at, 0)), json_number_value(json_array_get(at, 1)));
            }
        }
    }
}

/* Where a row stands in the table. */
static int rank(const json_t *row) {
    static const char *const parts[] = {"Air",     "Nano",     "codec F32", "codec F16", "codec",
                                        "encoder", "sentence", "memory",    "of that",   "load"};
    int i = 0, n = sizeof parts / sizeof *parts;
    while (i < n && strncmp(text_of(row, "what"), parts[i], strlen(parts[i]))) i++;
    return i;
}

/* By part, by threads, and then as they were measured: few enough rows for the plainest of sorts. */
static void sort_rows(json_t *rows) {
    for (size_t i = 1; i < json_array_size(rows); i++)
        for (size_t k = i; k > 0; k--) {
            json_t *a = json_array_get(rows, k - 1), *b = json_array_get(rows, k);
            const json_int_t ta = json_integer_value(json_object_get(a, "threads")),
                             tb = json_integer_value(json_object_get(b, "threads"));
            if (rank(a) < rank(b) || (rank(a) == rank(b) && ta <= tb)) break;
            json_incref(a);
            json_incref(b);
            json_array_set_new(rows, k - 1, b);
            json_array_set_new(rows, k, a);
        }
}

void results_merge(struct results *r, json_t *machine) {
    const json_t *before = json_object_get(r->earlier, "machine");
    if (!strcmp(text_of(before, "processor"), text_of(machine, "processor"))) {
        take_rows(r);
        take_curves(r);
        if (json_object_get(before, "peers")) json_object_set(machine, "peers", json_object_get(before, "peers"));
    }
    sort_rows(r->rows);
}

/* ---- text and files ---- */

void results_put_head(struct str *to) {
    str_puts(to, "| what | threads | utter | peer | times as fast, or as small |\n|---|---|---|---|---|\n");
}

static void put_dates(const struct results *r, struct str *to) {
    const char *last = "";
    size_t n = json_array_size(r->rows), n_of_last = 0;
    for (size_t i = 0; i < n; i++) {
        const char *date = text_of(json_array_get(r->rows, i), "date");
        if (strcmp(date, last) > 0) last = date;
    }
    for (size_t i = 0; i < n; i++) n_of_last += !strcmp(text_of(json_array_get(r->rows, i), "date"), last);
    if (n_of_last == n) return;
    str_puts(to, "\nMeasured earlier:");
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(r->rows, i);
        if (strcmp(text_of(row, "date"), last))
            str_printf(to, " %s, %d (%s);", text_of(row, "what"),
                       (int)json_integer_value(json_object_get(row, "threads")), text_of(row, "date"));
    }
    str_putc(to, '\n');
}

void results_put(const struct results *r, struct str *to) {
    results_put_head(to);
    for (size_t i = 0; i < json_array_size(r->rows); i++) put_row(to, json_array_get(r->rows, i));
    put_dates(r, to);
    for (int i = 0; i < N_PLOTS; i++)
        for (int k = 0; k < r->plots[i].n; k++) {
            const struct line l = curve_line(&r->plots[i].curves[k]);
            str_printf(to, "%s%s, %s: %.4g + %.4g per %s  \n", k ? "" : "\n", r->plots[i].title,
                       r->plots[i].curves[k].name, l.at_zero, l.slope, i ? "letter" : "token");
        }
}

static json_t *lines_json(const struct results *r) {
    json_t *lines = json_array();
    for (int i = 0; i < N_PLOTS; i++)
        for (int k = 0; k < r->plots[i].n; k++) {
            const struct curve *curve = &r->plots[i].curves[k];
            const struct line l = curve_line(curve);
            json_t *points = json_array();
            for (int j = 0; j < curve->n; j++)
                json_array_append_new(points, json_pack("[f, f]", curve->x[j], curve->y[j]));
            json_array_append_new(
                lines, json_pack("{s:s, s:s, s:f, s:f, s:o}", "what", r->plots[i].title, "program", curve->name,
                                 "at_zero", l.at_zero, "slope", l.slope, "points", points));
        }
    return lines;
}

static status save(const char *name, const char *ending, FILE **out) {
    char path[512];
    snprintf(path, sizeof path, "%s.%s", name, ending);
    *out = fopen(path, "w");
    return *out ? UTTER_OK : fail(UTTER_IO, "cannot write %s", path);
}

status results_write(const struct results *r, const char *name, json_t *machine, const struct str *text) {
    FILE *f;
    TRY(save(name, "json", &f));
    json_t *all = json_pack("{s:O, s:O, s:o}", "machine", machine, "rows", r->rows, "lines", lines_json(r));
    json_dumpf(all, f, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    json_decref(all);
    fclose(f);
    TRY(save(name, "svg", &f));
    plot_write(r->plots, N_PLOTS, f);
    fclose(f);
    TRY(save(name, "md", &f));
    fputs(str_text(text), f);
    fclose(f);
    return UTTER_OK;
}
