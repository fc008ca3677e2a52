/* Damaged and hostile GGUF files: each gives a status and a sentence that names the fault, never a crash. Run under
   AddressSanitizer, a read beyond the file is seen too: every file lies in memory of exactly its size. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "fixtures/visit.h"
#include "raw.h"

static struct raw sample;
static size_t data_start;

static int setup(void **state) {
    (void)state;
    data_start = raw_sample(&sample, 3);
    return str_status(&sample.bytes) == UTTER_OK && visit_gguf_bytes(sample.bytes.data, sample.bytes.len) == UTTER_OK
               ? 0
               : 1;
}

static int teardown(void **state) {
    (void)state;
    str_free(&sample.bytes);
    return 0;
}

static uint64_t get(const char *bytes, const struct raw_field *f) {
    uint64_t v = 0;
    memcpy(&v, bytes + f->at, (size_t)f->width);
    return v;
}

static void test_each_field_to_each_extreme(void **state) {
    (void)state;
    char *bytes = malloc(sample.bytes.len);
    assert_non_null(bytes);
    int n_refused = 0, n_taken = 0;
    for (int i = 0; i < sample.n_fields; i++) {
        const struct raw_field *f = &sample.fields[i];
        uint64_t was = get(sample.bytes.data, f), size = sample.bytes.len;
        const uint64_t values[] = {
            0,
            1,
            2,
            3,
            4,
            9,
            12,
            13,
            31,
            32,
            33,
            64,
            127,
            128,
            255,
            1024,
            1025,
            65535,
            65536,
            65537,
            INT32_MAX,
            1ull << 31,
            UINT32_MAX,
            1ull << 32,
            1ull << 40,
            INT64_MAX / 34,
            INT64_MAX,
            1ull << 63,
            UINT64_MAX / 34 + 1,
            UINT64_MAX - 31,
            UINT64_MAX - 7,
            UINT64_MAX,
            was - 1,
            was + 1,
            was * 2,
            ~was,
            size - f->at,
            size - f->at - 8,
            size,
            size + 1,
            1ull << 60,
            1ull << 61,
            (1ull << 62) + 1,
        };
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            memcpy(bytes, sample.bytes.data, size);
            memcpy(bytes + f->at, &values[j], (size_t)f->width);
            status s = visit_gguf_bytes(bytes, size);
            if (s == UTTER_OK) {
                n_taken++;
                continue;
            }
            n_refused++;
            if (s != UTTER_FORMAT && s != UTTER_UNSUPPORTED)
                fail_msg("%s = %llu: %s", f->what, (unsigned long long)values[j], status_name(s));
            if (strncmp(fail_message(), "sample", 6) != 0) fail_msg("%s: no file named: %s", f->what, fail_message());
        }
    }
    assert_true(n_refused > 1000);  // and not only the harmless changes were tried
    assert_true(n_taken > 100);
    free(bytes);
}

static void test_each_byte(void **state) {
    (void)state;
    char *bytes = malloc(sample.bytes.len);
    assert_non_null(bytes);
    memcpy(bytes, sample.bytes.data, sample.bytes.len);
    static const unsigned char masks[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};
    for (size_t i = 0; i < data_start; i++)
        for (size_t j = 0; j < sizeof masks; j++) {
            bytes[i] = (char)(sample.bytes.data[i] ^ masks[j]);
            visit_gguf_bytes(bytes, sample.bytes.len);
            bytes[i] = sample.bytes.data[i];
        }
    free(bytes);
}

static void test_cut_off_anywhere(void **state) {
    (void)state;
    for (size_t n = 0; n < sample.bytes.len; n++) {
        status s = visit_gguf_bytes(sample.bytes.data, n);
        if (s != UTTER_FORMAT) fail_msg("cut off after %zu bytes: %s", n, status_name(s));
    }
}

// A change of one field and a part of the sentence that must come of it.
struct change {
    const char *field;
    int n;  // the n-th of that name
    uint64_t value;
    status status;
    const char *sentence;
};

static void test_sentences(void **state) {
    (void)state;
    static const struct change changes[] = {
        {"version", 0, 1, UTTER_UNSUPPORTED, "sample: the GGUF version is 1; utter reads 2 and 3"},
        {"version", 0, 4, UTTER_UNSUPPORTED, "the GGUF version is 4"},
        {"version", 0, 3u << 24, UTTER_UNSUPPORTED, "sample is a big-endian GGUF file"},
        {"number of tensors", 0, 65537, UTTER_FORMAT, "sample: the number of tensors is 65537"},
        {"number of keys", 0, UINT64_MAX, UTTER_FORMAT, "sample: the number of keys is 18446744073709551615"},
        {"key length", 0, 0, UTTER_FORMAT, "sample: the key number 0 (byte 24) is 0 bytes long; wanted 1 to 1024"},
        {"key length", 0, UINT64_MAX, UTTER_FORMAT, "the key at byte 32 takes 18446744073709551615 bytes"},
        {"value type", 0, 13, UTTER_FORMAT, "sample: key u8 has a value of type 13, which does not exist"},
        {"value", 6, 2, UTTER_FORMAT, "sample: key bool is a boolean with the value 2; wanted 0 or 1"},
        {"element", 3, 255, UTTER_FORMAT, "sample: key bools is a boolean with the value 255"},
        {"element type", 0, GGUF_ARRAY, UTTER_UNSUPPORTED, "sample: key strings is an array of arrays"},
        {"element type", 1, 99, UTTER_FORMAT, "sample: key i32s is an array of elements of type 99"},
        {"number of elements", 0, 1ull << 61, UTTER_FORMAT,
         "sample: key strings announces 2305843009213693952 elements"},
        {"number of elements", 1, 1ull << 62, UTTER_FORMAT, "sample: key i32s announces 4611686018427387904 elements"},
        {"string length", 1, 1ull << 40, UTTER_FORMAT, "a string of strings at byte"},
        {"alignment", 0, 0, UTTER_FORMAT, "sample: key general.alignment is 0; wanted a power of two from 8 to 65536"},
        {"alignment", 0, 48, UTTER_FORMAT, "key general.alignment is 48"},
        {"alignment", 0, 4, UTTER_FORMAT, "key general.alignment is 4"},
        {"alignment", 0, 1u << 31, UTTER_FORMAT, "key general.alignment is 2147483648"},
        {"alignment", 0, 128, UTTER_FORMAT,
         "sample: the offset of tensor matrix is 64, not a multiple of the alignment 128"},
        {"number of dimensions", 0, 0, UTTER_FORMAT, "sample: tensor vector has 0 dimensions; wanted 1 to 4"},
        {"number of dimensions", 0, 5, UTTER_FORMAT, "sample: tensor vector has 5 dimensions"},
        {"dimension", 0, 0, UTTER_FORMAT, "sample: dimension 0 of tensor vector is 0"},
        {"dimension", 0, 1ull << 63, UTTER_FORMAT, "sample: dimension 0 of tensor vector is 9223372036854775808"},
        {"dimension", 0, 1ull << 62, UTTER_FORMAT,
         "sample: tensor vector of 4611686018427387904 weights in F32 is larger than"},
        {"dimension", 1, 33, UTTER_FORMAT,
         "sample: rows of tensor matrix are 33 long, not a multiple of the 32 weights of a Q8_0"},
        {"dimension", 2, 1ull << 59, UTTER_FORMAT, "sample: dimension 1 of tensor matrix is 576460752303423488"},
        {"tensor type", 0, 4, UTTER_UNSUPPORTED, "sample: tensor vector is of type 4, which utter does not read"},
        {"tensor type", 0, UINT32_MAX, UTTER_UNSUPPORTED, "sample: tensor vector is of type 4294967295"},
        {"offset", 1, 1, UTTER_FORMAT, "sample: the offset of tensor matrix is 1, not a multiple of the alignment 64"},
        {"offset", 2, 256, UTTER_FORMAT, "tensor convolution takes 48 bytes at offset 256 of the data section"},
        {"offset", 2, UINT64_MAX - 63, UTTER_FORMAT,
         "tensor convolution takes 48 bytes at offset 18446744073709551552"},
    };
    char *bytes = malloc(sample.bytes.len);
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const struct change *c = &changes[i];
        size_t at = raw_find(&sample, c->field, c->n);
        int width = 0;
        for (int j = 0; j < sample.n_fields; j++)
            if (sample.fields[j].at == at) width = sample.fields[j].width;
        memcpy(bytes, sample.bytes.data, sample.bytes.len);
        memcpy(bytes + at, &c->value, (size_t)width);
        status s = visit_gguf_bytes(bytes, sample.bytes.len);
        if (s != c->status || !strstr(fail_message(), c->sentence))
            fail_msg("%s %d = %llu: %s: %s\n  wanted: %s", c->field, c->n, (unsigned long long)c->value, status_name(s),
                     fail_message(), c->sentence);
    }
    free(bytes);
}

static void assert_sentence(struct raw *r, const char *sentence) {
    status s = visit_gguf_bytes(r->bytes.data, r->bytes.len);
    if (s != UTTER_FORMAT || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(s), fail_message(), sentence);
    str_free(&r->bytes);
}

static void test_twice(void **state) {
    (void)state;
    struct raw keys = {0}, tensors = {0};
    raw_start(&keys, 3, 0, 3);
    for (int i = 0; i < 3; i++) {
        raw_key(&keys, i == 1 ? "b" : "a", GGUF_U8);
        raw_number(&keys, "value", 1, 1);
    }
    assert_sentence(&keys, "sample: key a is there twice");
    raw_start(&tensors, 3, 2, 0);
    for (uint64_t i = 0; i < 2; i++) raw_tensor(&tensors, "t", 1, (const uint64_t[]){8}, BLOCK_F32, i * 32);
    raw_pad(&tensors, 32);
    for (int i = 0; i < 64; i++) str_putc(&tensors.bytes, 0);
    assert_sentence(&tensors, "sample: tensor t is there twice");
}

static void test_names(void **state) {
    (void)state;
    struct raw r = {0};
    raw_start(&r, 3, 0, 1);
    raw_number(&r, "key length", 8, 3);
    str_append(&r.bytes, "a\0b", 3);
    raw_number(&r, "value type", 4, GGUF_U8);
    raw_number(&r, "value", 1, 1);
    assert_sentence(&r, "sample: the key number 0 (byte 24) holds a zero byte");
    struct raw control = {0};
    raw_start(&control, 3, 0, 1);
    raw_key(&control, "evil\n\x1b[2J", 77);
    raw_number(&control, "value", 8, 0);
    assert_sentence(&control, "key evil??[2J has a value of type 77");  // nothing of it reaches a terminal as it is
}

static void test_alignment_of_another_kind(void **state) {
    (void)state;
    struct raw r = {0};
    raw_start(&r, 3, 0, 1);
    raw_key(&r, "general.alignment", GGUF_STRING);
    raw_text(&r, "string length", "32");
    assert_sentence(&r, "sample: key general.alignment is not a whole number");
}

static void test_not_gguf(void **state) {
    (void)state;
    static const char *const texts[] = {"", "G", "GGU", "GGML is older", "{\"json\": true, \"length\": 1}", "\177ELF"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(visit_gguf_bytes(texts[i], strlen(texts[i])), UTTER_FORMAT);
        assert_non_null(strstr(fail_message(), "sample is not a GGUF file"));
    }
}

// A file may announce no more than its own bytes can hold, so these fail without large allocations.
static void test_many_strings_announced(void **state) {
    (void)state;
    struct raw r = {0};
    raw_start(&r, 3, 0, 1);
    raw_key(&r, "tokens", GGUF_ARRAY);
    raw_number(&r, "element type", 4, GGUF_STRING);
    raw_number(&r, "number of elements", 8, 1000);
    for (int i = 0; i < 7999; i++) str_putc(&r.bytes, 0);
    assert_sentence(&r, "sample: key tokens announces 1000 elements at byte 54, and 7999 bytes are left");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_field_to_each_extreme),
        cmocka_unit_test(test_each_byte),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_alignment_of_another_kind),
        cmocka_unit_test(test_not_gguf),
        cmocka_unit_test(test_many_strings_announced),
    };
    return cmocka_run_group_tests_name("hostile gguf", tests, setup, teardown);
}
