/* PyTorch files: what sound ones give, in both formats; that lies about sizes and places, and calls of functions, give
   a sentence and nothing else. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "fixtures/folder.h"
#include "models/checkpoint.h"
#include "models/pickle.h"
#include "models/torch.h"
#include "models/zip.h"
#include "torch_builder.h"

static void put_bytes(struct str *s, const char *bytes, size_t n) { str_append(s, bytes, n); }
#define PUT(s, bytes) put_bytes(s, bytes, sizeof(bytes) - 1)

/* ---- ZIP archives ---- */

static void test_crc(void **state) {
    (void)state;
    assert_int_equal(zip_crc32("123456789", 9), 0xCBF43926);  // the check value of CRC-32/ISO-HDLC
    assert_int_equal(zip_crc32("", 0), 0);
}

static void start_zip(struct zip_builder *b) {
    zip_builder_add(b, "x/one", "first", 5);
    zip_builder_add(b, "x/two", "", 0);
    zip_builder_add(b, "a", "third entry", 11);
    zip_builder_end(b);
}

static void test_zip(void **state) {
    (void)state;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct zip_builder b = {.zip64 = zip64};
        start_zip(&b);
        struct zip *z;
        assert_ok(zip_open("z", b.data.data, b.data.len, &z));
        assert_int_equal(zip_n_entries(z), 3);
        assert_string_equal(zip_at(z, 0)->name, "a");
        const struct zip_entry *e = zip_find(z, "x/one");
        assert_non_null(e);
        assert_int_equal(e->n_bytes, 5);
        assert_memory_equal(e->data, "first", 5);
        assert_ok(zip_check(e, "z"));
        assert_ok(zip_check(zip_find(z, "x/two"), "z"));
        assert_null(zip_find(z, "x"));
        ((char *)e->data)[0] ^= 1;
        assert_int_equal(zip_check(e, "z"), UTTER_FORMAT);
        assert_non_null(strstr(fail_message(), "checksum of its entry x/one"));
        zip_close(z);
        zip_builder_free(&b);
    }
}

static void visit_zip(const char *data, size_t size) {
    char *copy = malloc(size + 1);  // exactly the file's size, for a checker of memory
    struct zip *z;
    assert_non_null(copy);
    char *at = copy + 1;
    memcpy(at, data, size);
    if (zip_open("z", at, size, &z) == UTTER_OK) {
        for (int64_t i = 0; i < zip_n_entries(z); i++) {
            const struct zip_entry *e = zip_at(z, i);
            if (e->n_bytes) assert_true((const char *)e->data >= at && (const char *)e->data + e->n_bytes <= at + size);
            (void)zip_check(e, "z");
        }
        zip_close(z);
    }
    free(copy);
}

// Each byte with other values, and the archive cut at each.
static void test_zip_mutations(void **state) {
    (void)state;
    static const unsigned char values[] = {0, 1, 7, 0x7f, 0x80, 0xfe, 0xff};
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct zip_builder b = {.zip64 = zip64};
        start_zip(&b);
        for (size_t i = 0; i < b.data.len; i++) {
            char was = b.data.data[i];
            for (size_t v = 0; v < sizeof values; v++) {
                b.data.data[i] = (char)values[v];
                visit_zip(b.data.data, b.data.len);
            }
            b.data.data[i] = was;
            struct zip *z;
            assert_int_equal(zip_open("z", b.data.data, i, &z), UTTER_FORMAT);
        }
        zip_builder_free(&b);
    }
}

static void zip_refused(const struct str *data, const char *sentence) {
    struct zip *z;
    status s = zip_open("z", data->data, data->len, &z);
    if (s == UTTER_OK || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(s), fail_message(), sentence);
}

static void test_zip_sentences(void **state) {
    (void)state;
    struct zip_builder b = {0};
    zip_builder_add(&b, "x", "1", 1);
    zip_builder_add(&b, "x", "2", 1);
    zip_builder_end(&b);
    zip_refused(&b.data, "entry x is there twice");
    zip_builder_free(&b);

    start_zip(&b);
    char *first = memmem(b.data.data, b.data.len, "PK\1\2", 4), *second = memmem(first + 4, 200, "PK\1\2", 4);
    char was = first[10];
    first[10] = 8;
    zip_refused(&b.data, "entry x/one is compressed (method 8)");
    first[10] = was;
    first[8] = 1;
    zip_refused(&b.data, "is encrypted");
    first[8] = 0;
    first[24] = 6;
    zip_refused(&b.data, "entry x/one has 6 bytes and is said to take 5");
    first[20] = 6;  // both: over the next entry
    zip_refused(&b.data, "entries x/one and x/two lie over one another");
    first[24] = first[20] = 5;
    memcpy(second + 42, first + 42, 4);
    zip_refused(&b.data, "entry x/two has another name at its data");
    zip_builder_free(&b);
}

