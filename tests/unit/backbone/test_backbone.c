/* Loading language models: all the tiny ones, what may be left out of a file, and what is refused, with the sentence.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/backbone.h"
#include "backbone/prompt.h"
#include "base/memory.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"
#include "gguf/write.h"

/* ---- the tiny models ---- */

static void test_all_tiny_models(void **state) {
    (void)state;
    for (const char *const *name = fixture_tiny_names; *name; name++) {
        if (strncmp(*name, "vocab", 5) == 0) continue;
        char path[FIXTURE_PATH];
        struct gguf *g;
        struct backbone *b;
        assert_ok(fixture_path("tiny.gguf", path));
        assert_ok(fixture_tiny(*name, path));
        assert_ok(gguf_open(path, &g));
        assert_ok(backbone_load(g, &b));
        const struct backbone_config *c = &b->config;
        bool qwen2 = strncmp(*name, "qwen2", 5) == 0, llama = strncmp(*name, "llama", 5) == 0;
        assert_string_equal(c->arch, qwen2 ? "qwen2" : llama ? "llama" : "qwen3");
        assert_int_equal(c->n_layers, 2);
        assert_int_equal(c->n_embd, 256);
        assert_int_equal(c->n_heads, qwen2 || llama ? 4 : 3);
        assert_int_equal(c->n_kv_heads, qwen2 ? 2 : 1);
        assert_int_equal(c->head_dim, qwen2 || llama ? 64 : 128);
        assert_int_equal(c->n_ffn, 512);
        assert_int_equal(c->n_vocab, qwen2 ? 1200 : llama ? 1184 : 1216);
        assert_int_equal(c->n_ctx, 2048);
        assert_true(c->rope_base == (llama ? 1e5f : 1e6f));
        assert_int_equal(c->rope_interleaved, llama);
        assert_true(c->norm_eps == (llama ? 1e-5f : 1e-6f));
        const struct backbone_layer *l = &b->weights.layers[1];
        assert_int_equal(l->q_bias != NULL, qwen2);
        assert_int_equal(l->k_norm != NULL, !qwen2 && !llama);
        assert_int_equal(b->weights.output.data == b->weights.token_embd.data, llama);
        assert_int_equal(b->n_codes, 512);
        assert_ok(backbone_check_speech(b));
        assert_true(b->sampling.top_k == 50 && b->sampling.temperature == 1);
        backbone_free(b);
    }
}

/* ---- made models ---- */

/* One way in which a made model differs from the plain one. */
struct change {
    enum { NONE, DROP, U32, F32, BOOL, TEXT, TEXTS, NUMBERS } kind;
    const char *key;
    double number;
    const char *text;
    const char *const *texts;  // [n]
    const int32_t *numbers;    // [n]
    size_t n;
};

struct made {
    struct change change;
    const char *arch;          // NULL: llama
    const char *drop_tensor;   // left out
    const char *extra_tensor;  // added, [4]
    const char *grown_tensor;  // one row (element) more than it should have
    bool bias;
    float first;  // of every tensor
};

static const char *const plain_tokens[] = {"a",
                                           "b",
                                           "ab",
                                           "<|SPEECH_GENERATION_END|>",
                                           "<|speech_0|>",
                                           "<|speech_1|>",
                                           "<|TEXT_PROMPT_START|>",
                                           "<|TEXT_PROMPT_END|>",
                                           "<|SPEECH_GENERATION_START|>",
                                           "<|HAPPY|>",
                                           "<|SAD|>",
                                           "<|VOICE_x|>"};
static const int32_t plain_types[] = {1, 1, 1, 4, 4, 4, 4, 4, 4, 3, 3, 3};
enum { VOCAB = sizeof plain_tokens / sizeof *plain_tokens, WIDTH = 8, HEADS = 2, FFN = 12 };

static void put_change(struct gguf_writer *w, const struct change *c) {
    if (c->kind == U32) gguf_put_u32(w, c->key, (uint32_t)c->number);
    if (c->kind == F32) gguf_put_f32(w, c->key, (float)c->number);
    if (c->kind == BOOL) gguf_put_bool(w, c->key, c->number != 0);
    if (c->kind == TEXT) gguf_put_string(w, c->key, c->text);
    if (c->kind == TEXTS) gguf_put_string_array(w, c->key, c->texts, c->n);
    if (c->kind == NUMBERS) gguf_put_i32_array(w, c->key, c->numbers, c->n);
}

static bool changed(const struct made *m, const char *key) {
    return m->change.kind != NONE && strcmp(m->change.key, key) == 0;
}

