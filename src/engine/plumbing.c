#include "engine/plumbing.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/sampler.h"
#include "base/clock.h"
#include "base/memory.h"
#include "codec/windows.h"
#include "engine/engine.h"
#include "models/store.h"
#include "text/normalize.h"
#include "text/phonemes.h"
#include "text/sentences.h"

// ---- text ----

status plumb_normalize(const char *language, const char *text, size_t len, struct str *out) {
    struct str document = {0};
    status s = normalize_document(text, len, &document);
    size_t at = 0;
    struct sentence sentence;
    bool first = true;
    while (s == UTTER_OK && sentence_next(str_text(&document), document.len, language, &at, &sentence)) {
        if (!first) str_putc(out, ' ');
        first = false;
        s = normalize_sentence(language, document.data + sentence.begin, sentence.end - sentence.begin, out);
    }
    str_free(&document);
    return s == UTTER_OK ? str_status(out) : s;
}

status plumb_phonemes(const char *language, bool raw, const char *text, size_t len, struct str *out) {
    if (raw) return phonemize(language, text, len, out);
    struct str spoken = {0};
    status s = plumb_normalize(language, text, len, &spoken);
    if (s == UTTER_OK) s = phonemize(language, str_text(&spoken), spoken.len, out);
    str_free(&spoken);
    return s;
}

status plumb_sentences(const char *language, bool raw, const char *text, size_t len, plumb_sentence_fn *fn,
                       void *user) {
    struct str document = {0};
    status s = UTTER_OK;
    if (!raw) s = normalize_document(text, len, &document);
    if (s == UTTER_OK) s = str_status(&document);
    if (!raw) {
        text = str_text(&document);
        len = document.len;
    }
    size_t at = 0;
    struct sentence sentence;
    while (s == UTTER_OK && sentence_next(text, len, language, &at, &sentence))
        s = fn(user, text + sentence.begin, sentence.end - sentence.begin, sentence.paragraph_end);
    str_free(&document);
    return s;
}

size_t plumb_whole_sentences(const char *language, const char *text, size_t len) {
    // The last sentence may go on in what has not been read yet, so it is whole only when another follows.
    size_t at = 0, end = 0, before = 0;
    struct sentence sentence;
    while (sentence_next(text, len, language, &at, &sentence)) {
        before = end;
        end = sentence.end;
    }
    return before;
}

// ---- a backbone alone ----

struct plumb_model {
    struct backbone *backbone;
    struct device *device;
    int n_ctx;
};

// The file that a name stands for; empty for NULL, the built-in one.
static status resolve(const char *name, struct str *path) {
    if (!name) return UTTER_OK;
    struct str codec = {0};
    status s = store_resolve(name, path, &codec);
    str_free(&codec);
    return s;
}

status plumb_model_open(const utter_options *options, struct plumb_model **out) {
    *out = NULL;
    struct plumb_model *m = calloc(1, sizeof *m);
    if (!m) return fail_memory(sizeof *m, "a model");
    const struct log log = {options->log, options->log_user};
    struct str path = {0};
    status s = resolve(options->model, &path);
    if (s == UTTER_OK) s = open_backbone(path.data, &m->backbone);
    str_free(&path);
    if (s == UTTER_OK) s = open_device(options, &log, &m->device);
    if (s == UTTER_OK) {
        m->n_ctx = slot_positions(m->backbone);
        s = m->device->ops->load_backbone(m->device, m->backbone, false, 1, m->n_ctx);
    }
    if (s != UTTER_OK) {
        plumb_model_close(m);
        return s;
    }
    *out = m;
    return UTTER_OK;
}

void plumb_model_close(struct plumb_model *m) {
    if (!m) return;
    if (m->device) m->device->ops->close(m->device);
    backbone_free(m->backbone);
    free(m);
}

int plumb_n_vocab(const struct plumb_model *m) { return m->backbone->config.n_vocab; }

status plumb_tokens(const struct plumb_model *m, const char *text, size_t len, int32_t **ids, size_t *n) {
    struct token_list tokens = {0};
    status s = tokenizer_encode(m->backbone->tokenizer, text, len, true, true, &tokens);
    if (s == UTTER_OK) s = alloc_for(ids, tokens.n, sizeof **ids, "tokens");
    if (s == UTTER_OK) {
        if (tokens.n) memcpy(*ids, tokens.ids, tokens.n * sizeof **ids);
        *n = tokens.n;
    }
    token_list_free(&tokens);
    return s;
}

static status check_tokens(const struct plumb_model *m, const int32_t *tokens, int n) {
    if (n <= 0) return fail(UTTER_INVALID, "there are no tokens; at least one is needed");
    if (n > m->n_ctx) return fail(UTTER_LIMIT, "%d tokens are given; the model has %d positions", n, m->n_ctx);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= m->backbone->config.n_vocab)
            return fail(UTTER_INVALID, "token %d of the list is %d; the vocabulary has 0..%d", i, (int)tokens[i],
                        m->backbone->config.n_vocab - 1);
    return UTTER_OK;
}

