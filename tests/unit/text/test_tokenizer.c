/* The tokenizer beyond what llama.cpp's recorded answers show: merges against a plain reference, words of each
   pre-tokenizer, special tokens that overlap, bytes that are no text, and vocabularies that are no vocabularies. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fixtures/folder.h"
#include "gguf/write.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

/* ---- made vocabularies ---- */

struct vocabulary {
    const char *model, *pre;  // NULL: left out
    const char *const *tokens;
    size_t n_tokens;
    const int32_t *types;  // NULL: left out
    size_t n_types;
    const char *const *merges;  // NULL: left out
    size_t n_merges;
    int bos, eos, eot;     // -1: left out
    int add_bos, add_eos;  // -1: left out
};

static struct vocabulary vocabulary_of(const char *pre, const char *const *tokens, size_t n_tokens) {
    static const char *const no_merges[1];
    return (struct vocabulary){.model = "gpt2",
                               .pre = pre,
                               .tokens = tokens,
                               .n_tokens = n_tokens,
                               .merges = no_merges,
                               .bos = -1,
                               .eos = -1,
                               .eot = -1,
                               .add_bos = -1,
                               .add_eos = -1};
}

static struct gguf *file;  // of the vocabulary that was loaded last

static status load(const struct vocabulary *v, struct tokenizer **out) {
    char path[FIXTURE_PATH];
    struct gguf_writer *w;
    *out = NULL;
    assert_ok(fixture_path("vocabulary.gguf", path));
    assert_ok(gguf_writer_open(path, &w));
    if (v->model) gguf_put_string(w, "tokenizer.ggml.model", v->model);
    if (v->pre) gguf_put_string(w, "tokenizer.ggml.pre", v->pre);
    if (v->tokens) gguf_put_string_array(w, "tokenizer.ggml.tokens", v->tokens, v->n_tokens);
    if (v->types) gguf_put_i32_array(w, "tokenizer.ggml.token_type", v->types, v->n_types);
    if (v->merges) gguf_put_string_array(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
    if (v->bos >= 0) gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0) gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->eot >= 0) gguf_put_u32(w, "tokenizer.ggml.eot_token_id", (uint32_t)v->eot);
    if (v->add_bos >= 0) gguf_put_bool(w, "tokenizer.ggml.add_bos_token", v->add_bos);
    if (v->add_eos >= 0) gguf_put_bool(w, "tokenizer.ggml.add_eos_token", v->add_eos);
    assert_ok(gguf_writer_finish(w));
    gguf_close(file);
    file = NULL;
    assert_ok(gguf_open(path, &file));
    return tokenizer_load(file, out);
}

static struct tokenizer *loaded(const struct vocabulary *v) {
    struct tokenizer *t;
    assert_ok(load(v, &t));
    return t;
}

static void refused(const struct vocabulary *v, status want, const char *word) {
    struct tokenizer *t;
    status s = load(v, &t);
    if (s != want || !strstr(fail_message(), word) || !strstr(fail_message(), "vocabulary.gguf"))
        fail_msg("wanted %s with \"%s\" and the file's name, got %s: %s", status_name(want), word, status_name(s),
                 s == UTTER_OK ? "" : fail_message());
    assert_null(t);
}

/* text -> "id id id", with special tokens parsed. */
static void expect_with(const struct tokenizer *t, const char *text, size_t len, bool add, bool parse,
                        const char *want) {
    struct token_list ids = {0};
    struct str got = {0};
    assert_ok(tokenizer_encode(t, text, len, add, parse, &ids));
    for (size_t i = 0; i < ids.n; i++) str_printf(&got, "%s%d", i ? " " : "", ids.ids[i]);
    assert_string_equal(str_text(&got), want);
    str_free(&got);
    token_list_free(&ids);
}

static void expect(const struct tokenizer *t, const char *text, const char *want) {
    expect_with(t, text, strlen(text), false, true, want);
}

/* The spelling of each byte in token texts, GPT-2's rule. */
static char byte_spelling[256][3];
static const char *byte_tokens[256];

