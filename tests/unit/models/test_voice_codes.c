/* Codes of voices from other programs' files: every stored one as voices/expected.json says. */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/npy.h"
#include "engine/voice_codes.h"
#include "fixtures/folder.h"

static status read_codes(const char *path, int64_t **codes, int64_t *n) {
    struct file_map m;
    TRY(file_map_open(path, &m));
    assert_true(voice_codes_look_like(path, m.data, m.size));
    status s = voice_codes_read(path, m.data, m.size, codes, n);
    file_map_close(&m);
    return s;
}

// What of a refusal must be said, by file.
static const char *const sentences[][2] = {
    {"bad_pickle_os_system.pt", "asks to call posix.system; nothing was run"},
    {"bad_pickle_os_system_raw.pt", "asks to call posix.system; nothing was run"},
    {"bad_truncated_zip.pt", "is cut off or damaged: a ZIP archive's end record is not there"},
    {"bad_truncated_tail.pt", "is cut off or damaged: a ZIP archive's end record is not there"},
    {"bad_dtype_float32.pt", "holds elements of F32; a voice's codes are whole numbers"},
    {"bad_huge_shape.pt", "reaches beyond its storage, which has 40 elements"},
    {"bad_negative_shape.pt", "has a size that is not a list of at most 8 whole numbers from 0"},
    {"bad_storage_offset.pt", "reaches beyond its storage, which has 40 elements"},
    {"bad_zip_entry_size.pt", "is said to have 4294967040 bytes, and the file ends before"},
    {"bad_deflate_bomb.pt", "is compressed (method 8)"},
    {"bad_zip_local_offset.pt", "where no entry is"},
    {"bad_no_data_entry.pt", "the entry int32_1d/data/0, which is missing"},
    {"bad_empty_file.pt", "is empty; get it again"},
    {"bad_not_a_pt.pt", "is not a PyTorch file"},
    {"bad_dict_not_tensor.pt", "holds a dictionary; a voice is a tensor of codes alone"},
    {"int64_empty.pt", "holds no codes"},
};

static const char *sentence_of(const char *name) {
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        if (strcmp(sentences[i][0], name) == 0) return sentences[i][1];
    return NULL;
}

static void check_codes(const char *name, const json_t *wanted, const int64_t *codes, int64_t n) {
    assert_int_equal(n, json_array_size(wanted));
    for (int64_t i = 0; i < n; i++)
        if (codes[i] != json_integer_value(json_array_get(wanted, (size_t)i)))
            fail_msg("%s: code %lld is %lld", name, (long long)i, (long long)codes[i]);
}

static void test_stored(void **state) {
    (void)state;
    char path[FIXTURE_PATH], file[FIXTURE_PATH];
    assert_ok(fixture_stored("voices/expected.json", path));
    json_t *expected = json_load_file(path, 0, NULL);
    assert_non_null(expected);
    const char *name;
    json_t *e;
    int n_good = 0, n_bad = 0;
    json_object_foreach(expected, name, e) {
        snprintf(file, sizeof file, "voices/%s", name);
        assert_ok(fixture_stored(file, path));
        int64_t *codes, n;
        const char *sentence = sentence_of(name);
        status s = read_codes(path, &codes, &n);
        if (s == UTTER_OK && sentence) fail_msg("%s was read", name);
        if (s != UTTER_OK && (!sentence || !strstr(fail_message(), sentence)))
            fail_msg("%s: %s\n  wanted: %s", name, fail_message(), sentence ? sentence : "codes");
        if (s == UTTER_OK && json_is_true(json_object_get(e, "ok"))) {
            check_codes(name, json_object_get(e, "codes"), codes, n);
            n_good++;
        } else {
            n_bad++;  // codes out of range are the codec's to refuse
        }
        if (strcmp(name, "bad_code_too_big.pt") == 0) assert_true(codes[5] == 65536 && codes[9] == (int64_t)1 << 40);
        if (strcmp(name, "bad_code_negative.pt") == 0) assert_true(codes[3] == -1 && codes[4] == -70000);
        if (s == UTTER_OK) free_aligned(codes);
    }
    assert_int_equal(n_good, 8);
    assert_int_equal(n_bad, 18);
    json_decref(expected);
}

static void test_npy(void **state) {
    (void)state;
    char path[FIXTURE_PATH];
    int64_t *codes, n;
    assert_ok(fixture_path("voice.npy", path));
    assert_ok(npy_write(path, NPY_I32, (const int32_t[]){5, 65535, 7}, 3, (const int64_t[]){1, 1, 3}));
    assert_ok(read_codes(path, &codes, &n));
    assert_int_equal(n, 3);
    assert_true(codes[0] == 5 && codes[1] == 65535 && codes[2] == 7);
    free_aligned(codes);
    assert_ok(npy_write(path, NPY_I32, (const int32_t[]){5, 6, 7, 8}, 2, (const int64_t[]){2, 2}));
    assert_int_equal(read_codes(path, &codes, &n), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "an array of 2 dimensions"));
    assert_ok(npy_write(path, NPY_F32, (const float[]){5}, 1, (const int64_t[]){1}));
    assert_int_equal(read_codes(path, &codes, &n), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "holds floats"));
}

static void write_text(const char *path, const char *text, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void test_beside(void **state) {
    (void)state;
    char path[FIXTURE_PATH], beside[FIXTURE_PATH], *text, *name;
    assert_ok(fixture_path("dave.x.pt", path));
    assert_ok(fixture_path("dave.x.txt", beside));
    assert_ok(voice_codes_name(path, &name));
    assert_string_equal(name, "dave.x");
    free(name);
    assert_int_equal(voice_codes_transcript(path, &text), UTTER_IO);
    assert_non_null(strstr(fail_message(), "dave.x.txt beside it"));
    write_text(beside, "\n So I said: no.\t\r\n", 19);
    assert_ok(voice_codes_transcript(path, &text));
    assert_string_equal(text, "So I said: no.");
    free(text);
    write_text(beside, " \n", 2);
    assert_int_equal(voice_codes_transcript(path, &text), UTTER_FORMAT);
    write_text(beside, "a\0b", 3);
    assert_int_equal(voice_codes_transcript(path, &text), UTTER_FORMAT);
    assert_false(voice_codes_look_like("voice.json", "{}", 2));
    assert_true(voice_codes_look_like("voice.PT", "{}", 2));
    assert_true(voice_codes_look_like("voice", "PK\3\4", 4));
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_beside),
    };
    return cmocka_run_group_tests_name("voice_codes", tests, NULL, teardown);
}
