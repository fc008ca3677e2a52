#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "models/convert_folder.h"

enum { MAX_VOCAB = 1 << 22 };

// As they stand in GGUF files (llama.cpp).
enum token_type { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4, TOKEN_UNUSED = 5 };

struct reading {
    const char *folder;
    const json_t *file;      // tokenizer.json
    const json_t *settings;  // tokenizer_config.json; NULL without
    const json_t *config, *generation;
    int64_t n_vocab;
    const char **texts;  // [n_vocab], NULL where no token is; they live in `file`
    uint8_t *types;      // [n_vocab]
    json_t *said;
};

static status wrong(const struct reading *r, const char *what) {
    return fail(UTTER_FORMAT, "%s/tokenizer.json: %s", r->folder, what);
}

/* ---- tokens ---- */

static status put_token(struct reading *r, const char *text, const json_t *id, enum token_type type) {
    int64_t i = json_is_integer(id) ? json_integer_value(id) : -1;
    if (i < 0 || i >= r->n_vocab)
        return fail(UTTER_FORMAT,
                    "%s/tokenizer.json: token %.80s has the id %" PRId64 ", and the model has %" PRId64 " tokens",
                    r->folder, text, i, r->n_vocab);
    if (r->texts[i] && strcmp(r->texts[i], text) != 0)
        return fail(UTTER_FORMAT, "%s/tokenizer.json: tokens %.80s and %.80s have the same id, %" PRId64, r->folder,
                    r->texts[i], text, i);
    r->texts[i] = text;
    r->types[i] = (uint8_t)type;
    return UTTER_OK;
}

static status read_tokens(struct reading *r, const json_t *model) {
    const json_t *vocab = json_object_get(model, "vocab"), *added = json_object_get(r->file, "added_tokens");
    const char *text;
    json_t *value;
    size_t i;
    if (!json_is_object(vocab) || json_object_size(vocab) == 0) return wrong(r, "the model has no \"vocab\"");
    json_object_foreach((json_t *)vocab, text, value) TRY(put_token(r, text, value, TOKEN_NORMAL));
    json_array_foreach(added, i, value) {
        text = json_string_value(json_object_get(value, "content"));
        if (!text) return wrong(r, "an added token has no \"content\"");
        bool special = json_is_true(json_object_get(value, "special"));
        TRY(put_token(r, text, json_object_get(value, "id"), special ? TOKEN_CONTROL : TOKEN_USER_DEFINED));
    }
    return UTTER_OK;
}

// Matrices often have more rows than there are tokens; those get names that no text holds.
static status say_tokens(struct reading *r) {
    json_t *texts = json_array(), *types = json_array();
    int failed = texts && types ? 0 : -1;
    for (int64_t i = 0; i < r->n_vocab && failed == 0; i++) {
        failed = r->texts[i] ? json_array_append_new(texts, json_string(r->texts[i]))
                             : json_array_append_new(texts, json_sprintf("[PAD%" PRId64 "]", i));
        failed |= json_array_append_new(types, json_integer(r->texts[i] ? r->types[i] : TOKEN_UNUSED));
    }
    failed |= json_object_set_new(r->said, "tokenizer.ggml.tokens", texts);
    failed |= json_object_set_new(r->said, "tokenizer.ggml.token_type", types);
    return failed ? fail_memory((size_t)r->n_vocab, "a vocabulary") : UTTER_OK;
}

// "a b" or ["a", "b"], as the tokenizers package was older or newer.
static status say_merges(struct reading *r, const json_t *model) {
    const json_t *merges = json_object_get(model, "merges");
    json_t *out = json_array(), *merge;
    size_t i;
    if (!json_is_array(merges)) {
        json_decref(out);
        return wrong(r, "the model has no \"merges\"");
    }
    status s = out ? UTTER_OK : fail_memory(json_array_size(merges), "merges");
    json_array_foreach(merges, i, merge) {
        const char *left = json_string_value(json_array_get(merge, 0)),
                   *right = json_string_value(json_array_get(merge, 1));
        json_t *line = NULL;
        if (json_is_string(merge))
            line = json_incref(merge);
        else if (json_array_size(merge) == 2 && left && right && !strchr(left, ' ') && !strchr(right, ' '))
            line = json_sprintf("%s %s", left, right);
        if (!line || json_array_append_new(out, line) != 0) {
            s = fail(UTTER_FORMAT, "%s/tokenizer.json: merge %zu is neither \"a b\" nor [\"a\", \"b\"]", r->folder, i);
            break;
        }
    }
    json_object_set_new(r->said, "tokenizer.ggml.merges", out);
    return s;
}

