#include "backbone/speech.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backbone/prompt.h"
#include "base/memory.h"

enum { MAX_EMOTION = 31, MAX_EMOTIONS = 64, MAX_LANGUAGE = 31, MAX_PROMPT = 4096 };

static const char *const neutts_emotions[] = {"angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"};

static status load_codes(struct backbone *b);
static status load_input_format(struct backbone *b);
static status load_prompt(struct backbone *b);
static status load_language(struct backbone *b);
static status load_sampling(struct backbone *b);
static status load_emotions(struct backbone *b);

status speech_load(struct backbone *b) {
    TRY(load_codes(b));
    TRY(load_input_format(b));
    TRY(load_prompt(b));
    TRY(load_language(b));
    TRY(load_sampling(b));
    return load_emotions(b);
}

void speech_free(struct backbone *b) {
    free_aligned(b->code_token);
    free(b->prompt);
    free(b->language);
    for (int i = 0; i < b->n_emotions; i++) free(b->emotions[i]);
    free(b->emotions);
}

bool metadata_has(const struct gguf *g, const char *key) {
    gguf_value_type type;
    for (int64_t i = 0; i < gguf_n_keys(g); i++)
        if (strcmp(gguf_key_at(g, i, &type), key) == 0) return true;
    return false;
}

static status load_codes(struct backbone *b) {
    int32_t n_vocab = tokenizer_n_vocab(b->tokenizer);
    TRY(alloc_for(&b->code_token, (size_t)n_vocab, sizeof *b->code_token, "the table of speech tokens"));
    while (b->n_codes < n_vocab) {
        char text[32];
        snprintf(text, sizeof text, "<|speech_%d|>", b->n_codes);
        int32_t id = tokenizer_find(b->tokenizer, text);
        if (id < 0) break;
        b->code_token[b->n_codes++] = id;
    }
    b->end_token = tokenizer_find(b->tokenizer, "<|SPEECH_GENERATION_END|>");
    return UTTER_OK;
}

static bool equals(const struct gguf_string *s, const char *text) {
    return s->len == strlen(text) && strncasecmp(s->data, text, s->len) == 0;
}

static bool contains(const struct gguf_string *s, const char *text) {
    return memmem(s->data, s->len, text, strlen(text)) != NULL;
}

static status load_input_format(struct backbone *b) {
    struct gguf_string s;
    b->input_format = INPUT_PHONEMES;
    if (gguf_get_string(b->file, "neuphonic.input_format", &s)) {
        if (equals(&s, "BPE")) {
            b->input_format = INPUT_BPE;
        } else if (!equals(&s, "phonemes")) {
            return fail(UTTER_UNSUPPORTED, "%s: neuphonic.input_format is \"%.*s\"; known are phonemes and BPE",
                        b->label, s.len > 64 ? 64 : (int)s.len, s.data);
        }
    } else if (gguf_get_string(b->file, "tokenizer.chat_template", &s)) {
        if (contains(&s, "<|TEXT_PROMPT_START|>") && !contains(&s, "Convert the text to speech"))
            b->input_format = INPUT_BPE;
    }
    return UTTER_OK;
}

/* *out: the text under `key`, or `otherwise`, in new memory. Refuses more than `max` bytes and NUL bytes. */
static status copy_text(const struct backbone *b, const char *key, const char *otherwise, size_t max, char **out) {
    struct gguf_string s;
    if (!gguf_get_string(b->file, key, &s)) s = (struct gguf_string){otherwise, strlen(otherwise)};
    if (s.len > max)
        return fail(UTTER_FORMAT, "%s: %s has %zu bytes; at most %zu can be used", b->label, key, s.len, max);
    if (memchr(s.data, '\0', s.len)) return fail(UTTER_FORMAT, "%s: %s has a NUL byte in it", b->label, key);
    *out = strndup(s.data, s.len);
    return *out ? UTTER_OK : fail_memory(s.len, key);
}

static status load_prompt(struct backbone *b) {
    const char *otherwise = b->input_format == INPUT_BPE ? prompt_bpe : prompt_phonemes;
    TRY(copy_text(b, "utter.prompt", otherwise, MAX_PROMPT, &b->prompt));
    return prompt_check(b->prompt, b->label);
}

static status load_language(struct backbone *b) {
    TRY(copy_text(b, "utter.language", "en-us", MAX_LANGUAGE, &b->language));
    for (const char *c = b->language; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
            return fail(UTTER_FORMAT, "%s: utter.language is \"%s\", which names no language; \"en-us\" would",
                        b->label, b->language);
    if (!*b->language)
        return fail(UTTER_FORMAT, "%s: utter.language is empty; \"en-us\" would name a language", b->label);
    return UTTER_OK;
}

static status load_sampling(struct backbone *b) {
    b->sampling = sampling_neutts();
    const struct {
        const char *key;
        float *value;
        double low, high;
    } floats[] = {
        {"utter.sampling.temperature", &b->sampling.temperature, 0, 100},
        {"utter.sampling.top_p", &b->sampling.top_p, 0, 1},
        {"utter.sampling.min_p", &b->sampling.min_p, 0, 1},
    };
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        double value;
        if (!metadata_has(b->file, floats[i].key)) continue;
        TRY(gguf_need_f64(b->file, floats[i].key, floats[i].low, floats[i].high, &value));
        *floats[i].value = (float)value;
    }
    int64_t top_k;
    if (metadata_has(b->file, "utter.sampling.top_k")) {
        TRY(gguf_need_i64(b->file, "utter.sampling.top_k", 0, 1 << 30, &top_k));
        b->sampling.top_k = (int)top_k;
    }
    return UTTER_OK;
}

/* Keeps the emotion name[len] if the vocabulary has its token. */
static status add_emotion(struct backbone *b, const char *name, size_t len) {
    char token[MAX_EMOTION + 5];
    if (len == 0 || len > MAX_EMOTION || b->n_emotions == MAX_EMOTIONS) return UTTER_OK;
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-') return UTTER_OK;
        token[2 + i] = (char)toupper((unsigned char)name[i]);
    }
    memcpy(token, "<|", 2);
    memcpy(token + 2 + len, "|>", 3);
    if (tokenizer_find(b->tokenizer, token) < 0) return UTTER_OK;
    char *copy = strndup(name, len);
    if (!copy) return fail_memory(len, "the emotions of the model");
    b->emotions[b->n_emotions++] = copy;
    return UTTER_OK;
}

static status load_emotions(struct backbone *b) {
    b->emotions = calloc(MAX_EMOTIONS, sizeof *b->emotions);
    if (!b->emotions) return fail_memory(MAX_EMOTIONS * sizeof *b->emotions, "the emotions of the model");
    struct gguf_array a;
    if (gguf_get_array(b->file, "neuphonic.supported_emotions", &a)) {
        if (a.type != GGUF_STRING && a.n > 0)
            return fail(UTTER_FORMAT, "%s: neuphonic.supported_emotions is no list of texts", b->label);
        for (size_t i = 0; i < a.n; i++) TRY(add_emotion(b, a.strings[i].data, a.strings[i].len));
        return UTTER_OK;
    }
    for (size_t i = 0; i < sizeof neutts_emotions / sizeof *neutts_emotions; i++)
        TRY(add_emotion(b, neutts_emotions[i], strlen(neutts_emotions[i])));
    return UTTER_OK;
}
