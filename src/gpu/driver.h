/* The NVIDIA driver's library, opened at run time: the few functions that utter calls, looked up by name. No header and
   no library of NVIDIA's is needed to build. UTTER_CUDA_LIBRARY names another file to open (for tests).

   Nothing here keeps time: calls are made on a worker's thread (worker.h), so that one that never comes back is
   noticed. */
#ifndef UTTER_GPU_DRIVER_H
#define UTTER_GPU_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

typedef uint64_t device_address;
typedef int cuda_result;
typedef int cuda_device;
typedef struct cuda_context *cuda_context;
typedef struct cuda_module *cuda_module;
typedef struct cuda_function *cuda_function;
typedef struct cuda_stream *cuda_stream;
typedef struct cuda_event *cuda_event;
typedef struct cuda_graph *cuda_graph;
typedef struct cuda_graph_exec *cuda_graph_exec;

/* Numbers of the driver's interface. */
enum {
    CUDA_SUCCESS = 0,
    CUDA_OUT_OF_MEMORY = 2,
    CUDA_NOT_READY = 600,

    CUDA_MULTIPROCESSORS = 16,  // attributes of a device
    CUDA_COMPUTE_MODE = 20,
    CUDA_CAPABILITY_MAJOR = 75,
    CUDA_CAPABILITY_MINOR = 76,
    CUDA_COOPERATIVE_LAUNCH = 95,
    CUDA_SHARED_BYTES_OPTIN = 97,

    CUDA_FUNCTION_SHARED_BYTES = 8,  // attribute of a function

    CUDA_MODE_PROHIBITED = 2,  // compute modes
    CUDA_MODE_EXCLUSIVE = 3,

    CUDA_JIT_ERROR_LOG = 5,  // options of module loading
    CUDA_JIT_ERROR_LOG_BYTES = 6,

    CUDA_STREAM_NON_BLOCKING = 1,
    CUDA_EVENT_NO_TIMING = 2,
    CUDA_CAPTURE_RELAXED = 2,
};

/* The oldest driver whose PTX compiler takes the kernels, as cuDriverGetVersion tells it: CUDA 11.4, driver 470. */
enum { DRIVER_MIN_VERSION = 11040 };

/* The oldest compute capability the kernels are made for: 7.5. */
enum { DRIVER_MIN_CAPABILITY = 75 };

#if defined(_WIN32)
#define CUDA_CALL __stdcall
#else
#define CUDA_CALL
#endif

