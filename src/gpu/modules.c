/* The kernels' modules. The driver compiles them for the card on threads of their own, side by side, while weights are
   on their way; it keeps what it compiled, so that this takes its time once for a card and a driver.

   A thread may be in a call of the driver that never comes back: what it uses is freed by who is the last to let go. */
#include <sched.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gpu/internal.h"

enum {
    MOST_THREADS = 8,          // each needs about 100 MB while it compiles
    PATIENCE_NS = 1000000000,  // after so long it is told why nothing happens
};

struct module {
    enum { UNWANTED, QUEUED, COMPILING, DONE } state;
    cuda_module module;  // NULL without
    cuda_result result;
    char doing[400];  // what failed
};

struct modules {
    pthread_mutex_t lock;
    struct driver driver;
    cuda_context context;
    bool newer;   // of the two sets of kernels
    int n_users;  // threads, and the card
    int n_threads;
    bool closed;    // nothing more is compiled
    bool told;
    struct module all[N_MODULES];
    cuda_function functions[N_KERNELS];
};

#ifdef UTTER_GPU_KERNELS
#define MEMBER(name) extern const char gpu_ptx_75_##name[], gpu_ptx_80_##name[];
GPU_MODULES(MEMBER)
#undef MEMBER
static const char *const texts[N_MODULES][2] = {
#define MEMBER(name) {gpu_ptx_75_##name, gpu_ptx_80_##name},
    GPU_MODULES(MEMBER)
#undef MEMBER
};
#else
static const char *const texts[N_MODULES][2] = {{NULL}};
#endif

static const char *const module_names[N_MODULES] = {
#define MEMBER(name) #name,
    GPU_MODULES(MEMBER)
#undef MEMBER
};

static const struct {
    const char *name;
    enum gpu_module module;
} kernels[N_KERNELS] = {
#define MEMBER(module, name, n_threads) {#name, MODULE_##module},
    GPU_KERNELS(MEMBER)
#undef MEMBER
};

/* ---- the threads ---- */

/* The lock is held, and given back. */
static void let_go(struct modules *m) {
    bool last = --m->n_users == 0;
    pthread_mutex_unlock(&m->lock);
    if (!last) return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* The module is this thread's while it is COMPILING. */
static void compile(struct modules *m, int i) {
    struct module *to = &m->all[i];
    char log[2048] = "";
    int options[] = {CUDA_JIT_ERROR_LOG, CUDA_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    to->result = m->driver.context_set(m->context);
    if (to->result == CUDA_SUCCESS)
        to->result = m->driver.module_load(&to->module, texts[i][m->newer], 2, options, values);
    if (to->result != CUDA_SUCCESS) {
        to->module = NULL;
        log[sizeof log - 1] = '\0';
        log[strcspn(log, "\r\n")] = '\0';
        snprintf(to->doing, sizeof to->doing, "compiling the kernels '%s'%s%.300s%s", module_names[i],
                 *log ? " (the driver's compiler says: " : "", log, *log ? ")" : "");
        return;
    }
    for (int k = 0; k < N_KERNELS && to->result == CUDA_SUCCESS; k++) {
        if ((int)kernels[k].module != i) continue;
        to->result = m->driver.module_function(&m->functions[k], to->module, kernels[k].name);
        if (to->result != CUDA_SUCCESS)
            snprintf(to->doing, sizeof to->doing, "looking for the kernel %s", kernels[k].name);
    }
}

static void *run(void *argument) {
    struct modules *m = argument;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < N_MODULES && !m->closed; i++) {
        if (m->all[i].state != QUEUED) continue;
        m->all[i].state = COMPILING;
        pthread_mutex_unlock(&m->lock);
        compile(m, i);
        pthread_mutex_lock(&m->lock);
        m->all[i].state = DONE;
        i = -1;  // a longer one may have come
    }
    m->n_threads--;
    let_go(m);
    return NULL;
}

static int most_threads(void) {
#if defined(_WIN32)
    long n = 4;
#else
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
#endif
    return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : (int)n;
}

/* ---- the card ---- */

status gpu_open_modules(struct gpu *g) {
    struct modules *m = calloc(1, sizeof *m);
    if (!m) return fail_memory(sizeof *m, "the kernels' modules");
    pthread_mutex_init(&m->lock, NULL);
    m->driver = g->driver;
    m->context = g->context;
    m->newer = g->info.capability >= 80;
    m->n_users = 1;
    g->modules = m;
    g->kernels = m->newer ? "sm_80" : "sm_75";
    return UTTER_OK;
}

status gpu_want_modules(struct gpu *g, const bool wanted[N_MODULES]) {
    struct modules *m = g->modules;
    int n_queued = 0, error = 0;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < N_MODULES; i++) {
        if (wanted[i] && m->all[i].state == UNWANTED) m->all[i].state = QUEUED;
        n_queued += m->all[i].state == QUEUED;
    }
    for (int most = most_threads(); n_queued > 0 && m->n_threads < most; n_queued--) {
        pthread_t thread;
        error = pthread_create(&thread, NULL, run, m);
        if (error) break;
        pthread_detach(thread);  // it may have to be left behind
        m->n_threads++;
        m->n_users++;
    }
    bool none = m->n_threads == 0;
    pthread_mutex_unlock(&m->lock);
    if (error && none)
        return fail(UTTER_MEMORY, "a thread for the GPU's kernels could not be started: %s", strerror(error));
    return UTTER_OK;
}

