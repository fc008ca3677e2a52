#include "emulator.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gguf/blocks.h"  // half-precision floats
#include "gpu/kernels/args.h"
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
#ifdef SHARED_SECTIONS
enum { HAS_SECTIONS = 1 };
#else
enum { HAS_SECTIONS = 0 };
#endif

enum {
    MAX_THREADS = 1024,
    STACK_BYTES = 64 << 10,
    MAX_PENDING = 128,
    MAX_BLOCKS = 8,        // of a cooperative launch
    MAX_OWN_BYTES = 4096,  // of variables in shared memory of their kernels
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
        int n_bytes, group;
    } pending[MAX_PENDING];
    int n, n_groups;
};

struct emulated_thread emulated;
unsigned emulator_order;
bool emulator_loses_block;

struct block {
    struct fibre threads[MAX_THREADS];
    char *stacks;  // [MAX_THREADS, STACK_BYTES]
    struct warp_exchange warps[MAX_THREADS / WARP];
    struct copies pending[MAX_THREADS];
    int index, n_done, at_barrier;
    unsigned n_barriers;            // that are complete
    int current_thread;             // that runs, or goes on when the block does
    char *dynamic_shared;           // of the size that the launch asks for
    char variables[MAX_OWN_BYTES];  // in shared memory, while another block runs
};

/* The variables in shared memory of the kernel that runs. */
static struct {
    char *begin;
    size_t n_bytes;
} variables;

static struct block *blocks[MAX_BLOCKS], *now;
static int n_blocks;  // that run side by side
static struct fibre scheduler;
static bool scheduling;
static int n_threads;
static int idle;    // switches since anything moved on
static int pauses;  // of those, for another block
static bool stuck;
static emulated_kernel *kernel_now;
static const void *args_now;

#ifdef HAS_ASAN
static const void *scheduler_bottom;  // its stack
static size_t scheduler_size;
static bool from_scheduler;  // the switch under way
#endif

#define fibres (now->threads)
#define exchanges (now->warps)
#define current (now->current_thread)

/* To thread `thread` of a block, or to the scheduler (NULL). */
static void switch_block(struct block *block, int thread) {
    struct fibre *from = scheduling ? &scheduler : &fibres[current], *to = block ? &block->threads[thread] : &scheduler;
    if (from == to) return;
#ifdef HAS_ASAN
    const void *bottom = block ? block->stacks + (size_t)thread * STACK_BYTES : scheduler_bottom;
    size_t size = block ? STACK_BYTES : scheduler_size;
    from_scheduler = scheduling;
    __sanitizer_start_switch_fiber(from->done ? NULL : &from->fake_stack, bottom, size);
#endif
    scheduling = !block;
    if (block) {
        if (block != now && variables.n_bytes <= MAX_OWN_BYTES) {
            memcpy(now->variables, variables.begin, variables.n_bytes);
            memcpy(variables.begin, block->variables, variables.n_bytes);
        }
        now = block;
        current = thread;
        emulated.thread_x = thread;
        if (n_blocks > 1) emulated.block_x = block->index;
    }
    switch_place(&from->place, &to->place);
#ifdef HAS_ASAN
    const void *old_bottom;
    size_t old_size;
    __sanitizer_finish_switch_fiber(from->fake_stack, &old_bottom, &old_size);
#endif
}

static void switch_to(int thread) { switch_block(now, thread); }

/* ---- the order of threads ---- */

static int after[MAX_THREADS], after_in_warp[MAX_THREADS], first_thread;

static bool is_random(void) { return emulator_order > EMULATOR_DESCENDING; }

static int random_below(int n) {
    static unsigned seed;
    static uint32_t random;
    if (seed != emulator_order) random = seed = emulator_order;
    random = random * 1664525 + 1013904223;
    return (int)(random >> 16) % n;
}

static void draw_order(int *list, int n) {
    for (int i = 0; i < n; i++) list[i] = emulator_order == EMULATOR_DESCENDING ? n - 1 - i : i;
    for (int i = n - 1; i > 0 && is_random(); i--) {
        int j = random_below(i + 1), other = list[j];
        list[j] = list[i];
        list[i] = other;
    }
}

static void order_threads(void) {
    int warps[MAX_THREADS / WARP], lanes[WARP], last = -1;
    draw_order(warps, n_threads / WARP);
    for (int w = 0; w < n_threads / WARP; w++) {
        draw_order(lanes, WARP);
        for (int l = 0; l < WARP; l++) {
            int thread = warps[w] * WARP + lanes[l];
            after_in_warp[thread] = warps[w] * WARP + lanes[(l + 1) % WARP];
            if (last >= 0) after[last] = thread;
            if (last < 0) first_thread = thread;
            last = thread;
        }
    }
    after[last] = first_thread;
}

static int next_thread(int thread, int n) { return n == WARP ? after_in_warp[thread] : after[thread]; }

/* Another block that is not done, or NULL. */
static struct block *other_block(void) {
    int from = is_random() ? random_below(n_blocks) : 0;
    for (int i = 1; i <= n_blocks; i++) {
        struct block *b = blocks[(now->index + from + i) % n_blocks];
        if (b != now && b->n_done < n_threads) return b;
    }
    return NULL;
}

