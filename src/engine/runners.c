#include "engine/runners.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "cpu/cpu.h"
#include "gpu/gpu.h"

enum {
    MAX_PLACES = 64,  // on a GPU, when nobody says how many
    LEAST_CPU_PLACES = 4,
    MAX_CPU_PLACES = 32,
};
#define CPU_CACHE_BYTES ((int64_t)512 << 20)  // of all places together, but for the least
#define COOL_DOWN_NS ((int64_t)60 * 1000000000)

/* Below this size of the backbone's weights the CPU speaks before a card is even awake. */
#define WORTH_A_GPU_BYTES ((int64_t)64 << 20)

status device_choice_parse(const char *name, struct device_choice *out) {
    *out = (struct device_choice){0};
    if (!name || strcmp(name, "auto") == 0) {
        out->cpu = out->gpu = true;
    } else if (strcmp(name, "cpu") == 0) {
        out->cpu = true;
    } else if (strcmp(name, "gpu") == 0) {
        out->gpu = true;
    } else {
        char *end;
        long index =
            strncmp(name, "gpu:", 4) == 0 && name[4] >= '0' && name[4] <= '9' ? strtol(name + 4, &end, 10) : -1;
        if (index < 0 || index > 1000 || *end)
            return fail(UTTER_INVALID, "there is no device named %s; there are: auto, cpu, gpu, gpu:1 ...", name);
        out->gpu = true;
        out->gpu_index = (int)index;
    }
    return UTTER_OK;
}

// ---- a pair of devices ----

static void close_device(struct device *d) {
    if (d) d->ops->close(d);
}

static void runner_free(struct runner *runner) {
    lane_close(&runner->backbone);
    lane_close(&runner->codec);
    if (runner->devices[1] != runner->devices[0]) close_device(runner->devices[1]);
    close_device(runner->devices[0]);
    free(runner);
}

status runner_start(struct runners *r, struct device *backbone, struct device *codec, int n_slots, bool is_gpu,
                    struct runner **out) {
    struct runner *runner = calloc(1, sizeof *runner);
    if (!runner) {
        if (codec != backbone) close_device(codec);
        close_device(backbone);
        return fail_memory(sizeof *runner, "a device");
    }
    *runner = (struct runner){.devices = {backbone, codec}, .is_gpu = is_gpu};
    status s = lane_open(&runner->backbone, &r->lock, backbone, n_slots);
    if (s == UTTER_OK) s = lane_open(&runner->codec, &r->lock, codec, 0);
    if (s != UTTER_OK) {
        runner_free(runner);
        return s;
    }
    *out = runner;
    return UTTER_OK;
}

// ---- opening ----

static status open_cpu(const struct runners *r, struct device **out) {
    const struct cpu_options options = {.n_threads = r->n_threads, .kernels = r->kernels};
    return cpu_open(&options, &r->log, out);
}

static status open_gpu(const struct runners *r, bool backbone, bool codec, struct device **out) {
    const struct gpu_options options = {.index = r->choice.gpu_index,
                                        .backbone = backbone ? r->backbone : NULL,
                                        .codec = codec ? r->codec : NULL};
    return gpu_open(&options, &r->log, out);
}

static int cpu_places(const struct runners *r) {
    if (r->n_places > 0) return r->n_places;
    const struct backbone_config *c = &r->backbone->config;
    int64_t each = (int64_t)c->n_layers * r->n_ctx * c->n_kv_heads * c->head_dim * 2 * (int64_t)sizeof(uint16_t);
    int64_t n = CPU_CACHE_BYTES / (each > 0 ? each : 1);
    return n < LEAST_CPU_PLACES ? LEAST_CPU_PLACES : n < MAX_CPU_PLACES ? (int)n : MAX_CPU_PLACES;
}

// Loads the backbone with as many places as fit.
static status load_backbone(const struct runners *r, struct device *d, int n_places, int *n_slots) {
    status s;
    *n_slots = n_places;
    while ((s = d->ops->load_backbone(d, r->backbone, true, *n_slots, r->n_ctx)) == UTTER_MEMORY && *n_slots > 1)
        *n_slots /= 2;
    if (s == UTTER_OK && *n_slots < n_places && r->n_places > 0)
        log_say(&r->log, UTTER_LOG_WARNING,
                "the device has memory for %d streams at once and not for %d: the others wait for a place", *n_slots,
                n_places);
    return s;
}

static status start_on_cpu(struct runners *r, struct runner **out) {
    struct device *d;
    int n_slots;
    TRY(open_cpu(r, &d));
    status s = load_backbone(r, d, cpu_places(r), &n_slots);
    if (s == UTTER_OK) s = d->ops->load_codec(d, r->codec);
    if (s == UTTER_OK) return runner_start(r, d, d, n_slots, false, out);
    close_device(d);
    return s;
}