/* ---- pickles ---- */

static const char *const no_functions[] = {NULL};

static void pickle_refused(const char *bytes, size_t n, status code, const char *sentence) {
    struct pickle *p;
    size_t used;
    status s = pickle_read("p", bytes, n, no_functions, &used, &p);
    if (s != code || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(s), fail_message(), sentence);
    assert_null(p);
}

#define REFUSED(bytes, code, sentence) pickle_refused(bytes, sizeof(bytes) - 1, code, sentence)

static void test_pickle_values(void **state) {
    (void)state;
    static const char bytes[] =
        "\x80\x04\x95\0\0\0\0\0\0\0\0"
        "}("
        "\x8c\1aK\7"
        "X\1\0\0\0bJ\xff\xff\xff\xff"
        "\x8c\1c\x8a\3\0\0\x80"
        "\x8c\1dG\x3f\xf8\0\0\0\0\0\0"
        "\x8c\1e\x88"
        "\x8c\1fN"
        "\x8c\1gK\1K\2\x86\x94"
        "\x8c\1h](K\5M\0\1eh\0a"
        "\x8c\1i\x8a\0"
        "\x8c\1j\x8a\x09\1\0\0\0\0\0\0\0\1"
        "u.rest";
    struct pickle *p;
    size_t used;
    assert_ok(pickle_read("p", bytes, sizeof bytes - 1, no_functions, &used, &p));
    assert_int_equal(used, sizeof bytes - 1 - 4);
    const struct pickle_value *d = pickle_root(p);
    assert_int_equal(d->kind, PICKLE_DICT);
    assert_int_equal(d->n, 20);
    assert_int_equal(pickle_get(d, "a")->number, 7);
    assert_int_equal(pickle_get(d, "b")->number, -1);
    assert_int_equal(pickle_get(d, "c")->number, -8388608);
    assert_true(pickle_get(d, "d")->real == 1.5);
    assert_true(pickle_get(d, "e")->truth);
    assert_int_equal(pickle_get(d, "f")->kind, PICKLE_NONE);
    assert_int_equal(pickle_get(d, "g")->n, 2);
    const struct pickle_value *list = pickle_get(d, "h");
    assert_int_equal(list->n, 3);
    assert_int_equal(list->items[1]->number, 256);
    assert_ptr_equal(list->items[2], pickle_get(d, "g"));
    assert_int_equal(pickle_get(d, "i")->number, 0);
    assert_int_equal(pickle_get(d, "j")->kind, PICKLE_BYTES);
    assert_null(pickle_get(d, "k"));
    pickle_free(p);
}

static void test_pickle_calls(void **state) {
    (void)state;
    char evidence[FIXTURE_PATH];
    assert_ok(fixture_path("evidence", evidence));
    struct str p = {0};
    PUT(&p, "\x80\x02");
    put_function(&p, "posix", "system");
    str_putc(&p, '(');
    char command[FIXTURE_PATH + 16];
    snprintf(command, sizeof command, "touch %s", evidence);
    put_text(&p, command);
    str_puts(&p, "tR.");
    pickle_refused(p.data, p.len, UTTER_UNSUPPORTED, "p asks to call posix.system; nothing was run");
    assert_int_not_equal(access(evidence, F_OK), 0);
    str_free(&p);

    REFUSED(
        "\x80\x04\x8c\x08"
        "builtins\x8c\x04"
        "eval\x93\x8c\1"
        "1\x85R.",
        UTTER_UNSUPPORTED, "asks to call builtins.eval");
    REFUSED("\x80\x02(ios\nsystem\n.", UTTER_UNSUPPORTED, "asks to call os.system");
    REFUSED(
        "\x80\x02"
        "ccollections\nOrderedDict.x\n.",
        UTTER_UNSUPPORTED, "asks to call collections.OrderedDict.x");
    REFUSED(
        "\x80\x02"
        "c\n\n.",
        UTTER_UNSUPPORTED, "asks to call .");
    REFUSED(
        "\x80\x02"
        "ccollections\nOrderedDict\n](K\1ea\x85R.",
        UTTER_FORMAT, "");
    REFUSED(
        "\x80\x02"
        "ccollections\nOrderedDict\nK\1\x85R.",
        UTTER_FORMAT, "an OrderedDict is made of arguments");
    REFUSED("\x80\x02K\1)\x81.", UTTER_UNSUPPORTED, "opcode 129");  // NEWOBJ
    REFUSED("\x80\x02K\1)R.", UTTER_FORMAT, "a call is of no function");
    REFUSED("\x80\x02K\1}b.", UTTER_FORMAT, "a value is of another kind");
}