/* ---- how text is cut before it is merged ---- */

#define LLAMA3(digits)                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                                   \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static bool is_type(const json_t *step, const char *type) {
    const char *t = json_string_value(json_object_get(step, "type"));
    return t && strcmp(t, type) == 0;
}

static bool is_byte_level(const json_t *step, bool cuts) {
    const json_t *use_regex = json_object_get(step, "use_regex");
    return is_type(step, "ByteLevel") && !json_is_true(json_object_get(step, "add_prefix_space")) &&
           !json_is_false(use_regex) == cuts;
}

static const char *name_of_split(const json_t *step) {
    static const struct {
        const char *name, *regex;
    } known[] = {{"qwen2", LLAMA3("\\p{N}")}, {"llama-bpe", LLAMA3("\\p{N}{1,3}")}};
    const char *regex = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(step, "behavior"));
    if (!is_type(step, "Split") || !regex || !behavior || strcmp(behavior, "Isolated") != 0) return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].regex, regex) == 0) return known[i].name;
    return NULL;
}

// The name that GGUF has for it, NULL when utter knows none.
static const char *pretokenizer_name(const json_t *pre) {
    if (is_byte_level(pre, true)) return "gpt-2";
    const json_t *steps = json_object_get(pre, "pretokenizers");
    const json_t *first = json_array_get(steps, 0), *last = json_array_get(steps, 1);
    if (!is_type(pre, "Sequence") || json_array_size(steps) != 2) return NULL;
    if (is_type(first, "Digits") && json_is_true(json_object_get(first, "individual_digits")) &&
        is_byte_level(last, true))
        return "smollm";
    return is_byte_level(last, false) ? name_of_split(first) : NULL;
}

static status say_pretokenizer(struct reading *r) {
    const json_t *normalizer = json_object_get(r->file, "normalizer");
    if (normalizer && !json_is_null(normalizer) && !is_type(normalizer, "NFC"))
        return fail(UTTER_UNSUPPORTED, "%s/tokenizer.json: its normalizer is of no kind that utter knows (NFC or none)",
                    r->folder);
    const char *name = pretokenizer_name(json_object_get(r->file, "pre_tokenizer"));
    if (!name)
        return fail(UTTER_UNSUPPORTED,
                    "%s/tokenizer.json: its pre_tokenizer is none that utter knows (those of qwen2, smollm, llama-bpe "
                    "and gpt-2)",
                    r->folder);
    json_object_set_new(r->said, "tokenizer.ggml.pre", json_string(name));
    return UTTER_OK;
}

/* ---- special tokens ---- */

