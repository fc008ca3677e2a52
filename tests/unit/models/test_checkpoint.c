/* One view of all formats: what comes out of safetensors, PyTorch and ONNX files of the same codec is the same, and
   folders of Hugging Face become models with their vocabulary. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "builder.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"
#include "gguf/gguf.h"
#include "models/checkpoint.h"
#include "models/convert.h"
#include "torch_builder.h"

static char in[FIXTURE_PATH], out[FIXTURE_PATH], folder[FIXTURE_PATH];

static int setup(void **state) {
    (void)state;
    if (fixture_path("in.bin", in) != UTTER_OK || fixture_path("out.gguf", out) != UTTER_OK) return 1;
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(in, '/') - in), in);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static void write_file(const char *path, const void *data, size_t n) {
    struct file_writer w;
    assert_ok(file_create(path, &w));
    assert_ok(file_write(&w, data, n));
    assert_ok(file_commit(&w));
}

static void in_folder(const char *name, char path[FIXTURE_PATH]) { assert_ok(fixture_path(name, path)); }

static void refused(const char *path, status code, const char *sentence) {
    remove(out);
    status s = convert_model(path, out, BLOCK_F16);
    if (s != code || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(s), fail_message(), sentence);
    assert_int_not_equal(access(out, F_OK), 0);
}

/* ---- a codec in each format ---- */

static struct codec_rule_tensor tensors[CODEC_RULE_MAX_TENSORS];
static int n_tensors;

static float *values_of(const struct codec_rule_tensor *t, size_t *n) {
    *n = (size_t)(t->dims[0] * (t->n_dims > 1 ? t->dims[1] : 1) * (t->n_dims > 2 ? t->dims[2] : 1));
    float *values = malloc(*n * sizeof *values);
    assert_non_null(values);
    codec_rule_fill(t, 0, values, *n);
    return values;
}

static void put_entry(struct str *p, const struct codec_rule_tensor *t, const char *key, size_t n) {
    int dims[3], strides[3] = {1, 1, 1};
    for (int d = 0; d < t->n_dims; d++) dims[d] = (int)t->dims[d];
    for (int d = t->n_dims - 2; d >= 0; d--) strides[d] = strides[d + 1] * dims[d + 1];
    put_text(p, t->name);
    put_tensor(p, "FloatStorage", key, (int64_t)n, 0, t->n_dims, dims, strides);
}

static void write_zip(void) {
    struct str p = {0};
    struct zip_builder b = {0};
    str_append(&p, "\x80\x02", 2);
    put_function(&p, "collections", "OrderedDict");
    str_puts(&p, ")R(");
    for (int i = 0; i < n_tensors; i++) {
        char key[16], name[32];
        size_t n;
        float *values = values_of(&tensors[i], &n);
        snprintf(key, sizeof key, "%d", i);
        snprintf(name, sizeof name, "top/data/%d", i);
        zip_builder_add(&b, name, values, n * sizeof *values);
        put_entry(&p, &tensors[i], key, n);
        free(values);
    }
    str_puts(&p, "u.");
    zip_builder_add(&b, "top/data.pkl", p.data, p.len);
    zip_builder_end(&b);
    write_file(in, b.data.data, b.data.len);
    zip_builder_free(&b);
    str_free(&p);
}

static void write_legacy(void) {
    struct str p = {0}, data = {0};
    static const char head[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}";
    str_append(&p, head, sizeof head - 1);
    put_text(&p, "little_endian");
    str_puts(&p, "\x88s.\x80\x02}(");
    for (int i = 0; i < n_tensors; i++) {
        char key[16];
        size_t n;
        float *values = values_of(&tensors[i], &n);
        snprintf(key, sizeof key, "%d", i);
        put_entry(&p, &tensors[i], key, n);
        str_append(&data, (const char *)&(uint64_t){n}, 8);
        str_append(&data, (const char *)values, n * sizeof *values);
        free(values);
    }
    str_puts(&p, "u.\x80\x02](");
    for (int i = 0; i < n_tensors; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        put_text(&p, key);
    }
    str_puts(&p, "e.");
    str_append(&p, data.data, data.len);
    write_file(in, p.data, p.len);
    str_free(&p);
    str_free(&data);
}

/* ---- ONNX ---- */

static void put_varint(struct str *s, uint64_t v) {
    for (; v >= 128; v >>= 7) str_putc(s, (char)(v | 128));
    str_putc(s, (char)v);
}