static void test_pickle_sentences(void **state) {
    (void)state;
    REFUSED("", UTTER_FORMAT, "ends inside a value");
    REFUSED("K\1.", UTTER_FORMAT, "it does not start as a pickle");
    REFUSED("\x80\x01K\1.", UTTER_UNSUPPORTED, "protocol 1; utter reads 2 to 5");
    REFUSED("\x80\x06K\1.", UTTER_UNSUPPORTED, "protocol 6");
    REFUSED("\x80\x02K\1", UTTER_FORMAT, "ends inside a value");
    REFUSED("\x80\x02.", UTTER_FORMAT, "a value is missing");
    REFUSED("\x80\x02K\1K\2.", UTTER_FORMAT, "it leaves no value, or more than one");
    REFUSED(
        "\x80\x02X\xff\xff\xff\xff"
        "abc",
        UTTER_FORMAT, "ends inside a value");
    REFUSED(
        "\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
        "abc",
        UTTER_FORMAT, "ends inside a value");
    REFUSED("\x80\x02h\5.", UTTER_FORMAT, "a value of the memo is missing");
    REFUSED("\x80\x02K\1r\xff\xff\xff\xff.", UTTER_FORMAT, "a number of the memo is too large");
    REFUSED("\x80\x02t.", UTTER_FORMAT, "a mark is missing");
    REFUSED("\x80\x02}(K\1u.", UTTER_FORMAT, "a key has no value");
    REFUSED("\x80\x02K\1K\2K\3s.", UTTER_FORMAT, "a value is of another kind");
    REFUSED("\x80\x02](0.", UTTER_FORMAT, "a value is missing");  // pops beyond a mark
    REFUSED("\x80\x02\x93.", UTTER_FORMAT, "a value is missing");
    REFUSED(
        "\x80\x02"
        "cposix",
        UTTER_FORMAT, "a line has no end");
}

// A pickle of nothing but one opcode, as long as one may be: memory and time stay in proportion.
static void test_pickle_bombs(void **state) {
    (void)state;
    static const char opcodes[] =
        "(]}N)2\x94"
        "K";
    enum { SIZE = 5 << 20 };
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (const char *o = opcodes; *o; o++) {
        memset(bytes, *o, SIZE);
        memcpy(bytes, "\x80\x02N", 3);
        struct pickle *p;
        size_t used;
        assert_int_equal(pickle_read("p", bytes, SIZE, no_functions, &used, &p), UTTER_LIMIT);
    }
    // Lists of lists by reference: more values than any machine could follow, and nobody does.
    struct str s = {0};
    PUT(&s, "\x80\x02](K\1K\1eq\0");
    for (int i = 0; i < 200; i++) {
        PUT(&s, "](h");
        str_putc(&s, (char)i);
        str_putc(&s, 'h');
        str_putc(&s, (char)i);
        PUT(&s, "eq");
        str_putc(&s, (char)(i + 1));
    }
    for (int i = 0; i < 200; i++) str_putc(&s, '0');
    str_putc(&s, '.');
    struct pickle *p;
    size_t used;
    assert_ok(pickle_read("p", s.data, s.len, no_functions, &used, &p));
    pickle_free(p);
    str_free(&s);
    free(bytes);
}

/* ---- files ---- */

// A ZIP file whose object is what `pickle` says, with storages 0 (six floats) and 1 (six whole numbers).
static void pack(struct zip_builder *b, const struct str *pickle) {
    static const float floats[] = {0, 1, 2, 3, 4, 5};
    static const int64_t numbers[] = {10, 11, 12, 13, 14, 15};
    zip_builder_add(b, "name/data.pkl", pickle->data, pickle->len);
    zip_builder_add(b, "name/byteorder", "little", 6);
    zip_builder_add(b, "name/data/0", floats, sizeof floats);
    zip_builder_add(b, "name/data/1", numbers, sizeof numbers);
    zip_builder_end(b);
}

