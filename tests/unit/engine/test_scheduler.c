/* Lanes over a device that does what the test says, when the test says it: what is done together, in which order, and
   what becomes of calls that are cancelled, late, or in the hands of a device that is lost. */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/scheduler.h"

enum { N_SLOTS = 3, MAX_LOG = 4096 };

struct made {
    char kind;  // 'p'rompt, 'g'enerate, 's'ynthesize
    int n;      // tokens, sequences, pieces
    int steps;
    int64_t deadline;
};

/* Codes count up in each slot, from 100 * slot on. */
static struct {
    struct device device;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;  // calls wait
    int n_inside;
    struct made log[MAX_LOG];
    int n_log;
    int n_resets;
    int n_past[N_SLOTS], n_made[N_SLOTS];
    int n_keeps;    // tokens of a prompt that a slot holds from before
    int end_after;  // codes of slot 1; 0: never ends
    int sick;       // slot whose logits are no numbers; -1: none
    bool lost;
    int most_pieces;  // decoded at once; more are too much
} fake;

static void enter(char kind, int n, int steps, int64_t deadline) {
    pthread_mutex_lock(&fake.lock);
    if (fake.n_log < MAX_LOG) fake.log[fake.n_log++] = (struct made){kind, n, steps, deadline};
    fake.n_inside++;
    pthread_cond_broadcast(&fake.changed);
    while (fake.held) pthread_cond_wait(&fake.changed, &fake.lock);
    fake.n_inside--;
    pthread_mutex_unlock(&fake.lock);
}