static void put_number(struct str *s, int field, uint64_t v) {
    put_varint(s, (uint64_t)field << 3);
    put_varint(s, v);
}

static void put_bytes(struct str *s, int field, const void *data, size_t n) {
    put_varint(s, (uint64_t)field << 3 | 2);
    put_varint(s, n);
    str_append(s, data, n);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

enum onnx_kind { ONNX_NAMED, ONNX_NODES, ONNX_ANONYMOUS, ONNX_EXTERNAL };

// The initialiser of a tensor; matrices turned over and without their names, and with the node that has them.
static void put_initializer(struct str *graph, int i, enum onnx_kind kind) {
    const struct codec_rule_tensor *t = &tensors[i];
    bool turned = kind != ONNX_NAMED && t->n_dims == 2 && ends_with(t->name, ".weight");
    char name[96];
    size_t n;
    float *values = values_of(t, &n), *data = malloc(n * sizeof *data);
    assert_non_null(data);
    snprintf(name, sizeof name, "%s", t->name);
    memcpy(data, values, n * sizeof *data);
    struct str x = {0};
    if (turned) {
        snprintf(name, sizeof name, "onnx::MatMul_%d", i);
        for (int64_t r = 0; r < t->dims[0]; r++)
            for (int64_t c = 0; c < t->dims[1]; c++) data[c * t->dims[0] + r] = values[r * t->dims[1] + c];
    }
    for (int d = 0; d < t->n_dims; d++) put_number(&x, 1, (uint64_t)t->dims[turned ? 1 - d : d]);
    put_number(&x, 2, 1);
    put_bytes(&x, 8, name, strlen(name));
    if (kind == ONNX_EXTERNAL)
        put_number(&x, 14, 1);
    else
        put_bytes(&x, i % 2 ? 4 : 9, data, n * sizeof *data);
    put_bytes(graph, 5, x.data, x.len);
    str_clear(&x);
    if (turned && kind == ONNX_NODES) {
        char node[96];
        snprintf(node, sizeof node, "/%.*s/MatMul", (int)(strlen(t->name) - strlen(".weight")), t->name);
        for (char *c = node; *c; c++)  // a module's number belongs to its name: "transformers.0"
            if (*c == '.' && !(c[1] >= '0' && c[1] <= '9')) *c = '/';
        put_bytes(&x, 1, "input", 5);
        put_bytes(&x, 1, name, strlen(name));
        put_bytes(&x, 3, node, strlen(node));
        put_bytes(&x, 4, "MatMul", 6);
        put_bytes(graph, 1, x.data, x.len);
    }
    str_free(&x);
    free(values);
    free(data);
}

static void write_onnx(enum onnx_kind kind) {
    struct str graph = {0}, model = {0};
    for (int i = 0; i < n_tensors; i++) put_initializer(&graph, i, kind);
    put_number(&model, 1, 8);
    put_bytes(&model, 2, "pytorch", 7);
    put_bytes(&model, 7, graph.data, graph.len);
    write_file(in, model.data, model.len);
    str_free(&graph);
    str_free(&model);
}

/* ---- ... and what comes of it ---- */

static void assert_same_model(void) {
    char reference[FIXTURE_PATH];
    struct gguf *a, *b;
    in_folder("reference.gguf", reference);
    assert_ok(fixture_codec(false, BLOCK_F16, reference));
    assert_ok(convert_model(in, out, BLOCK_F16));
    assert_ok(gguf_open(reference, &a));
    assert_ok(gguf_open(out, &b));
    assert_int_equal(gguf_n_tensors(a), gguf_n_tensors(b));
    for (int64_t i = 0; i < gguf_n_tensors(a); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(a, i), *y = gguf_tensor_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->dims, y->dims, sizeof x->dims);
        if (memcmp(x->data, y->data, x->n_bytes) != 0) fail_msg("%s differs", x->name);
    }
    gguf_close(a);
    gguf_close(b);
}

static void test_formats(void **state) {
    (void)state;
    n_tensors = codec_rule_tensors(false, tensors);
    write_zip();
    assert_same_model();
    write_legacy();
    assert_same_model();
    write_onnx(ONNX_NAMED);
    assert_same_model();
    write_onnx(ONNX_NODES);
    assert_same_model();
    write_onnx(ONNX_ANONYMOUS);
    refused(in, UTTER_UNSUPPORTED, "whose exporter has left weights without their names");
    write_onnx(ONNX_EXTERNAL);
    refused(in, UTTER_UNSUPPORTED, "keeps its weights in another file");
    char quantised[FIXTURE_PATH];
    assert_ok(fixture_stored("../fuzz/corpus/onnx/quantized.onnx", quantised));
    refused(quantised, UTTER_UNSUPPORTED, "utter models pull neucodec-onnx-decoder");
}

