#include "emulator.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/blocks.h"  // half-precision floats
#include "gpu/kernels/list.h"
#include "gpu/kernels/ptx.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    MAX_THREADS = 1024,
    STACK_BYTES = 64 << 10,
    MAX_PENDING = 128,
    DYNAMIC_BYTES = 227 << 10,  // that a block of the largest card can have
};

/* ---- fibres ---- */

#if defined(__x86_64__) && !defined(_WIN32)

/* Saves the registers that a call keeps on this stack, leaves the stack pointer in *from, and goes on where `to` was
   left. */
void emulator_switch(void **from, void *to);
__asm__(
    ".text\n"
    ".globl emulator_switch\n"
    ".hidden emulator_switch\n"
    ".type emulator_switch, @function\n"
    "emulator_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulator_switch, . - emulator_switch\n");

typedef void *place;  // a stack pointer

static void start_fibre(place *p, char *stack, void (*function)(void)) {
    void **top = (void **)(stack + STACK_BYTES);
    *--top = NULL;  // where function would return to; also aligns the stack as after a call
    *--top = (void *)(uintptr_t)function;
    for (int i = 0; i < 6; i++) *--top = NULL;
    *p = top;
}

static void switch_place(place *from, place *to) { emulator_switch(from, *to); }

#else

#include <ucontext.h>

typedef ucontext_t place;

static void start_fibre(place *p, char *stack, void (*function)(void)) {
    getcontext(p);
    p->uc_stack.ss_sp = stack;
    p->uc_stack.ss_size = STACK_BYTES;
    p->uc_link = NULL;
    makecontext(p, function, 0);
}

static void switch_place(place *from, place *to) { swapcontext(from, to); }

#endif

/* ---- the block ---- */

struct fibre {
    place place;
    bool done;
#ifdef HAS_ASAN
    void *fake_stack;
#endif
};

struct warp_exchange {
    int arrived;          // lanes at the shuffle
    unsigned n_shuffles;  // that are complete
    uint32_t values[2][WARP];
    const void *rows[2][WARP];  // of matrices
    struct product {
        uint32_t a[WARP][4], b[WARP][2];
        float c[WARP][4];
    } products[2];
};

/* Copies to shared memory that are under way, oldest first. */
struct copies {
    struct {
        void *to;
        const void *from;
        int group;
    } pending[MAX_PENDING];
    int n, n_groups;
};

struct emulated_thread emulated;
bool emulator_descending;

static struct fibre fibres[MAX_THREADS], scheduler;
static char *stacks;  // [MAX_THREADS, STACK_BYTES]
static struct warp_exchange exchanges[MAX_THREADS / WARP];
static struct copies copies[MAX_THREADS];
static int n_threads, n_done, at_barrier;
static unsigned n_barriers;  // that are complete
static int idle;             // switches since anything moved on
static bool stuck;
static emulated_kernel *kernel_now;
static const void *args_now;
static int current;  // thread; -1: the scheduler

#ifdef HAS_ASAN
static const void *scheduler_bottom;  // its stack
static size_t scheduler_size;
static bool from_scheduler;  // the switch under way
#endif

static struct fibre *fibre_of(int thread) { return thread < 0 ? &scheduler : &fibres[thread]; }

static void switch_to(int thread) {
    struct fibre *from = fibre_of(current), *to = fibre_of(thread);
    if (from == to) return;
#ifdef HAS_ASAN
    const void *bottom = thread < 0 ? scheduler_bottom : stacks + (size_t)thread * STACK_BYTES;
    size_t size = thread < 0 ? scheduler_size : STACK_BYTES;
    from_scheduler = current < 0;
    __sanitizer_start_switch_fiber(from->done ? NULL : &from->fake_stack, bottom, size);
#endif
    current = thread;
    emulated.thread_x = thread;
    switch_place(&from->place, &to->place);
#ifdef HAS_ASAN
    const void *old_bottom;
    size_t old_size;
    __sanitizer_finish_switch_fiber(from->fake_stack, &old_bottom, &old_size);
#endif
}

static int next_thread(int thread, int first, int n) {
    int i = thread - first;
    return first + (emulator_descending ? (i + n - 1) % n : (i + 1) % n);
}

