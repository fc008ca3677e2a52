/* base/: strings, sizes, files that appear whole or not at all, .npy, the name of the processor. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/npy.h"
#include "base/processor.h"
#include "base/str.h"

static char folder[] = "/tmp/utter-base-XXXXXX";
static char path_buffer[256];

static const char *in_folder(const char *name) {
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", folder, name);
    return path_buffer;
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    return rmdir(folder);  // fails when a test left something behind
}

static void test_str(void **state) {
    (void)state;
    struct str s = {0};
    assert_string_equal(str_text(&s), "");
    for (int i = 0; i < 1000; i++) str_printf(&s, "%d,", i % 10);
    assert_int_equal(s.len, 2000);
    assert_memory_equal(s.data + 1990, "5,6,7,8,9,", 11);
    str_clear(&s);
    str_append(&s, "a\0b", 3);
    assert_int_equal(s.len, 3);
    assert_int_equal(str_status(&s), UTTER_OK);
    str_append(&s, "x", SIZE_MAX - 2);  // refused, not wrapped
    assert_int_equal(str_status(&s), UTTER_MEMORY);
    str_free(&s);
}

static void test_fail_is_one_printable_line(void **state) {
    (void)state;
    assert_int_equal(fail(UTTER_IO, "a\nb\x1b[31m %d", 7), UTTER_IO);
    assert_string_equal(fail_message(), "a?b?[31m 7");
    assert_int_equal(fail(UTTER_INVALID, "again: %s", fail_message()), UTTER_INVALID);
    assert_string_equal(fail_message(), "again: a?b?[31m 7");
    assert_string_equal(status_name(UTTER_NO_TEXT), "no_text");
    assert_string_equal(status_name((status)99), "unknown");
}

static void test_alloc_refuses_overflow(void **state) {
    (void)state;
    void *p = (void *)1;
    assert_int_equal(alloc_for(&p, SIZE_MAX / 2, 4, "a test"), UTTER_MEMORY);
    assert_null(p);
    assert_int_equal(alloc_for(&p, 3, 4, "a test"), UTTER_OK);
    assert_int_equal((uintptr_t)p % 64, 0);
    free_aligned(p);
}

static void test_file_appears_whole_or_not(void **state) {
    (void)state;
    struct file_writer w;
    assert_int_equal(file_create(in_folder("out"), &w), UTTER_OK);
    assert_int_equal(file_write(&w, "hello", 5), UTTER_OK);
    assert_int_not_equal(access(in_folder("out"), F_OK), 0);
    file_abandon(&w);
    assert_int_not_equal(access(in_folder("out"), F_OK), 0);

    assert_int_equal(file_create(in_folder("out"), &w), UTTER_OK);
    assert_int_equal(file_write(&w, "hello", 5), UTTER_OK);
    assert_int_equal(file_commit(&w), UTTER_OK);
    struct file_map m;
    assert_int_equal(file_map_open(in_folder("out"), &m), UTTER_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    file_map_close(&m);
    remove(in_folder("out"));

    assert_int_equal(file_create("/no/such/folder/x.wav", &w), UTTER_IO);
    assert_non_null(strstr(fail_message(), "/no/such/folder/x.wav"));
    assert_int_equal(file_map_open("/no/such/file", &m), UTTER_IO);
    assert_int_equal(file_map_open("/tmp", &m), UTTER_IO);
}

static void test_full_disk_is_a_failure(void **state) {
    (void)state;
    FILE *full = fopen("/dev/full", "wb");
    if (!full) skip();
    struct file_writer w = {.f = full, .path = strdup("full.wav"), .temporary = strdup(in_folder("never"))};
    char block[65536] = {0};
    status s = file_write(&w, block, sizeof block);
    if (s == UTTER_OK) s = file_commit(&w);
    assert_int_equal(s, UTTER_IO);
    assert_non_null(strstr(fail_message(), "full.wav"));
    file_abandon(&w);
}

static void test_npy_round_trip(void **state) {
    (void)state;
    float values[6] = {0, 1.5f, -2, 3, 4, 1e-30f};
    int64_t dims[2] = {2, 3};
    assert_int_equal(npy_write(in_folder("a.npy"), NPY_F32, values, 2, dims), UTTER_OK);
    struct npy a;
    assert_int_equal(npy_read(in_folder("a.npy"), &a), UTTER_OK);
    assert_int_equal(a.type, NPY_F32);
    assert_int_equal(a.n_dims, 2);
    assert_int_equal(a.dims[1], 3);
    assert_memory_equal(a.data, values, sizeof values);
    npy_free(&a);
    // cut anywhere, it is refused and never read beyond
    struct file_map m;
    assert_int_equal(file_map_open(in_folder("a.npy"), &m), UTTER_OK);
    for (size_t n = 0; n < m.size; n += 5) {
        FILE *f = fopen(in_folder("cut.npy"), "wb");
        fwrite(m.data, 1, n, f);
        fclose(f);
        assert_int_equal(npy_read(in_folder("cut.npy"), &a), UTTER_FORMAT);
    }
    file_map_close(&m);
    remove(in_folder("a.npy"));
    remove(in_folder("cut.npy"));
}

static const char *processor(const char *cpuinfo, const char *board) {
    static char name[64];
    char cpuinfo_path[256];
    snprintf(cpuinfo_path, sizeof cpuinfo_path, "%s", in_folder("cpuinfo"));
    FILE *f = fopen(cpuinfo_path, "w");
    assert_non_null(f);
    fputs(cpuinfo, f);
    fclose(f);
    f = fopen(in_folder("board"), "w");
    assert_non_null(f);
    fputs(board, f);
    fclose(f);
    processor_name_from(cpuinfo_path, in_folder("board"), name, sizeof name);
    unlink(cpuinfo_path);
    unlink(in_folder("board"));
    return name;
}

static void test_processor_name(void **state) {
    (void)state;
#define CORE(PART) "Features\t: fp asimd\nCPU implementer\t: 0x41\nCPU variant\t: 0x0\nCPU part\t: " PART "\n\n"
    assert_string_equal(processor("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nmodel name\t: other\n", ""),
                        "Some CPU @ 2 GHz");
    assert_string_equal(processor(CORE("0xd08") CORE("0xd08"), "Raspberry Pi 4 Model B Rev 1.4"),
                        "Cortex-A72 in a Raspberry Pi 4 Model B Rev 1.4");
    assert_string_equal(processor(CORE("0xd05") CORE("0xd05") CORE("0xd0b"), ""), "Cortex-A55 and Cortex-A76");
    assert_string_equal(processor(CORE("0xfff"), ""), "an ARM core (implementer 0x41, part 0xfff)");
    assert_string_equal(processor("CPU implementer : 0x61\nCPU part : 0x023\n", ""), "Apple silicon");
    assert_string_equal(processor("", "a board"), "a processor without a name");
    assert_int_equal(strlen(processor(CORE("0xd05"), "a board whose name is longer than there is room for in any way")),
                     63);
    char name[64];
    processor_name_from("/no/such", "/no/such", name, sizeof name);
    assert_string_equal(name, "a processor without a name");
    processor_name(name, sizeof name);
    assert_true(*name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str),
        cmocka_unit_test(test_fail_is_one_printable_line),
        cmocka_unit_test(test_alloc_refuses_overflow),
        cmocka_unit_test(test_file_appears_whole_or_not),
        cmocka_unit_test(test_full_disk_is_a_failure),
        cmocka_unit_test(test_npy_round_trip),
        cmocka_unit_test(test_processor_name),
    };
    return cmocka_run_group_tests_name("base", tests, setup, teardown);
}
