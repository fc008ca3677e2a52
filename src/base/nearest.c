#include "base/nearest.h"

#include <string.h>

enum { MAX_NAME = 32 };

// Insertions, deletions, changes and swaps of neighbours that make b of a; both at most MAX_NAME bytes.
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    size_t d[MAX_NAME + 1][MAX_NAME + 1];
    for (size_t i = 0; i <= n; i++) d[i][0] = i;
    for (size_t j = 0; j <= m; j++) d[0][j] = j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *nearest_name(const char *word, const char *const *names, size_t n) {
    size_t len = strlen(word);
    if (len == 0 || len > MAX_NAME) return NULL;
    for (size_t i = 0; i < n; i++)
        if (len >= 2 && strncmp(word, names[i], len) == 0) return names[i];
    const char *best = NULL;
    size_t best_distance = len <= 3 ? 2 : 3;  // fewer changes than this
    for (size_t i = 0; i < n; i++) {
        if (strlen(names[i]) > MAX_NAME) continue;
        size_t d = distance(word, names[i]);
        if (d >= best_distance) continue;
        best = names[i];
        best_distance = d;
    }
    return best;
}