static void put_u32(struct gguf_writer *w, const struct made *m, const char *what, uint32_t value) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", m->arch ? m->arch : "llama", what);
    if (!changed(m, key)) gguf_put_u32(w, key, value);
}

enum { MAX_TENSORS = 40 };

struct tensors {
    size_t n;
    size_t floats[MAX_TENSORS];
};

static void put_tensor(struct gguf_writer *w, const struct made *m, struct tensors *t, const char *name, int64_t rows,
                       int64_t cols) {
    if (m->drop_tensor && strcmp(m->drop_tensor, name) == 0) return;
    bool vector = rows == 0, grown = m->grown_tensor && strcmp(m->grown_tensor, name) == 0;
    const int64_t dims[2] = {cols + (vector && grown), rows + (!vector && grown)};
    gguf_put_tensor(w, name, BLOCK_F32, vector ? 1 : 2, dims);
    t->floats[t->n++] = (size_t)(dims[0] * (vector ? 1 : dims[1]));
}

static void put_layer(struct gguf_writer *w, const struct made *m, struct tensors *t) {
    put_tensor(w, m, t, "blk.0.attn_norm.weight", 0, WIDTH);
    put_tensor(w, m, t, "blk.0.attn_q.weight", WIDTH, WIDTH);
    put_tensor(w, m, t, "blk.0.attn_k.weight", WIDTH, WIDTH);
    put_tensor(w, m, t, "blk.0.attn_v.weight", WIDTH, WIDTH);
    if (m->bias) {
        put_tensor(w, m, t, "blk.0.attn_q.bias", 0, WIDTH);
        put_tensor(w, m, t, "blk.0.attn_k.bias", 0, WIDTH);
        put_tensor(w, m, t, "blk.0.attn_v.bias", 0, WIDTH);
    }
    put_tensor(w, m, t, "blk.0.attn_output.weight", WIDTH, WIDTH);
    put_tensor(w, m, t, "blk.0.ffn_norm.weight", 0, WIDTH);
    put_tensor(w, m, t, "blk.0.ffn_gate.weight", FFN, WIDTH);
    put_tensor(w, m, t, "blk.0.ffn_up.weight", FFN, WIDTH);
    put_tensor(w, m, t, "blk.0.ffn_down.weight", WIDTH, FFN);
}

static status write_model(const struct made *m, const char *path) {
    struct gguf_writer *w;
    TRY(gguf_writer_open(path, &w));
    const char *arch = m->arch ? m->arch : "llama";
    if (!changed(m, "general.architecture")) gguf_put_string(w, "general.architecture", arch);
    put_u32(w, m, "block_count", 1);
    put_u32(w, m, "context_length", 64);
    put_u32(w, m, "embedding_length", WIDTH);
    put_u32(w, m, "feed_forward_length", FFN);
    put_u32(w, m, "attention.head_count", HEADS);
    char key[64];
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    if (!changed(m, key)) gguf_put_f32(w, key, 1e-5f);
    if (!changed(m, "tokenizer.ggml.model")) gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
    if (!changed(m, "tokenizer.ggml.pre")) gguf_put_string(w, "tokenizer.ggml.pre", "gpt-2");
    if (!changed(m, "tokenizer.ggml.tokens")) gguf_put_string_array(w, "tokenizer.ggml.tokens", plain_tokens, VOCAB);
    if (!changed(m, "tokenizer.ggml.token_type"))
        gguf_put_i32_array(w, "tokenizer.ggml.token_type", plain_types, VOCAB);
    const char *const merges[] = {"a b"};
    if (!changed(m, "tokenizer.ggml.merges")) gguf_put_string_array(w, "tokenizer.ggml.merges", merges, 1);
    put_change(w, &m->change);

    struct tensors t = {0};
    put_tensor(w, m, &t, "token_embd.weight", VOCAB, WIDTH);
    put_tensor(w, m, &t, "output_norm.weight", 0, WIDTH);
    put_layer(w, m, &t);
    if (m->extra_tensor) put_tensor(w, m, &t, m->extra_tensor, 0, 4);
    for (size_t i = 0; i < t.n; i++) {
        float values[VOCAB * WIDTH * 2] = {m->first};
        status s = gguf_write_data(w, values, t.floats[i] * sizeof(float));
        if (s != UTTER_OK) {
            gguf_writer_abandon(w);
            return s;
        }
    }
    return gguf_writer_finish(w);
}

static status load_made(const struct made *m, struct backbone **out) {
    char path[FIXTURE_PATH];
    struct gguf *g;
    assert_ok(fixture_path("made.gguf", path));
    assert_ok(write_model(m, path));
    assert_ok(gguf_open(path, &g));
    return backbone_load(g, out);
}