static void hold(bool held) {
    pthread_mutex_lock(&fake.lock);
    fake.held = held;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

// Until the device is in a call that is held.
static void wait_inside(void) {
    pthread_mutex_lock(&fake.lock);
    while (fake.n_inside == 0) pthread_cond_wait(&fake.changed, &fake.lock);
    pthread_mutex_unlock(&fake.lock);
}

static void fake_reset(struct device *d, int slot) {
    (void)d;
    fake.n_resets++;
    fake.n_past[slot] = fake.n_made[slot] = 0;
}

// Tokens of prompts count up from 0.
static status fake_prefill(struct device *d, int slot, const int32_t *tokens, int n, float *logits, int64_t deadline) {
    (void)d, (void)logits;
    enter('p', n, 0, deadline);
    if (fake.lost) return fail(UTTER_DEVICE, "it fell off");
    for (int i = 0; i < n; i++)
        if (tokens[i] != fake.n_past[slot]++) return fail(UTTER_INTERNAL, "the prompt is in disorder");
    return UTTER_OK;
}

static status fake_generate(struct device *d, struct generation *g, int n, int steps, int64_t deadline) {
    (void)d;
    enter('g', n, steps, deadline);
    if (fake.lost) return fail(UTTER_DEVICE, "it fell off");
    for (int i = 0; i < n; i++)
        if (g[i].slot == fake.sick) return fail(UTTER_SPEECH, "no logit is a number");
    for (int i = 0; i < n; i++) {
        g[i].n = 0;
        g[i].ended = false;
        while (g[i].n < steps && !g[i].ended) {
            int *n_made = &fake.n_made[g[i].slot];
            g[i].ended = fake.end_after > 0 && g[i].slot == 1 && *n_made == fake.end_after;
            g[i].indices[g[i].n++] = g[i].ended ? g[i].end_index : 100 * g[i].slot + *n_made;
            ++*n_made;
        }
    }
    usleep(100);
    return UTTER_OK;
}

static status fake_synthesize(struct device *d, const struct synthesis *pieces, int n, int64_t deadline) {
    (void)d;
    enter('s', n, 0, deadline);
    if (n > fake.most_pieces) return fail(UTTER_MEMORY, "too much at once");
    for (int i = 0; i < n; i++) pieces[i].pcm[0] = (float)pieces[i].codes[0];
    return UTTER_OK;
}

static int fake_keep(struct device *d, int slot, const int32_t *tokens, int n) {
    (void)d;
    assert_int_equal(tokens[0], 0);
    assert_true(n > fake.n_keeps);
    return fake.n_past[slot] = fake.n_keeps;
}

static const struct device_ops fake_keeping_ops = {.reset = fake_reset, .keep = fake_keep, .prefill = fake_prefill};
static const struct device_ops fake_ops = {
    .reset = fake_reset, .prefill = fake_prefill, .generate = fake_generate, .synthesize = fake_synthesize};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lane lane;

static void start(int n_slots) {
    fake.n_log = fake.n_resets = fake.end_after = 0;
    fake.sick = -1;
    fake.lost = false;
    fake.most_pieces = 1000;
    memset(fake.n_made, 0, sizeof fake.n_made);
    memset(fake.n_past, 0, sizeof fake.n_past);
    assert_ok(lane_open(&lane, &lock, &fake.device, n_slots));
}

/* A stream, as far as lanes see it. */
struct client {
    struct waiter waiter;
    struct call call;
    int32_t codes[2000];
    float pcm;
};

static struct client *client_new(void) {
    struct client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    waiter_init(&c->waiter);
    c->call.waiter = &c->waiter;
    return c;
}

static void client_free(struct client *c) {
    waiter_destroy(&c->waiter);
    free(c);
}

static void submit(struct client *c) {
    pthread_mutex_lock(&lock);
    lane_submit(&lane, &c->call);
    pthread_mutex_unlock(&lock);
    lane_wake(&lane);
}

static void ask_codes(struct client *c, int slot, int n) {
    c->call = (struct call){.kind = CALL_GENERATE,
                            .slot = slot,
                            .n = n,
                            .generation = {.indices = c->codes, .end_index = -7},
                            .waiter = &c->waiter};
    submit(c);
}

static int32_t counting[2000];

static void ask_prompt(struct client *c, int n) {
    c->call = (struct call){.kind = CALL_PREFILL, .slot = -1, .tokens = counting, .n = n, .waiter = &c->waiter};
    submit(c);
}

static void ask_sound(struct client *c, int code) {
    c->codes[0] = code;
    c->call = (struct call){
        .kind = CALL_SYNTHESIZE, .piece = {.codes = c->codes, .n = 1, .pcm = &c->pcm}, .waiter = &c->waiter};
    submit(c);
}

static void await(struct client *c) {
    int64_t until = clock_ns() + (int64_t)20 * 1000000000;
    pthread_mutex_lock(&lock);
    while (c->call.state != CALL_DONE && clock_ns() < until) waiter_wait(&c->waiter, &lock, until);
    assert_int_equal(c->call.state, CALL_DONE);
    c->call.state = CALL_IDLE;
    pthread_mutex_unlock(&lock);
}

static int slot_of(struct client *c) {
    pthread_mutex_lock(&lock);
    int slot = c->call.slot;
    pthread_mutex_unlock(&lock);
    return slot;
}

static void leave(int slot) {
    pthread_mutex_lock(&lock);
    lane_leave(&lane, slot);
    pthread_mutex_unlock(&lock);
}

static void withdraw(struct client *c) {
    pthread_mutex_lock(&lock);
    lane_withdraw(&lane, &c->call);
    pthread_mutex_unlock(&lock);
}

static void check_codes(const struct client *c, int slot, int n) {
    assert_int_equal(c->call.n_done, n);
    for (int i = 0; i < n; i++)
        if (!(c->call.generation.ended && i == n - 1)) assert_int_equal(c->codes[i], 100 * slot + i);
}

// A place goes on behind what it holds of a prompt; where it holds nothing it is emptied.
static void test_what_a_place_has_read_is_not_read_again(void **state) {
    (void)state;
    start(1);
    struct client *c = client_new();
    fake.device.ops = &fake_keeping_ops;
    for (int held = 0; held <= 150; held += 150) {
        fake.n_keeps = held;
        ask_prompt(c, 200);
        await(c);
        assert_int_equal(c->call.result, UTTER_OK);
        assert_int_equal(c->call.n_done, 200);
        assert_int_equal(c->call.n_kept, held);
        assert_int_equal(fake.n_past[0], 200);
        leave(slot_of(c));
    }
    assert_int_equal(fake.n_resets, 1);
    assert_int_equal(fake.log[fake.n_log - 1].n, 50);
    fake.device.ops = &fake_ops;
    client_free(c);
    lane_close(&lane);
}

static void test_a_prompt_goes_on_as_codes_where_they_are_wanted(void **state) {
    (void)state;
    start(1);
    struct client *c = client_new();
    c->call = (struct call){.kind = CALL_PREFILL,
                            .slot = -1,
                            .tokens = counting,
                            .n = 200,
                            .n_codes = 30,
                            .generation = {.indices = c->codes, .end_index = -7},
                            .waiter = &c->waiter};
    submit(c);
    await(c);
    assert_int_equal(c->call.result, UTTER_OK);
    assert_int_equal(c->call.kind, CALL_GENERATE);
    assert_int_equal(c->call.read.n, 200);
    assert_true(c->call.read.placed <= c->call.read.began && c->call.read.began <= c->call.read.ended);
    assert_true(c->call.read.ended <= c->call.began && c->call.began <= c->call.ended);
    assert_int_equal(fake.n_past[0], 200);
    check_codes(c, 0, 30);
    leave(slot_of(c));
    client_free(c);
    lane_close(&lane);
}

static void test_codes_are_written_together_and_each_gets_its_own(void **state) {
    (void)state;
    start(N_SLOTS);
    fake.end_after = 5;
    hold(true);
    struct client *c[N_SLOTS];
    for (int i = 0; i < N_SLOTS; i++) c[i] = client_new();
    ask_codes(c[0], 0, 60);
    wait_inside();
    ask_codes(c[1], 1, 60);
    ask_codes(c[2], 2, 30);
    hold(false);
    for (int i = 0; i < N_SLOTS; i++) await(c[i]);
    check_codes(c[0], 0, 60);
    check_codes(c[1], 1, 6);  // the end included
    check_codes(c[2], 2, 30);
    assert_false(c[0]->call.generation.ended);
    assert_true(c[1]->call.generation.ended);
    assert_int_equal(fake.log[0].n, 1);
    assert_int_equal(fake.log[1].n, N_SLOTS);
    for (int i = 0; i < N_SLOTS; i++) client_free(c[i]);
    lane_close(&lane);
}

static void test_a_prompt_is_read_in_pieces_between_others_codes(void **state) {
    (void)state;
    start(N_SLOTS);
    struct client *running = client_new(), *newcomer = client_new();
    hold(true);
    ask_prompt(newcomer, 1000);
    wait_inside();
    ask_codes(running, 2, 2000);
    hold(false);
    await(newcomer);
    assert_int_equal(newcomer->call.result, UTTER_OK);
    assert_int_equal(newcomer->call.n_done, 1000);
    assert_int_equal(fake.n_resets, 1);
    withdraw(running);
    int read = 0, n_pieces = 0;
    for (int i = 0; i < fake.n_log && read < 1000; i++) {
        if (fake.log[i].kind != 'p') continue;
        read += fake.log[i].n;
        n_pieces++;
        if (read < 1000) assert_int_equal(fake.log[i + 1].kind, 'g');
    }
    assert_int_equal(read, 1000);
    assert_true(n_pieces >= 2);
    client_free(running);
    client_free(newcomer);
    lane_close(&lane);
}

static void test_places_are_given_in_the_order_of_asking(void **state) {
    (void)state;
    start(N_SLOTS);
    enum { N = 8 };
    struct client *c[N];
    for (int i = 0; i < N; i++) {
        c[i] = client_new();
        ask_prompt(c[i], 10);
    }
    for (int i = 0; i < N_SLOTS; i++) await(c[i]);
    pthread_mutex_lock(&lock);
    assert_int_equal(lane_n_active(&lane), N_SLOTS);
    assert_int_equal(lane_n_waiting(&lane), N - N_SLOTS);
    pthread_mutex_unlock(&lock);
    withdraw(c[4]);  // who goes away leaves no gap
    for (int i = N_SLOTS, left = 0; i < N; i++) {
        if (i == 4) continue;
        int freed = slot_of(c[left++]);
        leave(freed);
        await(c[i]);
        assert_int_equal(slot_of(c[i]), freed);
        for (int k = i + 1; k < N; k++) assert_int_equal(slot_of(c[k]), -1);
        if (left == 4) left++;
    }
    for (int i = 0; i < N; i++) client_free(c[i]);
    lane_close(&lane);
}

static void test_what_nobody_waits_for_is_not_made(void **state) {
    (void)state;
    start(N_SLOTS);
    hold(true);
    struct client *c[4];
    for (int i = 0; i < 4; i++) c[i] = client_new();
    ask_codes(c[0], 0, 4);
    wait_inside();
    ask_codes(c[1], 1, 10);
    ask_codes(c[2], 2, 10);
    ask_prompt(c[3], 500);
    atomic_store(&c[1]->waiter.cancelled, true);
    c[2]->waiter.deadline = clock_ns();
    c[3]->waiter.deadline = clock_ns();
    hold(false);
    for (int i = 0; i < 4; i++) await(c[i]);
    assert_int_equal(c[0]->call.result, UTTER_OK);
    assert_int_equal(c[1]->call.result, UTTER_CANCELLED);
    assert_int_equal(c[2]->call.result, UTTER_DEADLINE);
    assert_int_equal(c[3]->call.result, UTTER_DEADLINE);
    assert_non_null(strstr(c[3]->call.message, "no place became free"));
    assert_int_equal(fake.n_log, 1);
    for (int i = 0; i < 4; i++) client_free(c[i]);
    lane_close(&lane);
}

static void *let_go_soon(void *unused) {
    (void)unused;
    usleep(20000);
    hold(false);
    return NULL;
}

static void test_what_the_device_has_in_hand_is_not_taken_away(void **state) {
    (void)state;
    start(N_SLOTS);
    hold(true);
    struct client *running = client_new(), *queued = client_new();
    ask_codes(running, 0, 1000);
    wait_inside();
    ask_codes(queued, 1, 10);
    withdraw(queued);  // at once
    assert_int_equal(queued->call.state, CALL_IDLE);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, let_go_soon, NULL), 0);
    withdraw(running);  // when the call is over, and not only when all of it is made
    assert_int_equal(fake.n_inside, 0);
    assert_true(running->call.n_done > 0 && running->call.n_done < 1000);
    pthread_join(thread, NULL);
    client_free(running);
    client_free(queued);
    lane_close(&lane);
}

