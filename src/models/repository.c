#include "models/repository.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_LISTED = 6, MAX_WORD = 32 };

struct repository {
    struct model_entry entry;
    struct hub_listing files;
    json_t *card;  // NULL: there is none that can be read
    char name[REGISTRY_MAX_NAME + 1], title[REGISTRY_MAX_NAME + 1], language[32];
    struct str pattern, url;
    bool has_licence;
};

// The types of weights as names of files have them, best first: small and fast, and still close to the model.
static const char *const types[] = {"q4_0", "q4_k_m", "q4_k_s", "q4_k", "q4_1", "q5_0", "q5_k_m", "q5_k_s", "q5_k",
                                    "q5_1", "q6_k",   "q8_0",   "f16",  "fp16", "bf16", "f32",    "fp32"};
enum { N_TYPES = sizeof types / sizeof *types };

// ---- names of files ----

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

static const struct hub_file *find(const struct repository *r, const char *path) {
    for (int i = 0; i < r->files.n; i++)
        if (strcmp(r->files.files[i].path, path) == 0) return &r->files.files[i];
    return NULL;
}

// Parts of a file, as llama.cpp cuts them: NAME-00001-of-00003.gguf
static bool is_part(const char *path) {
    const char *of = strstr(path, "-of-");
    return of && isdigit((unsigned char)of[4]) && of > path && isdigit((unsigned char)of[-1]);
}

static bool is_gguf(const char *path) {
    return ends_with(path, ".gguf") && !strcasestr(path, "mmproj") && !is_part(path);
}

// The type of weights that a file is named after, as an index of `types`; N_TYPES when it names none of them.
static int type_of(const char *path) {
    for (const char *p = path; *p; p++) {
        char word[MAX_WORD];
        if (p > path && isalnum((unsigned char)p[-1])) continue;
        size_t n = strcspn(p, "-./");
        if (n == 0 || n >= sizeof word) continue;
        for (size_t i = 0; i <= n; i++) word[i] = i < n ? (char)tolower((unsigned char)p[i]) : 0;
        for (int i = 0; i < N_TYPES; i++)
            if (strcmp(types[i], word) == 0) return i;
    }
    return N_TYPES;
}

// Q4_K_M is a q4_k.
static bool is_of_type(const char *path, const char *type) {
    int i = type_of(path);
    size_t n = strlen(type);
    return i < N_TYPES && strncmp(types[i], type, n) == 0 && (types[i][n] == 0 || types[i][n] == '_');
}

// "a.gguf, b.gguf and 3 more"; only: NULL, or which files.
static void list_files(const struct repository *r, bool (*only)(const char *path), struct str *out) {
    int n = 0;
    for (int i = 0; i < r->files.n; i++) {
        if (only && !only(r->files.files[i].path)) continue;
        if (n < MAX_LISTED) str_printf(out, "%s%s", n ? ", " : "", r->files.files[i].path);
        n++;
    }
    if (n > MAX_LISTED) str_printf(out, " and %d more", n - MAX_LISTED);
}

// ---- what it holds ----

// Of several GGUF files the best by its name. *out: NULL when there is none (of that type).
static status choose_gguf(const struct repository *r, const char *type, const struct hub_file **out) {
    const struct hub_file *other = NULL;
    *out = NULL;
    for (int i = 0; i < r->files.n; i++) {
        const struct hub_file *f = &r->files.files[i];
        if (!is_gguf(f->path) || (type && !is_of_type(f->path, type))) continue;
        int mine = type_of(f->path), best = *out ? type_of((*out)->path) : N_TYPES + 1;
        if (mine == best) other = f;
        if (mine >= best) continue;
        *out = f;
        other = NULL;
    }
    if (!other) return UTTER_OK;
    return fail(UTTER_FORMAT,
                "%s has more than one GGUF file that could be meant (%s, %s); name the one to take in a models.json of "
                "yours",
                r->entry.repository, (*out)->path, other->path);
}

static const struct hub_file *find_checkpoint(const struct repository *r) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};
    const struct hub_file *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) found = find(r, names[i]);
    return found;
}

static status refuse_type(const struct repository *r, const char *type) {
    struct str list = {0};
    list_files(r, is_gguf, &list);
    status s = fail(UTTER_INVALID, "%s has no GGUF file of type %s, and no checkpoint to make one of; it has %s",
                    r->entry.repository, type, str_text(&list));
    str_free(&list);
    return s;
}

static bool is_gguf_part(const char *path) { return ends_with(path, ".gguf") && is_part(path); }

static status refuse(const struct repository *r) {
    struct str list = {0};
    const struct hub_file *weights = find_checkpoint(r);
    list_files(r, NULL, &list);
    const char *name = r->entry.repository;
    status s;
    if (weights)
        s = fail(UTTER_FORMAT,
                 "%s has %s, and not the config.json and tokenizer.json that belong to it: it cannot be converted; it "
                 "holds %s",
                 name, weights->path, str_text(&list));
    else if (find(r, "adapter_config.json"))
        s = fail(UTTER_FORMAT,
                 "%s holds an adapter (LoRA) and no model; merge it into its base model and publish that; it holds %s",
                 name, str_text(&list));
    else if (list_files(r, is_gguf_part, (str_clear(&list), &list)), list.len > 0)
        s = fail(UTTER_FORMAT, "%s holds a GGUF model in parts (%s); join them with llama-gguf-split --merge", name,
                 str_text(&list));
    else {
        list_files(r, NULL, &list);
        s = fail(UTTER_FORMAT,
                 "%s holds no model that can speak: neither a GGUF file nor a Transformers checkpoint "
                 "(model.safetensors with config.json and tokenizer.json); it holds %s",
                 name, list.len ? str_text(&list) : "no files at all");
    }
    str_free(&list);
    return s;
}

