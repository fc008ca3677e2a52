#include "book/units.h"

#include <stdlib.h>

#include "text/normalize.h"
#include "text/sentences.h"

enum {
    SHORT_BYTES = 25,    // "Yes, sir." alone gives the model too little to go on
    JOINED_BYTES = 200,  // and joined sentences stay below this
    LONGEST_BYTES = 1500,
};

double boundary_pause_s(enum boundary before) {
    static const double seconds[] = {
        [BOUNDARY_SENTENCE] = 0.35, [BOUNDARY_PARAGRAPH] = 0.7, [BOUNDARY_AFTER_HEADING] = 1.0,
        [BOUNDARY_BREAK] = 1.5,     [BOUNDARY_CHAPTER] = 2.0,
    };
    return seconds[before];
}

static status add(struct units *u, struct unit unit) {
    if ((u->n & (u->n - 1)) == 0) {  // capacities are powers of two
        struct unit *grown = realloc(u->all, (size_t)(u->n ? 2 * u->n : 1) * sizeof *grown);
        if (!grown) return fail_memory((size_t)u->n * 2 * sizeof *grown, "a book's sentences");
        u->all = grown;
    }
    u->all[u->n++] = unit;
    return UTTER_OK;
}

// The sentences of one block, `first` being what lies before it.
static status add_block(struct units *u, const struct book *b, const struct book_block *block, int chapter,
                        enum boundary first, const char *language) {
    const char *text = str_text(&b->text) + block->begin;
    size_t len = block->end - block->begin, pos = 0;
    struct unit unit = {.chapter = chapter, .before = first};
    struct sentence sentence;
    while (sentence_next(text, len, language, &pos, &sentence)) {
        if (sentence.end - sentence.begin > LONGEST_BYTES) {
            size_t cut = sentence_cut(text + sentence.begin, sentence.end - sentence.begin, LONGEST_BYTES);
            sentence.end = pos = sentence.begin + cut;
        }
        size_t begin = block->begin + sentence.begin, end = block->begin + sentence.end;
        if (!text_is_speakable(text + sentence.begin, sentence.end - sentence.begin)) continue;
        bool is_short = unit.end - unit.begin < SHORT_BYTES || end - begin < SHORT_BYTES;
        if (unit.end > 0 && is_short && end - unit.begin <= JOINED_BYTES) {
            unit.end = end;
            continue;
        }
        if (unit.end > 0) {
            TRY(add(u, unit));
            unit.before = BOUNDARY_SENTENCE;
        }
        unit.begin = begin;
        unit.end = end;
    }
    return unit.end > 0 ? add(u, unit) : UTTER_OK;
}

status units_of(const struct book *b, const char *language, struct units *out) {
    *out = (struct units){0};
    for (int chapter = 0; chapter < b->n_chapters; chapter++) {
        enum boundary before = BOUNDARY_CHAPTER;
        for (int i = b->chapters[chapter].first_block; i < book_chapter_end(b, chapter); i++) {
            const struct book_block *block = &b->blocks[i];
            if (block->kind == BOOK_BREAK) {
                if (before == BOUNDARY_PARAGRAPH) before = BOUNDARY_BREAK;
                continue;
            }
            if (block->kind == BOOK_HEADING && before == BOUNDARY_PARAGRAPH) before = BOUNDARY_BREAK;
            int n = out->n;
            status s = add_block(out, b, block, chapter, before, language);
            if (s != UTTER_OK) {
                units_free(out);
                return s;
            }
            if (out->n > n) before = block->kind == BOOK_HEADING ? BOUNDARY_AFTER_HEADING : BOUNDARY_PARAGRAPH;
        }
    }
    return UTTER_OK;
}

void units_free(struct units *u) {
    free(u->all);
    *u = (struct units){0};
}
