#include "gpu/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
static const char *const library_names[] = {"nvcuda.dll", NULL};
static void *open_library(const char *name) { return (void *)LoadLibraryA(name); }
static void *find_symbol(void *library, const char *name) { return (void *)GetProcAddress((HMODULE)library, name); }
static const char *open_error(void) { return "it is not there"; }
#else
#include <dlfcn.h>
// under WSL the library lies outside the usual folders
static const char *const library_names[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", NULL};
static void *open_library(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }
static void *find_symbol(void *library, const char *name) { return dlsym(library, name); }
static const char *open_error(void) {
    const char *error = dlerror();
    return error ? error : "no reason was given";
}
#endif

/* Results that have a cause and a cure of their own. */
static const struct meaning {
    cuda_result result;
    const char *sentence;
} meanings[] = {
    {1, "the driver was given a value it does not take; please report this as a defect of utter"},
    {3, "the driver was not initialised; please report this as a defect of utter"},
    {4, "the driver is shutting down; start utter again"},
    {34,
     "the library is the stub of a CUDA toolkit and not a driver; take the toolkit's stubs folder out of the "
     "library path"},
    {46,
     "the device is in use by another process and set to exclusive mode; end that process, or run "
     "`nvidia-smi -c DEFAULT` as administrator"},
    {100,
     "the driver finds no NVIDIA device; check that `nvidia-smi` lists it, that CUDA_VISIBLE_DEVICES does not hide "
     "it and, in a container, that the device was passed in"},
    {101, "the device number is not one of this machine's"},
    {201, "the device's context is not valid; start utter again"},
    {209, "the kernels hold no code for this device; please report this with the card's name"},
    {214,
     "the device's memory reported an error that cannot be corrected; restart the machine, and have the card "
     "checked if it comes again"},
    {218, "the driver's compiler refused a kernel; update the NVIDIA driver"},
    {219, "the device is in a mode that does not allow this; see `nvidia-smi`"},
    {222, "the kernels are in a PTX version that this driver does not know; update the NVIDIA driver to 470 or later"},
    {300, "the kernels could not be read; please report this as a defect of utter"},
    {304,
     "the operating system refused a call of the driver; check the rights on /dev/nvidia* and that the kernel "
     "module is loaded (`nvidia-smi`)"},
    {700, "a kernel read or wrote memory that is not its own; please report this as a defect of utter"},
    {701, "a kernel needs more of a multiprocessor than this card has; please report this with the card's name"},
    {702, "a kernel ran longer than the system's display watchdog allows; use a card without a display"},
    {709, "the device's context is gone; start utter again"},
    {710, "a kernel hit an assertion; please report this as a defect of utter"},
    {714, "the hardware reported an error in its stack; restart the machine if it comes again"},
    {715, "a kernel holds an instruction that this card does not know; please report this with the card's name"},
    {716, "a kernel read a misaligned address; please report this as a defect of utter"},
    {719, "a kernel failed; please report this as a defect of utter"},
    {802, "the system is not ready: on a machine with NVSwitch the fabric manager must run"},
    {803,
     "the driver's library and its kernel module have different versions; restart the machine (this happens after "
     "a driver update)"},
    {804,
     "the driver's forward-compatibility library is in use and this card does not support it; take the cuda-compat "
     "folder out of the library path"},
    {805, "the MPS server of the driver could not be reached; start it, or unset CUDA_MPS_PIPE_DIRECTORY"},
    {999,
     "the driver reported an error it has no name for; restart the machine, or load the nvidia_uvm kernel module "
     "(`modprobe nvidia_uvm`)"},
};

const char *driver_size_text(size_t n_bytes, char text[32]) {
    double mb = (double)n_bytes / 1e6;
    if (mb >= 1000) {
        snprintf(text, 32, "%.1f GB", mb / 1000);
    } else {
        snprintf(text, 32, "%.0f MB", mb);
    }
    return text;
}

status driver_fail(const struct driver *d, cuda_result result, const char *what) {
    const char *name = NULL;
    if (d->error_name) d->error_name(result, &name);
    char code[96];
    snprintf(code, sizeof code, "CUDA error %d%s%.60s", result, name ? ", " : "", name ? name : "");
    if (result == CUDA_OUT_OF_MEMORY)
        return fail(UTTER_MEMORY,
                    "%s: the GPU is out of memory (%s); close other programs that use it, or use a smaller model", what,
                    code);
    const char *sentence = "the driver gives no cause that utter knows; `nvidia-smi` may tell more";
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].result == result) sentence = meanings[i].sentence;
    return fail(UTTER_DEVICE, "%s: %s (%s)", what, sentence, code);
}