// A storage that was damaged after it was written is seen before it is used, and nothing is left behind.
static void test_checksum(void **state) {
    (void)state;
    struct file_map m;
    write_zip();
    assert_ok(file_map_open(in, &m));
    char *copy = malloc(m.size);
    assert_non_null(copy);
    memcpy(copy, m.data, m.size);
    copy[m.size / 2] ^= 1;
    size_t size = m.size;
    file_map_close(&m);
    write_file(in, copy, size);
    free(copy);
    refused(in, UTTER_FORMAT, "is damaged: the checksum of its entry top/data/");
}

static void test_other_files(void **state) {
    (void)state;
    write_file(in, "", 0);
    refused(in, UTTER_FORMAT, "is empty");
    write_file(in, "GGUF....", 8);
    refused(in, UTTER_INVALID, "is a GGUF file already");
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    write_file(in, lfs, sizeof lfs - 1);
    refused(in, UTTER_FORMAT, "is a pointer of Git LFS");
    write_file(in, "<html></html>", 13);
    refused(in, UTTER_FORMAT, "neither safetensors, nor PyTorch, nor ONNX");
    write_file(in, "\x08\x07\x12\xff\xff\xff\xff", 7);
    refused(in, UTTER_FORMAT, "a field of the ONNX model ends early");
    write_file(in, "\x08\x07\x12\x00", 4);
    refused(in, UTTER_FORMAT, "it has no graph");
    refused("/nonexistent/x", UTTER_IO, "cannot open");
    refused("/", UTTER_IO, "has no model.safetensors");
}

/* ---- folders ---- */

static json_t *json_of(const struct gguf *g, const char *key) {
    struct gguf_string s;
    struct gguf_array a;
    int64_t v;
    double f;
    bool b;
    if (gguf_get_bool(g, key, &b)) return json_boolean(b);
    if (gguf_get_i64(g, key, &v)) return json_integer(v);
    if (gguf_get_f64(g, key, &f)) return json_real(f);
    if (gguf_get_string(g, key, &s)) return json_stringn(s.data, s.len);
    if (!gguf_get_array(g, key, &a)) return NULL;
    json_t *array = json_array();
    for (size_t i = 0; i < a.n; i++) {
        if (a.strings) json_array_append_new(array, json_stringn(a.strings[i].data, a.strings[i].len));
        if (!a.strings && gguf_array_i64(&a, i, &v)) json_array_append_new(array, json_integer(v));
    }
    return array;
}

struct model {
    struct builder weights;
    json_t *config, *tokenizer, *settings;
};

static void model_free(struct model *m) {
    builder_free(&m->weights);
    json_decref(m->config);
    json_decref(m->tokenizer);
    json_decref(m->settings);
}

static void add_weight(struct builder *b, const char *name, int64_t rows, int64_t cols) {
    size_t n = (size_t)(rows * (cols ? cols : 1));
    float *values = malloc(n * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) values[i] = (float)((i * 7 + strlen(name)) % 31) / 32 - 0.5f;
    builder_add(b, name, "F32", cols ? 2 : 1, (const int64_t[]){rows, cols}, values, n * sizeof *values);
    free(values);
}

enum { EMBD = 32, FFN = 64, VOCAB = 12 };

