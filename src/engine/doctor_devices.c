/* The devices at work: each computes a small case as the CPU does, and is timed. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu.h"
#include "cpu/kernels.h"
#include "engine/doctor_parts.h"
#include "gpu/gpu.h"

#define SECONDS_NS ((int64_t)1000000000)
#define TRIAL_LIMIT_NS (60 * SECONDS_NS)
#define SET_LIMIT_NS (30 * SECONDS_NS)  // the plainest kernels are slow with large models

static int64_t until(int64_t limit_ns) { return clock_ns() + limit_ns; }

static double milliseconds_since(int64_t since) { return (double)(clock_ns() - since) * 1e-6; }

static void tell_speed(struct doctor *d, const char *title, const char *id, const struct trial *t,
                       struct device *device) {
    struct trial_speed speed;
    if (trial_measure(t, device, until(TRIAL_LIMIT_NS), &speed) == UTTER_OK)
        doctor_found(d, "speed", FINDING_OK,
                     json_pack("{s:s, s:f, s:f}", "device", id, "tokens_s", speed.tokens_s, "audio_s", speed.audio_s),
                     "%s: %.0f tokens a second; the codec makes %.1f s of sound a second", title, speed.tokens_s,
                     speed.audio_s);
    else
        doctor_found(d, "speed", FINDING_FAILED, json_pack("{s:s}", "device", id), "%s: %s", title, fail_message());
}

/* ---- the CPU ---- */

// Whether the kernel set `name` computes the same as `wanted`, which `device` made.
static status try_set(const struct doctor *d, const char *name, const struct trial *t, struct device *device,
                      const struct trial_result *wanted) {
    const struct log silent = {0};
    const struct cpu_options options = {.n_threads = d->engine.n_threads, .kernels = name};
    struct device *other;
    struct trial_result got = {0};
    int n_equal;
    int64_t deadline = until(SET_LIMIT_NS);
    TRY(cpu_open(&options, &silent, &other));
    status s = trial_load(t, other);
    if (s == UTTER_OK) s = trial_run(t, other, deadline, &got);
    if (s == UTTER_OK) s = trial_compare(t, device, wanted, &got, deadline, &n_equal);
    trial_result_free(&got);
    other->ops->close(other);
    return s;
}

static void compare_sets(struct doctor *d, const struct kernels *used, const struct trial *t, struct device *device,
                         const struct trial_result *wanted) {
    struct str same = {0}, slow = {0}, wrong = {0};
    const struct kernels *k;
    const char *lacks;
    for (int i = 0; (k = kernels_at(i, &lacks)); i++) {
        if (lacks || k == used) continue;
        status s = try_set(d, k->name, t, device, wanted);
        struct str *list = s == UTTER_OK ? &same : s == UTTER_DEADLINE ? &slow : &wrong;
        str_printf(list, "%s%s", list->len ? ", " : "", k->name);
        if (s != UTTER_OK && s != UTTER_DEADLINE) str_printf(list, " (%s)", fail_message());
    }
    json_t *facts = json_pack("{s:s, s:s, s:i, s:i}", "device", "cpu", "kernels", used->name, "codes", wanted->n,
                              "frames", TRIAL_FRAMES);
    if (wrong.len) {
        fail(UTTER_DEVICE,
             "CPU: the kernels %s do not agree with %s; use --kernels portable, and please report this with the "
             "processor's name",
             used->name, str_text(&wrong));
        doctor_failed(d, "self-test", facts);
    } else {
        doctor_found(d, "self-test", FINDING_OK, facts, "CPU: %d codes and %d frames with %s%s%s%s%s", wanted->n,
                     TRIAL_FRAMES, used->name, same.len ? ", as with " : "", str_text(&same),
                     slow.len ? "; not compared, as they took too long: " : "", str_text(&slow));
    }
    str_free(&same);
    str_free(&slow);
    str_free(&wrong);
}

// The CPU's results, that the cards are compared with. *device stays open; NULL when the CPU cannot do it.
static void examine_cpu(struct doctor *d, const struct trial *t, struct device **device, struct trial_result *result) {
    const struct log silent = {0};
    const struct cpu_options options = {.n_threads = d->engine.n_threads, .kernels = d->engine.kernels};
    const struct kernels *used;
    *device = NULL;
    status s = kernels_find(options.kernels, &used);
    if (s == UTTER_OK) s = cpu_open(&options, &silent, device);
    if (s == UTTER_OK) s = trial_load(t, *device);
    if (s == UTTER_OK) s = trial_run(t, *device, until(TRIAL_LIMIT_NS), result);
    if (s == UTTER_OK) {
        compare_sets(d, used, t, *device, result);
        tell_speed(d, "CPU", "cpu", t, *device);
        return;
    }
    doctor_failed(d, "self-test", json_pack("{s:s}", "device", "cpu"));
    if (*device) (*device)->ops->close(*device);
    *device = NULL;
}