// Its name as a pattern that fits it alone.
static status set_weights(struct repository *r, const struct hub_file *f) {
    for (const char *p = f->path; *p; p++) {
        if (strchr("*?[\\", *p)) str_putc(&r->pattern, '\\');
        str_putc(&r->pattern, *p);
    }
    r->entry.files = (struct model_names){{str_text(&r->pattern)}, 1};
    return str_status(&r->pattern);
}

static status set_checkpoint(struct repository *r, const struct hub_file *weights, const char *type) {
    static const char *const beside[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                         "generation_config.json"};
    struct model_names *with = &r->entry.with;
    if (type && !block_type_by_name(type, &r->entry.type)) return fail(UTTER_INVALID, "there is no type %s", type);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) with->at[with->n++] = beside[i];
    const char *end = strstr(weights->path, "model.safetensors") ? ".safetensors" : ".bin";
    for (int i = 0; ends_with(weights->path, ".index.json") && i < r->files.n; i++) {
        const char *path = r->files.files[i].path;
        if (strchr(path, '/') || !is_part(path) || !ends_with(path, end)) continue;
        if (with->n == REGISTRY_MAX_NAMES)
            return fail(UTTER_LIMIT, "%s keeps its weights in more than %d parts; join them first", r->entry.repository,
                        REGISTRY_MAX_NAMES - (int)(sizeof beside / sizeof *beside));
        with->at[with->n++] = path;
    }
    return set_weights(r, weights);
}

static status find_model(struct repository *r, const char *type) {
    const struct hub_file *gguf, *any, *weights = find_checkpoint(r);
    TRY(choose_gguf(r, type, &gguf));
    if (gguf) return set_weights(r, gguf);
    if (weights && find(r, "config.json") && find(r, "tokenizer.json")) return set_checkpoint(r, weights, type);
    if (type && choose_gguf(r, NULL, &any) == UTTER_OK && any) return refuse_type(r, type);
    return refuse(r);
}

// ---- its card ----

// The text, or the first one of a list.
static const char *first_text(const json_t *v) {
    return json_string_value(json_is_array(v) ? json_array_get(v, 0) : v);
}

// As espeak-ng has it; cards name English and French without their country.
static void set_language(struct repository *r, const char *language) {
    if (strcasecmp(language, "en") == 0) language = "en-us";
    if (strcasecmp(language, "fr") == 0) language = "fr-fr";
    size_t n = strlen(language);
    if (n == 0 || n >= sizeof r->language) return;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)language[i]) && language[i] != '-') return;
    for (size_t i = 0; i <= n; i++) r->language[i] = (char)tolower((unsigned char)language[i]);
    r->entry.language = r->language;
}

// Texts of a card go into sentences and into a manifest.
static bool is_licence(const char *text) {
    if (!text || !*text || strlen(text) > 100) return false;
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return false;
    return true;
}

static void read_card(struct repository *r, const struct registry *registry) {
    const json_t *said = json_object_get(r->card, "cardData");
    const char *base_name = first_text(json_object_get(said, "base_model"));
    const struct model_entry *base = base_name ? registry_find(registry, base_name) : NULL;
    if (base && base->kind == MODEL_BACKBONE) {
        r->entry.language = base->language;
        r->entry.codec = base->codec;
        r->entry.voices_url = base->voices_url;
        r->entry.voices = base->voices;
    }
    const char *language = first_text(json_object_get(said, "language"));
    if (language) set_language(r, language);
    const char *licence = first_text(json_object_get(said, "license"));
    const char *named = json_string_value(json_object_get(said, "license_name"));
    if (licence && strcmp(licence, "other") == 0 && named) licence = named;
    r->has_licence = is_licence(licence);
    if (r->has_licence) r->entry.licence = licence;
}

// ---- all of it ----

static status fill(struct repository *r, const struct hub *h, const struct registry *registry, const char *name,
                   const char *type, const struct download_events *events) {
    if (!registry_repository_name(name, r->name))
        return fail(UTTER_INVALID, "%s is no repository; OWNER/NAME is one, as in neuphonic/neutts-air", name);
    snprintf(r->title, sizeof r->title, "%s", name);
    str_printf(&r->url, "%s/%s", h->endpoint, name);
    TRY(str_status(&r->url));
    r->entry = (struct model_entry){.name = r->name,
                                    .about = r->title,
                                    .kind = MODEL_BACKBONE,
                                    .repository = r->title,
                                    .revision = "main",
                                    .type = BLOCK_F16,
                                    .language = "en-us",
                                    .licence = "not named",
                                    .licence_url = str_text(&r->url),
                                    .codec = "neucodec"};
    TRY(hub_list(h, name, r->entry.revision, events, &r->files));
    TRY(find_model(r, type));
    TRY(hub_card(h, name, events, &r->card));
    read_card(r, registry);
    return UTTER_OK;
}

status repository_read(const struct hub *h, const struct registry *registry, const char *name, const char *type,
                       const struct download_events *events, struct repository **out) {
    struct repository *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return fail_memory(sizeof *r, "a repository");
    status s = fill(r, h, registry, name, type, events);
    if (s == UTTER_OK)
        *out = r;
    else
        repository_free(r);
    return s;
}

void repository_free(struct repository *r) {
    if (!r) return;
    hub_listing_free(&r->files);
    json_decref(r->card);
    str_free(&r->pattern);
    str_free(&r->url);
    free(r);
}

const struct model_entry *repository_entry(const struct repository *r) { return &r->entry; }

bool repository_has_licence(const struct repository *r) { return r->has_licence; }