status driver_open(struct driver *out) {
    memset(out, 0, sizeof *out);
    const char *asked = getenv("UTTER_CUDA_LIBRARY"), *name = asked;
    char error[256] = "";
    if (asked && *asked) {
        out->library = open_library(asked);
        if (!out->library) snprintf(error, sizeof error, "%s", open_error());
    } else {
        for (int i = 0; library_names[i] && !out->library; i++) {
            name = library_names[i];
            out->library = open_library(name);
            if (!out->library && i == 0) snprintf(error, sizeof error, "%s", open_error());
        }
        if (!out->library) name = library_names[0];
    }
    if (!out->library)
        return fail(UTTER_UNSUPPORTED,
                    "no NVIDIA driver: its library %s could not be opened (%s); install the NVIDIA driver (the CUDA "
                    "toolkit is not needed)",
                    name, error);

#define FIND(member, symbol, args)                       \
    {                                                    \
        void *found = find_symbol(out->library, symbol); \
        memcpy(&out->member, &found, sizeof found);      \
    }
    DRIVER_FUNCTIONS(FIND)
    DRIVER_OPTIONAL_FUNCTIONS(FIND)
#undef FIND
#define CHECK(member, symbol, args)                                                                                   \
    if (!out->member)                                                                                                 \
        return fail(UTTER_DEVICE,                                                                                     \
                    "the NVIDIA driver's library %s has no function %s: it is too old, or no NVIDIA driver; install " \
                    "driver 470 or later",                                                                            \
                    name, symbol);
    DRIVER_FUNCTIONS(CHECK)
#undef CHECK
    return UTTER_OK;
}

status driver_start(struct driver *d, int *n_devices) {
    *n_devices = 0;
    cuda_result r = d->init(0);
    int version = 0;
    // an old driver may not start for a reason that only its age explains
    if (d->driver_version(&version) == CUDA_SUCCESS && version > 0 && version < DRIVER_MIN_VERSION)
        return fail(UTTER_DEVICE,
                    "the NVIDIA driver is too old: it speaks CUDA %d.%d and utter needs 11.4; update it to version 470 "
                    "or later",
                    version / 1000, version % 1000 / 10);
    if (r != CUDA_SUCCESS) return driver_fail(d, r, "the NVIDIA driver did not start");
    d->version = version;
    r = d->device_count(n_devices);
    if (r == CUDA_SUCCESS && *n_devices < 1) r = 100;
    if (r != CUDA_SUCCESS) return driver_fail(d, r, "looking for devices");
    return UTTER_OK;
}

status driver_device_info(const struct driver *d, int index, struct driver_device *out) {
    *out = (struct driver_device){0};
    int major = 0, minor = 0;
    cuda_result r = d->device_get(&out->device, index);
    if (r == CUDA_SUCCESS) r = d->device_name(out->name, sizeof out->name, out->device);
    if (r == CUDA_SUCCESS) r = d->device_attribute(&major, CUDA_CAPABILITY_MAJOR, out->device);
    if (r == CUDA_SUCCESS) r = d->device_attribute(&minor, CUDA_CAPABILITY_MINOR, out->device);
    if (r == CUDA_SUCCESS) r = d->device_attribute(&out->multiprocessors, CUDA_MULTIPROCESSORS, out->device);
    if (r == CUDA_SUCCESS) r = d->device_attribute(&out->compute_mode, CUDA_COMPUTE_MODE, out->device);
    if (r == CUDA_SUCCESS) r = d->device_attribute(&out->cooperative, CUDA_COOPERATIVE_LAUNCH, out->device);
    if (r == CUDA_SUCCESS) r = d->device_attribute(&out->shared_bytes, CUDA_SHARED_BYTES_OPTIN, out->device);
    if (r == CUDA_SUCCESS) r = d->device_memory(&out->n_bytes, out->device);
    char what[48];
    snprintf(what, sizeof what, "reading the properties of GPU %d", index);
    if (r != CUDA_SUCCESS) return driver_fail(d, r, what);
    out->name[sizeof out->name - 1] = '\0';
    out->capability = major * 10 + minor;
    return UTTER_OK;
}
