/* The emulator itself: that it finds what it is for. */
#include "test.h"

#include "emulator.h"
#include "gpu/kernels/args.h"
#include "gpu/kernels/ptx.h"

struct reverse_args {
    int *x;
    int with_barrier;
};

static void reverse(const void *p) {
    const struct reverse_args *a = p;
    static int shared[64];
    shared[thread_x()] = a->x[block_x() * 64 + thread_x()];
    if (a->with_barrier) barrier();
    a->x[block_x() * 64 + thread_x()] = shared[63 - thread_x()];
    barrier();
}

static bool reverses(bool with_barrier, unsigned order) {
    int x[128];
    for (int i = 0; i < 128; i++) x[i] = i;
    emulator_order = order;
    assert_null(emulator_launch(reverse, 2, 1, 64, 0, &(struct reverse_args){x, with_barrier}));
    emulator_order = EMULATOR_ASCENDING;
    bool right = true;
    for (int i = 0; i < 128; i++) right = right && x[i] == i / 64 * 64 + 63 - i % 64;
    return right;
}

static void barriers(void **unused) {
    (void)unused;
    for (unsigned order = 0; order < 10; order++) {
        assert_true(reverses(true, order));
        assert_false(reverses(false, order));
    }
}

static void sum(const void *p) {
    float *out = *(float *const *)p;
    float s = block_sum((float)thread_x(), 128);
    out[thread_x()] = s + warp_max((float)lane()) * 1000;
}

static void shuffles(void **unused) {
    (void)unused;
    float out[128], *p = out;
    for (unsigned order = 0; order < 10; order++) {
        emulator_order = order;
        assert_null(emulator_launch(sum, 3, 1, 128, 0, &p));
        for (int i = 0; i < 128; i++) assert_true(out[i] == 127 * 64 + 31000);
    }
    emulator_order = EMULATOR_ASCENDING;
}

static void half_a_barrier(const void *p) {
    (void)p;
    if (thread_x() < 32) barrier();
}

static void half_a_shuffle(const void *p) {
    (void)p;
    if (thread_x() != 5) shuffle_f32(1, 0);
}

static void waits_for_ever(void **unused) {
    (void)unused;
    assert_non_null(emulator_launch(half_a_barrier, 1, 1, 64, 0, NULL));
    assert_non_null(emulator_launch(half_a_shuffle, 1, 1, 64, 0, NULL));
    float out[128], *p = out;
    assert_null(emulator_launch(sum, 1, 1, 128, 0, &p));  // as good as new
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(barriers), cmocka_unit_test(shuffles),
                                       cmocka_unit_test(waits_for_ever)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