static void start_model(struct model *m) {
    builder_start(&m->weights);
    struct builder *b = &m->weights;
    add_weight(b, "model.embed_tokens.weight", VOCAB, EMBD);
    add_weight(b, "model.norm.weight", EMBD, 0);
#define LAYER "model.layers.0."
    add_weight(b, LAYER "input_layernorm.weight", EMBD, 0);
    add_weight(b, LAYER "post_attention_layernorm.weight", EMBD, 0);
    add_weight(b, LAYER "self_attn.q_proj.weight", EMBD, EMBD);
    add_weight(b, LAYER "self_attn.k_proj.weight", EMBD / 2, EMBD);
    add_weight(b, LAYER "self_attn.v_proj.weight", EMBD / 2, EMBD);
    add_weight(b, LAYER "self_attn.q_proj.bias", EMBD, 0);
    add_weight(b, LAYER "self_attn.k_proj.bias", EMBD / 2, 0);
    add_weight(b, LAYER "self_attn.v_proj.bias", EMBD / 2, 0);
    add_weight(b, LAYER "self_attn.o_proj.weight", EMBD, EMBD);
    add_weight(b, LAYER "mlp.gate_proj.weight", FFN, EMBD);
    add_weight(b, LAYER "mlp.up_proj.weight", FFN, EMBD);
    add_weight(b, LAYER "mlp.down_proj.weight", EMBD, FFN);
#undef LAYER
    m->config = json_loads(
        "{\"model_type\":\"qwen2\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
        "\"rope_theta\":1000000,\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"eos_token_id\":7,"
        "\"_name_or_path\":\"someone/neutts-test\",\"use_sliding_window\":false,\"rope_scaling\":null,"
        "\"neuphonic\":{\"input_format\":\"BPE\",\"supported_emotions\":[\"happy\",\"sad\"]}}",
        0, NULL);
    m->tokenizer = json_loads(
        "{\"added_tokens\":[{\"id\":7,\"content\":\"<|end|>\",\"special\":true},"
        "{\"id\":8,\"content\":\"<|speech_0|>\",\"special\":false}],"
        "\"normalizer\":{\"type\":\"NFC\"},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\","
        "\"invert\":false,\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?"
        "\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|"
        "\\\\s+\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":false}]},"
        "\"post_processor\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"type\":\"BPE\",\"byte_fallback\":false,"
        "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\"\\u0120\":5,\"\\u0120a\":6},"
        "\"merges\":[\"a b\",\"ab c\",\"\\u0120 a\"]}}",
        0, NULL);
    m->settings = json_loads(
        "{\"eos_token\":{\"content\":\"<|end|>\"},\"pad_token\":\"<|end|>\","
        "\"chat_template\":\"<|TEXT_PROMPT_START|>\"}",
        0, NULL);
    assert_true(m->config && m->tokenizer && m->settings);
}

static void write_json(const char *name, const json_t *json) {
    char path[FIXTURE_PATH];
    in_folder(name, path);
    assert_int_equal(json_dump_file(json, path, 0), 0);
}

static void write_model(const struct model *m) {
    char path[FIXTURE_PATH];
    in_folder("model.safetensors", path);
    assert_ok(builder_write(&m->weights, path));
    write_json("config.json", m->config);
    write_json("tokenizer.json", m->tokenizer);
    write_json("tokenizer_config.json", m->settings);
}