static struct backbone *loaded(const struct made *m) {
    struct backbone *b;
    assert_ok(load_made(m, &b));
    return b;
}

static void refused(const struct made *m, status want, const char *word) {
    struct backbone *b = (void *)1;
    status s = load_made(m, &b);
    if (s != want || !strstr(fail_message(), word) || !strstr(fail_message(), "made.gguf"))
        fail_msg("wanted %s with \"%s\" and the file's name, got %s: %s", status_name(want), word, status_name(s),
                 s == UTTER_OK ? "" : fail_message());
    assert_null(b);
}

static void refused_change(struct change change, status want, const char *word) {
    struct made m = {.change = change};
    refused(&m, want, word);
}

static void test_what_may_be_left_out(void **state) {
    (void)state;
    struct made m = {0};
    struct backbone *b = loaded(&m);
    assert_int_equal(b->config.n_kv_heads, HEADS);
    assert_int_equal(b->config.head_dim, WIDTH / HEADS);
    assert_true(b->config.rope_base == 10000);
    assert_ptr_equal(b->weights.output.data, b->weights.token_embd.data);
    assert_null(b->weights.layers[0].q_bias);
    assert_string_equal(b->name, b->label);
    assert_string_equal(b->language, "en-us");
    assert_int_equal(b->n_codes, 2);
    assert_int_equal(b->n_emotions, 2);  // of the default list
    assert_string_equal(b->emotions[0], "happy");
    assert_ok(backbone_check_speech(b));
    backbone_free(b);

    m.bias = true;  // which a llama may have
    b = loaded(&m);
    assert_non_null(b->weights.layers[0].v_bias);
    backbone_free(b);
}

static void test_settings_from_metadata(void **state) {
    (void)state;
    const struct change number[] = {
        {F32, .key = "utter.sampling.temperature", .number = 0.5},
        {U32, .key = "utter.sampling.top_k", .number = 7},
        {F32, .key = "utter.sampling.top_p", .number = 0.25},
        {F32, .key = "utter.sampling.min_p", .number = 0},
    };
    for (int i = 0; i < 4; i++) {
        struct made m = {.change = number[i]};
        struct backbone *b = loaded(&m);
        const double got[] = {(double)b->sampling.temperature, b->sampling.top_k, (double)b->sampling.top_p,
                              (double)b->sampling.min_p};
        assert_true(got[i] == number[i].number);
        backbone_free(b);
    }
    struct made m = {.change = {TEXT, .key = "utter.language", .text = "fr-fr"}};
    struct backbone *b = loaded(&m);
    assert_string_equal(b->language, "fr-fr");
    backbone_free(b);
    m.change = (struct change){TEXT, .key = "utter.prompt", .text = "{text}{voice}"};
    b = loaded(&m);
    assert_string_equal(b->prompt, "{text}{voice}");
    backbone_free(b);
    m.change = (struct change){TEXT, .key = "general.name", .text = "a name"};
    b = loaded(&m);
    assert_string_equal(b->name, "a name");
    backbone_free(b);
    const char *const emotions[] = {"sad", "jealous", "", "no token"};
    m.change = (struct change){TEXTS, .key = "neuphonic.supported_emotions", .texts = emotions, .n = 4};
    b = loaded(&m);
    assert_int_equal(b->n_emotions, 1);
    assert_string_equal(b->emotions[0], "sad");
    backbone_free(b);
}

