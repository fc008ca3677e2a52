#include "models/convert_folder.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

enum { MAX_JSON = 256 << 20 };  // bytes; a tokenizer.json has about ten million

status folder_object(const char *folder, const char *name, bool needed, json_t **out) {
    *out = NULL;
    struct str path = {0};
    struct file_map m = {0};
    str_printf(&path, "%s/%s", folder, name);
    status s = str_status(&path);
    if (s == UTTER_OK && !needed && access(path.data, F_OK) != 0) {
        str_free(&path);
        return UTTER_OK;
    }
    if (s == UTTER_OK) s = file_map_open(path.data, &m);
    if (s == UTTER_OK && m.size > MAX_JSON)
        s = fail(UTTER_LIMIT, "%s has %zu bytes; at most %d are read", path.data, m.size, MAX_JSON);
    if (s == UTTER_OK) {
        json_error_t error = {0};
        *out = json_loadb(m.data ? m.data : "", m.size, 0, &error);
        if (!*out) s = fail(UTTER_FORMAT, "%s cannot be read: %s (line %d)", path.data, error.text, error.line);
    }
    if (s == UTTER_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        s = fail(UTTER_FORMAT, "%s is not a JSON object", path.data);
    }
    file_map_close(&m);
    str_free(&path);
    return s;
}

/* ---- config.json ---- */

struct reading {
    const char *folder, *arch;
    const json_t *config;
    json_t *said;
};

// The key with the architecture before it.
static void say(const struct reading *r, const char *rest, json_t *value) {
    char key[80];
    snprintf(key, sizeof key, "%s.%s", r->arch, rest);
    json_object_set_new(r->said, key, value);
}

static status wrong(const struct reading *r, const char *field, const char *wanted) {
    return fail(UTTER_FORMAT, "%s/config.json: %s is not %s", r->folder, field, wanted);
}

static status say_whole(const struct reading *r, const char *field, int64_t otherwise, const char *key) {
    const json_t *v = json_object_get(r->config, field);
    int64_t n = !v || json_is_null(v) ? otherwise : json_is_integer(v) ? json_integer_value(v) : 0;
    if (n < 1 || n > 1 << 24) return wrong(r, field, "a whole number from 1");
    say(r, key, json_integer(n));
    return UTTER_OK;
}

static status say_real(const struct reading *r, const json_t *v, const char *field, double otherwise, const char *key) {
    if (v && !json_is_null(v) && !json_is_number(v)) return wrong(r, field, "a number");
    say(r, key, json_real(json_is_number(v) ? json_number_value(v) : otherwise));
    return UTTER_OK;
}

static status read_arch(struct reading *r) {
    static const char *const known[] = {"qwen2", "llama", "qwen3"};
    const char *type = json_string_value(json_object_get(r->config, "model_type"));
    for (size_t i = 0; type && i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], type) == 0) {
            r->arch = known[i];
            json_object_set_new(r->said, "general.architecture", json_string(type));
            return UTTER_OK;
        }
    return fail(UTTER_UNSUPPORTED, "%s/config.json: model_type is %.40s; wanted qwen2, llama or qwen3", r->folder,
                type ? type : "not there");
}

// What the three architectures may have and utter does not compute.
static status refuse_variants(const struct reading *r) {
    static const char *const off[] = {"quantization_config", "use_sliding_window"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        const json_t *v = json_object_get(r->config, off[i]);
        if (v && !json_is_null(v) && !json_is_false(v))
            return fail(UTTER_UNSUPPORTED, "%s/config.json: %s is set, which utter does not read", r->folder, off[i]);
    }
    const char *act = json_string_value(json_object_get(r->config, "hidden_act"));
    if (act && strcmp(act, "silu") != 0)
        return fail(UTTER_UNSUPPORTED, "%s/config.json: hidden_act is %.40s; wanted silu", r->folder, act);
    return UTTER_OK;
}