#define DIMS(...) ((const int[]){__VA_ARGS__})

static void test_dictionary(void **state) {
    (void)state;
    struct str p = {0};
    PUT(&p, "\x80\x02");
    put_function(&p, "collections", "OrderedDict");
    PUT(&p, ")R(");
    put_text(&p, "whole");
    put_tensor(&p, "FloatStorage", "0", 6, 0, 2, DIMS(2, 3), DIMS(3, 1));
    put_text(&p, "turned");
    put_tensor(&p, "FloatStorage", "0", 6, 0, 2, DIMS(3, 2), DIMS(1, 3));
    put_text(&p, "part");
    put_tensor(&p, "LongStorage", "1", 6, 1, 1, DIMS(3), DIMS(2));
    put_text(&p, "number");
    put_int(&p, 7);
    put_text(&p, "parameter");
    put_function(&p, "torch._utils", "_rebuild_parameter");
    str_putc(&p, '(');
    put_tensor(&p, "FloatStorage", "0", 6, 5, 0, NULL, NULL);
    str_puts(&p, "\x88");
    put_function(&p, "collections", "OrderedDict");
    str_puts(&p, ")RtR");
    str_putc(&p, 'u');
    str_putc(&p, '}');  // attributes of the dictionary
    put_text(&p, "_metadata");
    str_puts(&p, "Nsb.");
    struct zip_builder b = {0};
    pack(&b, &p);
    struct torch_file *f;
    assert_ok(torch_open("f", b.data.data, b.data.len, &f));
    assert_false(torch_is_single(f));
    assert_int_equal(torch_n_tensors(f), 4);
    const struct tensor *t = torch_at(f, 2);
    assert_string_equal(t->name, "turned");
    assert_true(tensor_is_float(t));
    float floats[6];
    tensor_read_floats(t, 0, 6, floats);
    assert_memory_equal(floats, ((const float[]){0, 3, 1, 4, 2, 5}), sizeof floats);
    tensor_read_floats(t, 3, 2, floats);
    assert_memory_equal(floats, ((const float[]){4, 2}), 8);
    t = torch_at(f, 1);
    assert_string_equal(t->name, "part");
    int64_t numbers[3];
    tensor_read_ints(t, 0, 3, numbers);
    assert_memory_equal(numbers, ((const int64_t[]){11, 13, 15}), sizeof numbers);
    t = torch_at(f, 0);
    assert_string_equal(t->name, "parameter");
    tensor_read_floats(t, 0, 1, floats);
    assert_true(floats[0] == 5);
    assert_ok(tensor_check(t, "f"));
    torch_close(f);
    zip_builder_free(&b);
    str_free(&p);
}

static void tensor_refused(const char *storage, const char *key, int64_t n, int offset, int n_dims, const int *dims,
                           const int *strides, const char *sentence) {
    struct str p = {0};
    PUT(&p, "\x80\x02");
    put_tensor(&p, storage, key, n, offset, n_dims, dims, strides);
    str_putc(&p, '.');
    struct zip_builder b = {0};
    pack(&b, &p);
    struct torch_file *f;
    status s = torch_open("f", b.data.data, b.data.len, &f);
    if (s == UTTER_OK || !strstr(fail_message(), sentence))
        fail_msg("%s: %s\n  wanted: %s", status_name(s), fail_message(), sentence);
    zip_builder_free(&b);
    str_free(&p);
}

static void test_tensor_sentences(void **state) {
    (void)state;
    tensor_refused("FloatStorage", "0", 6, 1, 1, DIMS(6), DIMS(1), "reaches beyond its storage, which has 6 elements");
    tensor_refused("FloatStorage", "0", 6, 0, 1, DIMS(4), DIMS(2), "reaches beyond its storage");
    tensor_refused("FloatStorage", "0", 6, 0, 1, DIMS(7), DIMS(0), "reaches beyond its storage");  // repeats itself
    tensor_refused("FloatStorage", "0", 6, 0, 2, DIMS(INT32_MAX, INT32_MAX), DIMS(0, 0), "reaches beyond its storage");
    tensor_refused("FloatStorage", "0", 6, 0, 1, DIMS(2), DIMS(-1), "has strides or an offset that do not go");
    tensor_refused("FloatStorage", "0", 6, -1, 1, DIMS(2), DIMS(1), "has strides or an offset that do not go");
    tensor_refused("FloatStorage", "0", 6, 0, 1, DIMS(-2), DIMS(1), "has a size that is not a list");
    tensor_refused("FloatStorage", "0", 6, 0, 9, DIMS(1, 1, 1, 1, 1, 1, 1, 1, 1), DIMS(1, 1, 1, 1, 1, 1, 1, 1, 1),
                   "a list of at most 8 whole numbers");
    tensor_refused("FloatStorage", "0", 7, 0, 1, DIMS(6), DIMS(1),
                   "a storage of 7 elements of F32, which has 24 bytes");
    tensor_refused("DoubleStorage", "0", 6, 0, 1, DIMS(6), DIMS(1), "6 elements of F64, which has 24 bytes");
    tensor_refused("FloatStorage", "2", 6, 0, 1, DIMS(6), DIMS(1), "the entry name/data/2, which is missing");
    tensor_refused("ComplexFloatStorage", "0", 6, 0, 1, DIMS(6), DIMS(1), "asks to call torch.ComplexFloatStorage");
}

