/* The NVIDIA driver and its cards, as the driver tells of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/doctor_parts.h"
#include "gpu/driver.h"
#include "gpu/worker.h"

enum { CUDA_NO_DEVICE = 100 };
#define SURVEY_LIMIT_NS ((int64_t)60 * 1000000000)  // a card that sleeps takes seconds to wake up

struct survey {
    struct driver driver;
    bool none;  // no driver, or no card for it
    struct card cards[DOCTOR_MAX_CARDS];
    int n;
};

// Whether the driver works and there is nothing for it to drive.
static bool has_no_card(const struct driver *d) {
    int n = 0;
    cuda_result r = d->init(0);
    if (r == CUDA_SUCCESS) r = d->device_count(&n);
    return r == CUDA_NO_DEVICE || (r == CUDA_SUCCESS && n == 0);
}

// Only a context can tell; why there is none is said when the card is opened.
static void ask_free_memory(const struct driver *d, const struct driver_device *device, struct card *card) {
    cuda_context context;
    size_t total;
    if (device->capability < DRIVER_MIN_CAPABILITY || d->context_retain(&context, device->device) != CUDA_SUCCESS)
        return;
    card->free_known =
        d->context_set(context) == CUDA_SUCCESS && d->memory_info(&card->free_bytes, &total) == CUDA_SUCCESS;
    d->context_release(device->device);
}

static status survey_job(void *context) {
    struct survey *s = context;
    int n;
    status opened = driver_open(&s->driver);
    if (opened != UTTER_OK) s->none = !s->driver.library;
    TRY(opened);
    status started = driver_start(&s->driver, &n);
    if (started != UTTER_OK) {
        char sentence[1024];
        snprintf(sentence, sizeof sentence, "%s", fail_message());
        s->none = has_no_card(&s->driver);
        return fail(started, "%s", sentence);
    }
    for (int i = 0; i < n && i < DOCTOR_MAX_CARDS; i++) {
        struct card *card = &s->cards[s->n++];
        struct driver_device device;
        if (driver_device_info(&s->driver, i, &device) != UTTER_OK) {
            snprintf(card->fault, sizeof card->fault, "%s", fail_message());
            continue;
        }
        snprintf(card->name, sizeof card->name, "%s", device.name);
        card->capability = device.capability;
        card->n_bytes = device.n_bytes;
        if (device.compute_mode != CUDA_MODE_PROHIBITED) ask_free_memory(&s->driver, &device, card);
    }
    return UTTER_OK;
}

static void release_survey(void *context, bool lost) {
    (void)lost;
    free(context);
}

static void tell_card(struct doctor *d, int i) {
    const struct card *c = &d->cards[i];
    char check[32], total[32], left[32];
    snprintf(check, sizeof check, "GPU %d", i);
    if (*c->fault) {
        doctor_found(d, check, FINDING_FAILED, json_pack("{s:i}", "index", i), "%s", c->fault);
        return;
    }
    json_t *facts = json_pack("{s:i, s:s*, s:i, s:I}", "index", i, "name", c->name, "capability", c->capability,
                              "bytes", (json_int_t)c->n_bytes);
    driver_size_text(c->n_bytes, total);
    if (c->free_known) {
        driver_size_text(c->free_bytes, left);
        json_object_set_new(facts, "free_bytes", json_integer((json_int_t)c->free_bytes));
    }
    doctor_found(d, check, FINDING_OK, facts, "%s, compute capability %d.%d, %s%s%s%s", c->name, c->capability / 10,
                 c->capability % 10, total, c->free_known ? ", " : "", c->free_known ? left : "",
                 c->free_known ? " free" : "");
}

static void tell_driver(struct doctor *d, int version) {
    json_t *facts = json_pack("{s:i, s:i}", "cuda_version", version, "cards", d->n_cards);
    doctor_found(d, "driver", FINDING_OK, facts, "the NVIDIA driver speaks CUDA %d.%d and has %d card%s",
                 version / 1000, version % 1000 / 10, d->n_cards, d->n_cards == 1 ? "" : "s");
    for (int i = 0; i < d->n_cards; i++) tell_card(d, i);
}

void doctor_driver(struct doctor *d) {
    struct survey *survey = calloc(1, sizeof *survey);
    struct worker *w;
    status s = survey ? worker_start(survey, release_survey, &w) : fail_memory(sizeof *survey, "a list of GPUs");
    if (s != UTTER_OK) {
        free(survey);
        snprintf(d->no_cards, sizeof d->no_cards, "%s", fail_message());
        doctor_found(d, "driver", FINDING_FAILED, NULL, "%s", d->no_cards);
        return;
    }
    s = worker_call(w, survey_job, NO_DEADLINE, SURVEY_LIMIT_NS);
    bool lost = worker_lost(w), none = false;
    int version = 0;
    if (s != UTTER_OK) snprintf(d->no_cards, sizeof d->no_cards, "%s", fail_message());
    if (!lost) {
        none = survey->none;
        version = survey->driver.version;
        d->n_cards = s == UTTER_OK ? survey->n : 0;
        memcpy(d->cards, survey->cards, sizeof survey->cards);
    }
    worker_stop(w, SURVEY_LIMIT_NS / 100);  // takes the survey along
    if (s == UTTER_OK)
        tell_driver(d, version);
    else
        doctor_found(d, "driver", none ? FINDING_NONE : FINDING_FAILED, NULL, "%s%s", d->no_cards,
                     none ? "; without a GPU utter speaks on the CPU" : "");
}
