/* Conversion of safetensors to GGUF: codecs and backbones come out as they went in, and what cannot be converted is
   refused with a sentence and leaves no file. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"
#include "gguf/gguf.h"
#include "models/convert.h"

static char in[FIXTURE_PATH], out[FIXTURE_PATH];

static int setup(void **state) {
    (void)state;
    return fixture_path("in.safetensors", in) == UTTER_OK && fixture_path("out.gguf", out) == UTTER_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

static void assert_refused(block_type type, status code, const char *sentence) {
    status s = convert_model(in, out, type);
    if (s != code || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(s), fail_message(), sentence);
    assert_int_not_equal(access(out, F_OK), 0);
}

static struct gguf *convert(block_type type) {
    struct gguf *g;
    assert_ok(convert_model(in, out, type));
    assert_ok(gguf_open(out, &g));
    remove(out);
    return g;
}

static int64_t need(const struct gguf *g, const char *key) {
    int64_t v;
    assert_ok(gguf_need_i64(g, key, INT64_MIN, INT64_MAX, &v));
    return v;
}

static void assert_text(const struct gguf *g, const char *key, const char *text) {
    struct gguf_string s;
    assert_true(gguf_get_string(g, key, &s));
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

/* ---- codec ---- */

static float *rule_values(const struct codec_rule_tensor *t, size_t *n) {
    *n = (size_t)(t->dims[0] * (t->n_dims > 1 ? t->dims[1] : 1) * (t->n_dims > 2 ? t->dims[2] : 1));
    float *values = malloc(*n * sizeof *values);
    assert_non_null(values);
    codec_rule_fill(t, 0, values, *n);
    return values;
}

// The small codec of the rule as a file that a test may still change.
static void start_codec(struct builder *b) {
    static struct codec_rule_tensor tensors[CODEC_RULE_MAX_TENSORS];
    int n_tensors = codec_rule_tensors(false, tensors);
    builder_start(b);
    for (int i = 0; i < n_tensors; i++) {
        size_t n;
        float *values = rule_values(&tensors[i], &n);
        builder_add(b, tensors[i].name, "F32", tensors[i].n_dims, tensors[i].dims, values, n * sizeof *values);
        free(values);
    }
    builder_metadata(b, "utter.codec", "{\"head_count\":4}");
}

// One tensor of the converted file against the rule, in the type it should have come out in.
static void check_codec_tensor(const struct gguf *g, const struct codec_rule_tensor *rule, block_type type) {
    const struct gguf_tensor *t = gguf_find_tensor(g, rule->name);
    if (!t) fail_msg("%s is not there", rule->name);
    int64_t rows = rule->dims[0], channels = rule->n_dims > 1 ? rule->dims[1] : 1,
            taps = rule->n_dims > 2 ? rule->dims[2] : 1;
    block_type wanted = rule->n_dims == 1 ? BLOCK_F32 : channels % block_info(type)->n_weights ? BLOCK_F16 : type;
    assert_int_equal(t->type, wanted);
    if (rule->n_dims == 1) {
        channels = rows;
        rows = 1;
    }
    assert_int_equal(t->n_dims, rule->n_dims);
    assert_int_equal(t->dims[0], channels);
    assert_int_equal(t->dims[1], rule->n_dims == 3 ? taps : rows);
    assert_int_equal(t->dims[2], rule->n_dims == 3 ? rows : 1);

    size_t n;
    float *values = rule_values(rule, &n), *turned = malloc(n * sizeof *turned);
    void *blocks = malloc(t->n_bytes);
    assert_non_null(turned);
    assert_non_null(blocks);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t k = 0; k < taps; k++)
                turned[(r * taps + k) * channels + c] = values[(r * channels + c) * taps + k];
    assert_int_equal(block_row_bytes(wanted, (int64_t)n), t->n_bytes);
    assert_ok(quantize_row(wanted, turned, blocks, (int64_t)n));
    assert_memory_equal(t->data, blocks, t->n_bytes);
    free(values);
    free(turned);
    free(blocks);
}