static void test_a_lost_device_fails_all_that_wait_for_it(void **state) {
    (void)state;
    start(N_SLOTS);
    hold(true);
    enum { N = 6 };
    struct client *c[N];
    for (int i = 0; i < N; i++) c[i] = client_new();
    ask_codes(c[0], 0, 10);
    wait_inside();
    ask_codes(c[1], 1, 10);
    for (int i = 2; i < N; i++) ask_prompt(c[i], 10);
    fake.lost = true;
    hold(false);
    for (int i = 0; i < N; i++) {
        await(c[i]);
        assert_int_equal(c[i]->call.result, UTTER_DEVICE);
        assert_string_equal(c[i]->call.message, "it fell off");
    }
    ask_codes(c[0], 0, 10);
    await(c[0]);
    assert_int_equal(c[0]->call.result, UTTER_DEVICE);
    assert_int_equal(fake.n_log, 1);
    for (int i = 0; i < N; i++) client_free(c[i]);
    lane_close(&lane);
}

static void test_one_that_is_sick_does_not_infect_the_others(void **state) {
    (void)state;
    start(N_SLOTS);
    fake.sick = 1;
    hold(true);
    struct client *c[N_SLOTS], *first = client_new();
    for (int i = 0; i < N_SLOTS; i++) c[i] = client_new();
    ask_prompt(first, 10);
    wait_inside();
    for (int i = 0; i < N_SLOTS; i++) ask_codes(c[i], i, 10);
    hold(false);
    for (int i = 0; i < N_SLOTS; i++) {
        await(c[i]);
        assert_int_equal(c[i]->call.result, UTTER_OK);
        assert_true(c[i]->call.spoiled);
    }
    for (int i = 0; i < N_SLOTS; i++) {
        c[i]->call.alone = true;
        submit(c[i]);
    }
    for (int i = 0; i < N_SLOTS; i++) {
        await(c[i]);
        assert_false(c[i]->call.spoiled);
        assert_int_equal(c[i]->call.result, i == 1 ? UTTER_SPEECH : UTTER_OK);
        if (i != 1) check_codes(c[i], i, 10);
    }
    for (int i = 0; i < N_SLOTS; i++) client_free(c[i]);
    client_free(first);
    lane_close(&lane);
}