/* ---- the cards ---- */

static void card_failed(struct doctor *d, int i, const char *check, const char *id, bool lacking) {
    struct card *card = &d->cards[i];
    card->usable = false;
    snprintf(card->fault, sizeof card->fault, "%s", fail_message());
    doctor_found(d, check, lacking ? FINDING_NONE : FINDING_FAILED, json_pack("{s:s}", "device", id), "GPU %d: %s", i,
                 card->fault);
}

static status try_card(const struct trial *t, struct device *cpu, const struct trial_result *wanted,
                       struct device *device, int *n_equal) {
    struct trial_result got;
    int64_t deadline = until(TRIAL_LIMIT_NS);
    TRY(trial_load(t, device));
    TRY(trial_run(t, device, deadline, &got));
    status s = trial_compare(t, cpu, wanted, &got, until(TRIAL_LIMIT_NS), n_equal);
    if (s == UTTER_DEVICE) {
        char difference[256];
        snprintf(difference, sizeof difference, "%s", fail_message());
        s = fail(UTTER_DEVICE,
                 "it does not compute what the CPU computes: %s; use --device cpu, update the NVIDIA driver, and "
                 "please report this with the card's name",
                 difference);
    }
    trial_result_free(&got);
    return s;
}

static void test_card(struct doctor *d, int i, const char *id, const struct trial *t, struct device *cpu,
                      const struct trial_result *wanted, struct device *device) {
    int n_equal;
    if (try_card(t, cpu, wanted, device, &n_equal) != UTTER_OK) {
        card_failed(d, i, "self-test", id, false);
        return;
    }
    json_t *facts = json_pack("{s:s, s:i, s:i}", "device", id, "codes", n_equal, "frames", TRIAL_FRAMES);
    if (n_equal < wanted->n)
        doctor_found(d, "self-test", FINDING_OK, facts,
                     "GPU %d: %d codes as the CPU writes them, and then one of two that are equally likely; %d frames "
                     "as the CPU decodes them",
                     i, n_equal, TRIAL_FRAMES);
    else
        doctor_found(d, "self-test", FINDING_OK, facts, "GPU %d: %d codes and %d frames as the CPU makes them", i,
                     n_equal, TRIAL_FRAMES);
    char title[32];
    snprintf(title, sizeof title, "GPU %d", i);
    tell_speed(d, title, id, t, device);
}

/* cpu: NULL when there is nothing to compare with. */
static void examine_card(struct doctor *d, int i, const struct trial *t, struct device *cpu,
                         const struct trial_result *wanted) {
    const struct log silent = {0};
    const struct gpu_options options = {.index = i, .backbone = t->backbone, .codec = t->codec};
    char id[16];
    snprintf(id, sizeof id, "gpu:%d", i);
    struct device *device;
    int64_t since = clock_ns();
    status s = gpu_open(&options, &silent, &device);
    double took_ms = milliseconds_since(since);
    if (s != UTTER_OK) {
        card_failed(d, i, "kernels", id, s == UTTER_UNSUPPORTED);
        return;
    }
    d->cards[i].usable = true;
    doctor_found(d, "kernels", FINDING_OK, json_pack("{s:s, s:f}", "device", id, "ms", took_ms),
                 "GPU %d: the driver took the kernels; opening the card took %.0f ms", i, took_ms);
    if (cpu) test_card(d, i, id, t, cpu, wanted, device);
    device->ops->close(device);
}

void doctor_devices(struct doctor *d) {
    struct trial t = {0};
    struct device *cpu = NULL;
    struct trial_result wanted = {0};
    if (!d->options->quick && d->backbone && d->codec) {
        if (trial_new(d->backbone, d->codec, &t) == UTTER_OK)
            examine_cpu(d, &t, &cpu, &wanted);
        else
            doctor_failed(d, "self-test", NULL);
    }
    for (int i = 0; i < d->n_cards; i++)
        if (!*d->cards[i].fault) examine_card(d, i, &t, cpu, &wanted);
    if (cpu) cpu->ops->close(cpu);
    trial_result_free(&wanted);
    trial_free(&t);
}