static void test_codec(void **state) {
    (void)state;
    static const block_type types[] = {BLOCK_F32, BLOCK_F16, BLOCK_BF16, BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_Q5_1};
    static struct codec_rule_tensor tensors[CODEC_RULE_MAX_TENSORS];
    int n = codec_rule_tensors(false, tensors), n_needed = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_ok(fixture_codec(false, types[i], out));
        struct gguf *g;
        assert_ok(gguf_open(out, &g));
        remove(out);
        n_needed = 0;
        for (int j = 0; j < n; j++) {
            if (!tensors[j].needed) continue;
            check_codec_tensor(g, &tensors[j], types[i]);
            n_needed++;
        }
        assert_int_equal(gguf_n_tensors(g), n_needed);  // and nothing that the decoder does not need
        assert_text(g, "general.architecture", "neucodec");
        assert_int_equal(need(g, "neucodec.sample_rate"), 24000);
        assert_int_equal(need(g, "neucodec.hop_length"), 480);
        assert_int_equal(need(g, "neucodec.fft_length"), 1920);
        assert_int_equal(need(g, "neucodec.embedding_length"), 128);
        assert_int_equal(need(g, "neucodec.block_count"), 2);
        assert_int_equal(need(g, "neucodec.head_count"), 4);
        assert_int_equal(need(g, "neucodec.group_count"), 32);
        assert_int_equal(need(g, "neucodec.vq_length"), 256);
        struct gguf_array a;
        assert_true(gguf_get_array(g, "neucodec.fsq_levels", &a));
        assert_int_equal(a.n, 8);
        for (size_t j = 0; j < 8; j++) {
            int64_t level;
            assert_true(gguf_array_i64(&a, j, &level));
            assert_int_equal(level, 4);
        }
        struct matrix m;
        assert_ok(gguf_matrix(g, "generator.backbone.embed.weight", 128, 7 * 128, &m));
        gguf_close(g);
    }
}

static void test_codec_metadata_and_older_names(void **state) {
    (void)state;
    struct builder b;
    start_codec(&b);
    builder_rename(&b, "generator.quantizer.project_out.weight", "generator.quantizer.fsqs.0.project_out.weight");
    builder_rename(&b, "generator.quantizer.project_out.bias", "generator.quantizer.fsqs.0.project_out.bias");
    builder_metadata(
        &b, "utter.codec",
        "{\"sample_rate\":16000,\"hop_length\":320,\"fft_length\":1920,\"head_count\":8,\"group_count\":16,"
        "\"fsq_levels\":[2,3,4,5,6,7,8,9],\"general.name\":\"small\",\"general.license\":\"none\"}");
    assert_ok(builder_write(&b, in));
    builder_free(&b);
    struct gguf *g = convert(BLOCK_F16);
    assert_text(g, "general.name", "small");
    assert_text(g, "general.license", "none");
    assert_int_equal(need(g, "neucodec.sample_rate"), 16000);
    assert_int_equal(need(g, "neucodec.hop_length"), 320);
    assert_int_equal(need(g, "neucodec.head_count"), 8);
    assert_int_equal(need(g, "neucodec.group_count"), 16);
    struct gguf_array a;
    int64_t level;
    assert_true(gguf_get_array(g, "neucodec.fsq_levels", &a) && gguf_array_i64(&a, 7, &level) && level == 9);
    struct matrix m;
    assert_ok(gguf_matrix(g, "generator.quantizer.project_out.weight", 256, 8, &m));
    assert_non_null(gguf_find_tensor(g, "generator.quantizer.project_out.bias"));
    gguf_close(g);
}

// Without a word on heads they are 64 wide.
static void test_codec_defaults(void **state) {
    (void)state;
    struct builder b;
    start_codec(&b);
    json_object_del(b.header, "__metadata__");
    assert_ok(builder_write(&b, in));
    builder_free(&b);
    struct gguf *g = convert(BLOCK_F16);
    assert_int_equal(need(g, "neucodec.head_count"), 2);
    gguf_close(g);
}

