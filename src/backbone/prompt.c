#include "backbone/prompt.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

const char prompt_phonemes[] =
    "user: Convert the text to speech:<|TEXT_PROMPT_START|>{ref} {text}<|TEXT_PROMPT_END|>\n"
    "assistant:<|SPEECH_GENERATION_START|>{codes}";
const char prompt_bpe[] =
    "<|TEXT_PROMPT_START|>{ref}{emotion}{text}<|TEXT_PROMPT_END|><|SPEECH_GENERATION_START|>{codes}";

enum field { FIELD_REF, FIELD_TEXT, FIELD_CODES, FIELD_VOICE, FIELD_EMOTION, N_FIELDS, FIELD_NONE };

static const char *const field_names[N_FIELDS] = {"{ref}", "{text}", "{codes}", "{voice}", "{emotion}"};

/* The field that begins at `at`, a place in a template. */
static enum field field_at(const char *at) {
    for (int f = 0; f < N_FIELDS; f++)
        if (strncmp(at, field_names[f], strlen(field_names[f])) == 0) return (enum field)f;
    return FIELD_NONE;
}

static bool has_field(const char *prompt, enum field f) { return strstr(prompt, field_names[f]) != NULL; }

status prompt_check(const char *prompt, const char *label) {
    int n_text = 0;
    for (const char *at = prompt; (at = strpbrk(at, "{}"));) {
        enum field f = field_at(at);
        if (f == FIELD_NONE)
            return fail(
                UTTER_FORMAT,
                "%s: utter.prompt has no known field at \"%.20s\"; known are {ref}, {text}, {codes}, {voice} and "
                "{emotion}",
                label, at);
        n_text += f == FIELD_TEXT;
        at += strlen(field_names[f]);
    }
    if (n_text != 1) return fail(UTTER_FORMAT, "%s: utter.prompt has {text} %d times; it needs one", label, n_text);
    return UTTER_OK;
}

status prompt_check_tokens(const struct backbone *b) {
    for (const char *at = b->prompt; (at = strstr(at, "<|"));) {
        const char *end = strstr(at, "|>");
        if (!end) break;
        char *token = strndup(at, (size_t)(end + 2 - at));
        if (!token) return fail_memory(64, "a token of the prompt");
        status s = tokenizer_find(b->tokenizer, token) >= 0
                       ? UTTER_OK
                       : fail(UTTER_FORMAT,
                              "%s: its prompt has %.64s, which is no token of its vocabulary: it is no NeuTTS model",
                              b->label, token);
        free(token);
        TRY(s);
        at = end + 2;
    }
    return UTTER_OK;
}

/* ---- composing ---- */

/* The prompt, and which of its bytes a user wrote. */
struct composed {
    struct str text;
    struct str user;  // [text.len] 1 where a user's byte stands
};

static void put(struct composed *c, const char *text, size_t len, bool user) {
    str_append(&c->text, text, len);
    for (size_t i = 0; i < len; i++) str_putc(&c->user, user ? 1 : 0);
}

static status put_codes(const struct backbone *b, const struct prompt_parts *p, struct composed *c) {
    for (int i = 0; i < p->n_codes; i++) {
        if (p->codes[i] < 0 || p->codes[i] >= b->n_codes)
            return fail(UTTER_INVALID,
                        "code %d of the voice is %d, and %s knows codes below %d: the voice was made for another codec",
                        i, p->codes[i], b->label, b->n_codes);
        size_t len;
        const char *token = tokenizer_text(b->tokenizer, b->code_token[p->codes[i]], &len);
        put(c, token, len, false);
    }
    return UTTER_OK;
}

static status put_voice(const struct backbone *b, const char *voice, struct composed *c) {
    if (!*voice)
        return fail(UTTER_INVALID, "%s speaks with voices of its own, and this voice is none of them: choose another",
                    b->label);
    if (tokenizer_find(b->tokenizer, voice) < 0)
        return fail(UTTER_INVALID, "%s has no token %.64s: the voice was made for another model", b->label, voice);
    put(c, voice, strlen(voice), false);
    return UTTER_OK;
}

static bool is_neutral(const char *emotion) { return !emotion || !*emotion || strcasecmp(emotion, "neutral") == 0; }

static status unknown_emotion(const struct backbone *b, const char *emotion) {
    struct str known = {0};
    for (int i = 0; i < b->n_emotions; i++) str_printf(&known, "%s%s", i ? ", " : "", b->emotions[i]);
    status s = b->n_emotions > 0 && has_field(b->prompt, FIELD_EMOTION)
                   ? fail(UTTER_INVALID, "%s does not know the emotion \"%.40s\"; it knows %s", b->label, emotion,
                          str_text(&known))
                   : fail(UTTER_INVALID, "%s knows no emotions: leave out \"%.40s\"", b->label, emotion);
    str_free(&known);
    return s;
}