/* Lets another thread of first..first+n-1 run, or another block when none of this one moves on; back here later. */
static void yield(int first, int n, int step) {
    bool overtaken = n_blocks > 1 && HAS_SECTIONS && is_random() && random_below(64) == 0;
    bool stands = n_blocks > 1 && ++idle % (2 * MAX_THREADS) == 0;
    struct block *other = overtaken || stands ? other_block() : NULL;
    if (other) {
        switch_block(other, other->current_thread);
        return;
    }
    if (n_blocks == 1) idle++;
    if (idle > 64 * MAX_THREADS * n_blocks && pauses == 0) {
        stuck = true;
        switch_block(NULL, 0);
    }
    int next = step == 1 ? next_thread(current, n) : first + (current - first + step) % n;
    while (fibres[next].done && next != current) next = next_thread(next, n);
    if (next != current) {
        switch_to(next);
    } else if (n == WARP) {
        yield(0, n_threads, 1);  // alone in its warp
    }
}

/* Something has happened that others may have waited for. */
static void move_on(void) { idle = pauses = 0; }

void emulator_pause(void) {
    pauses++;
    // to any thread: lanes that wait in a shuffle let only their warp run, so that going in order might leave some out
    yield(0, n_threads, 1 + random_below(n_threads - 1));
}

i64 emulator_timer_ns(void) { return clock_ns(); }

void *emulator_dynamic_shared(void) { return now->dynamic_shared; }

u32 emulator_pairs(u32 a, u32 b, int product) {
    u32 result = 0;
    for (int i = 0; i < 32; i += 16) {
        float x = f16_to_f32((u16)(a >> i)), y = f16_to_f32((u16)(b >> i));
        result |= (u32)f32_to_f16(product ? x * y : x - y) << i;
    }
    return result;
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
    move_on();
    fibres[current].done = true;
    if (++now->n_done == n_threads) {
        struct block *other = other_block();
        switch_block(other, other ? other->current_thread : 0);
    }
    int next = next_thread(current, n_threads);
    while (fibres[next].done) next = next_thread(next, n_threads);
    switch_to(next);
    abort();  // a thread that is done is never switched to
}

void emulator_barrier(void) {
    unsigned mine = now->n_barriers;
    move_on();
    if (++now->at_barrier == n_threads) {
        now->at_barrier = 0;
        now->n_barriers++;
        return;
    }
    while (now->n_barriers == mine) yield(0, n_threads, 1);
}

static struct warp_exchange *exchange_of_warp(void) { return &exchanges[current / WARP]; }