// Every weight that the decoder needs, taken away and given another shape in turn.
static void test_codec_tensors_refused(void **state) {
    (void)state;
    static struct codec_rule_tensor tensors[CODEC_RULE_MAX_TENSORS];
    int n = codec_rule_tensors(false, tensors);
    struct builder b;
    start_codec(&b);
    for (int i = 0; i < n; i++) {
        if (!tensors[i].needed) continue;
        const char *name = tensors[i].name;
        json_t *info = json_incref(builder_tensor(&b, name));
        builder_remove(&b, name);
        assert_ok(builder_write(&b, in));
        int code = convert_model(in, out, BLOCK_F16);
        // Without its first convolution a file is no codec, without its last layer it has fewer.
        if (code != UTTER_FORMAT || (!strstr(fail_message(), name) && !strstr(fail_message(), "neither")))
            fail_msg("without %s: %d %s", name, code, fail_message());
        assert_int_not_equal(access(out, F_OK), 0);

        json_t *shape = json_incref(json_object_get(info, "shape"));
        json_object_set_new(info, "shape",
                            json_pack("[I,i,i]", json_integer_value(json_array_get(shape, 0)), 1,
                                      (int)(tensors[i].n_dims > 1 ? tensors[i].dims[1] : 1) *
                                          (int)(tensors[i].n_dims > 2 ? tensors[i].dims[2] : 1)));
        json_object_set(b.header, name, info);
        assert_ok(builder_write(&b, in));
        code = convert_model(in, out, BLOCK_F16);
        if (code != UTTER_FORMAT || !strstr(fail_message(), name) || !strstr(fail_message(), "has the shape"))
            fail_msg("%s in another shape: %d %s", name, code, fail_message());
        json_object_set(info, "shape", shape);
        json_decref(shape);
        json_decref(info);
    }
    builder_free(&b);
}

static void test_codec_sentences(void **state) {
    (void)state;
    static const struct {
        const char *said, *sentence;
    } cases[] = {
        {"{", "__metadata__ \"utter.codec\" cannot be read"},
        {"[]", "__metadata__ \"utter.codec\" is not a JSON object"},
        {"{\"head_count\":3}", "3 heads do not divide the width 128"},
        {"{\"head_count\":0}", "utter.codec head_count cannot be"},
        {"{\"head_count\":\"4\"}", "utter.codec head_count cannot be"},
        {"{\"group_count\":5}", "5 groups do not divide the width 128"},
        {"{\"fft_length\":1024}",
         "generator.head.out.weight has 1922 rows, which do not go with an fft_length of 1024"},
        {"{\"hop_length\":500}", "a hop_length of 500"},
        {"{\"hop_lenght\":480}", "utter.codec hop_lenght cannot be"},
        {"{\"fsq_levels\":[4,4]}", "utter.codec fsq_levels is not a list of 8 numbers"},
        {"{\"fsq_levels\":[4,4,4,4,4,4,4,1]}", "utter.codec fsq_levels: element 7 is not a whole number from 2"},
        {"{\"general.architecture\":\"x\"}", "utter.codec general.architecture cannot be"},
    };
    struct builder b;
    start_codec(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        builder_metadata(&b, "utter.codec", cases[i].said);
        assert_ok(builder_write(&b, in));
        assert_refused(BLOCK_F16, UTTER_FORMAT, cases[i].sentence);
    }
    builder_metadata(&b, "utter.codec", "{\"head_count\":4}");
    json_object_set_new(builder_tensor(&b, "fc_post_a.bias"), "dtype", json_string("I32"));
    assert_ok(builder_write(&b, in));
    assert_refused(BLOCK_F16, UTTER_UNSUPPORTED, "tensor fc_post_a.bias is of type I32; wanted F32, F16, BF16 or F64");
    builder_free(&b);
}