status plumb_logits(struct plumb_model *m, const int32_t *tokens, int n, float *logits) {
    TRY(check_tokens(m, tokens, n));
    m->device->ops->reset(m->device, 0);
    return m->device->ops->prefill(m->device, 0, tokens, n, logits, NO_DEADLINE);
}

static struct sampling sampling_for(const struct plumb_model *m, const utter_request *r) {
    struct sampling s = m->backbone->sampling;
    if (r->temperature >= 0) s.temperature = r->temperature;
    if (r->top_k >= 0) s.top_k = r->top_k;
    if (r->top_p >= 0) s.top_p = r->top_p;
    if (r->min_p >= 0) s.min_p = r->min_p;
    return s;
}

status plumb_generate(struct plumb_model *m, const int32_t *tokens, int n, const utter_request *sampling,
                      bool through_end, int32_t *generated, int n_max, int *n_generated) {
    *n_generated = 0;
    TRY(check_tokens(m, tokens, n));
    const struct sampling settings = sampling_for(m, sampling);
    struct sampler *sampler;
    TRY(sampler_new(&settings, sampling->seed, m->backbone->config.n_vocab, &sampler));
    m->device->ops->reset(m->device, 0);
    status s = m->device->ops->prefill(m->device, 0, tokens, n, NULL, NO_DEADLINE);
    // One token a call: which token ends is known by the tokenizer, and there may be several that do.
    while (s == UTTER_OK && *n_generated < n_max) {
        int32_t *token = generated + *n_generated;
        struct generation g = {.slot = 0, .sampler = sampler, .indices = token, .end_index = -1};
        s = m->device->ops->generate(m->device, &g, 1, 1, NO_DEADLINE);
        if (s != UTTER_OK || g.n == 0) break;  // the context is full
        ++*n_generated;
        bool end = tokenizer_is_eog(m->backbone->tokenizer, *token) || *token == m->backbone->end_token;
        if (end && !through_end) break;
    }
    sampler_free(sampler);
    return s;
}

// ---- a codec alone ----

static status decode_streaming(struct device *d, const struct codec *codec, const int32_t *codes, int n,
                               int n_reference, float *pcm, int64_t *n_samples) {
    struct windows *w;
    TRY(windows_new(window_shape_neutts(), codec->config.hop, codes, n_reference, &w));
    status s = windows_push(w, codes + n_reference, n - n_reference, true);
    *n_samples = 0;
    while (s == UTTER_OK) {
        const int32_t *window;
        int n_window, n_ready = 0;
        const float *ready = NULL;
        windows_next(w, &window, &n_window);
        if (n_window == 0) break;
        float *decoded;
        s = alloc_for(&decoded, (size_t)n_window * (size_t)codec->config.hop, sizeof *decoded, "a window");
        if (s == UTTER_OK) s = d->ops->synthesize(d, &(struct synthesis){window, n_window, decoded}, 1, NO_DEADLINE);
        if (s == UTTER_OK) s = windows_decoded(w, decoded, &ready, &n_ready);
        if (s == UTTER_OK && n_ready > 0) memcpy(pcm + *n_samples, ready, (size_t)n_ready * sizeof *pcm);
        *n_samples += n_ready;
        free_aligned(decoded);
    }
    windows_free(w);
    return s;
}

status plumb_codec_decode(const utter_options *options, const int32_t *codes, int n, bool streaming, int n_reference,
                          float **pcm, int64_t *n_samples, int *sample_rate) {
    *pcm = NULL;
    *n_samples = 0;
    if (n_reference < 0 || n_reference > n || (n_reference > 0 && !streaming))
        return fail(UTTER_INVALID,
                    "%d of %d codes are said to be the reference; 0 to %d are possible, and only when streaming",
                    n_reference, n, n);
    struct codec *codec = NULL;
    struct device *device = NULL;
    const struct log log = {options->log, options->log_user};
    struct str path = {0};
    status s = resolve(options->codec, &path);
    if (s == UTTER_OK) s = open_codec(path.data, &codec);
    str_free(&path);
    for (int i = 0; s == UTTER_OK && i < n; i++)
        if (codes[i] < 0 || codes[i] >= codec->config.n_codes)
            s = fail(UTTER_INVALID, "code %d of the list is %d; %s has 0..%d", i, (int)codes[i], codec->label,
                     codec->config.n_codes - 1);
    if (s == UTTER_OK) s = open_device(options, &log, &device);
    if (s == UTTER_OK) s = device->ops->load_codec(device, codec);
    if (s == UTTER_OK) s = alloc_for(pcm, (size_t)n * (size_t)codec->config.hop, sizeof **pcm, "samples");
    if (s == UTTER_OK && n > 0) {
        if (streaming)
            s = decode_streaming(device, codec, codes, n, n_reference, *pcm, n_samples);
        else if ((s = device->ops->synthesize(device, &(struct synthesis){codes, n, *pcm}, 1, NO_DEADLINE)) == UTTER_OK)
            *n_samples = (int64_t)n * codec->config.hop;
    }
    if (s == UTTER_OK) {
        *sample_rate = codec->config.sample_rate;
    } else {
        free_aligned(*pcm);
        *pcm = NULL;
    }
    if (device) device->ops->close(device);
    codec_free(codec);
    return s;
}

