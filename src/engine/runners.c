#include "engine/runners.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu.h"
#include "gpu/gpu.h"

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

static void runner_close(struct runner *r) {
    fair_destroy(&r->slots);
    fair_destroy(&r->turn);
    if (r->device) r->device->ops->close(r->device);
    free(r);
}

// Opens a device, loads both networks and puts it at the head of the list.
static status runner_open(struct runners *r, bool is_gpu, struct runner **out) {
    struct runner *runner = calloc(1, sizeof *runner);
    if (!runner) return fail_memory(sizeof *runner, "a device");
    runner->is_gpu = is_gpu;
    const struct cpu_options cpu = {.n_threads = r->n_threads, .kernels = r->kernels};
    const struct gpu_options gpu = {.index = r->choice.gpu_index};
    status s = is_gpu ? gpu_open(&gpu, &r->log, &runner->device) : cpu_open(&cpu, &r->log, &runner->device);
    if (s == UTTER_OK) s = runner->device->ops->load_backbone(runner->device, r->backbone, true, r->n_slots, r->n_ctx);
    if (s == UTTER_OK) s = runner->device->ops->load_codec(runner->device, r->codec);
    if (s == UTTER_OK) s = fair_init(&runner->turn, 1);
    if (s == UTTER_OK) s = fair_init(&runner->slots, r->n_slots);
    if (s != UTTER_OK) {
        char why[512];
        strncpy(why, fail_message(), sizeof why - 1);
        why[sizeof why - 1] = 0;
        runner_close(runner);
        return fail(s, "%s", why);  // closing may have failed at something else
    }
    runner->next = r->all;
    r->all = runner;
    *out = runner;
    return UTTER_OK;
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
    if (s != UTTER_OK) log_say(&r->log, UTTER_LOG_DEBUG, "no GPU is used: %s", fail_message());
    return s == UTTER_OK;
}

// With the lock held. A GPU that cannot be used is told once, and tried again after the cool-down.
static status pick_gpu(struct runners *r) {
    if (r->gpu || !r->choice.gpu || clock_ns() < r->gpu_again) return UTTER_OK;
    status s = runner_open(r, true, &r->gpu);
    if (s == UTTER_OK) return UTTER_OK;
    r->gpu_again = clock_ns() + COOL_DOWN_NS;
    if (!r->choice.cpu) return s;
    log_say(&r->log, UTTER_LOG_WARNING, "%s (speaking on the CPU meanwhile)", fail_message());
    return UTTER_OK;
}

static status pick(struct runners *r, struct runner **out) {
    TRY(pick_gpu(r));
    if (r->gpu) {
        *out = r->gpu;
        return UTTER_OK;
    }
    if (!r->choice.cpu)
        return fail(UTTER_DEVICE,
                    "the GPU was lost a moment ago and no other device is allowed; try again in a minute, or "
                    "use --device auto");
    if (!r->cpu) TRY(runner_open(r, false, &r->cpu));
    *out = r->cpu;
    return UTTER_OK;
}

status runners_pick(struct runners *r, struct runner **out) {
    pthread_mutex_lock(&r->lock);
    status s = pick(r, out);
    pthread_mutex_unlock(&r->lock);
    return s;
}

status runners_open(struct runners *r) {
    pthread_mutex_init(&r->lock, NULL);
    if (r->choice.gpu && !gpu_is_worth_it(r)) r->choice.gpu = false;
    struct runner *first;
    return runners_pick(r, &first);
}

void runners_lose(struct runners *r, struct runner *lost, const char *why) {
    pthread_mutex_lock(&r->lock);
    if (r->gpu == lost) {  // the first stream that noticed tells
        r->gpu = NULL;
        r->n_gpu_losses++;
        r->gpu_again = clock_ns() + COOL_DOWN_NS;
        log_say(&r->log, UTTER_LOG_WARNING, "%s%s", why, r->choice.cpu ? " (going on on the CPU)" : "");
    }
    pthread_mutex_unlock(&r->lock);
}

void runners_state(struct runners *r, utter_state *out) {
    pthread_mutex_lock(&r->lock);
    struct runner *now = r->gpu ? r->gpu : r->cpu;
    out->gpu_lost = r->choice.gpu && !r->gpu && r->gpu_again > 0;
    out->n_gpu_losses = r->n_gpu_losses;
    if (now) {
        out->is_gpu = now->is_gpu;
        snprintf(out->device, sizeof out->device, "%s", now->device->ops->describe(now->device));
        pthread_mutex_lock(&now->slots.lock);
        out->n_places = now->slots.n_permits;
        for (int i = 0; i < now->slots.n_permits; i++) out->n_active += now->slots.busy[i];
        out->n_waiting = fair_n_waiting(&now->slots);
        pthread_mutex_unlock(&now->slots.lock);
        if (now->device->ops->n_bytes) out->device_bytes = now->device->ops->n_bytes(now->device);
    }
    pthread_mutex_unlock(&r->lock);
}

const struct device *runners_first(const struct runners *r) { return r->gpu ? r->gpu->device : r->cpu->device; }

void runners_close(struct runners *r) {
    while (r->all) {
        struct runner *next = r->all->next;
        runner_close(r->all);
        r->all = next;
    }
    r->gpu = r->cpu = NULL;
}