static void test_values_refused(void **state) {
    (void)state;
    struct builder b;
    start_codec(&b);
    json_int_t at =
        json_integer_value(json_array_get(json_object_get(builder_tensor(&b, "fc_post_a.weight"), "data_offsets"), 0));
    memcpy(b.data.data + at + (256 + 5) * 4, &(float){NAN}, 4);
    assert_ok(builder_write(&b, in));
    builder_free(&b);
    assert_refused(BLOCK_Q8_0, UTTER_INVALID,
                   "tensor fc_post_a.weight, row 1: weight 5 of a row is nan, which Q8_0 cannot hold");
    assert_refused(BLOCK_F32, UTTER_INVALID, "which F32 cannot hold");
    assert_refused(BLOCK_Q4_K, UTTER_INVALID, "which Q4_K cannot hold");
}

/* ---- backbones: the tiny models taken apart into Hugging Face's names and put together again ---- */

static json_t *json_of_array(const struct gguf_array *a) {
    json_t *array = json_array();
    for (size_t i = 0; i < a->n; i++) {
        int64_t v;
        double f;
        if (a->strings)
            json_array_append_new(array, json_stringn(a->strings[i].data, a->strings[i].len));
        else if (gguf_array_i64(a, i, &v))
            json_array_append_new(array, json_integer(v));
        else if (gguf_array_f64(a, i, &f))
            json_array_append_new(array, json_real(f));
    }
    return array;
}

static json_t *json_of_key(const struct gguf *g, const char *key) {
    int64_t v;
    double f;
    bool b;
    struct gguf_string s;
    struct gguf_array a;
    if (gguf_get_i64(g, key, &v)) return json_integer(v);
    if (gguf_get_f64(g, key, &f)) return json_real(f);
    if (gguf_get_bool(g, key, &b)) return json_boolean(b);
    if (gguf_get_string(g, key, &s)) return json_stringn(s.data, s.len);
    assert_true(gguf_get_array(g, key, &a));
    return json_of_array(&a);
}

static void hugging_face_name(const char *name, char *other, size_t size) {
    static const char *const stems[][2] = {
        {"attn_norm.", "input_layernorm."},    {"attn_q.", "self_attn.q_proj."},
        {"attn_k.", "self_attn.k_proj."},      {"attn_v.", "self_attn.v_proj."},
        {"attn_q_norm.", "self_attn.q_norm."}, {"attn_k_norm.", "self_attn.k_norm."},
        {"attn_output.", "self_attn.o_proj."}, {"ffn_norm.", "post_attention_layernorm."},
        {"ffn_gate.", "mlp.gate_proj."},       {"ffn_up.", "mlp.up_proj."},
        {"ffn_down.", "mlp.down_proj."},
    };
    int layer, len;
    if (sscanf(name, "blk.%d.%n", &layer, &len) == 1) {
        for (size_t i = 0; i < sizeof stems / sizeof *stems; i++)
            if (strncmp(name + len, stems[i][0], strlen(stems[i][0])) == 0)
                snprintf(other, size, "model.layers.%d.%s%s", layer, stems[i][1], name + len + strlen(stems[i][0]));
        return;
    }
    if (strcmp(name, "token_embd.weight") == 0) snprintf(other, size, "model.embed_tokens.weight");
    if (strcmp(name, "output_norm.weight") == 0) snprintf(other, size, "model.norm.weight");
    if (strcmp(name, "output.weight") == 0) snprintf(other, size, "lm_head.weight");
}