/* Lets another thread of first..first+n-1 run; back here later. */
static void yield(int first, int n) {
    if (++idle > 64 * MAX_THREADS) {
        stuck = true;
        switch_to(-1);
    }
    int next = next_thread(current, first, n);
    while (fibres[next].done && next != current) next = next_thread(next, first, n);
    if (next != current) {
        switch_to(next);
    } else if (n == WARP) {
        yield(0, n_threads);  // alone in its warp
    }
}

static void run_fibre(void) {
#ifdef HAS_ASAN
    const void *old_bottom;
    size_t old_size;
    __sanitizer_finish_switch_fiber(NULL, &old_bottom, &old_size);
    if (from_scheduler) {
        scheduler_bottom = old_bottom;
        scheduler_size = old_size;
    }
#endif
    kernel_now(args_now);
    idle = 0;
    fibres[current].done = true;
    if (++n_done == n_threads) switch_to(-1);
    int next = next_thread(current, 0, n_threads);
    while (fibres[next].done) next = next_thread(next, 0, n_threads);
    switch_to(next);
    abort();  // a thread that is done is never switched to
}

void emulator_barrier(void) {
    unsigned mine = n_barriers;
    idle = 0;
    if (++at_barrier == n_threads) {
        at_barrier = 0;
        n_barriers++;
        return;
    }
    while (n_barriers == mine) yield(0, n_threads);
}

static struct warp_exchange *exchange_of_warp(void) { return &exchanges[current / WARP]; }

/* With what this lane gives in place: until all lanes have given theirs. The last to come does `all` for them. */
static void exchange(struct warp_exchange *w, void (*all)(struct product *), struct product *p) {
    unsigned mine = w->n_shuffles;
    idle = 0;
    if (++w->arrived == WARP) {
        w->arrived = 0;
        if (all) all(p);
        w->n_shuffles++;
    } else {
        while (w->n_shuffles == mine) yield(current - current % WARP, WARP);
    }
}

u32 emulator_shuffle(u32 value, int from) {
    struct warp_exchange *w = exchange_of_warp();
    // two sets of values: a lane may be at the next shuffle while others still read this one's
    uint32_t *values = w->values[w->n_shuffles % 2];
    values[current % WARP] = value;
    exchange(w, NULL, NULL);
    return values[from];
}

void emulator_load_matrices(u32 r[4], const void *row, int transposed) {
    struct warp_exchange *w = exchange_of_warp();
    const void **rows = w->rows[w->n_shuffles % 2];
    rows[current % WARP] = row;
    exchange(w, NULL, NULL);
    int g = current % WARP / 4, t = current % 4 * 2;
    for (int i = 0; i < 4; i++) {
        u16 pair[2];
        for (int j = 0; j < 2; j++) {
            const char *from = rows[8 * i + (transposed ? t + j : g)];
            memcpy(&pair[j], from + 2 * (transposed ? g : t + j), 2);
        }
        r[i] = pair[0] | (u32)pair[1] << 16;
    }
}

static float half_of(uint32_t pair, int which) {
    static float table[65536];
    static bool made;
    if (!made)
        for (int i = 0; i < 65536; i++) table[i] = f16_to_f32((u16)i);
    made = true;
    return table[pair >> (16 * which) & 0xffff];
}

static void multiply_warp(struct product *p) {
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < WARP; l++)
        for (int j = 0; j < 2; j++) {
            int g = l / 4, t = l % 4 * 2 + j;
            for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 8] = half_of(p->a[l][i], j);
            for (int i = 0; i < 2; i++) b[t + i * 8][g] = half_of(p->b[l][i], j);
            for (int i = 0; i < 2; i++) c[g + i * 8][t] = p->c[l][2 * i + j];
        }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
    for (int l = 0; l < WARP; l++)
        for (int i = 0; i < 4; i++) p->c[l][i] = c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
}

void emulator_multiply_halves(float c[4], const u32 a[4], const u32 b[2]) {
    struct warp_exchange *w = exchange_of_warp();
    struct product *p = &w->products[w->n_shuffles % 2];
    int l = current % WARP;
    memcpy(p->a[l], a, sizeof p->a[l]);
    memcpy(p->b[l], b, sizeof p->b[l]);
    memcpy(p->c[l], c, sizeof p->c[l]);
    exchange(w, multiply_warp, p);
    memcpy(c, p->c[l], sizeof p->c[l]);
}

