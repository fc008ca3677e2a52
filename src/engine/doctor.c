#include "engine/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/doctor_parts.h"
#include "engine/runners.h"

static void check_speech(struct doctor *d);

status doctor_run(const struct doctor_options *options, bool *works) {
    *works = false;
    struct doctor *d = calloc(1, sizeof *d);
    if (!d) return fail_memory(sizeof *d, "the examination");
    d->options = options;
    d->engine = options->engine;
    d->works = true;
    status resolved = doctor_resolve(d);
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", fail_message());

    doctor_processor(d);
    doctor_memory(d);
    doctor_phonemes(d);
    doctor_sound(d);
    if (resolved != UTTER_OK) fail(resolved, "%s", sentence);
    doctor_models(d, resolved);
    doctor_driver(d);
    doctor_leftovers(d);
    doctor_devices(d);
    check_speech(d);

    *works = d->works;
    codec_free(d->codec);
    backbone_free(d->backbone);
    str_free(&d->taken);
    str_free(&d->model);
    str_free(&d->codec_path);
    free(d);
    return UTTER_OK;
}

void doctor_found(struct doctor *d, const char *check, enum finding_state state, json_t *facts, const char *format,
                  ...) {
    char sentence[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    const struct finding f = {check, state, sentence, facts};
    d->options->found(d->options->user, &f);
    json_decref(facts);
}

void doctor_failed(struct doctor *d, const char *check, json_t *facts) {
    d->works = false;
    doctor_found(d, check, FINDING_FAILED, facts, "%s", fail_message());
}

/* ---- the last check: speech itself ---- */

#define SPEECH_LIMIT_MS 60000

// UTTER_DEVICE when the GPU that is asked for by name cannot be used.
static status check_asked_gpu(const struct doctor *d) {
    const char *name = d->engine.device;
    struct device_choice choice;
    TRY(device_choice_parse(name, &choice));
    if (choice.cpu) return UTTER_OK;
    int index = choice.gpu_index;
    if (d->n_cards == 0) return fail(UTTER_DEVICE, "--device %s was asked for: %s", name, d->no_cards);
    if (index < 0 || index >= d->n_cards)
        return fail(UTTER_DEVICE, "--device %s was asked for: there is no GPU %d, this machine has %d, numbered from 0",
                    name, index, d->n_cards);
    if (d->cards[index].usable) return UTTER_OK;
    return fail(UTTER_DEVICE, "--device %s was asked for: %s", name, d->cards[index].fault);
}

struct spoken {
    double ready_s, first_audio_s, seconds, audio_s;
};

static status speak(const struct doctor *d, utter *u, struct spoken *out) {
    utter_request request = utter_request_default();
    request.text = "This is a short sentence.";
    request.streaming = true;
    request.deadline_ms = SPEECH_LIMIT_MS;
    int64_t since = clock_ns();
    utter_stream *s;
    TRY(utter_speak(u, &request, &s));  // has gone through the phonemizer
    float samples[4096];
    size_t n = 1;
    int64_t n_samples = 0;
    status result = UTTER_OK;
    while (!d->options->quick && result == UTTER_OK && n > 0) {
        result = utter_read(s, samples, sizeof samples / sizeof *samples, &n);
        n_samples += (int64_t)n;
    }
    utter_report report;
    utter_stream_report(s, &report);
    utter_stream_close(s);
    out->seconds = (double)(clock_ns() - since) * 1e-9;
    out->first_audio_s = report.first_audio_s;
    out->audio_s = (double)n_samples / utter_sample_rate(u);
    return result;
}

// For those who have a card and see the CPU speak.
static const char *note_on_cards(const struct doctor *d, const utter *u) {
    struct device_choice choice;
    if (device_choice_parse(d->engine.device, &choice) != UTTER_OK || !choice.cpu || !choice.gpu) return "";
    if (strstr(utter_describe(u), " on GPU ") || !d->cards[0].usable) return "";
    return "; the GPU works too, and is taken for larger models or with --device gpu";
}

static void tell_speech(struct doctor *d, const utter *u, const struct spoken *t) {
    json_t *facts = json_pack("{s:s*, s:f}", "uses", utter_describe(u), "ready_s", t->ready_s);
    if (d->options->quick) {
        doctor_found(d, "speech", FINDING_OK, facts, "say would use %s%s; ready in %.0f ms%s", d->title,
                     utter_describe(u), t->ready_s * 1e3, note_on_cards(d, u));
        return;
    }
    json_object_set_new(facts, "first_audio_s", json_real(t->first_audio_s));
    json_object_set_new(facts, "audio_s", json_real(t->audio_s));
    json_object_set_new(facts, "seconds", json_real(t->seconds));
    doctor_found(d, "speech", FINDING_OK, facts,
                 "say would use %s%s; ready in %.0f ms, first sound %.0f ms later; a sentence of %.1f s took %.2f s%s",
                 d->title, utter_describe(u), t->ready_s * 1e3, t->first_audio_s * 1e3, t->audio_s, t->seconds,
                 note_on_cards(d, u));
}

static void check_speech(struct doctor *d) {
    if (check_asked_gpu(d) != UTTER_OK) {
        doctor_failed(d, "speech", NULL);
        return;
    }
    if (!d->backbone || !d->codec) {
        fail(UTTER_INVALID, "say cannot speak without its model and codec; see above");
        doctor_failed(d, "speech", NULL);
        return;
    }
    struct spoken t = {0};
    utter *u = NULL;
    int64_t since = clock_ns();
    status s = utter_open(&d->engine, &u);
    t.ready_s = (double)(clock_ns() - since) * 1e-9;
    if (s == UTTER_OK && utter_voice_count(u) == 0) {
        doctor_found(d, "speech", FINDING_NONE, NULL,
                     "say would use %s%s, and needs a voice: the model has none of its own; name one with --voice-file",
                     d->title, utter_describe(u));
        utter_close(u);
        return;
    }
    if (s == UTTER_OK) s = speak(d, u, &t);
    if (s == UTTER_OK)
        tell_speech(d, u, &t);
    else
        doctor_failed(d, "speech", NULL);
    utter_close(u);
}