static void assert_key(const struct gguf *g, const char *key, const char *wanted) {
    json_t *is = json_of(g, key), *should = json_loads(wanted, JSON_DECODE_ANY, NULL);
    char *text = is ? json_dumps(is, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (!is || !json_equal(is, should)) fail_msg("%s is %s, wanted %s", key, text ? text : "not there", wanted);
    free(text);
    json_decref(is);
    json_decref(should);
}

static struct gguf *converted(block_type type) {
    struct gguf *g;
    assert_ok(convert_model(folder, out, type));
    assert_ok(gguf_open(out, &g));
    return g;
}

static void test_folder(void **state) {
    (void)state;
    struct model m;
    start_model(&m);
    write_model(&m);
    struct gguf *g = converted(BLOCK_Q4_0);
    assert_key(g, "general.architecture", "\"qwen2\"");
    assert_key(g, "general.name", "\"neutts-test\"");
    assert_key(g, "qwen2.block_count", "1");
    assert_key(g, "qwen2.context_length", "2048");
    assert_key(g, "qwen2.embedding_length", "32");
    assert_key(g, "qwen2.feed_forward_length", "64");
    assert_key(g, "qwen2.attention.head_count", "2");
    assert_key(g, "qwen2.attention.head_count_kv", "1");
    assert_key(g, "qwen2.attention.key_length", "16");
    assert_key(g, "qwen2.rope.freq_base", "1000000.0");
    assert_key(g, "neuphonic.input_format", "\"BPE\"");
    assert_key(g, "neuphonic.supported_emotions", "[\"happy\",\"sad\"]");
    assert_key(g, "tokenizer.ggml.model", "\"gpt2\"");
    assert_key(g, "tokenizer.ggml.pre", "\"qwen2\"");
    assert_key(g, "tokenizer.ggml.tokens",
               "[\"a\",\"b\",\"c\",\"ab\",\"abc\",\"\\u0120\",\"\\u0120a\",\"<|end|>\",\"<|speech_0|>\",\"[PAD9]\","
               "\"[PAD10]\",\"[PAD11]\"]");
    assert_key(g, "tokenizer.ggml.token_type", "[1,1,1,1,1,1,1,3,4,5,5,5]");
    assert_key(g, "tokenizer.ggml.merges", "[\"a b\",\"ab c\",\"\\u0120 a\"]");
    assert_key(g, "tokenizer.ggml.eos_token_id", "7");
    assert_key(g, "tokenizer.ggml.padding_token_id", "7");
    assert_key(g, "tokenizer.ggml.add_bos_token", "false");
    assert_key(g, "tokenizer.ggml.add_eos_token", "false");
    assert_key(g, "tokenizer.chat_template", "\"<|TEXT_PROMPT_START|>\"");
    assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type, BLOCK_Q8_0);  // tied: it decides over tokens
    assert_int_equal(gguf_find_tensor(g, "blk.0.ffn_up.weight")->type, BLOCK_Q4_0);
    assert_null(gguf_find_tensor(g, "output.weight"));
    gguf_close(g);

    // Pairs as merges; a BOS by the post-processor; an output that counts only when it is not tied.
    json_object_set_new(json_object_get(m.tokenizer, "model"), "merges", json_pack("[[ss][ss]]", "a", "b", "ab", "c"));
    json_object_set_new(m.tokenizer, "post_processor",
                        json_pack("{s:s,s:[{s:{s:s}},{s:{s:s}}]}", "type", "TemplateProcessing", "single",
                                  "SpecialToken", "id", "<|end|>", "Sequence", "id", "A"));
    json_object_set_new(m.config, "bos_token_id", json_integer(7));
    add_weight(&m.weights, "lm_head.weight", VOCAB, EMBD);
    write_model(&m);
    g = converted(BLOCK_Q4_0);
    assert_key(g, "tokenizer.ggml.merges", "[\"a b\",\"ab c\"]");
    assert_key(g, "tokenizer.ggml.add_bos_token", "true");
    assert_key(g, "tokenizer.ggml.add_eos_token", "false");
    assert_null(gguf_find_tensor(g, "output.weight"));
    gguf_close(g);
    json_object_set_new(m.config, "tie_word_embeddings", json_false());
    write_model(&m);
    g = converted(BLOCK_Q4_0);
    assert_int_equal(gguf_find_tensor(g, "output.weight")->type, BLOCK_Q8_0);
    assert_int_equal(gguf_find_tensor(g, "token_embd.weight")->type, BLOCK_Q4_0);
    gguf_close(g);
    model_free(&m);
}

static void test_pretokenizers(void **state) {
    (void)state;
    static const struct {
        const char *json, *name;
    } cases[] = {
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}", "\"gpt-2\""},
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "\"gpt-2\""},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]}",
         "\"smollm\""},
        {"{\"type\":\"Metaspace\"}", NULL},
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", NULL},
        {"null", NULL},
    };
    struct model m;
    start_model(&m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_object_set_new(m.tokenizer, "pre_tokenizer", json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        write_model(&m);
        if (!cases[i].name) {
            refused(folder, UTTER_UNSUPPORTED, "its pre_tokenizer is none that utter knows");
            continue;
        }
        struct gguf *g = converted(BLOCK_F16);
        assert_key(g, "tokenizer.ggml.pre", cases[i].name);
        gguf_close(g);
    }
    model_free(&m);
    start_model(&m);  // three digits at a time
    json_t *pattern = json_object_get(
        json_array_get(json_object_get(json_object_get(m.tokenizer, "pre_tokenizer"), "pretokenizers"), 0), "pattern");
    char text[512];
    const char *regex = json_string_value(json_object_get(pattern, "Regex")), *digit = strstr(regex, "|\\p{N}| ");
    assert_non_null(digit);
    snprintf(text, sizeof text, "%.*s|\\p{N}{1,3}| %s", (int)(digit - regex), regex, digit + 8);
    json_object_set_new(pattern, "Regex", json_string(text));
    write_model(&m);
    struct gguf *g = converted(BLOCK_F16);
    assert_key(g, "tokenizer.ggml.pre", "\"llama-bpe\"");
    gguf_close(g);
    model_free(&m);
}

