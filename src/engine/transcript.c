#include "engine/transcript.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LANGUAGES = 4, WORD_BYTES = 16 };

/* Words that a sentence of the language is hardly without. */
static const struct {
    const char *code, *name, *words;
} languages[LANGUAGES] = {
    {"en", "English", " the and of to is that was with for you it this are have not my from they but what "},
    {"de", "German", " der die das und ist nicht ein eine ich sie mit den dem von zu auf wir aber auch wie "},
    {"fr", "French", " le la les et est un une des je vous que dans pas pour qui nous il elle du avec "},
    {"es", "Spanish", " el la los las y es un una que de no por con para pero como del se lo muy "},
};

static bool is_letter(unsigned char c) { return isalpha(c) || c >= 0x80; }

const char *transcript_language(const char *text) {
    int hits[LANGUAGES] = {0}, best = 0;
    for (const char *p = text; *p;) {
        char word[WORD_BYTES + 2] = " ";
        size_t len = 0;
        while (*p && !is_letter((unsigned char)*p)) p++;
        for (; is_letter((unsigned char)*p); p++)
            if (len++ < WORD_BYTES - 1) word[len] = (char)tolower((unsigned char)*p);
        if (len == 0 || len > WORD_BYTES - 1) continue;
        strcat(word, " ");
        for (int i = 0; i < LANGUAGES; i++) hits[i] += strstr(languages[i].words, word) != NULL;
    }
    for (int i = 1; i < LANGUAGES; i++)
        if (hits[i] > hits[best]) best = i;
    for (int i = 0; i < LANGUAGES; i++)
        if (i != best && 2 * hits[i] > hits[best]) return NULL;
    return hits[best] >= 2 ? languages[best].code : NULL;
}

void transcript_judge(const char *text, const char *language, clip_warn_fn *warn, void *user) {
    const char *found = transcript_language(text), *said = language ? language : "en";
    char sentence[300];
    if (!found || strncmp(found, said, 2) == 0) return;
    for (int i = 0; i < LANGUAGES; i++) {
        if (languages[i].code != found) continue;
        if (language)
            snprintf(sentence, sizeof sentence,
                     "the transcript looks %s, and the voice's language is to be %.20s: its words would be read as if "
                     "they were that; --lang %s may be meant",
                     languages[i].name, language, found);
        else
            snprintf(sentence, sizeof sentence,
                     "the transcript looks %s: say --lang %s, and speak with a model of that language; another one "
                     "reads it as its own",
                     languages[i].name, found);
        warn(user, sentence);
    }
}
