/* How many threads suit a machine: siblings, slow cores, affinity, what control groups grant. */
#define _XOPEN_SOURCE 700
#include "test.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cores.h"
#include "base/file.h"

static char root[] = "/tmp/utter-cores-XXXXXX";

static void put(const char *text, const char *format, ...) {
    char path[512];
    struct file_writer w;
    int n = snprintf(path, sizeof path, "%s", root);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + n, sizeof path - (size_t)n, format, arguments);
    va_end(arguments);
    assert_ok(folder_make_above(path));
    assert_ok(file_create(path, &w));
    assert_ok(file_write(&w, text, strlen(text)));
    assert_ok(file_commit(&w));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

static int begin(void **state) {
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    return mkdtemp(root) ? 0 : 1;
}

static int end(void **state) {
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void siblings(int processor, const char *list) {
    put(list, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", processor);
}

#define COUNT(...) \
    cores_to_use_of(root, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

static void nothing_is_known(void **unused) {
    (void)unused;
    assert_int_equal(COUNT(0, 1, 2, 3), 4);
    assert_int_equal(COUNT(7), 1);
    assert_int_equal(cores_to_use_of(root, NULL, 0), 1);
}

static void siblings_share_a_core(void **unused) {
    (void)unused;
    siblings(0, "0,4\n"), siblings(4, "0,4\n"), siblings(1, "1,5\n"), siblings(5, "1,5\n");
    siblings(2, "2-3\n"), siblings(3, "2-3\n"), siblings(6, "6\n"), siblings(7, "not a number\n");
    assert_int_equal(COUNT(0, 1, 2, 3, 4, 5, 6, 7), 5);
    assert_int_equal(COUNT(4, 5), 2);  // without their siblings: two cores
    assert_int_equal(COUNT(0, 4), 1);
    assert_int_equal(COUNT(1, 3, 5), 2);
}

static void efficient_cores_of_intel(void **unused) {
    (void)unused;
    for (int i = 0; i < 4; i++) siblings(i, i < 2 ? "0-1\n" : "2-3\n");
    for (int i = 4; i < 12; i++) {
        char list[8];
        snprintf(list, sizeof list, "%d\n", i);
        siblings(i, list);
    }
    put("4-9,11\n", "/sys/devices/cpu_atom/cpus");
    assert_int_equal(COUNT(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11), 2);
    assert_int_equal(COUNT(1, 2, 10), 3);     // 10 is in none of the ranges
    assert_int_equal(COUNT(4, 5, 6, 11), 4);  // bound to these: there are no faster ones
}

static void capacities_of_arm(void **unused) {
    (void)unused;
    const char *const capacities[] = {"430\n", "430\n", "430\n", "430\n", "760\n", "760\n", "760\n", "1024\n"};
    for (int i = 0; i < 8; i++) put(capacities[i], "/sys/devices/system/cpu/cpu%d/cpu_capacity", i);
    assert_int_equal(COUNT(0, 1, 2, 3, 4, 5, 6, 7), 4);
    assert_int_equal(COUNT(0, 1, 4, 5), 2);
    assert_int_equal(COUNT(0, 1, 2), 3);
    assert_int_equal(COUNT(0, 1, 7), 1);
}

static void a_group_of_version_2(void **unused) {
    (void)unused;
    put("0::/a/b\n", "/proc/self/cgroup");
    put("max 100000\n", "/sys/fs/cgroup/a/b/cpu.max");
    assert_int_equal(COUNT(0, 1, 2, 3, 4, 5, 6, 7), 8);
    put("350000 100000\n", "/sys/fs/cgroup/a/cpu.max");  // of the group that it lies in
    assert_int_equal(COUNT(0, 1, 2, 3, 4, 5, 6, 7), 3);
    assert_int_equal(COUNT(0, 1), 2);
    put("150000 100000\n", "/sys/fs/cgroup/a/b/cpu.max");
    assert_int_equal(COUNT(0, 1, 2, 3), 1);
    put("50000 100000\n", "/sys/fs/cgroup/a/b/cpu.max");
    assert_int_equal(COUNT(0, 1, 2, 3), 1);
}

static void a_container_that_sees_its_own_group_as_the_root(void **unused) {
    (void)unused;
    put("0::/\n", "/proc/self/cgroup");
    put("200000 100000\n", "/sys/fs/cgroup/cpu.max");
    assert_int_equal(COUNT(0, 1, 2, 3), 2);
}

static void a_group_of_version_1(void **unused) {
    (void)unused;
    put("12:cpuset:/docker/x\n4:cpu,cpuacct:/docker/x\n3:cpuacct:/\n0::/\n", "/proc/self/cgroup");
    put("-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    put("100000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    assert_int_equal(COUNT(0, 1, 2, 3), 4);
    put("250000\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us");  // the container's own: /docker/x is the host's name for it
    assert_int_equal(COUNT(0, 1, 2, 3), 2);
}

static void files_that_say_nothing_sensible(void **unused) {
    (void)unused;
    siblings(0, "");
    siblings(1, "-5\n");
    siblings(2, "99999999999\n");
    put("7-\n", "/sys/devices/cpu_atom/cpus");
    put("x\n::\n0:/\n0::no slash\n4:cpu:/../..\n", "/proc/self/cgroup");
    put("0 0\n", "/sys/fs/cgroup/cpu.max");
    put("100000\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    assert_int_equal(COUNT(0, 1, 2, 3), 4);
}

static void here(void **unused) {
    (void)unused;
    assert_in_range(cores_to_use(), 1, 8192);
}

int main(void) {
#define ONE(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        ONE(nothing_is_known),
        ONE(siblings_share_a_core),
        ONE(efficient_cores_of_intel),
        ONE(capacities_of_arm),
        ONE(a_group_of_version_2),
        ONE(a_container_that_sees_its_own_group_as_the_root),
        ONE(a_group_of_version_1),
        ONE(files_that_say_nothing_sensible),
        ONE(here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