static status put_emotion(const struct backbone *b, const char *emotion, struct composed *c) {
    if (is_neutral(emotion)) {
        put(c, " ", 1, false);
        return UTTER_OK;
    }
    for (int i = 0; i < b->n_emotions; i++) {
        if (strcasecmp(b->emotions[i], emotion) != 0) continue;
        put(c, "<|", 2, false);
        for (const char *at = b->emotions[i]; *at; at++) {
            char upper = (char)(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
            put(c, &upper, 1, false);
        }
        put(c, "|>", 2, false);
        return UTTER_OK;
    }
    return unknown_emotion(b, emotion);
}

static status put_field(const struct backbone *b, const struct prompt_parts *p, enum field f, struct composed *c) {
    switch (f) {
        case FIELD_REF:
            put(c, p->ref, strlen(p->ref), true);
            return UTTER_OK;
        case FIELD_TEXT:
            put(c, p->text, strlen(p->text), true);
            return UTTER_OK;
        case FIELD_CODES:
            return put_codes(b, p, c);
        case FIELD_VOICE:
            return put_voice(b, p->voice, c);
        default:
            return put_emotion(b, p->emotion, c);
    }
}

static status disarm(const struct tokenizer *t, struct composed *c);

static status compose(const struct backbone *b, const struct prompt_parts *p, struct composed *c) {
    if (!is_neutral(p->emotion) && !has_field(b->prompt, FIELD_EMOTION)) return unknown_emotion(b, p->emotion);
    if (*p->voice && !has_field(b->prompt, FIELD_VOICE))
        return fail(UTTER_INVALID, "the prompt of %s has no place for the voice %.64s: choose another", b->label,
                    p->voice);
    for (const char *at = b->prompt; *at;) {
        enum field f = field_at(at);
        if (f == FIELD_NONE) {
            size_t len = 1 + strcspn(at + 1, "{");
            put(c, at, len, false);
            at += len;
        } else {
            TRY(put_field(b, p, f, c));
            at += strlen(field_names[f]);
        }
    }
    TRY(str_status(&c->text));
    TRY(str_status(&c->user));
    return disarm(b->tokenizer, c);
}

/* Special tokens that steer the model: control tokens, and all in angle brackets. (Others are a matter of spelling: a
   phoneme may be a user-defined token.) */
static bool steers(const struct tokenizer *t, int32_t id) {
    size_t len;
    const char *text = tokenizer_text(t, id, &len);
    return tokenizer_type(t, id) != TOKEN_USER_DEFINED || (len > 2 && text[0] == '<' && text[len - 1] == '>');
}

/* Takes away the user's bytes of special tokens that a user wrote, in whole or in part. Sets *again if there were any:
   what is left may have become another. */
static status disarm_once(const struct tokenizer *t, struct composed *c, bool *again) {
    int32_t *at;
    *again = false;
    TRY(tokenizer_find_special(t, str_text(&c->text), c->text.len, true, &at));
    if (!at) return UTTER_OK;
    size_t to = 0, n = c->text.len;
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (at[i] >= 0 && end < n && at[end] == SPECIAL_INSIDE) end++;
        bool strip = at[i] >= 0 && steers(t, at[i]) && memchr(c->user.data + i, 1, end - i);
        for (; i < end; i++) {
            if (strip && c->user.data[i]) {
                *again = true;
                continue;
            }
            c->text.data[to] = c->text.data[i];
            c->user.data[to++] = c->user.data[i];
        }
    }
    free(at);
    if (to < n) {
        c->text.len = c->user.len = to;
        c->text.data[to] = c->user.data[to] = '\0';
    }
    return UTTER_OK;
}

static status disarm(const struct tokenizer *t, struct composed *c) {
    enum { MAX_ROUNDS = 16 };  // each is linear; honest text needs one
    bool again = true;
    for (int i = 0; i < MAX_ROUNDS && again; i++) TRY(disarm_once(t, c, &again));
    if (again) return fail(UTTER_INVALID, "the text is made of the model's own marks (<|...|>) inside one another");
    return UTTER_OK;
}

status prompt_encode(const struct backbone *b, const struct prompt_parts *parts, struct token_list *out) {
    struct composed c = {0};
    status s = compose(b, parts, &c);
    if (s == UTTER_OK) s = tokenizer_encode(b->tokenizer, str_text(&c.text), c.text.len, true, true, out);
    str_free(&c.text);
    str_free(&c.user);
    return s;
}

status prompt_text(const struct backbone *b, const struct prompt_parts *parts, struct str *out) {
    struct composed c = {0};
    status s = compose(b, parts, &c);
    if (s == UTTER_OK) str_append(out, str_text(&c.text), c.text.len);
    str_free(&c.text);
    str_free(&c.user);
    return s == UTTER_OK ? str_status(out) : s;
}

/* ---- text of BPE models ---- */

static bool is_white(utf8proc_int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static void put_character(struct str *out, utf8proc_int32_t c) {
    utf8proc_uint8_t bytes[4];
    str_append(out, (const char *)bytes, (size_t)utf8proc_encode_char(c, bytes));
}

status prompt_prepare_bpe(const char *text, size_t len, struct str *out) {
    struct str valid = {0};
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        i += n > 0 ? (size_t)n : 1;
        if (n < 1) continue;  // no UTF-8: nothing that could be spoken
        put_character(&valid, c == 0x2018 || c == 0x2019 ? '\'' : c == 0x201C || c == 0x201D ? '"' : c);
    }
    TRY(str_status(&valid));

    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)str_text(&valid), (utf8proc_ssize_t)valid.len,
                                      &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    str_free(&valid);
    if (n < 0) {
        free(composed);
        return fail(n == UTF8PROC_ERROR_NOMEM ? UTTER_MEMORY : UTTER_INTERNAL,
                    "a text of %zu bytes was not normalised: %s", len, utf8proc_errmsg(n));
    }
    bool space = false, any = false;
    for (utf8proc_ssize_t i = 0; i < n;) {
        utf8proc_int32_t c;
        i += utf8proc_iterate(composed + i, n - i, &c);
        if (is_white(c)) {
            space = any;
            continue;
        }
        if (space) str_putc(out, ' ');
        put_character(out, c);
        space = false;
        any = true;
    }
    free(composed);
    return str_status(out);
}