// Transformers 4 says rope_theta and rope_scaling, 5 says rope_parameters.
static status read_rope(const struct reading *r) {
    const json_t *parameters = json_object_get(r->config, "rope_parameters"),
                 *scaling = json_object_get(r->config, "rope_scaling"),
                 *theta = json_object_get(parameters, "rope_theta");
    const json_t *from = json_is_object(scaling) ? scaling : parameters;
    const char *type = json_string_value(json_object_get(from, "rope_type"));
    if (!type) type = json_string_value(json_object_get(from, "type"));
    if (type && strcmp(type, "default") != 0)
        return fail(UTTER_UNSUPPORTED,
                    "%s/config.json: the rotary positions are scaled (%.40s), which utter does not do", r->folder,
                    type);
    return say_real(r, theta ? theta : json_object_get(r->config, "rope_theta"), "rope_theta", 10000, "rope.freq_base");
}

static status read_geometry(const struct reading *r) {
    TRY(say_whole(r, "num_hidden_layers", 0, "block_count"));
    TRY(say_whole(r, "max_position_embeddings", 0, "context_length"));
    TRY(say_whole(r, "hidden_size", 0, "embedding_length"));
    TRY(say_whole(r, "intermediate_size", 0, "feed_forward_length"));
    TRY(say_whole(r, "num_attention_heads", 0, "attention.head_count"));
    int64_t n_heads = json_integer_value(json_object_get(r->config, "num_attention_heads"));
    TRY(say_whole(r, "num_key_value_heads", n_heads, "attention.head_count_kv"));
    int64_t width = json_integer_value(json_object_get(r->config, "hidden_size"));
    TRY(say_whole(r, "head_dim", width / n_heads, "attention.key_length"));
    TRY(say_whole(r, "head_dim", width / n_heads, "attention.value_length"));
    TRY(say_whole(r, "head_dim", width / n_heads, "rope.dimension_count"));
    TRY(say_real(r, json_object_get(r->config, "rms_norm_eps"), "rms_norm_eps", 1e-6,
                 "attention.layer_norm_rms_epsilon"));
    return read_rope(r);
}

// The release's own keys: neuphonic.input_format, neuphonic.supported_emotions.
static void say_neuphonic(const struct reading *r) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(r->config, "neuphonic"), key, value) {
        char name[128];
        if (json_is_object(value) || json_is_null(value) || strlen(key) > 64) continue;
        snprintf(name, sizeof name, "neuphonic.%s", key);
        json_object_set(r->said, name, value);
    }
}

static void say_name(const struct reading *r) {
    const char *name = json_string_value(json_object_get(r->config, "_name_or_path"));
    const char *slash = name ? strrchr(name, '/') : NULL;
    if (slash) name = slash + 1;
    if (name && *name) json_object_set_new(r->said, "general.name", json_string(name));
}

status folder_metadata(const struct checkpoint *c, json_t **out) {
    *out = NULL;
    const struct tensor *embedding = checkpoint_find(c, "model.embed_tokens.weight");
    json_t *config;
    TRY(folder_object(checkpoint_folder(c), "config.json", false, &config));
    if (!config) return UTTER_OK;
    struct reading r = {.folder = checkpoint_folder(c), .config = config, .said = json_object()};
    status s = r.said ? read_arch(&r) : fail_memory(sizeof *out, "metadata");
    if (s == UTTER_OK) s = refuse_variants(&r);
    if (s == UTTER_OK) s = read_geometry(&r);
    if (s == UTTER_OK) {
        say_name(&r);
        say_neuphonic(&r);
        s = folder_tokenizer(r.folder, config, embedding->n_dims == 2 ? embedding->dims[0] : 0, r.said);
    }
    // Not GGUF's to say: whether the file's lm_head counts.
    if (s == UTTER_OK && json_is_true(json_object_get(config, "tie_word_embeddings")))
        json_object_set_new(r.said, "tie_word_embeddings", json_true());
    json_decref(config);
    if (s != UTTER_OK) {
        json_decref(r.said);
        return s;
    }
    *out = r.said;
    return UTTER_OK;
}