status gpu_wait_modules(struct gpu *g, const bool wanted[N_MODULES]) {
    TRY(gpu_want_modules(g, wanted));
    struct modules *m = g->modules;
    int64_t start = clock_ns();
    for (;;) {
        int failed = -1, missing = -1;
        int64_t now = clock_ns();
        pthread_mutex_lock(&m->lock);
        for (int i = N_MODULES - 1; i >= 0; i--) {
            if (!wanted[i]) continue;
            if (m->all[i].state != DONE)
                missing = i;
            else if (m->all[i].result != CUDA_SUCCESS)
                failed = i;
        }
        bool tell = missing >= 0 && !m->told && now - start > PATIENCE_NS;
        m->told = m->told || tell;
        pthread_mutex_unlock(&m->lock);
        if (failed >= 0) return gpu_failed(g, m->all[failed].result, m->all[failed].doing);
        if (missing < 0) break;
        if (tell)
            log_say(&g->log, UTTER_LOG_WARNING,
                    "GPU %d (%.100s): its driver compiles the kernels, a few seconds; this is done once for a driver",
                    g->options.index, g->info.name);
        if (now - start > g->job_limit) {
            fail(UTTER_DEVICE,
                 "GPU %d (%.100s): its driver did not answer for %.1f seconds, compiling the kernels '%s'; it is not "
                 "used any more. See `nvidia-smi` and the system log, and restart the machine if it does not come back",
                 g->options.index, g->info.name, (double)(now - start) / 1e9, module_names[missing]);
            worker_lose(g->worker);
            return UTTER_DEVICE;
        }
        if (worker_unwanted(g->worker)) return fail(UTTER_DEADLINE, "nobody waits for the GPU's kernels any more");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    // written before the module was done, and never again
    for (int k = 0; k < N_KERNELS; k++)
        if (wanted[kernels[k].module]) g->functions[k] = m->functions[k];
    return UTTER_OK;
}

bool gpu_close_modules(struct gpu *g, bool lost) {
    struct modules *m = g->modules;
    if (!m) return true;
    int64_t until = clock_ns() + g->options.patience_ns;
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    while (!lost && m->n_threads > 0 && clock_ns() < until) {
        pthread_mutex_unlock(&m->lock);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        pthread_mutex_lock(&m->lock);
    }
    bool idle = m->n_threads == 0;
    for (int i = 0; i < N_MODULES && idle && !lost; i++)
        if (m->all[i].module) m->driver.module_unload(m->all[i].module);
    g->modules = NULL;
    let_go(m);
    return idle;
}