/* Copies happen as late as they may: who does not wait for them reads what was there before. */
void emulator_copy16(void *to, const void *from) {
    struct copies *c = &copies[current];
    if (c->n == MAX_PENDING) abort();  // far more than any kernel has on its way
    c->pending[c->n].to = to;
    c->pending[c->n].from = from;
    c->pending[c->n++].group = c->n_groups;
}

void emulator_copies_commit(void) { copies[current].n_groups++; }

void emulator_copies_wait(int n) {
    struct copies *c = &copies[current];
    int done = 0;
    for (; done < c->n && c->pending[done].group < c->n_groups - n; done++) {
        if (c->pending[done].from) {
            memcpy(c->pending[done].to, c->pending[done].from, 16);
        } else {
            memset(c->pending[done].to, 0, 16);
        }
    }
    c->n -= done;
    memmove(c->pending, c->pending + done, (size_t)c->n * sizeof *c->pending);
}

void *emulator_dynamic_shared(void) {
    static char __attribute__((aligned(128))) memory[DYNAMIC_BYTES];
    return memory;
}

u16 emulator_f32_to_half(float f) { return f32_to_f16(f); }
float emulator_half_to_f32(u16 h) { return f16_to_f32(h); }

static const char *run_block(void) {
#ifdef HAS_ASAN
    // fibres end without returning, and leave the marks of their frames behind
    ASAN_UNPOISON_MEMORY_REGION(stacks, (size_t)n_threads * STACK_BYTES);
#endif
    n_done = at_barrier = idle = 0;
    n_barriers = 0;
    stuck = false;
    for (int i = 0; i < n_threads / WARP; i++) exchanges[i].arrived = 0;
    for (int i = 0; i < n_threads; i++) {
        copies[i].n = copies[i].n_groups = 0;
        fibres[i] = (struct fibre){0};
        start_fibre(&fibres[i].place, stacks + (size_t)i * STACK_BYTES, run_fibre);
    }
    current = -1;
    switch_to(emulator_descending ? n_threads - 1 : 0);
    if (stuck) return "threads of a block wait for each other for ever";
    for (int i = 0; i < n_threads / WARP; i++)
        if (exchanges[i].arrived) return "a shuffle was not reached by all lanes";
    return at_barrier ? "a barrier was not reached by all threads" : NULL;
}

const char *emulator_launch(emulated_kernel *kernel, int grid_x, int grid_y, int threads, const void *args) {
    if (threads < 1 || threads > MAX_THREADS || threads % WARP) return "a block of that many threads cannot be run";
    if (!stacks) stacks = malloc((size_t)MAX_THREADS * STACK_BYTES);
    if (!stacks) return "no memory for the threads' stacks";
    kernel_now = kernel;
    args_now = args;
    n_threads = threads;
    emulated.grid_x = grid_x;
    emulated.grid_y = grid_y;
    for (int y = 0; y < grid_y; y++)
        for (int x = 0; x < grid_x; x++) {
            emulated.block_x = x;
            emulated.block_y = y;
            const char *wrong = run_block();
            if (wrong) return wrong;
        }
    return NULL;
}

/* ---- the kernels ---- */

#define DECLARE(name, n)         \
    void name(const void *args); \
    extern const u32 name##_args_bytes;
#define ENTRY(name, n) {#name, name, n, &name##_args_bytes},
/* Every kernel of a format. */
#define OF_FORMAT(X, format) \
    X(embed_##format, 256) X(matvec_##format, 256) X(matmul_rows_##format, 256) X(matmul_tile_##format, 256)
#define DECLARE_FORMAT(format, type) OF_FORMAT(DECLARE, format)
#define ENTRY_FORMAT(format, type) OF_FORMAT(ENTRY, format)

GPU_COMMON_KERNELS(DECLARE)
GPU_FORMATS(DECLARE_FORMAT)

static const struct emulated_entry entries[] = {GPU_COMMON_KERNELS(ENTRY) GPU_FORMATS(ENTRY_FORMAT)};

const struct emulated_entry *emulator_find(const char *name) {
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (strcmp(entries[i].name, name) == 0) return &entries[i];
    return NULL;
}
