#include "text/phonemes_voices.h"

#include <ctype.h>
#include <espeak-ng/speak_lib.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { MAX_NEAR = 5, MAX_LANGUAGE = 24, FAR = 100 };

static bool add(struct voices *v, const espeak_VOICE *voice, const char *language, int priority) {
    struct voice *all = realloc(v->all, (size_t)(v->n + 1) * sizeof *all);
    if (!all) return false;
    v->all = all;
    struct voice *added = &v->all[v->n];
    added->language = strdup(language);
    added->identifier = strdup(voice->identifier);
    added->name = strdup(voice->name ? voice->name : "");
    added->priority = priority;
    if (added->language && added->identifier && added->name) {
        v->n++;
        return true;
    }
    free(added->language);
    free(added->identifier);
    free(added->name);
    return false;
}

static void voices_free(struct voices *v) {
    for (int i = 0; i < v->n; i++) {
        free(v->all[i].language);
        free(v->all[i].identifier);
        free(v->all[i].name);
    }
    free(v->all);
    *v = (struct voices){0};
}

status voices_list(struct voices *out) {
    const espeak_VOICE **list = espeak_ListVoices(NULL);
    for (; list && *list; list++) {
        const espeak_VOICE *voice = *list;
        // MBROLA voices need a program and data of their own; variants are no languages
        if (!voice->identifier || !strncmp(voice->identifier, "mb/", 3) || !strncmp(voice->identifier, "!v/", 3))
            continue;
        if (!voice->languages) continue;
        bool own = true;
        // a list of a priority byte and a name, closed by a zero priority
        for (const char *l = voice->languages; *l; l += strlen(l) + 1, own = false)
            if (!add(out, voice, l + 1, own ? 0 : (unsigned char)*l)) {
                voices_free(out);
                return fail_memory(sizeof(struct voice), "the list of languages");
            }
    }
    if (!out->n) return fail(UTTER_IO, "espeak-ng has no voices; install the package espeak-ng-data");
    return UTTER_OK;
}

// Letters to insert, remove or change to make b of a, case and '_' for '-' aside.
static int distance(const char *a, const char *b) {
    size_t n = strlen(b);
    int row[MAX_LANGUAGE + 1];
    if (strlen(a) > MAX_LANGUAGE || n > MAX_LANGUAGE) return FAR;
    for (size_t j = 0; j <= n; j++) row[j] = (int)j;
    for (size_t i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = (int)i + 1;
        for (size_t j = 0; j < n; j++) {
            int x = a[i] == '_' ? '-' : tolower((unsigned char)a[i]);
            int change = diagonal + (x != tolower((unsigned char)b[j]));
            int shift = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < shift ? change : shift;
        }
    }
    return row[n];
}

// How far `voice` is from what was asked for; FAR when it cannot have been meant.
static int remoteness(const struct voice *voice, const char *asked) {
    size_t base = strcspn(asked, "-_");
    int d = distance(asked, voice->language);
    if (d <= (base < 3 ? 1 : 2)) return d;
    if (base >= 2 && !strncasecmp(asked, voice->language, base) && !isalnum((unsigned char)voice->language[base]))
        return d < 10 ? d : 10;
    return strlen(asked) >= 3 && !strncasecmp(asked, voice->name, strlen(asked)) ? 10 + (int)strlen(voice->language)
                                                                                 : FAR;
}

static status refuse(const struct voices *v, const char *asked) {
    const struct voice *near[MAX_NEAR];
    int how_far[MAX_NEAR], n = 0;
    for (int i = 0; i < v->n; i++) {
        if (v->all[i].priority) continue;
        int d = remoteness(&v->all[i], asked), at = n;
        if (d == FAR) continue;
        while (at > 0 && how_far[at - 1] > d) at--;  // kept in order, the nearest first
        if (at == MAX_NEAR) continue;
        if (n < MAX_NEAR) n++;
        for (int j = n - 1; j > at; j--) near[j] = near[j - 1], how_far[j] = how_far[j - 1];
        near[at] = &v->all[i];
        how_far[at] = d;
    }
    struct str names = {0};
    for (int i = 0; i < n; i++) str_printf(&names, "%s%s", !i ? "" : i < n - 1 ? ", " : " or ", near[i]->language);
    status s =
        n ? fail(UTTER_INVALID, "espeak-ng knows no language \"%.40s\"; did you mean %s?", asked, str_text(&names))
          : fail(UTTER_INVALID,
                 "espeak-ng knows no language \"%.40s\"; name it as `espeak-ng --voices` does, for "
                 "example en-us, en-gb, de, fr-fr or es",
                 asked);
    str_free(&names);
    return s;
}

status voices_find(const struct voices *v, const char *language, const struct voice **out) {
    const struct voice *found = NULL;
    for (int i = 0; i < v->n; i++)
        if (!strcmp(v->all[i].language, language) && (!found || v->all[i].priority < found->priority))
            found = &v->all[i];
    if (!found) return refuse(v, language);
    // an alias stands for the voice's own language, which is the entry before its others
    while (found->priority) found--;
    *out = found;
    return UTTER_OK;
}