static void test_the_nearest_deadline_does_not_undo_what_is_shared(void **state) {
    (void)state;
    start(N_SLOTS);
    hold(true);
    struct client *c[N_SLOTS];
    for (int i = 0; i < N_SLOTS; i++) c[i] = client_new();
    int64_t now = clock_ns(), minute = (int64_t)60 * 1000000000;
    c[0]->waiter.deadline = now + minute;
    ask_codes(c[0], 0, 4);
    wait_inside();
    assert_true(fake.log[0].deadline == now + minute);  // alone: its own
    c[1]->waiter.deadline = now + minute / 600;         // 100 ms
    ask_codes(c[1], 1, 4);
    ask_codes(c[2], 2, 4);
    hold(false);
    for (int i = 0; i < N_SLOTS; i++) await(c[i]);
    if (fake.n_log == 2 && fake.log[1].n == 2) assert_true(fake.log[1].deadline > now + minute / 120);  // 500 ms
    assert_int_equal(c[2]->call.result, UTTER_OK);
    for (int i = 0; i < N_SLOTS; i++) client_free(c[i]);
    lane_close(&lane);
}

static void test_windows_are_decoded_together_as_far_as_that_goes(void **state) {
    (void)state;
    for (int most = 1; most <= 1000; most *= 10) {
        start(0);
        enum { N = 20 };
        struct client *c[N];
        for (int i = 0; i < N; i++) c[i] = client_new();
        ask_sound(c[0], 1000);
        await(c[0]);  // how long it takes is known now
        fake.most_pieces = most;
        hold(true);
        ask_sound(c[0], 2000);
        wait_inside();
        for (int i = 1; i < N; i++) ask_sound(c[i], i);
        hold(false);
        for (int i = 0; i < N; i++) {
            await(c[i]);
            assert_int_equal(c[i]->call.result, UTTER_OK);
            if (i > 0) assert_true(c[i]->pcm == (float)i);
        }
        int together = 0;
        for (int i = 0; i < fake.n_log; i++)
            if (fake.log[i].n > together && fake.log[i].n <= most) together = fake.log[i].n;
        assert_true(most == 1 ? together == 1 : together > 1);
        for (int i = 0; i < N; i++) client_free(c[i]);
        lane_close(&lane);
    }
}

int main(void) {
    fake.device.ops = &fake_ops;
    for (int i = 0; i < 2000; i++) counting[i] = i;
    pthread_mutex_init(&fake.lock, NULL);
    pthread_cond_init(&fake.changed, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_place_has_read_is_not_read_again),
        cmocka_unit_test(test_a_prompt_goes_on_as_codes_where_they_are_wanted),
        cmocka_unit_test(test_codes_are_written_together_and_each_gets_its_own),
        cmocka_unit_test(test_a_prompt_is_read_in_pieces_between_others_codes),
        cmocka_unit_test(test_places_are_given_in_the_order_of_asking),
        cmocka_unit_test(test_what_nobody_waits_for_is_not_made),
        cmocka_unit_test(test_what_the_device_has_in_hand_is_not_taken_away),
        cmocka_unit_test(test_a_lost_device_fails_all_that_wait_for_it),
        cmocka_unit_test(test_one_that_is_sick_does_not_infect_the_others),
        cmocka_unit_test(test_the_nearest_deadline_does_not_undo_what_is_shared),
        cmocka_unit_test(test_windows_are_decoded_together_as_far_as_that_goes),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