static void test_input_format(void **state) {
    (void)state;
    const struct {
        const char *key, *text;
        enum input_format want;
    } cases[] = {
        {"neuphonic.input_format", "BPE", INPUT_BPE},
        {"neuphonic.input_format", "phonemes", INPUT_PHONEMES},
        {"tokenizer.chat_template", "<|TEXT_PROMPT_START|>{{ text }}", INPUT_BPE},
        {"tokenizer.chat_template", "Convert the text to speech:<|TEXT_PROMPT_START|>{{ text }}", INPUT_PHONEMES},
        {"tokenizer.chat_template", "{{ messages }}", INPUT_PHONEMES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m = {.change = {TEXT, .key = cases[i].key, .text = cases[i].text}};
        struct backbone *b = loaded(&m);
        assert_int_equal(b->input_format, cases[i].want);
        backbone_free(b);
    }
    refused_change((struct change){TEXT, .key = "neuphonic.input_format", .text = "braille"}, UTTER_UNSUPPORTED,
                   "braille");
}

static void test_a_model_without_speech(void **state) {
    (void)state;
    const char *tokens[VOCAB];
    memcpy(tokens, plain_tokens, sizeof tokens);
    tokens[4] = "c";
    struct made m = {.change = {TEXTS, .key = "tokenizer.ggml.tokens", .texts = tokens, .n = VOCAB}};
    struct backbone *b = loaded(&m);
    assert_int_equal(b->n_codes, 0);
    assert_int_equal(backbone_check_speech(b), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "NeuTTS"));
    int32_t *rows;
    int n;
    assert_int_equal(backbone_head_rows(b, true, &rows, &n), UTTER_FORMAT);
    assert_ok(backbone_head_rows(b, false, &rows, &n));
    assert_int_equal(n, VOCAB);
    free_aligned(rows);
    backbone_free(b);

    memcpy(tokens, plain_tokens, sizeof tokens);
    tokens[3] = "c";  // no end token
    b = loaded(&m);
    assert_int_equal(backbone_check_speech(b), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "SPEECH_GENERATION_END"));
    backbone_free(b);

    memcpy(tokens, plain_tokens, sizeof tokens);
    tokens[7] = "c";  // a marker of the prompt is missing
    b = loaded(&m);
    assert_int_equal(backbone_check_speech(b), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "<|TEXT_PROMPT_END|>"));
    backbone_free(b);
}

static void test_a_model_with_voices_of_its_own(void **state) {
    (void)state;
    struct made m = {
        .change = {TEXT, .key = "utter.prompt",
                   .text = "<|TEXT_PROMPT_START|>{text}<|TEXT_PROMPT_END|>{voice}<|SPEECH_GENERATION_START|>"}};
    struct backbone *b = loaded(&m);
    assert_ok(backbone_check_speech(b));
    struct prompt_parts parts = {.ref = "ignored", .text = "abb<|SAD|>", .voice = "<|VOICE_x|>", .emotion = "neutral"};
    struct token_list ids = {0};
    const int32_t want[] = {6, 2, 1, 7, 11, 8};
    assert_ok(prompt_encode(b, &parts, &ids));
    assert_int_equal(ids.n, 6);
    assert_memory_equal(ids.ids, want, sizeof want);
    token_list_free(&ids);
    const struct {
        const char *voice, *emotion, *word;
    } bad[] = {
        {"", NULL, "voices of its own"}, {"<|VOICE_y|>", NULL, "<|VOICE_y|>"}, {"<|VOICE_x|>", "sad", "emotion"}};
    for (int i = 0; i < 3; i++) {
        parts.voice = bad[i].voice;
        parts.emotion = bad[i].emotion;
        assert_int_equal(prompt_encode(b, &parts, &ids), UTTER_INVALID);
        assert_non_null(strstr(fail_message(), bad[i].word));
    }
    backbone_free(b);
}