/* With what this lane gives in place: until all lanes have given theirs. The last to come does `all` for them. */
static void exchange(struct warp_exchange *w, void (*all)(struct product *), struct product *p) {
    unsigned mine = w->n_shuffles;
    move_on();
    if (++w->arrived == WARP) {
        w->arrived = 0;
        if (all) all(p);
        w->n_shuffles++;
    } else {
        while (w->n_shuffles == mine) {
            bool overtaken = is_random() && random_below(16) == 0;
            yield(overtaken ? 0 : current - current % WARP, overtaken ? n_threads : WARP, 1);
        }
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
void emulator_copy(void *to, const void *from, int n_bytes) {
    struct copies *c = &now->pending[current];
    if (c->n == MAX_PENDING) abort();  // far more than any kernel has on its way
    c->pending[c->n].to = to;
    c->pending[c->n].from = from;
    c->pending[c->n].n_bytes = n_bytes;
    c->pending[c->n++].group = c->n_groups;
}

void emulator_copies_commit(void) { now->pending[current].n_groups++; }

void emulator_copies_wait(int n) {
    struct copies *c = &now->pending[current];
    int done = 0;
    for (; done < c->n && c->pending[done].group < c->n_groups - n; done++) {
        if (c->pending[done].from) {
            memcpy(c->pending[done].to, c->pending[done].from, (size_t)c->pending[done].n_bytes);
        } else {
            memset(c->pending[done].to, 0, (size_t)c->pending[done].n_bytes);
        }
    }
    c->n -= done;
    memmove(c->pending, c->pending + done, (size_t)c->n * sizeof *c->pending);
}

u16 emulator_f32_to_half(float f) { return f32_to_f16(f); }
float emulator_half_to_f32(u16 h) { return f16_to_f32(h); }

static const char *prepare(struct block *b, int index, int shared_bytes) {
    if (!b->stacks) b->stacks = malloc((size_t)MAX_THREADS * STACK_BYTES);
    b->dynamic_shared = NULL;
    void *shared = NULL;
    if (!b->stacks || (shared_bytes > 0 && posix_memalign(&shared, 16, (size_t)shared_bytes)))
        return "no memory for a block";
    b->dynamic_shared = shared;
    if (shared) memset(shared, 0xff, (size_t)shared_bytes);
    if (emulator_order != EMULATOR_ASCENDING) {
        memset(variables.begin, 0xff, variables.n_bytes);
        memset(b->variables, 0xff, sizeof b->variables);
        order_threads();
    }
#ifdef HAS_ASAN
    // fibres end without returning, and leave the marks of their frames behind
    ASAN_UNPOISON_MEMORY_REGION(b->stacks, (size_t)n_threads * STACK_BYTES);
#endif
    b->index = index;
    b->n_done = b->at_barrier = 0;
    b->n_barriers = 0;
    now = b;
    current = first_thread;
    for (int i = 0; i < n_threads / WARP; i++) exchanges[i].arrived = 0;
    for (int i = 0; i < n_threads; i++) {
        b->pending[i].n = b->pending[i].n_groups = 0;
        fibres[i] = (struct fibre){0};
        start_fibre(&fibres[i].place, b->stacks + (size_t)i * STACK_BYTES, run_fibre);
    }
    return NULL;
}

/* Runs the first n of blocks[] side by side until all are done. */
static const char *run_blocks(int n) {
    n_blocks = n;
    stuck = false;
    scheduling = true;
    move_on();
    switch_block(blocks[0], blocks[0]->current_thread);
    if (stuck) return "threads of a block wait for each other for ever";
    for (int i = 0; i < n; i++) {
        for (int w = 0; w < n_threads / WARP; w++)
            if (blocks[i]->warps[w].arrived) return "a shuffle was not reached by all lanes";
        if (blocks[i]->at_barrier) return "a barrier was not reached by all threads";
    }
    return NULL;
}

static void find_variables(emulated_kernel *kernel);

static const char *start(emulated_kernel *kernel, int threads, const void *args, int n) {
    if (threads < 1 || threads > MAX_THREADS || threads % WARP) return "a block of that many threads cannot be run";
    if (n > MAX_BLOCKS) return "so many blocks cannot run side by side";
    find_variables(kernel);
    if (n > 1 && variables.n_bytes > MAX_OWN_BYTES)
        return "blocks side by side have too many variables in shared memory";
    for (int i = 0; i < n; i++) {
        if (!blocks[i]) blocks[i] = calloc(1, sizeof *blocks[i]);
        if (!blocks[i]) return "no memory for a block";
    }
    kernel_now = kernel;
    args_now = args;
    n_threads = threads;
    order_threads();
    return NULL;
}

const char *emulator_launch(emulated_kernel *kernel, int grid_x, int grid_y, int threads, int shared_bytes,
                            const void *args) {
    const char *wrong = start(kernel, threads, args, 1);
    emulated.grid_x = grid_x;
    emulated.grid_y = grid_y;
    for (int y = 0; y < grid_y && !wrong; y++)
        for (int x = 0; x < grid_x && !wrong; x++) {
            emulated.block_x = x;
            emulated.block_y = y;
            wrong = prepare(blocks[0], 0, shared_bytes);
            if (!wrong) wrong = run_blocks(1);
            free(blocks[0]->dynamic_shared);
        }
    return wrong;
}

const char *emulator_launch_together(emulated_kernel *kernel, int grid_x, int threads, int shared_bytes,
                                     const void *args) {
    const char *wrong = start(kernel, threads, args, grid_x);
    int n = emulator_loses_block ? grid_x - 1 : grid_x, prepared = 0;
    emulated.grid_x = grid_x;
    emulated.grid_y = 1;
    emulated.block_x = emulated.block_y = 0;
    for (; prepared < n && !wrong; prepared++) wrong = prepare(blocks[prepared], prepared, shared_bytes);
    if (!wrong) wrong = run_blocks(n);
    for (int i = 0; i < prepared; i++) free(blocks[i]->dynamic_shared);
    return wrong;
}

/* ---- the kernels ---- */

#define DECLARE(module, name, n) \
    void name(const void *args); \
    extern const u32 name##_args_bytes;
GPU_KERNELS(DECLARE)

/* Where the variables of a module lie; the first byte is nobody's. */
#ifdef SHARED_SECTIONS
#define SECTION(name)                                                              \
    extern char __start_gpu_shared_##name[] __attribute__((visibility("hidden"))); \
    extern char __stop_gpu_shared_##name[] __attribute__((visibility("hidden")));
GPU_MODULES(SECTION)
#define SECTION_OF(name) __start_gpu_shared_##name, __stop_gpu_shared_##name
#else
#define SECTION_OF(name) NULL, NULL
#endif

static const struct {
    struct emulated_entry entry;
    char *begin, *end;
} entries[] = {
#define ENTRY(module, name, n) {{#name, name, n, &name##_args_bytes}, SECTION_OF(module)},
    GPU_KERNELS(ENTRY)
#undef ENTRY
};

static void find_variables(emulated_kernel *kernel) {
    static char none;
    variables.begin = &none;
    variables.n_bytes = 0;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (entries[i].entry.kernel != kernel || !entries[i].begin) continue;
        variables.begin = entries[i].begin;
        variables.n_bytes = (size_t)(entries[i].end - entries[i].begin);
    }
}

const struct emulated_entry *emulator_find(const char *name) {
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (strcmp(entries[i].entry.name, name) == 0) return &entries[i].entry;
    return NULL;
}