static int setup(void **state) {
    (void)state;
    int next = 256;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        int c = printable ? b : next++;
        if (c < 0x80) {
            snprintf(byte_spelling[b], 3, "%c", c);
        } else {
            snprintf(byte_spelling[b], 3, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
        }
        byte_tokens[b] = byte_spelling[b];
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gguf_close(file);
    fixture_cleanup();
    return 0;
}

/* ---- words ---- */

static void expect_words(const char *pre, const char *text, size_t len, const char *want) {
    struct pretokenizer *p;
    struct word_list words = {0};
    struct str got = {0};
    assert_non_null(pretokenizer_find(pre, strlen(pre)));
    assert_ok(pretokenizer_new(pretokenizer_find(pre, strlen(pre)), &p));
    assert_ok(pretokenizer_split(p, text, len, &words));
    size_t start = 0;
    for (size_t i = 0; i < words.n; i++) {
        assert_true(words.ends[i] > start);
        if (i) str_putc(&got, '|');
        str_append(&got, text + start, words.ends[i] - start);
        start = words.ends[i];
    }
    assert_int_equal(start, len);
    assert_string_equal(str_text(&got), want);
    str_free(&got);
    word_list_free(&words);
    pretokenizer_free(p);
}

static void test_words(void **state) {
    (void)state;
#define WORDS(pre, text, want) expect_words(pre, text, sizeof text - 1, want)
    static const char *const all[] = {"qwen2", "smollm", "llama-bpe", "gpt-2", "default"};
    for (int i = 0; i < 5; i++) {
        WORDS(all[i], "", "");
        WORDS(all[i], "   ", "   ");
        WORDS(all[i], "one two", "one| two");
        WORDS(all[i], "a\xff\xfe b", "a|\xff|\xfe| b");      // no UTF-8
        WORDS(all[i], "\xed\xa0\x80x", "\xed|\xa0|\x80|x");  // a surrogate
        WORDS(all[i], "\xe2\x80", "\xe2|\x80");              // cut off
        WORDS(all[i], "a\xc2\xa0 b", "a|\xc2\xa0| b");       // U+00A0 is white
    }
    WORDS("gpt-2", "it's IT'S 1234 !?", "it|'s| IT|'|S| 1234| !?");
    WORDS("gpt-2", "a  b\n\n c", "a| | b|\n\n| c");
    WORDS("smollm", "a1 23  4", "a|1| |2|3|  |4");
    WORDS("default", "a1234567 5.5,x+y", "a|123|456|7| |5|.|5|,|x|+|y");
    WORDS("qwen2", "it's IT'S 1234 !?\n\n x", "it|'s| IT|'S| |1|2|3|4| !?\n\n| x");
    WORDS("qwen2", "a \n \n  b", "a| \n \n| | b");
    WORDS("llama-bpe", "1234567 (abc)", "123|456|7| (|abc|)");
#undef WORDS
    assert_null(pretokenizer_find("qwen", 4));
    assert_null(pretokenizer_find("qwen22", 6));
}

/* ---- merges ---- */

enum { LETTERS = 3, MERGES = 60 };

/* What a word must become: again and again, the leftmost of the pairs with the lowest rank is merged. */
static size_t merge_plainly(int32_t (*merges)[3], int n_merges, int32_t *ids, size_t n) {
    for (;;) {
        int best = n_merges;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int m = 0; m < best; m++)
                if (merges[m][0] == ids[i] && merges[m][1] == ids[i + 1]) {
                    best = m;
                    at = i;
                }
        if (best == n_merges) return n;
        ids[at] = merges[best][2];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void test_merges_against_a_plain_reference(void **state) {
    (void)state;
    uint32_t random = 1;
    for (int round = 0; round < 20; round++) {
        char texts[LETTERS + MERGES][64] = {"a", "b", "c"}, lines[MERGES][64];
        const char *tokens[LETTERS + MERGES], *merges[MERGES];
        int32_t rules[MERGES][3];
        int n = LETTERS, n_merges = 0;
        while (n_merges < MERGES) {
#define NEXT(below) ((random = random * 1664525u + 1013904223u) >> 8) % (uint32_t)(below)
            int left = (int)(NEXT(n)), right = (int)(NEXT(n));
            char joined[64];
            if (snprintf(joined, sizeof joined, "%s%s", texts[left], texts[right]) > 12) continue;
            int result = 0;
            while (result < n && strcmp(texts[result], joined) != 0) result++;
            bool known = false;
            for (int m = 0; m < n_merges; m++) known |= rules[m][0] == left && rules[m][1] == right;
            if (known) continue;
            if (result == n) strcpy(texts[n++], joined);  // a new token, or another way to one
            memcpy(rules[n_merges], (int32_t[]){left, right, result}, sizeof rules[0]);
            snprintf(lines[n_merges], sizeof lines[0], "%s %s", texts[left], texts[right]);
            merges[n_merges] = lines[n_merges];
            n_merges++;
        }
        for (int i = 0; i < n; i++) tokens[i] = texts[i];
        struct vocabulary v = vocabulary_of("gpt-2", tokens, (size_t)n);
        v.merges = merges;
        v.n_merges = MERGES;
        struct tokenizer *t = loaded(&v);
        for (int trial = 0; trial < 100; trial++) {
            char text[200];
            int32_t want[200];
            size_t len = 1 + NEXT(sizeof text - 1);
            for (size_t i = 0; i < len; i++) text[i] = (char)('a' + (want[i] = (int32_t)(NEXT(LETTERS))));
            size_t n_want = merge_plainly(rules, MERGES, want, len);
            struct token_list got = {0};
            assert_ok(tokenizer_encode(t, text, len, false, true, &got));
            assert_int_equal(got.n, n_want);
            assert_memory_equal(got.ids, want, n_want * sizeof *want);
            token_list_free(&got);
        }
        tokenizer_free(t);
#undef NEXT
    }
}

static void test_a_megabyte_without_spaces(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    const char *const tokens[] = {"a", "aa", "aaaa", "aaaaaaaa"}, *const merges[] = {"a a", "aa aa", "aaaa aaaa"};
    struct vocabulary v = vocabulary_of("qwen2", tokens, 4);
    v.merges = merges;
    v.n_merges = 3;
    struct tokenizer *t = loaded(&v);
    char *text = malloc(N);
    assert_non_null(text);
    memset(text, 'a', N);
    struct token_list ids = {0};
    assert_ok(tokenizer_encode(t, text, N, false, true, &ids));
    assert_int_equal(ids.n, N / 8);
    token_list_free(&ids);
    free(text);
    assert_int_equal(tokenizer_encode(t, "", (size_t)1 << 40, false, true, &ids),
                     UTTER_LIMIT);  // told by its length alone
    tokenizer_free(t);
}

/* ---- bytes ---- */

static void test_every_byte_goes_through(void **state) {
    (void)state;
    char text[1024];
    for (int i = 0; i < 1024; i++) text[i] = (char)((i * 167 + i / 256) & 255);
    static const char *const all[] = {"qwen2", "smollm", "gpt-2", "default"};
    for (int p = 0; p < 4; p++) {
        struct vocabulary v = vocabulary_of(all[p], byte_tokens, 256);
        struct tokenizer *t = loaded(&v);
        struct token_list ids = {0};
        struct str back = {0};
        assert_ok(tokenizer_encode(t, text, sizeof text, true, true, &ids));
        assert_int_equal(ids.n, sizeof text);
        for (size_t i = 0; i < ids.n; i++) tokenizer_decode(t, ids.ids[i], false, &back);
        assert_memory_equal(back.data, text, sizeof text);
        str_free(&back);
        token_list_free(&ids);
        tokenizer_free(t);
    }
}

static void test_unknown_bytes_are_left_out(void **state) {
    (void)state;
    const char *const tokens[] = {"a", "\u0120"};  // the letter, the space
    struct vocabulary v = vocabulary_of("gpt-2", tokens, 2);
    struct tokenizer *t = loaded(&v);
    expect(t, "a b\xffz a", "0 1 1 0");
    tokenizer_free(t);
}

static void test_decoding(void **state) {
    (void)state;
    const char *const tokens[] = {"a\u0120b", "<|x|>", "<|y|>", "\u4e16\xff", "unused"};
    const int32_t types[] = {1, 3, 4, 1, 5};
    struct vocabulary v = vocabulary_of("gpt-2", tokens, 5);
    v.types = types;
    v.n_types = 5;
    struct tokenizer *t = loaded(&v);
    struct str s = {0};
    for (int32_t id = -1; id <= 5; id++) tokenizer_decode(t, id, false, &s);
    assert_string_equal(str_text(&s), "a b<|y|>\u4e16\xff");  // what spells no byte stands as it is
    str_clear(&s);
    tokenizer_decode(t, 1, true, &s);
    assert_string_equal(str_text(&s), "<|x|>");
    str_free(&s);
    size_t len;
    assert_memory_equal(tokenizer_text(t, 1, &len), "<|x|>", 5);
    assert_int_equal(len, 5);
    tokenizer_text(t, 5, &len);
    assert_int_equal(len, 0);
    tokenizer_free(t);
}

static void test_cleaning_spaces(void **state) {
    (void)state;
    const char *const texts[][2] = {{"a . b , c", "a. b, c"},
                                    {"  ?", " ?"},
                                    {"it 's a 'm x 're 'v", "it's a'm x're 'v"},
                                    {"a ' b ' ' c", "a'b'' c"},
                                    {" 'd 't 'll", " 'd 't 'll"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *tokens[1] = {texts[i][0]};
        const int32_t types[1] = {4}, id = 0;
        struct vocabulary v = vocabulary_of("gpt-2", tokens, 1);
        v.types = types;
        v.n_types = 1;
        struct str got = {0};
        struct tokenizer *t = loaded(&v);
        tokenizer_detokenize(t, &id, 1, true, &got);
        assert_string_equal(str_text(&got), texts[i][1]);
        str_free(&got);
        tokenizer_free(t);
        v.pre = "qwen2";  // cleans nothing
        t = loaded(&v);
        tokenizer_detokenize(t, &id, 1, true, &got);
        assert_string_equal(str_text(&got), texts[i][0]);
        str_free(&got);
        tokenizer_free(t);
    }
}

/* ---- special tokens ---- */

static void test_special_tokens(void **state) {
    (void)state;
    const char *const tokens[] = {"a", "b", "c", "d", "e", "f", "g", "abc", "cdefg", "ff", "<|c|>"};
    const int32_t types[] = {1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 3};
    struct vocabulary v = vocabulary_of("gpt-2", tokens, 11);
    v.types = types;
    v.n_types = 11;
    struct tokenizer *t = loaded(&v);
    expect(t, "abc", "7");
    expect(t, "abcdefg", "0 1 8");  // the longest counts, not the first
    expect(t, "abcabcdef", "7 7 3 4 5");
    expect(t, "fffff", "9 9 5");  // from the left
    expect(t, "cdefgcdefgabc", "8 8 7");
    expect(t, "a<|c|>b", "0 10 1");
    expect_with(t, "a<|c|>abc", 9, false, false, "0 2 7");  // control tokens are text; user-defined ones never are
    int32_t *at;
    assert_ok(tokenizer_find_special(t, "aabcd", 5, true, &at));
    const int32_t want[] = {SPECIAL_NONE, 7, SPECIAL_INSIDE, SPECIAL_INSIDE, SPECIAL_NONE};
    assert_memory_equal(at, want, sizeof want);
    free(at);
    assert_ok(tokenizer_find_special(t, "<|c|>", 5, false, &at));
    assert_null(at);
    tokenizer_free(t);
}

static void test_first_and_last_tokens(void **state) {
    (void)state;
    const char *const tokens[] = {"a", "<s>", "</s>"};
    struct vocabulary v = vocabulary_of("llama-bpe", tokens, 3);
    refused(&v, UTTER_FORMAT, "bos_token_id");  // llama-bpe has a BOS unless the file says otherwise
    v.bos = 1;
    struct tokenizer *t = loaded(&v);
    expect_with(t, "a", 1, true, true, "1 0");
    expect_with(t, "a", 1, false, true, "0");
    tokenizer_free(t);
    v.add_bos = 0;
    v.add_eos = 1;
    refused(&v, UTTER_FORMAT, "eos_token_id");
    v.eos = 2;
    t = loaded(&v);
    expect_with(t, "", 0, true, true, "2");
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    tokenizer_free(t);
    v.pre = "gpt-2";
    v.add_bos = v.add_eos = -1;
    t = loaded(&v);
    expect_with(t, "a", 1, true, true, "0");
    tokenizer_free(t);
}

static void test_ends_of_generation(void **state) {
    (void)state;
    const char *const tokens[] = {"a",           "<|im_end|>", "<|endoftext|>", "b", "c",
                                  "<|fim_pad|>", "<PAD>",      "<|repo_name|>", "d"};
    const int32_t types[] = {1, 4, 3, 1, 1, 3, 3, 1, 1};
    struct vocabulary v = vocabulary_of("gpt-2", tokens, 9);
    v.types = types;
    v.n_types = 9;
    v.eos = 3;
    v.eot = 4;
    struct tokenizer *t = loaded(&v);
    const bool want[] = {false, true, true, true, true, true, false, true, false};
    for (int32_t id = 0; id < 9; id++) assert_int_equal(tokenizer_is_eog(t, id), want[id]);
    assert_false(tokenizer_is_eog(t, -1));
    assert_int_equal(tokenizer_type(t, 1), TOKEN_CONTROL);  // by its name, whatever the file says
    assert_int_equal(tokenizer_type(t, 99), TOKEN_UNKNOWN);
    assert_int_equal(tokenizer_find(t, "<|im_end|>"), 1);
    assert_int_equal(tokenizer_find(t, "<|im_end|"), -1);
    assert_int_equal(tokenizer_find(t, ""), -1);
    tokenizer_free(t);
}

/* ---- refusals ---- */

static void test_no_vocabulary(void **state) {
    (void)state;
    const char *const tokens[] = {"a", "b", "ab"}, *const twice[] = {"a", "b", "a"}, *const empty[] = {"a", "", "b"};
    const int32_t types[] = {1, 1, 1}, bad_types[] = {1, 7, 1};
    struct vocabulary good = vocabulary_of("gpt-2", tokens, 3), v;

    v = good, v.model = NULL;
    refused(&v, UTTER_FORMAT, "tokenizer.ggml.model");
    v = good, v.model = "llama";
    refused(&v, UTTER_UNSUPPORTED, "\"llama\"");
    v = good, v.pre = "tekken";
    refused(&v, UTTER_UNSUPPORTED, "qwen2, smollm, llama-bpe, gpt-2");
    v = good, v.pre = NULL;  // as llama.cpp's default
    tokenizer_free(loaded(&v));
    v = good, v.tokens = NULL;
    refused(&v, UTTER_FORMAT, "tokenizer.ggml.tokens");
    v = good, v.n_tokens = 0;
    refused(&v, UTTER_FORMAT, "empty");
    v = good, v.tokens = twice;
    refused(&v, UTTER_FORMAT, "tokens 0 and 2");
    v = good, v.tokens = empty;
    refused(&v, UTTER_FORMAT, "token 1 is empty");
    v = good, v.types = types, v.n_types = 2;
    refused(&v, UTTER_FORMAT, "2 entries for 3 tokens");
    v = good, v.types = bad_types, v.n_types = 3;
    refused(&v, UTTER_FORMAT, "type 7");
    v = good, v.merges = NULL;
    refused(&v, UTTER_FORMAT, "tokenizer.ggml.merges");
    v = good, v.bos = 3;
    refused(&v, UTTER_FORMAT, "bos_token_id is 3");
    v = good, v.eos = 1 << 30;
    refused(&v, UTTER_FORMAT, "eos_token_id");
    v = good, v.eot = 99;
    refused(&v, UTTER_FORMAT, "eot_token_id");

    const char *const bad_merges[] = {"ab", "", " ", "a ", " b", "a  b", "x b", "a x", "b a", "a b c"};
    for (size_t i = 0; i < sizeof bad_merges / sizeof *bad_merges; i++) {
        const char *const merges[] = {"a b", bad_merges[i]};
        v = good, v.merges = merges, v.n_merges = 2;
        refused(&v, UTTER_FORMAT, "merge 1");
    }
    const char *const same[] = {"a b", "a b"};  // the first counts
    v = good, v.merges = same, v.n_merges = 2;
    struct tokenizer *t = loaded(&v);
    expect(t, "abab", "2 2");
    tokenizer_free(t);

    char longest[257];
    memset(longest, 'x', 256);
    longest[256] = '\0';
    const char *const long_tokens[] = {longest};
    const int32_t special[] = {3}, normal[] = {1};
    v = vocabulary_of("gpt-2", long_tokens, 1), v.types = special, v.n_types = 1;
    refused(&v, UTTER_UNSUPPORTED, "256 bytes");
    v.types = normal;
    tokenizer_free(loaded(&v));
    longest[255] = '\0';
    v.types = special;
    t = loaded(&v);
    expect(t, longest, "0");
    tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_merges_against_a_plain_reference),
        cmocka_unit_test(test_a_megabyte_without_spaces),
        cmocka_unit_test(test_every_byte_goes_through),
        cmocka_unit_test(test_unknown_bytes_are_left_out),
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_cleaning_spaces),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_first_and_last_tokens),
        cmocka_unit_test(test_ends_of_generation),
        cmocka_unit_test(test_no_vocabulary),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, setup, teardown);
}