static void test_refused_metadata(void **state) {
    (void)state;
    refused_change((struct change){DROP, .key = "general.architecture"}, UTTER_FORMAT, "general.architecture");
    refused_change((struct change){TEXT, .key = "general.architecture", .text = "mamba"}, UTTER_UNSUPPORTED, "qwen2");
    refused_change((struct change){U32, .key = "general.architecture", .number = 1}, UTTER_FORMAT, "architecture");
    const char *const needed[] = {"block_count",         "context_length",       "embedding_length",
                                  "feed_forward_length", "attention.head_count", "attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        char key[64];
        snprintf(key, sizeof key, "llama.%s", needed[i]);
        refused_change((struct change){DROP, .key = key}, UTTER_FORMAT, key);
        refused_change((struct change){TEXT, .key = key, .text = "2"}, UTTER_FORMAT, key);
        if (i == 5) continue;
        refused_change((struct change){U32, .key = key, .number = 0}, UTTER_FORMAT, key);
        refused_change((struct change){U32, .key = key, .number = 4294967295.0}, UTTER_FORMAT, key);
        refused_change((struct change){F32, .key = key, .number = 1.5}, UTTER_FORMAT, key);
    }
    const struct {
        const char *key;
        double number;
        status want;
        const char *word;
    } bad[] = {
        {"llama.attention.head_count", 3, UTTER_FORMAT, "3 heads"},
        {"llama.attention.head_count", 8, UTTER_FORMAT, "even"},  // heads of 1
        {"llama.attention.head_count_kv", 0, UTTER_FORMAT, "head_count_kv"},
        {"llama.attention.head_count_kv", 4, UTTER_FORMAT, "share"},
        {"llama.attention.key_length", 3, UTTER_FORMAT, "even"},
        {"llama.attention.key_length", 6, UTTER_FORMAT, "attn_q.weight"},
        {"llama.attention.value_length", 2, UTTER_UNSUPPORTED, "values"},
        {"llama.rope.dimension_count", 2, UTTER_UNSUPPORTED, "rope.dimension_count"},
        {"llama.expert_count", 8, UTTER_UNSUPPORTED, "experts"},
        {"llama.block_count", 2, UTTER_FORMAT, "blk.1."},
        {"llama.embedding_length", 16, UTTER_FORMAT, "token_embd.weight"},
        {"llama.feed_forward_length", 13, UTTER_FORMAT, "ffn_gate.weight"},
        {"llama.rope.freq_base", 0, UTTER_FORMAT, "rope.freq_base"},
        {"llama.rope.scaling.factor", 8, UTTER_UNSUPPORTED, "rope.scaling.factor"},
        {"utter.sampling.top_k", 4294967295.0, UTTER_FORMAT, "top_k"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused_change((struct change){U32, .key = bad[i].key, .number = bad[i].number}, bad[i].want, bad[i].word);
    }
    refused_change((struct change){F32, .key = "llama.rope.freq_base", .number = -1}, UTTER_FORMAT, "freq_base");
    refused_change((struct change){F32, .key = "llama.attention.layer_norm_rms_epsilon", .number = -1}, UTTER_FORMAT,
                   "eps");
    refused_change((struct change){TEXT, .key = "llama.rope.scaling.type", .text = "yarn"}, UTTER_UNSUPPORTED, "yarn");
    refused_change((struct change){F32, .key = "utter.sampling.temperature", .number = -1}, UTTER_FORMAT,
                   "temperature");
    refused_change((struct change){TEXT, .key = "utter.sampling.top_p", .text = "all"}, UTTER_FORMAT, "top_p");
    refused_change((struct change){TEXT, .key = "utter.prompt", .text = "{name}"}, UTTER_FORMAT, "{name}");
    refused_change((struct change){TEXT, .key = "utter.language", .text = "../x"}, UTTER_FORMAT, "utter.language");
    refused_change((struct change){NUMBERS, .key = "neuphonic.supported_emotions", .numbers = plain_types, .n = 3},
                   UTTER_FORMAT, "supported_emotions");
    struct made none = {.change = {TEXT, .key = "llama.rope.scaling.type", .text = "none"}};
    backbone_free(loaded(&none));
}

static void test_refused_tensors(void **state) {
    (void)state;
    const char *const names[] = {"token_embd.weight",        "output_norm.weight",    "blk.0.attn_norm.weight",
                                 "blk.0.attn_q.weight",      "blk.0.attn_k.weight",   "blk.0.attn_v.weight",
                                 "blk.0.attn_output.weight", "blk.0.ffn_norm.weight", "blk.0.ffn_gate.weight",
                                 "blk.0.ffn_up.weight",      "blk.0.ffn_down.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct made m = {.drop_tensor = names[i]};
        refused(&m, UTTER_FORMAT, names[i]);
        m = (struct made){.grown_tensor = names[i]};
        refused(&m, UTTER_FORMAT, names[i]);
    }
    struct made m = {.bias = true, .drop_tensor = "blk.0.attn_k.bias"};
    refused(&m, UTTER_FORMAT, "attn_k.bias");
    m = (struct made){.arch = "qwen2"};
    refused(&m, UTTER_FORMAT, "attn_q.bias");
    m = (struct made){.arch = "qwen3"};
    refused(&m, UTTER_FORMAT, "attn_q_norm.weight");
    m = (struct made){.arch = "qwen2", .bias = true};
    backbone_free(loaded(&m));
    m = (struct made){.extra_tensor = "blk.0.attn_output.bias"};  // would be part of the model, and is not known
    refused(&m, UTTER_UNSUPPORTED, "12 tensors");
    m = (struct made){.extra_tensor = "rope_freqs.weight"};
    refused(&m, UTTER_UNSUPPORTED, "rope_freqs");
    m = (struct made){.first = 1e38f * 100};  // infinite
    refused(&m, UTTER_FORMAT, "finite");
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_tiny_models),        cmocka_unit_test(test_what_may_be_left_out),
        cmocka_unit_test(test_settings_from_metadata), cmocka_unit_test(test_input_format),
        cmocka_unit_test(test_a_model_without_speech), cmocka_unit_test(test_a_model_with_voices_of_its_own),
        cmocka_unit_test(test_refused_metadata),       cmocka_unit_test(test_refused_tensors),
    };
    return cmocka_run_group_tests_name("backbone", tests, NULL, teardown);
}