// ---- what a file is ----

static bool string_is(struct gguf_string s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static json_t *describe_tensors(const struct gguf *g) {
    json_t *types = json_object();
    int64_t bytes = 0, weights = 0;
    for (int64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const char *name = block_info(t->type)->name;
        json_object_set_new(types, name, json_integer(1 + json_integer_value(json_object_get(types, name))));
        bytes += (int64_t)t->n_bytes;
        weights += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return json_pack("{s:I, s:I, s:I, s:o}", "count", (json_int_t)gguf_n_tensors(g), "weights", (json_int_t)weights,
                     "bytes", (json_int_t)bytes, "types", types);
}

static json_t *describe_backbone(const struct backbone *b) {
    const struct backbone_config *c = &b->config;
    json_t *emotions = json_array();
    for (int i = 0; i < b->n_emotions; i++) json_array_append_new(emotions, json_string(b->emotions[i]));
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:{s:f, s:i, s:f, s:f}, s:o, s:o}",
        "kind", "backbone", "name", b->name, "architecture", c->arch, "language", b->language, "layers", c->n_layers,
        "width", c->n_embd, "heads", c->n_heads, "kv_heads", c->n_kv_heads, "head_dim", c->head_dim, "ffn", c->n_ffn,
        "vocabulary", c->n_vocab, "context", c->n_ctx, "speech_codes", b->n_codes, "input",
        b->input_format == INPUT_PHONEMES ? "phonemes" : "bpe", "sampling", "temperature",
        (double)b->sampling.temperature, "top_k", b->sampling.top_k, "top_p", (double)b->sampling.top_p, "min_p",
        (double)b->sampling.min_p, "emotions", emotions, "tensors", describe_tensors(b->file));
}

static json_t *describe_codec(const struct codec *codec) {
    const struct codec_config *c = &codec->config;
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "kind", "codec", "name", codec->name,
                     "sample_rate", c->sample_rate, "hop", c->hop, "fft", c->n_fft, "width", c->n_embd, "blocks",
                     c->n_blocks, "heads", c->n_heads, "codes", c->n_codes, "tensors", describe_tensors(codec->file));
}

static json_t *describe_encoder(const struct gguf *g) {
    struct gguf_string name = {0};
    gguf_get_string(g, "general.name", &name);
    return json_pack("{s:s, s:s%, s:o}", "kind", "encoder", "name", name.data ? name.data : "", name.len, "tensors",
                     describe_tensors(g));
}

// The object for one file, by its architecture. path NULL: the built-in backbone.
static status describe_file(const char *path, json_t **out) {
    struct gguf *g = NULL;
    struct gguf_string arch = {0};
    if (path) TRY(gguf_open(path, &g));
    bool known = g && gguf_get_string(g, "general.architecture", &arch);
    status s = UTTER_OK;
    if (known && string_is(arch, "neucodec-encoder")) {
        *out = describe_encoder(g);
        gguf_close(g);
    } else if (known && string_is(arch, "neucodec")) {
        struct codec *codec;
        s = codec_load(g, &codec);  // takes the file over
        if (s == UTTER_OK) *out = describe_codec(codec);
        if (s == UTTER_OK) codec_free(codec);
    } else {
        struct backbone *backbone;
        s = g ? backbone_load(g, &backbone) : open_backbone(NULL, &backbone);
        if (s == UTTER_OK) *out = describe_backbone(backbone);
        if (s == UTTER_OK) backbone_free(backbone);
    }
    if (s == UTTER_OK && !*out)
        s = fail(UTTER_INTERNAL, "%s cannot be described as JSON", path ? path : "the built-in model");
    return s;
}

static status describe_builtin_codec(json_t **out) {
    struct codec *codec;
    TRY(open_codec(NULL, &codec));
    *out = describe_codec(codec);
    codec_free(codec);
    return *out ? UTTER_OK : fail(UTTER_INTERNAL, "the built-in codec cannot be described as JSON");
}

status plumb_model_info(const char *path, struct str *json) {
    json_t *object = NULL;
    status s = describe_file(path, &object);
    if (s == UTTER_OK && !path) {
        json_t *codec = NULL;
        s = describe_builtin_codec(&codec);
        if (codec) json_object_set_new(object, "codec", codec);
    }
    char *text = s == UTTER_OK ? json_dumps(object, JSON_INDENT(2)) : NULL;
    if (text) str_puts(json, text);
    free(text);
    json_decref(object);
    return s == UTTER_OK ? str_status(json) : s;
}