struct failure {
    status code;
    char why[1024];
};

static void keep_failure(struct failure *f, status s) {
    f->code = s;
    snprintf(f->why, sizeof f->why, "%s", fail_message());
}

// A GPU with the networks that are wanted on it, all or nothing; *f tells why not.
static struct device *load_gpu(const struct runners *r, bool backbone, bool codec, int *n_slots, struct failure *f) {
    struct device *d;
    status s = open_gpu(r, backbone, codec, &d);
    if (s != UTTER_OK) {
        keep_failure(f, s);
        return NULL;
    }
    // the codec first: the backbone then takes as many places as there is room for
    if (codec) s = d->ops->load_codec(d, r->codec);
    if (s == UTTER_OK && backbone) s = load_backbone(r, d, r->n_places > 0 ? r->n_places : MAX_PLACES, n_slots);
    if (s == UTTER_OK) return d;
    keep_failure(f, s);
    close_device(d);
    return NULL;
}

// The other network, on the CPU; *n_slots is set when it is the backbone.
static status load_rest(const struct runners *r, bool backbone, int *n_slots, struct device **out) {
    TRY(open_cpu(r, out));
    status s = backbone ? load_backbone(r, *out, cpu_places(r), n_slots) : (*out)->ops->load_codec(*out, r->codec);
    if (s != UTTER_OK) close_device(*out);
    return s;
}

// A card too small for both networks takes the backbone, which has more to do, or else the codec.
static status start_split(struct runners *r, const struct failure *both, struct runner **out) {
    struct failure ignored;
    int n_slots = 0;
    bool has_backbone = true;
    struct device *gpu = load_gpu(r, true, false, &n_slots, &ignored), *cpu;
    if (!gpu) {
        has_backbone = false;
        gpu = load_gpu(r, false, true, &n_slots, &ignored);
    }
    if (!gpu) return fail(both->code, "%s", both->why);
    status s = load_rest(r, !has_backbone, &n_slots, &cpu);
    if (s != UTTER_OK) {
        close_device(gpu);
        return s;
    }
    log_say(&r->log, UTTER_LOG_WARNING, "%s (%s runs on the CPU, %s on the GPU)", both->why,
            has_backbone ? "the codec" : "the language model", has_backbone ? "the language model" : "the codec");
    return runner_start(r, has_backbone ? gpu : cpu, has_backbone ? cpu : gpu, n_slots, true, out);
}

static status start_on_gpu(struct runners *r, struct runner **out) {
    struct failure f;
    int n_slots = 0;
    struct device *d = load_gpu(r, true, true, &n_slots, &f);
    if (d) return runner_start(r, d, d, n_slots, true, out);
    if (f.code == UTTER_MEMORY && r->choice.cpu) return start_split(r, &f, out);
    return fail(f.code, "%s", f.why);
}

static bool gpu_is_worth_it(const struct runners *r) {
    if (!r->choice.cpu) return true;  // it was asked for
    int64_t n_bytes = 0;
    for (int64_t i = 0; i < gguf_n_tensors(r->backbone->file); i++)
        n_bytes += (int64_t)gguf_tensor_at(r->backbone->file, i)->n_bytes;
    if (n_bytes < WORTH_A_GPU_BYTES) return false;
    struct gpu_info info;
    int n, version;
    status s = gpu_probe(&info, 1, &n, &version);
    // most machines have no card and no driver, which is no news; a driver that does not work is
    utter_log_level level = s == UTTER_UNSUPPORTED ? UTTER_LOG_DEBUG : UTTER_LOG_WARNING;
    if (s != UTTER_OK) log_say(&r->log, level, "no GPU is used: %s", fail_message());
    return s == UTTER_OK;
}

// ---- which to use ----

// With the lock held, which is let go of meanwhile. What is opened is in use afterwards.
static status open_one(struct runners *r, bool gpu) {
    struct runner *opened = NULL;
    r->opening = true;
    pthread_mutex_unlock(&r->lock);
    status s = gpu ? start_on_gpu(r, &opened) : start_on_cpu(r, &opened);
    if (s != UTTER_OK && gpu && r->choice.cpu)
        log_say(&r->log, UTTER_LOG_WARNING, "%s (speaking on the CPU meanwhile)", fail_message());
    pthread_mutex_lock(&r->lock);
    r->opening = false;
    pthread_cond_broadcast(&r->opened);
    if (opened) {
        opened->next = r->all;
        r->all = opened;
        if (gpu)
            r->gpu = opened;
        else
            r->cpu = opened;
    } else if (gpu) {
        r->gpu_again = clock_ns() + COOL_DOWN_NS;
    }
    return s;
}