// A token's text, or its description.
static const char *text_of(const json_t *token) {
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static int64_t find_text(const struct reading *r, const char *text) {
    for (int64_t i = 0; i < r->n_vocab; i++)
        if (r->texts[i] && strcmp(r->texts[i], text) == 0) return i;
    return -1;
}

// The first id of a number or a list of them; -1 for none.
static int64_t id_of(const struct reading *r, const json_t *v) {
    if (json_is_array(v)) v = json_array_get(v, 0);
    int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;
    return id < r->n_vocab ? id : -1;
}

static void say_special(struct reading *r, const char *name, const char *key) {
    char field[32];
    snprintf(field, sizeof field, "%s_token", name);
    const char *text = text_of(json_object_get(r->settings, field));
    int64_t id = text ? find_text(r, text) : -1;
    snprintf(field, sizeof field, "%s_token_id", name);
    if (id < 0) id = id_of(r, json_object_get(r->config, field));
    if (id < 0) id = id_of(r, json_object_get(r->generation, field));
    if (id >= 0) json_object_set_new(r->said, key, json_integer(id));
}

static const json_t *template_of(const json_t *post) {
    if (is_type(post, "TemplateProcessing")) return json_object_get(post, "single");
    const json_t *step;
    size_t i;
    if (is_type(post, "Sequence")) json_array_foreach(json_object_get(post, "processors"), i, step) {
            if (is_type(step, "TemplateProcessing")) return json_object_get(step, "single");
        }
    return NULL;
}

// Whether a special token leads or ends a prompt: by tokenizer_config.json, else by the template of the post-processor.
static void say_ends(struct reading *r) {
    const json_t *single = template_of(json_object_get(r->file, "post_processor"));
    size_t n = json_array_size(single);
    const char *const fields[] = {"add_bos_token", "add_eos_token"};
    const char *const keys[] = {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"};
    const char *const ids[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *setting = json_object_get(r->settings, fields[i]);
        const json_t *end = json_array_get(single, i == 0 ? 0 : n - 1);
        bool add = json_is_boolean(setting) ? json_is_true(setting) : n && json_object_get(end, "SpecialToken");
        json_object_set_new(r->said, keys[i], json_boolean(add && json_object_get(r->said, ids[i])));
    }
}

static void say_template(struct reading *r) {
    const char *text = json_string_value(json_object_get(r->settings, "chat_template"));
    if (text) json_object_set_new(r->said, "tokenizer.chat_template", json_string(text));
}

/* ---- all of it ---- */

static status read_all(struct reading *r) {
    const json_t *model = json_object_get(r->file, "model");
    if (!is_type(model, "BPE"))
        return fail(UTTER_UNSUPPORTED, "%s/tokenizer.json: its model is not BPE, which utter reads", r->folder);
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return fail(UTTER_UNSUPPORTED, "%s/tokenizer.json: its BPE falls back to bytes; utter reads byte-level BPE",
                    r->folder);
    if (r->n_vocab < 1 || r->n_vocab > MAX_VOCAB)
        return fail(UTTER_FORMAT, "%s: a vocabulary of %" PRId64 " tokens cannot be", r->folder, r->n_vocab);
    r->texts = calloc((size_t)r->n_vocab, sizeof *r->texts);
    r->types = calloc((size_t)r->n_vocab, sizeof *r->types);
    if (!r->texts || !r->types) return fail_memory((size_t)r->n_vocab * sizeof *r->texts, "a vocabulary");
    TRY(read_tokens(r, model));
    json_object_set_new(r->said, "tokenizer.ggml.model", json_string("gpt2"));
    TRY(say_pretokenizer(r));
    TRY(say_tokens(r));
    TRY(say_merges(r, model));
    say_special(r, "bos", "tokenizer.ggml.bos_token_id");
    say_special(r, "eos", "tokenizer.ggml.eos_token_id");
    say_special(r, "pad", "tokenizer.ggml.padding_token_id");
    say_ends(r);
    say_template(r);
    return UTTER_OK;
}

status folder_tokenizer(const char *folder, const json_t *config, int64_t n_vocab, json_t *said) {
    json_t *file = NULL, *settings = NULL, *generation = NULL;
    status s = folder_object(folder, "tokenizer.json", true, &file);
    if (s == UTTER_OK) s = folder_object(folder, "tokenizer_config.json", false, &settings);
    if (s == UTTER_OK) s = folder_object(folder, "generation_config.json", false, &generation);
    struct reading r = {.folder = folder,
                        .file = file,
                        .settings = settings,
                        .config = config,
                        .generation = generation,
                        .n_vocab = n_vocab,
                        .said = said};
    if (s == UTTER_OK) s = read_all(&r);
    free(r.texts);
    free(r.types);
    json_decref(file);
    json_decref(settings);
    json_decref(generation);
    return s;
}