static void test_folder_sentences(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *sentence;
        status status;
    } cases[] = {
        {"model_type", "\"gpt2\"", "model_type is gpt2; wanted qwen2, llama or qwen3", UTTER_UNSUPPORTED},
        {"hidden_size", "\"x\"", "hidden_size is not a whole number from 1", UTTER_FORMAT},
        {"hidden_size", "64", "model.embed_tokens.weight has the shape [12, 32]; wanted [12, 64]", UTTER_FORMAT},
        {"num_attention_heads", "0", "num_attention_heads is not a whole number from 1", UTTER_FORMAT},
        {"num_hidden_layers", "2", "block_count is 2, and the tensors make 1 layers", UTTER_FORMAT},
        {"rope_theta", "\"x\"", "rope_theta is not a number", UTTER_FORMAT},
        {"rope_scaling", "{\"rope_type\":\"yarn\"}", "the rotary positions are scaled (yarn)", UTTER_UNSUPPORTED},
        {"hidden_act", "\"gelu\"", "hidden_act is gelu; wanted silu", UTTER_UNSUPPORTED},
        {"quantization_config", "{}", "quantization_config is set", UTTER_UNSUPPORTED},
        {"use_sliding_window", "true", "use_sliding_window is set", UTTER_UNSUPPORTED},
    };
    struct model m;
    start_model(&m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *was = m.config;
        m.config = json_deep_copy(was);
        json_object_set_new(m.config, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        write_model(&m);
        refused(folder, cases[i].status, cases[i].sentence);
        json_decref(m.config);
        m.config = was;
    }
    json_object_set_new(json_array_get(json_object_get(m.tokenizer, "added_tokens"), 1), "id", json_integer(7));
    write_model(&m);
    refused(folder, UTTER_FORMAT, "tokens <|end|> and <|speech_0|> have the same id, 7");
    json_object_set_new(json_array_get(json_object_get(m.tokenizer, "added_tokens"), 1), "id", json_integer(12));
    write_model(&m);
    refused(folder, UTTER_FORMAT, "token <|speech_0|> has the id 12, and the model has 12 tokens");
    json_object_set_new(json_object_get(m.tokenizer, "model"), "type", json_string("Unigram"));
    write_model(&m);
    refused(folder, UTTER_UNSUPPORTED, "its model is not BPE");
    char path[FIXTURE_PATH];
    in_folder("tokenizer.json", path);
    remove(path);
    refused(folder, UTTER_IO, "tokenizer.json");
    model_free(&m);
}

// The same weights in two files that an index names.
static void test_parts(void **state) {
    (void)state;
    struct model m;
    char path[FIXTURE_PATH];
    start_model(&m);
    write_model(&m);
    struct gguf *whole = converted(BLOCK_F16);
    in_folder("model.safetensors", path);
    remove(path);
    json_t *map = json_object();
    const char *name;
    json_t *info;
    for (int part = 0; part < 2; part++) {
        struct builder b = {.header = json_object(), .data = m.weights.data};
        char file[40];
        snprintf(file, sizeof file, "model-0000%d-of-00002.safetensors", part + 1);
        json_object_foreach(m.weights.header, name, info) {
            if ((strlen(name) % 2 == 0) != (part == 0)) continue;
            json_object_set(b.header, name, info);
            json_object_set_new(map, name, json_string(file));
        }
        in_folder(file, path);
        assert_ok(builder_write(&b, path));
        json_decref(b.header);
    }
    json_t *index = json_pack("{s:O}", "weight_map", map);
    write_json("model.safetensors.index.json", index);
    struct gguf *parts = converted(BLOCK_F16);
    assert_int_equal(gguf_n_tensors(parts), gguf_n_tensors(whole));
    for (int64_t i = 0; i < gguf_n_tensors(whole); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(whole, i), *y = gguf_find_tensor(parts, x->name);
        assert_non_null(y);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
    gguf_close(whole);
    gguf_close(parts);
    json_object_set_new(map, "model.norm.weight", json_string("../elsewhere.safetensors"));
    write_json("model.safetensors.index.json", index);
    refused(folder, UTTER_FORMAT, "the file of model.norm.weight is not a file's name");
    json_object_set_new(map, "model.norm.weight", json_string("missing.safetensors"));
    write_json("model.safetensors.index.json", index);
    refused(folder, UTTER_IO, "missing.safetensors");
    json_decref(index);
    json_decref(map);
    model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats), cmocka_unit_test(test_checksum),      cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_folder),  cmocka_unit_test(test_pretokenizers), cmocka_unit_test(test_folder_sentences),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, setup, teardown);
}
