#include "standin.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "emulator.h"
#include "gpu/driver.h"

#define EXPORT __attribute__((visibility("default")))

static void restore(void);

EXPORT struct standin standin = {.restore = restore};

enum {
    INVALID_VALUE = 1,
    NO_DEVICE = 100,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    MAX_ALLOCATIONS = 4096,
    MULTIPROCESSORS = 4,
    MAX_RECORDED = 256,
    NOT_SUPPORTED = 801
};

/* The fault of this call, or 0. */
static int fault(enum standin_call call) {
    if (standin.blocked == call) {
        if (standin.blocked_after > 0) {
            standin.blocked_after--;
        } else {
            while (standin.blocked == call) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    if (standin.call != call) return 0;
    if (standin.after > 0) {
        standin.after--;
        return 0;
    }
    return standin.result;
}

#define FAULT(call)                \
    do {                           \
        int fault_ = fault(call);  \
        if (fault_) return fault_; \
    } while (0)

EXPORT cuda_result cuInit(unsigned flags) {
    (void)flags;
    FAULT(STANDIN_INIT);
    return 0;
}

EXPORT cuda_result cuDriverGetVersion(int *version) {
    *version = standin.driver_version;
    return 0;
}

EXPORT cuda_result cuDeviceGetCount(int *n) {
    *n = standin.n_devices;
    return 0;
}

EXPORT cuda_result cuDeviceGet(cuda_device *device, int index) {
    *device = index;
    return index < standin.n_devices ? 0 : 101;
}

EXPORT cuda_result cuDeviceGetName(char *name, int n_bytes, cuda_device device) {
    snprintf(name, (size_t)n_bytes, "Stand-in %d", device);
    return 0;
}

EXPORT cuda_result cuDeviceGetAttribute(int *value, int attribute, cuda_device device) {
    (void)device;
    switch (attribute) {
        case CUDA_CAPABILITY_MAJOR:
            *value = standin.capability / 10;
            return 0;
        case CUDA_CAPABILITY_MINOR:
            *value = standin.capability % 10;
            return 0;
        case CUDA_MULTIPROCESSORS:
            *value = MULTIPROCESSORS;
            return 0;
        case CUDA_COMPUTE_MODE:
            *value = standin.compute_mode;
            return 0;
        case CUDA_COOPERATIVE_LAUNCH:
            *value = !standin.not_cooperative;
            return 0;
        case CUDA_SHARED_BYTES_OPTIN:
            *value = standin.shared_bytes;
            return 0;
        default:
            return INVALID_VALUE;
    }
}

EXPORT cuda_result cuDeviceTotalMem_v2(size_t *n_bytes, cuda_device device) {
    (void)device;
    *n_bytes = standin.memory_bytes;
    return 0;
}

EXPORT cuda_result cuDevicePrimaryCtxRetain(cuda_context *context, cuda_device device) {
    (void)device;
    FAULT(STANDIN_CONTEXT);
    *context = (cuda_context)(void *)&standin;
    standin.live_contexts++;
    return 0;
}

EXPORT cuda_result cuDevicePrimaryCtxRelease_v2(cuda_device device) {
    (void)device;
    standin.live_contexts--;
    return 0;
}

EXPORT cuda_result cuCtxSetCurrent(cuda_context context) { return context ? 0 : 201; }

/* ---- memory ---- */

static struct {
    void *p;
    size_t n_bytes;
} allocations[MAX_ALLOCATIONS];

EXPORT cuda_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
    *total_bytes = standin.memory_bytes;
    *free_bytes = standin.memory_bytes - standin.live_bytes;
    return 0;
}

EXPORT cuda_result cuMemAlloc_v2(device_address *address, size_t n_bytes) {
    FAULT(STANDIN_ALLOC);
    if (n_bytes == 0) return INVALID_VALUE;
    if (n_bytes > standin.memory_bytes - standin.live_bytes) return CUDA_OUT_OF_MEMORY;
    for (int i = 0; i < MAX_ALLOCATIONS; i++) {
        if (allocations[i].p) continue;
        void *p = NULL;
        if (posix_memalign(&p, 256, n_bytes)) return CUDA_OUT_OF_MEMORY;
        memset(p, 0xff, n_bytes);  // as floats: no numbers
        allocations[i].p = p;
        allocations[i].n_bytes = n_bytes;
        standin.live_allocations++;
        standin.live_bytes += n_bytes;
        *address = (device_address)(uintptr_t)p;
        return 0;
    }
    return CUDA_OUT_OF_MEMORY;
}

EXPORT cuda_result cuMemFree_v2(device_address address) {
    for (int i = 0; i < MAX_ALLOCATIONS; i++) {
        if ((device_address)(uintptr_t)allocations[i].p != address) continue;
        free(allocations[i].p);
        allocations[i].p = NULL;
        standin.live_allocations--;
        standin.live_bytes -= allocations[i].n_bytes;
        return 0;
    }
    return INVALID_VALUE;
}

static void *host[16];  // what cuMemHostAlloc gave

EXPORT cuda_result cuMemHostAlloc(void **p, size_t n_bytes, unsigned flags) {
    (void)flags;
    for (int i = 0; i < 16; i++) {
        if (host[i]) continue;
        *p = host[i] = malloc(n_bytes);
        if (!*p) return CUDA_OUT_OF_MEMORY;
        standin.live_host++;
        return 0;
    }
    return CUDA_OUT_OF_MEMORY;
}

EXPORT cuda_result cuMemFreeHost(void *p) {
    for (int i = 0; i < 16; i++) {
        if (host[i] != p) continue;
        free(p);
        host[i] = NULL;
        standin.live_host--;
        return 0;
    }
    return INVALID_VALUE;
}

static void restore(void) {
    for (int i = 0; i < MAX_ALLOCATIONS; i++) {
        free(allocations[i].p);
        allocations[i].p = NULL;
    }
    for (int i = 0; i < 16; i++) {
        free(host[i]);
        host[i] = NULL;
    }
    const char *asked = getenv("UTTER_EMULATOR_ORDER");
    unsigned order = asked ? (unsigned)strtoul(asked, NULL, 10) : EMULATOR_ASCENDING;
    standin = (struct standin){.order = order,
                               .driver_version = 12040,
                               .n_devices = 1,
                               .capability = 90,
                               .memory_bytes = (size_t)1 << 30,
                               .shared_bytes = 227 << 10,
                               .restore = restore};
}

EXPORT cuda_result cuMemcpyHtoDAsync_v2(device_address to, const void *from, size_t n_bytes, cuda_stream stream) {
    (void)stream;
    memcpy((void *)(uintptr_t)to, from, n_bytes);
    return 0;
}

EXPORT cuda_result cuMemcpyDtoHAsync_v2(void *to, device_address from, size_t n_bytes, cuda_stream stream) {
    (void)stream;
    FAULT(STANDIN_DOWNLOAD);
    memcpy(to, (const void *)(uintptr_t)from, n_bytes);
    if (standin.wrong_results) memset(to, 0xff, n_bytes);
    return 0;
}

EXPORT cuda_result cuMemsetD8Async(device_address to, unsigned char value, size_t n_bytes, cuda_stream stream) {
    (void)stream;
    memset((void *)(uintptr_t)to, value, n_bytes);
    return 0;
}

/* ---- streams, modules, launches ---- */

EXPORT cuda_result cuStreamCreate(cuda_stream *stream, unsigned flags) {
    (void)flags;
    *stream = (cuda_stream)(void *)&standin;
    standin.live_streams++;
    return 0;
}

EXPORT cuda_result cuStreamDestroy_v2(cuda_stream stream) {
    (void)stream;
    standin.live_streams--;
    return 0;
}

EXPORT cuda_result cuStreamQuery(cuda_stream stream) {
    (void)stream;
    FAULT(STANDIN_QUERY);
    return standin.never_ready ? CUDA_NOT_READY : 0;
}

EXPORT cuda_result cuEventCreate(cuda_event *event, unsigned flags) {
    (void)flags;
    *event = (cuda_event)(void *)&standin;
    standin.live_events++;
    return 0;
}

EXPORT cuda_result cuEventDestroy_v2(cuda_event event) {
    (void)event;
    standin.live_events--;
    return 0;
}

EXPORT cuda_result cuEventRecord(cuda_event event, cuda_stream stream) {
    (void)event, (void)stream;
    return 0;
}

EXPORT cuda_result cuEventQuery(cuda_event event) {
    (void)event;
    return cuStreamQuery(NULL);
}

/* Modules come from several threads at once. */
static pthread_mutex_t modules_lock = PTHREAD_MUTEX_INITIALIZER;

static cuda_result load_module(cuda_module *module, const void *image, unsigned n_options, int *options,
                               void **values) {
    int result = fault(STANDIN_MODULE);
    if (result) {
        for (unsigned i = 0; i < n_options; i++)
            if (options[i] == CUDA_JIT_ERROR_LOG && standin.jit_log) strcpy(values[i], standin.jit_log);
        return result;
    }
    if (!strstr(image, ".version") || !strstr(image, ".target sm_")) return 218;
    *module = (cuda_module)(uintptr_t)image;  // outlives the module
    standin.live_modules++;
    standin.n_modules++;
    return 0;
}

EXPORT cuda_result cuModuleLoadDataEx(cuda_module *module, const void *image, unsigned n_options, int *options,
                                      void **values) {
    pthread_mutex_lock(&modules_lock);
    cuda_result r = load_module(module, image, n_options, options, values);
    pthread_mutex_unlock(&modules_lock);
    return r;
}

EXPORT cuda_result cuModuleUnload(cuda_module module) {
    (void)module;
    standin.live_modules--;
    return 0;
}

/* The kernel must stand in the PTX, and take there as many bytes as its twin here. */
EXPORT cuda_result cuModuleGetFunction(cuda_function *function, cuda_module module, const char *name) {
    const struct emulated_entry *found = emulator_find(name);
    if (!found || (standin.missing && strcmp(standin.missing, name) == 0)) return NOT_FOUND;
    char entry[160];
    snprintf(entry, sizeof entry, ".entry %s(\n\t.param .align 8 .b8 %s_param_0[%u]\n)", name, name,
             *found->args_bytes);
    if (!strstr((const char *)module, entry)) return NOT_FOUND;
    *function = (cuda_function)(uintptr_t)found;
    return 0;
}

/* ---- launches that are recorded ---- */

struct recorded {
    const struct emulated_entry *entry;
    unsigned grid_x, grid_y, shared_bytes;
    void *args;
};

struct cuda_graph {
    struct recorded launches[MAX_RECORDED];
    int n;
};

static struct cuda_graph *recording;  // NULL: launches are run

static void free_graph(struct cuda_graph *graph) {
    for (int i = 0; graph && i < graph->n; i++) free(graph->launches[i].args);
    if (graph) standin.live_graphs--;
    free(graph);
}

EXPORT cuda_result cuStreamBeginCapture_v2(cuda_stream stream, int mode) {
    (void)stream, (void)mode;
    if (standin.no_graphs) return NOT_SUPPORTED;
    recording = calloc(1, sizeof *recording);
    if (recording) standin.live_graphs++;
    return recording ? 0 : CUDA_OUT_OF_MEMORY;
}

EXPORT cuda_result cuStreamEndCapture(cuda_stream stream, cuda_graph *graph) {
    (void)stream;
    *graph = recording;
    recording = NULL;
    return 0;
}

/* The graph itself stands for what is made of it. */
EXPORT cuda_result cuGraphInstantiateWithFlags(cuda_graph_exec *exec, cuda_graph graph, unsigned long long flags) {
    (void)flags;
    struct cuda_graph *copy = malloc(sizeof *copy);
    if (!copy) return CUDA_OUT_OF_MEMORY;
    *copy = *graph;
    graph->n = 0;
    standin.live_graphs++;
    *exec = (cuda_graph_exec)(void *)copy;
    return 0;
}

EXPORT cuda_result cuGraphDestroy(cuda_graph graph) {
    free_graph(graph);
    return 0;
}

EXPORT cuda_result cuGraphExecDestroy(cuda_graph_exec exec) {
    free_graph((struct cuda_graph *)(void *)exec);
    return 0;
}

static cuda_result run(const struct recorded *l) {
    standin.n_launches++;
    emulator_order = standin.order;
    const char *wrong = emulator_launch(l->entry->kernel, (int)l->grid_x, (int)l->grid_y, l->entry->n_threads,
                                        (int)l->shared_bytes, l->args);
    if (!wrong) return 0;
    snprintf(standin.failure, sizeof standin.failure, "%s: %s", l->entry->name, wrong);
    return LAUNCH_FAILED;
}

EXPORT cuda_result cuGraphLaunch(cuda_graph_exec exec, cuda_stream stream) {
    (void)stream;
    FAULT(STANDIN_LAUNCH);
    const struct cuda_graph *graph = (const struct cuda_graph *)(void *)exec;
    standin.n_graph_launches++;
    for (int i = 0; i < graph->n; i++) {
        cuda_result r = run(&graph->launches[i]);
        if (r) return r;
    }
    return 0;
}

EXPORT cuda_result cuLaunchKernel(cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                  unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                  cuda_stream stream, void **args, void **extra) {
    (void)stream, (void)extra;
    FAULT(STANDIN_LAUNCH);
    const struct emulated_entry *entry = (const struct emulated_entry *)(void *)function;
    if (grid_z != 1 || block_y != 1 || block_z != 1 || (int)block_x != entry->n_threads) return INVALID_VALUE;
    struct recorded l = {entry, grid_x, grid_y, shared_bytes, args[0]};
    if (!recording) return run(&l);
    l.args = malloc(*entry->args_bytes);
    if (!l.args || recording->n == MAX_RECORDED) return CUDA_OUT_OF_MEMORY;
    memcpy(l.args, args[0], *entry->args_bytes);
    recording->launches[recording->n++] = l;
    return 0;
}

EXPORT cuda_result cuLaunchCooperativeKernel(cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                             unsigned block_x, unsigned block_y, unsigned block_z,
                                             unsigned shared_bytes, cuda_stream stream, void **args) {
    (void)stream;
    FAULT(STANDIN_LAUNCH);
    const struct emulated_entry *entry = (const struct emulated_entry *)(void *)function;
    if (grid_x > MULTIPROCESSORS || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 ||
        (int)block_x != entry->n_threads)
        return INVALID_VALUE;
    standin.n_launches++;
    standin.n_together++;
    emulator_order = standin.order;
    emulator_loses_block = standin.loses_block;
    const char *wrong = emulator_launch_together(entry->kernel, (int)grid_x, (int)block_x, (int)shared_bytes, args[0]);
    if (!wrong) return 0;
    snprintf(standin.failure, sizeof standin.failure, "%s: %s", entry->name, wrong);
    return LAUNCH_FAILED;
}

EXPORT cuda_result cuFuncSetAttribute(cuda_function function, int attribute, int value) {
    (void)function, (void)attribute;
    return value <= 227 << 10 ? 0 : INVALID_VALUE;
}

EXPORT cuda_result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, cuda_function function, int n_threads,
                                                               size_t shared_bytes) {
    (void)function, (void)n_threads;
    *n = shared_bytes <= (size_t)standin.shared_bytes;
    return 0;
}

EXPORT cuda_result cuGetErrorName(cuda_result result, const char **name) {
    *name = result == CUDA_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_STAND_IN";
    return 0;
}