// Adds one tensor; pairs of rows of a Llama's heads become halves, as Hugging Face has them.
static void take_apart(struct builder *b, const struct gguf_tensor *t, int64_t n_heads) {
    char name[96] = "";
    hugging_face_name(t->name, name, sizeof name);
    const int64_t dims[] = {t->n_dims == 2 ? t->dims[1] : t->dims[0], t->dims[0]};
    const char *data = t->data;
    char *rows = NULL;
    if (n_heads) {
        int64_t d = dims[0] / n_heads;
        size_t row_bytes = t->n_bytes / (size_t)dims[0];
        rows = malloc(t->n_bytes);
        assert_non_null(rows);
        for (int64_t h = 0; h < n_heads; h++)
            for (int64_t i = 0; i < d / 2; i++) {
                memcpy(rows + (size_t)(h * d + i) * row_bytes, data + (size_t)(h * d + 2 * i) * row_bytes, row_bytes);
                memcpy(rows + (size_t)(h * d + i + d / 2) * row_bytes, data + (size_t)(h * d + 2 * i + 1) * row_bytes,
                       row_bytes);
            }
    }
    builder_add(b, name, block_info(t->type)->name, t->n_dims, dims, rows ? rows : data, t->n_bytes);
    free(rows);
}

// The tiny model `name` in Hugging Face's names. *g: the model as it was; *said: its metadata.
static void start_backbone(const char *name, struct builder *b, struct gguf **g, json_t **said) {
    char path[FIXTURE_PATH];
    assert_ok(fixture_path("tiny.gguf", path));
    assert_ok(fixture_tiny(name, path));
    assert_ok(gguf_open(path, g));
    builder_start(b);
    bool llama = strncmp(name, "llama", 5) == 0;
    for (int64_t i = 0; i < gguf_n_tensors(*g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(*g, i);
        bool q = strstr(t->name, "attn_q.weight"), k = strstr(t->name, "attn_k.weight");
        take_apart(b, t, llama && q ? 4 : llama && k ? 1 : 0);
    }
    *said = json_object();
    for (int64_t i = 0; i < gguf_n_keys(*g); i++) {
        gguf_value_type type;
        const char *key = gguf_key_at(*g, i, &type);
        json_object_set_new(*said, key, json_of_key(*g, key));
    }
}

static void write_backbone(struct builder *b, const json_t *said) {
    char *text = json_dumps(said, JSON_COMPACT);
    assert_non_null(text);
    builder_metadata(b, "utter.gguf", text);
    free(text);
    assert_ok(builder_write(b, in));
}

static void assert_same_key(const struct gguf *a, const struct gguf *b, const char *key) {
    json_t *x = json_of_key(a, key), *y = json_of_key(b, key);
    if (!json_equal(x, y)) fail_msg("key %s differs", key);
    json_decref(x);
    json_decref(y);
}

static void test_backbones(void **state) {
    (void)state;
    static const struct {
        const char *name;
        block_type type;
    } models[] = {
        {"qwen2-f32", BLOCK_F32}, {"qwen2-bf16", BLOCK_BF16}, {"llama-f16", BLOCK_F16}, {"qwen3-f16", BLOCK_F16}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct builder b;
        struct gguf *was;
        json_t *said;
        start_backbone(models[i].name, &b, &was, &said);
        write_backbone(&b, said);
        struct gguf *is = convert(models[i].type);
        assert_int_equal(gguf_n_tensors(is), gguf_n_tensors(was));
        for (int64_t j = 0; j < gguf_n_tensors(was); j++) {
            const struct gguf_tensor *x = gguf_tensor_at(was, j), *y = gguf_find_tensor(is, x->name);
            if (!y) fail_msg("%s: %s is not there", models[i].name, x->name);
            assert_int_equal(y->type, x->type);
            assert_memory_equal(y->dims, x->dims, sizeof x->dims);
            if (memcmp(y->data, x->data, x->n_bytes) != 0) fail_msg("%s: %s differs", models[i].name, x->name);
        }
        assert_int_equal(gguf_n_keys(is), gguf_n_keys(was));
        for (int64_t j = 0; j < gguf_n_keys(was); j++) {
            gguf_value_type type;
            assert_same_key(was, is, gguf_key_at(was, j, &type));
        }
        gguf_close(is);
        is = convert(BLOCK_Q8_0);
        assert_int_equal(gguf_find_tensor(is, "blk.1.ffn_down.weight")->type, BLOCK_Q8_0);
        assert_int_equal(gguf_find_tensor(is, "blk.1.ffn_norm.weight")->type, BLOCK_F32);
        gguf_close(is);
        gguf_close(was);
        json_decref(said);
        builder_free(&b);
    }
}

static void test_backbone_metadata(void **state) {
    (void)state;
    struct builder b;
    struct gguf *was;
    json_t *said;
    start_backbone("qwen2-f16", &b, &was, &said);
    gguf_close(was);
    json_object_set_new(said, "real", json_pack("[f,i]", 0.5, 2));
    json_object_set_new(said, "none", json_array());
    write_backbone(&b, said);
    struct gguf *g = convert(BLOCK_F16);
    struct gguf_array a;
    double f;
    assert_true(gguf_get_array(g, "real", &a) && a.type == GGUF_F32 && gguf_array_f64(&a, 1, &f) && f == 2);
    assert_true(gguf_get_array(g, "none", &a) && a.type == GGUF_STRING && a.n == 0);
    gguf_close(g);

    static const struct {
        const char *key, *value, *sentence;
        status status;
    } cases[] = {
        {"general.architecture", "\"gpt2\"", "general.architecture is gpt2; wanted qwen2, llama or qwen3",
         UTTER_UNSUPPORTED},
        {"general.architecture", "7", "general.architecture is not there", UTTER_UNSUPPORTED},
        {"qwen2.block_count", "3", "qwen2.block_count is 3, and the tensors make 2 layers", UTTER_FORMAT},
        {"qwen2.block_count", "\"2\"", "qwen2.block_count is not a whole number from 1 to 65536", UTTER_FORMAT},
        {"qwen2.embedding_length", "128",
         "tensor model.embed_tokens.weight has the shape [1200, 256]; wanted [1200, 128]", UTTER_FORMAT},
        {"qwen2.feed_forward_length", "513", "mlp.gate_proj.weight has the shape [512, 256]; wanted [513, 256]",
         UTTER_FORMAT},
        {"qwen2.attention.head_count", "3", "q_proj.weight has 256 rows, which are not 3 heads", UTTER_FORMAT},
        {"qwen2.attention.head_count_kv", "4", "k_proj.weight has the shape [128, 256]; wanted [256, 256]",
         UTTER_FORMAT},
        {"qwen2.attention.head_count_kv", "5", "head_count_kv is not a whole number from 1 to 4", UTTER_FORMAT},
        {"general.alignment", "64", "general.alignment is the writer's to say", UTTER_FORMAT},
        {"nested", "{}", "metadata nested is not a string, a boolean, a number or an array of them", UTTER_FORMAT},
        {"nothing", "null", "metadata nothing is not a string", UTTER_FORMAT},
        {"negative", "-1", "metadata negative is not a whole number from 0 to 4294967295", UTTER_FORMAT},
        {"large", "4294967296", "metadata large is not a whole number from 0 to 4294967295", UTTER_FORMAT},
        {"infinite", "1e300", "metadata infinite is not a number within 32 bits", UTTER_FORMAT},
        {"mixed", "[1, \"a\"]", "metadata mixed is not an array of numbers alone", UTTER_FORMAT},
        {"mixed", "[\"a\", 1]", "metadata mixed is not an array of strings alone", UTTER_FORMAT},
        {"wide", "[2147483648]", "metadata wide is not an array of numbers alone, each within 32 bits", UTTER_FORMAT},
        {"arrays", "[[1]]", "metadata arrays is not an array of strings alone", UTTER_FORMAT},
        {"", "1", "a metadata key is 0 bytes long", UTTER_FORMAT},
    };
    json_object_del(said, "real");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *changed = json_copy(said);
        json_object_set_new(changed, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        write_backbone(&b, changed);
        assert_refused(BLOCK_F16, cases[i].status, cases[i].sentence);
        json_decref(changed);
    }
    json_object_del(b.header, "__metadata__");
    assert_ok(builder_write(&b, in));
    assert_refused(BLOCK_F16, UTTER_FORMAT, "__metadata__ has no \"utter.gguf\"");
    json_decref(said);
    builder_free(&b);
}

static void test_backbone_tensors_refused(void **state) {
    (void)state;
    struct builder b;
    struct gguf *was;
    json_t *said;
    start_backbone("qwen2-f16", &b, &was, &said);
    gguf_close(was);
    builder_add(&b, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 1, (const int64_t[]){1}, "1234", 4);
    write_backbone(&b, said);
    gguf_close(convert(BLOCK_F16));  // a buffer that follows from the metadata is left behind
    builder_add(&b, "model.layers.0.self_attn.o_proj.bias", "F32", 1, (const int64_t[]){1}, "1234", 4);
    write_backbone(&b, said);
    assert_refused(BLOCK_F16, UTTER_UNSUPPORTED,
                   "tensor model.layers.0.self_attn.o_proj.bias has no place in a qwen2 model");
    builder_remove(&b, "model.layers.0.self_attn.o_proj.bias");
    builder_remove(&b, "model.layers.1.self_attn.k_proj.bias");
    write_backbone(&b, said);
    assert_refused(BLOCK_F16, UTTER_FORMAT, "tensor model.layers.1.self_attn.k_proj.bias is missing; wanted [128]");
    // Of another shape: the name, what is wanted and what is there.
    float more[129] = {0};
    builder_add(&b, "model.layers.1.self_attn.k_proj.bias", "F32", 1, (const int64_t[]){129}, more, sizeof more);
    write_backbone(&b, said);
    assert_refused(BLOCK_F16, UTTER_FORMAT,
                   "tensor model.layers.1.self_attn.k_proj.bias has the shape [129]; wanted [128]");
    builder_remove(&b, "model.layers.1.self_attn.k_proj.bias");
    builder_add(&b, "model.layers.99999999999999999999.x", "F32", 1, (const int64_t[]){1}, "1234", 4);
    write_backbone(&b, said);
    assert_refused(BLOCK_F16, UTTER_UNSUPPORTED, "utter reads at most 1024 layers");
    builder_remove(&b, "model.layers.99999999999999999999.x");
    builder_remove(&b, "model.embed_tokens.weight");
    builder_add(&b, "model.embed_tokens.weight", "F32", 1, (const int64_t[]){129}, more, sizeof more);
    write_backbone(&b, said);
    assert_refused(BLOCK_F16, UTTER_FORMAT,
                   "tensor model.embed_tokens.weight has the shape [129]; wanted 2 dimensions");
    json_decref(said);
    builder_free(&b);
}

static void test_neither(void **state) {
    (void)state;
    struct builder b;
    builder_start(&b);
    builder_add(&b, "a", "F32", 1, (const int64_t[]){1}, "1234", 4);
    assert_ok(builder_write(&b, in));
    builder_free(&b);
    assert_refused(BLOCK_F16, UTTER_FORMAT, "in.safetensors holds neither a NeuCodec");
    remove(in);
    assert_refused(BLOCK_F16, UTTER_IO, "in.safetensors");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec),
        cmocka_unit_test(test_codec_metadata_and_older_names),
        cmocka_unit_test(test_codec_defaults),
        cmocka_unit_test(test_codec_tensors_refused),
        cmocka_unit_test(test_codec_sentences),
        cmocka_unit_test(test_values_refused),
        cmocka_unit_test(test_backbones),
        cmocka_unit_test(test_backbone_metadata),
        cmocka_unit_test(test_backbone_tensors_refused),
        cmocka_unit_test(test_neither),
    };
    return cmocka_run_group_tests_name("convert", tests, setup, teardown);
}
