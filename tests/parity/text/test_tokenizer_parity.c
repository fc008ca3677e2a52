/* The tokenizer against llama.cpp: 65 texts with each of four vocabularies (fixtures/tiny/tokenize-*.json). */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"
#include "text/tokenizer.h"

static void check_ids(const struct tokenizer *t, const json_t *c, const char *key, bool add_special,
                      bool parse_special) {
    const char *text = json_string_value(json_object_get(c, "text"));
    size_t len = json_string_length(json_object_get(c, "text"));
    const json_t *want = json_object_get(c, key);
    struct token_list got = {0};
    assert_ok(tokenizer_encode(t, text, len, add_special, parse_special, &got));
    bool equal = got.n == json_array_size(want);
    for (size_t i = 0; equal && i < got.n; i++) equal = got.ids[i] == json_integer_value(json_array_get(want, i));
    if (!equal) {
        for (size_t i = 0; i < got.n; i++) fprintf(stderr, "%d ", got.ids[i]);
        fail_msg("%s of \"%s\" differ", key, text);
    }
    token_list_free(&got);
}

static void check_text(const struct tokenizer *t, const json_t *c, const char *key, bool special) {
    const json_t *ids = json_object_get(c, "ids"), *want = json_object_get(c, key);
    struct token_list list = {0};
    struct str got = {0};
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_ok(token_list_push(&list, (int32_t)json_integer_value(json_array_get(ids, i))));
    tokenizer_detokenize(t, list.ids, list.n, special, &got);
    assert_ok(str_status(&got));
    assert_int_equal(got.len, json_string_length(want));
    assert_string_equal(str_text(&got), json_string_value(want));
    str_free(&got);
    token_list_free(&list);
}

static bool contains(const json_t *array, int32_t id) {
    for (size_t i = 0; i < json_array_size(array); i++)
        if (json_integer_value(json_array_get(array, i)) == id) return true;
    return false;
}

static void check_vocabulary(const struct tokenizer *t, const json_t *root) {
    int32_t n = (int32_t)json_integer_value(json_object_get(root, "n_vocab"));
    assert_int_equal(tokenizer_n_vocab(t), n);
    assert_int_equal(tokenizer_bos(t), json_integer_value(json_object_get(root, "bos")));
    assert_int_equal(tokenizer_eos(t), json_integer_value(json_object_get(root, "eos")));
    const json_t *pieces = json_object_get(root, "pieces_hex");
    assert_int_equal(json_array_size(pieces), n);
    for (int32_t id = 0; id < n; id++) {
        assert_int_equal(tokenizer_is_eog(t, id), contains(json_object_get(root, "eog"), id));
        assert_int_equal(tokenizer_type(t, id) == TOKEN_CONTROL, contains(json_object_get(root, "control"), id));
        struct str piece = {0}, hex = {0};
        tokenizer_decode(t, id, true, &piece);
        for (size_t i = 0; i < piece.len; i++) str_printf(&hex, "%02x", (unsigned char)piece.data[i]);
        assert_string_equal(str_text(&hex), json_string_value(json_array_get(pieces, (size_t)id)));
        str_free(&piece);
        str_free(&hex);
    }
}

static void run(const char *vocabulary, const char *model) {
    char name[64], path[FIXTURE_PATH];
    snprintf(name, sizeof name, "tiny/tokenize-%s.json", vocabulary);
    assert_ok(fixture_stored(name, path));
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!root) fail_msg("%s: %s", path, error.text);

    assert_ok(fixture_path("model.gguf", path));
    assert_ok(fixture_tiny(model, path));
    struct gguf *g;
    struct tokenizer *t;
    assert_ok(gguf_open(path, &g));
    assert_ok(tokenizer_load(g, &t));
    check_vocabulary(t, root);
    const json_t *cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 65);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        check_ids(t, c, "ids", false, true);
        check_ids(t, c, "ids_no_special", false, false);
        check_ids(t, c, "ids_add_special", true, true);
        check_text(t, c, "detok_special", true);
        check_text(t, c, "detok", false);
    }
    tokenizer_free(t);
    gguf_close(g);
    json_decref(root);
}

static void test_qwen2(void **state) {
    (void)state;
    run("qwen2", "qwen2-q4_0");
}

static void test_qwen3(void **state) {
    (void)state;
    run("qwen3", "qwen3-q4_0");
}

static void test_smollm(void **state) {
    (void)state;
    run("smollm", "llama-q4_0");
}

static void test_llama_bpe(void **state) {
    (void)state;
    run("llama-bpe", "vocab-llama-bpe");
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_smollm),
        cmocka_unit_test(test_llama_bpe),
    };
    return cmocka_run_group_tests_name("tokenizer parity", tests, NULL, teardown);
}
