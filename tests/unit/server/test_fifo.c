/* Bytes come out in the order they went in, whatever the sizes. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "server/fifo.h"

static void test_bytes_keep_their_order(void **state) {
    (void)state;
    struct fifo f = {0};
    unsigned char in = 0, out = 0, bytes[70000];
    uint32_t random = 1;
    size_t length = 0;
    for (int i = 0; i < 2000; i++) {
        random = random * 1664525u + 1013904223u;
        size_t n = random >> 16 & (i % 100 == 0 ? 0xffff : 0x3ff);
        if (random >> 8 & 1) {
            for (size_t k = 0; k < n; k++) bytes[k] = in++;
            assert_ok(fifo_put(&f, bytes, n));
            length += n;
        } else {
            size_t got = fifo_take(&f, bytes, n);
            assert_int_equal(got, n < length ? n : length);
            for (size_t k = 0; k < got; k++) assert_int_equal(bytes[k], out++);
            length -= got;
        }
        assert_int_equal(f.len, length);
    }
    fifo_free(&f);
}

static void test_an_empty_one_holds_little(void **state) {
    (void)state;
    struct fifo f = {0};
    char *bytes = calloc(1, 1 << 20);
    assert_non_null(bytes);
    assert_ok(fifo_put(&f, bytes, 1 << 20));
    assert_int_equal(fifo_take(&f, bytes, 1 << 20), 1 << 20);
    assert_true(f.cap <= 16 << 10);
    assert_int_equal(fifo_take(&f, bytes, 10), 0);
    free(bytes);
    fifo_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_keep_their_order),
        cmocka_unit_test(test_an_empty_one_holds_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