/* X(member, name in the library, arguments) */
#define DRIVER_FUNCTIONS(X)                                                                                           \
    X(init, "cuInit", (unsigned flags))                                                                               \
    X(driver_version, "cuDriverGetVersion", (int *version))                                                           \
    X(device_count, "cuDeviceGetCount", (int *n))                                                                     \
    X(device_get, "cuDeviceGet", (cuda_device * device, int index))                                                   \
    X(device_name, "cuDeviceGetName", (char *name, int n_bytes, cuda_device device))                                  \
    X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, cuda_device device))                      \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t * n_bytes, cuda_device device))                                   \
    X(context_retain, "cuDevicePrimaryCtxRetain", (cuda_context * context, cuda_device device))                       \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (cuda_device device))                                          \
    X(context_set, "cuCtxSetCurrent", (cuda_context context))                                                         \
    X(memory_info, "cuMemGetInfo_v2", (size_t * free_bytes, size_t * total_bytes))                                    \
    X(memory_alloc, "cuMemAlloc_v2", (device_address * address, size_t n_bytes))                                      \
    X(memory_free, "cuMemFree_v2", (device_address address))                                                          \
    X(host_alloc, "cuMemHostAlloc", (void **p, size_t n_bytes, unsigned flags))                                       \
    X(host_free, "cuMemFreeHost", (void *p))                                                                          \
    X(copy_to_device, "cuMemcpyHtoDAsync_v2",                                                                         \
      (device_address to, const void *from, size_t n_bytes, cuda_stream stream))                                      \
    X(copy_to_host, "cuMemcpyDtoHAsync_v2", (void *to, device_address from, size_t n_bytes, cuda_stream stream))      \
    X(memory_set, "cuMemsetD8Async", (device_address to, unsigned char value, size_t n_bytes, cuda_stream stream))    \
    X(stream_create, "cuStreamCreate", (cuda_stream * stream, unsigned flags))                                        \
    X(stream_destroy, "cuStreamDestroy_v2", (cuda_stream stream))                                                     \
    X(stream_query, "cuStreamQuery", (cuda_stream stream))                                                            \
    X(event_create, "cuEventCreate", (cuda_event * event, unsigned flags))                                            \
    X(event_destroy, "cuEventDestroy_v2", (cuda_event event))                                                         \
    X(event_record, "cuEventRecord", (cuda_event event, cuda_stream stream))                                          \
    X(event_query, "cuEventQuery", (cuda_event event))                                                                \
    X(module_load, "cuModuleLoadDataEx",                                                                              \
      (cuda_module * module, const void *image, unsigned n_options, int *options, void **values))                     \
    X(module_unload, "cuModuleUnload", (cuda_module module))                                                          \
    X(module_function, "cuModuleGetFunction", (cuda_function * function, cuda_module module, const char *name))       \
    X(launch, "cuLaunchKernel",                                                                                       \
      (cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
       unsigned block_z, unsigned shared_bytes, cuda_stream stream, void **args, void **extra))                        \
    X(launch_together, "cuLaunchCooperativeKernel",                                                                   \
      (cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
       unsigned block_z, unsigned shared_bytes, cuda_stream stream, void **args))                                     \
    X(function_attribute, "cuFuncSetAttribute", (cuda_function function, int attribute, int value))                   \
    X(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor",                                                       \
      (int *n, cuda_function function, int n_threads, size_t shared_bytes))

/* May be missing. */
#define DRIVER_OPTIONAL_FUNCTIONS(X)                                                                                  \
    X(error_name, "cuGetErrorName", (cuda_result result, const char **name))                                          \
    X(capture_begin, "cuStreamBeginCapture_v2", (cuda_stream stream, int mode))                                       \
    X(capture_end, "cuStreamEndCapture", (cuda_stream stream, cuda_graph * graph))                                    \
    X(graph_destroy, "cuGraphDestroy", (cuda_graph graph))                                                            \
    X(graph_instantiate, "cuGraphInstantiateWithFlags",                                                               \
      (cuda_graph_exec * exec, cuda_graph graph, unsigned long long flags))                                           \
    X(graph_exec_destroy, "cuGraphExecDestroy", (cuda_graph_exec exec))                                               \
    X(graph_launch, "cuGraphLaunch", (cuda_graph_exec exec, cuda_stream stream))

struct driver {
    void *library;
    int version;  // newest CUDA it speaks, 13000 for 13.0; 0 before driver_start
#define MEMBER(name, symbol, args) cuda_result(CUDA_CALL *name) args;
    DRIVER_FUNCTIONS(MEMBER)
    DRIVER_OPTIONAL_FUNCTIONS(MEMBER)
#undef MEMBER
};

/* Opens the library and looks the functions up. The library is never closed again: drivers do not like it. */
status driver_open(struct driver *out);

/* Initialises it, checks its version and counts the devices (at least one). */
status driver_start(struct driver *d, int *n_devices);

struct driver_device {
    cuda_device device;
    char name[128];
    int capability;  // 90 for 9.0
    int multiprocessors;
    int compute_mode;
    int cooperative;   // blocks of a launch can wait for each other
    int shared_bytes;  // that a block can have
    size_t n_bytes;    // memory in all
};

status driver_device_info(const struct driver *d, int index, struct driver_device *out);

/* fail() with "<what>: <what the result means and what to do>". UTTER_MEMORY for out of memory, else UTTER_DEVICE. */
status driver_fail(const struct driver *d, cuda_result result, const char *what);

/* A number of bytes for a person, "1.5 GB". */
const char *driver_size_text(size_t n_bytes, char text[32]);

#endif