static void test_other_objects(void **state) {
    (void)state;
    struct torch_file *f;
    assert_int_equal(torch_open("f", "", 0, &f), UTTER_FORMAT);
    assert_int_equal(torch_open("f", "text", 4, &f), UTTER_FORMAT);
    assert_int_equal(torch_open("f", "\x80\x02K\1.", 5, &f), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "is a pickle and no PyTorch file"));
    struct zip_builder b = {0};
    start_zip(&b);
    assert_int_equal(torch_open("f", b.data.data, b.data.len, &f), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "it has no data.pkl"));
    zip_builder_free(&b);
    zip_builder_add(&b, "x/data.pkl", "\x80\x02]K\1a.", 7);
    zip_builder_end(&b);
    assert_int_equal(torch_open("f", b.data.data, b.data.len, &f), UTTER_FORMAT);
    assert_non_null(strstr(fail_message(), "neither a tensor nor a dictionary"));
    zip_builder_free(&b);
    zip_builder_add(&b, "x/data.pkl", "\x80\x02}.", 4);
    zip_builder_add(&b, "x/byteorder", "big", 3);
    zip_builder_end(&b);
    assert_int_equal(torch_open("f", b.data.data, b.data.len, &f), UTTER_UNSUPPORTED);
    zip_builder_free(&b);
}

// A stored file with each byte changed and cut at each length: the legacy format has no checksums in the way.
static void mutate_file(const char *name) {
    char path[FIXTURE_PATH];
    struct file_map m;
    struct torch_file *f;
    assert_ok(fixture_stored(name, path));
    assert_ok(file_map_open(path, &m));
    for (size_t i = 0; i < m.size; i++) {
        static const unsigned char flips[] = {1, 0x80, 0xff};
        for (size_t v = 0; v <= sizeof flips; v++) {
            size_t size = v < sizeof flips ? m.size : i;
            char *copy = malloc(size + 1);
            assert_non_null(copy);
            memcpy(copy, m.data, size);
            if (v < sizeof flips) copy[i] = (char)(copy[i] ^ flips[v]);
            if (torch_open("f", copy, size, &f) == UTTER_OK) {
                for (int64_t t = 0; t < torch_n_tensors(f); t++) {
                    const struct tensor *x = torch_at(f, t);
                    int64_t n, numbers[2048];
                    float floats[2048];
                    assert_true(tensor_count(x, &n) && n <= 2048);
                    if (tensor_is_float(x))
                        tensor_read_floats(x, 0, n, floats);
                    else
                        tensor_read_ints(x, 0, n, numbers);
                }
                torch_close(f);
            } else {
                assert_true(*fail_message());
            }
            free(copy);
        }
    }
    file_map_close(&m);
}

static void test_mutations(void **state) {
    (void)state;
    mutate_file("voices/int32_1d_legacy.pt");
    mutate_file("voices/int64_1d_legacy.pt");
    mutate_file("voices/int32_strided.pt");
}

static int teardown(void **state) {
    (void)state;
    fixture_cleanup();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_zip),
        cmocka_unit_test(test_zip_mutations),
        cmocka_unit_test(test_zip_sentences),
        cmocka_unit_test(test_pickle_values),
        cmocka_unit_test(test_pickle_calls),
        cmocka_unit_test(test_pickle_sentences),
        cmocka_unit_test(test_pickle_bombs),
        cmocka_unit_test(test_dictionary),
        cmocka_unit_test(test_tensor_sentences),
        cmocka_unit_test(test_other_objects),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests_name("torch", tests, NULL, teardown);
}