// With the lock held. A GPU that cannot be used is told once, and tried again after the cool-down.
static status pick(struct runners *r, struct runner **out) {
    for (;;) {
        bool try_gpu = r->choice.gpu && !r->gpu && clock_ns() >= r->gpu_again;
        if (try_gpu && !r->opening) {
            status s = open_one(r, true);
            if (s != UTTER_OK && !r->choice.cpu) return s;
        }
        *out = r->gpu ? r->gpu : r->choice.cpu ? r->cpu : NULL;
        if (*out) return UTTER_OK;
        if (r->opening) {
            pthread_cond_wait(&r->opened, &r->lock);
            continue;
        }
        if (!r->choice.cpu)
            return fail(UTTER_DEVICE,
                        "the GPU was lost a moment ago and no other device is allowed; try again in a minute, or "
                        "use --device auto");
        TRY(open_one(r, false));
    }
}

status runners_enter(struct runners *r, struct runner **out) {
    pthread_mutex_lock(&r->lock);
    status s = pick(r, out);
    if (s == UTTER_OK) (*out)->n_users++;
    pthread_mutex_unlock(&r->lock);
    return s;
}

void runners_leave(struct runners *r, struct runner *used) {
    pthread_mutex_lock(&r->lock);
    bool last = --used->n_users == 0 && used->lost;
    if (last) {
        struct runner **p = &r->all;
        while (*p != used) p = &(*p)->next;
        *p = used->next;
    }
    pthread_mutex_unlock(&r->lock);
    if (last) runner_free(used);
}

void runners_lose(struct runners *r, struct runner *lost, const char *why) {
    pthread_mutex_lock(&r->lock);
    bool first = r->gpu == lost;  // the first stream that notices tells
    if (first) {
        r->gpu = NULL;
        r->n_gpu_losses++;
        r->gpu_again = clock_ns() + COOL_DOWN_NS;
        lost->lost = true;
        lane_lose(&lost->backbone, why);
        lane_lose(&lost->codec, why);
    }
    pthread_mutex_unlock(&r->lock);
    if (first) log_say(&r->log, UTTER_LOG_WARNING, "%s%s", why, r->choice.cpu ? " (going on on the CPU)" : "");
}

status runners_open(struct runners *r) {
    lock_init(&r->lock);
    pthread_cond_init(&r->opened, NULL);
    if (r->choice.gpu && !gpu_is_worth_it(r)) r->choice.gpu = false;
    struct runner *first;
    TRY(runners_enter(r, &first));
    runners_leave(r, first);
    return UTTER_OK;
}

void runners_close(struct runners *r) {
    while (r->all) {
        struct runner *next = r->all->next;
        runner_free(r->all);
        r->all = next;
    }
    r->gpu = r->cpu = NULL;
}

// ---- telling ----

static void describe(const struct runner *runner, struct str *out) {
    const struct device *b = runner->devices[0], *c = runner->devices[1];
    str_puts(out, b->ops->describe(b));
    if (c != b) str_printf(out, ", and the codec on %s", c->ops->describe(c));
}

status runners_describe(struct runners *r, struct str *out) {
    pthread_mutex_lock(&r->lock);
    const struct runner *now = r->gpu ? r->gpu : r->cpu;
    if (now) describe(now, out);
    pthread_mutex_unlock(&r->lock);
    return str_status(out);
}

static int64_t bytes_of(const struct device *d) { return d->ops->n_bytes ? d->ops->n_bytes(d) : 0; }

void runners_state(struct runners *r, utter_state *out) {
    struct str text = {0};
    pthread_mutex_lock(&r->lock);
    const struct runner *now = r->gpu ? r->gpu : r->cpu;
    out->gpu_lost = r->choice.gpu && !r->gpu && r->gpu_again > 0;
    out->n_gpu_losses = r->n_gpu_losses;
    if (now) {
        out->is_gpu = now->is_gpu;
        describe(now, &text);
        out->n_places = now->backbone.n_slots;
        out->device_bytes = bytes_of(now->devices[0]);
        if (now->devices[1] != now->devices[0]) out->device_bytes += bytes_of(now->devices[1]);
    }
    for (const struct runner *runner = r->all; runner; runner = runner->next) {
        out->n_active += lane_n_active(&runner->backbone);
        out->n_waiting += lane_n_waiting(&runner->backbone);
    }
    pthread_mutex_unlock(&r->lock);
    snprintf(out->device, sizeof out->device, "%s", str_text(&text));
    str_free(&text);
}
