/* A small case that every device must compute alike, and how fast it does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backbone/prompt.h"
#include "base/clock.h"
#include "base/memory.h"
#include "codec/windows.h"
#include "engine/doctor_parts.h"
#include "text/phonemes.h"

enum { MEASURED_CODES = 512, BATCH = 16 };
#define MEASURE_NS ((int64_t)500000000)
#define SAMPLE_TOLERANCE 1e-3
#define LOGIT_TIE 0.05  // nearer ones may change places between devices: their caches are of 16 bits

static const char sentence[] = "A short test.";

// The sentence as the model reads it. A language that espeak-ng lacks has been told before: then it is read as written.
static status prepare(const struct backbone *b, struct str *out) {
    if (b->input_format == INPUT_BPE) return prompt_prepare_bpe(sentence, strlen(sentence), out);
    if (phonemize(b->language, sentence, strlen(sentence), out) == UTTER_OK) return str_status(out);
    str_clear(out);
    str_puts(out, sentence);
    return str_status(out);
}

static status make_prompt(const struct backbone *b, const struct codec *c, struct token_list *out) {
    struct voice_list voices = {0};
    struct str text = {0};
    status s = voice_list_add_own(&voices, b, c);
    if (s == UTTER_OK) s = prepare(b, &text);
    if (s == UTTER_OK) {
        // a recording's codes are left out: the case is to stay small
        bool own = voices.n > 0 && voices.voices[0]->n_codes == 0;
        const struct prompt_parts parts = {
            .ref = "", .text = str_text(&text), .voice = own ? voices.voices[0]->token : ""};
        s = prompt_encode(b, &parts, out);
    }
    str_free(&text);
    voice_list_free(&voices);
    return s;
}

status trial_new(const struct backbone *b, const struct codec *c, struct trial *out) {
    *out = (struct trial){.backbone = b, .codec = c};
    status s = make_prompt(b, c, &out->prompt);
    int n_head;
    if (s == UTTER_OK) s = backbone_head_rows(b, true, &out->head, &n_head);
    int64_t wanted = (int64_t)out->prompt.n + MEASURED_CODES;
    out->n_ctx = slot_positions(b) < wanted ? slot_positions(b) : (int)wanted;
    if (s == UTTER_OK && (out->prompt.n == 0 || out->n_ctx < (int64_t)out->prompt.n + TRIAL_CODES))
        s = fail(UTTER_LIMIT, "%s has %d positions, too few for the self-test", b->label, b->config.n_ctx);
    for (int i = 0; i < TRIAL_FRAMES; i++) out->frames[i] = (int32_t)((int64_t)i * 7919 % c->config.n_codes);
    if (s != UTTER_OK) trial_free(out);
    return s;
}

void trial_free(struct trial *t) {
    token_list_free(&t->prompt);
    free_aligned(t->head);
    *t = (struct trial){0};
}

status trial_load(const struct trial *t, struct device *device) {
    TRY(device->ops->load_backbone(device, t->backbone, true, 1, t->n_ctx));
    return device->ops->load_codec(device, t->codec);
}

static status begin(const struct trial *t, struct device *device, int64_t deadline) {
    device->ops->reset(device, 0);
    return device->ops->prefill(device, 0, t->prompt.ids, (int)t->prompt.n, NULL, deadline);
}

// `steps` greedy codes; the end does not end them.
static status generate(const struct trial *t, struct device *device, int steps, int32_t *codes, int *n,
                       int64_t deadline) {
    const struct sampling greedy = {.top_p = 1, .typical_p = 1, .repeat_penalty = 1};
    struct sampler *sampler;
    TRY(sampler_new(&greedy, 1, t->backbone->n_codes + 1, &sampler));
    struct generation g = {.slot = 0, .sampler = sampler, .indices = codes, .end_index = -1};
    status s = device->ops->generate(device, &g, 1, steps, deadline);
    sampler_free(sampler);
    *n = g.n;
    return s;
}

status trial_run(const struct trial *t, struct device *device, int64_t deadline, struct trial_result *out) {
    *out = (struct trial_result){.n_pcm = (int64_t)TRIAL_FRAMES * t->codec->config.hop};
    TRY(alloc_for(&out->pcm, (size_t)out->n_pcm, sizeof *out->pcm, "the self-test"));
    status s = begin(t, device, deadline);
    if (s == UTTER_OK) s = generate(t, device, TRIAL_CODES, out->codes, &out->n, deadline);
    if (s == UTTER_OK)
        s = device->ops->synthesize(device, &(struct synthesis){t->frames, TRIAL_FRAMES, out->pcm}, 1, deadline);
    if (s != UTTER_OK) trial_result_free(out);
    return s;
}

void trial_result_free(struct trial_result *r) {
    free_aligned(r->pcm);
    *r = (struct trial_result){0};
}

/* ---- comparing ---- */

// Whether codes a and b are about equally likely behind codes[n].
static status is_tie(const struct trial *t, struct device *device, const int32_t *codes, int n, int32_t a, int32_t b,
                     int64_t deadline, bool *out) {
    int n_head = t->backbone->n_codes + 1, n_tokens = (int)t->prompt.n + n;
    *out = false;
    if (b < 0 || b >= n_head) return UTTER_OK;
    int32_t *tokens;
    float *logits;
    TRY(alloc_for(&tokens, (size_t)n_tokens, sizeof *tokens, "the self-test"));
    status s = alloc_for(&logits, (size_t)n_head, sizeof *logits, "the self-test");
    if (s == UTTER_OK) {
        memcpy(tokens, t->prompt.ids, t->prompt.n * sizeof *tokens);
        for (int i = 0; i < n; i++) tokens[t->prompt.n + (size_t)i] = t->head[codes[i]];
        device->ops->reset(device, 0);
        s = n_tokens > 1 ? device->ops->prefill(device, 0, tokens, n_tokens - 1, NULL, deadline) : UTTER_OK;
        if (s == UTTER_OK) s = device->ops->prefill(device, 0, tokens + n_tokens - 1, 1, logits, deadline);
        if (s == UTTER_OK) *out = fabs((double)logits[a] - logits[b]) <= LOGIT_TIE;
        free_aligned(logits);
    }
    free_aligned(tokens);
    return s;
}

static status compare_codes(const struct trial *t, struct device *device, const struct trial_result *wanted,
                            const struct trial_result *got, int64_t deadline, int *n_equal) {
    int n = wanted->n < got->n ? wanted->n : got->n, i = 0;
    while (i < n && wanted->codes[i] == got->codes[i]) i++;
    *n_equal = i;
    if (i == n && wanted->n == got->n) return UTTER_OK;
    if (i == n) return fail(UTTER_DEVICE, "%d codes were written where %d should be", got->n, wanted->n);
    bool tie;
    TRY(is_tie(t, device, wanted->codes, i, wanted->codes[i], got->codes[i], deadline, &tie));
    if (tie) return UTTER_OK;
    return fail(UTTER_DEVICE, "code %d of %d is %d where it should be %d", i + 1, n, got->codes[i], wanted->codes[i]);
}

status trial_compare(const struct trial *t, struct device *device, const struct trial_result *wanted,
                     const struct trial_result *got, int64_t deadline, int *n_equal) {
    TRY(compare_codes(t, device, wanted, got, deadline, n_equal));
    for (int64_t i = 0; i < wanted->n_pcm; i++) {
        double difference = fabs((double)wanted->pcm[i] - got->pcm[i]);
        if (!(difference <= SAMPLE_TOLERANCE))  // no number, too
            return fail(UTTER_DEVICE, "decoded sample %lld is off by %g, more than %g", (long long)i, difference,
                        SAMPLE_TOLERANCE);
    }
    return UTTER_OK;
}

/* ---- measuring ---- */

static status measure_tokens(const struct trial *t, struct device *device, int64_t deadline, double *out) {
    int room = t->n_ctx - (int)t->prompt.n, done = 0;
    int32_t codes[BATCH];
    TRY(begin(t, device, deadline));
    int64_t since = clock_ns();
    while (done + BATCH <= room && clock_ns() - since < MEASURE_NS) {
        int n;
        TRY(generate(t, device, BATCH, codes, &n, deadline));
        done += n;
        if (n < BATCH) break;
    }
    *out = done / ((double)(clock_ns() - since) * 1e-9);
    return UTTER_OK;
}

// Windows as streaming decodes them.
static status measure_codec(const struct trial *t, struct device *device, int64_t deadline, double *out) {
    const struct window_shape shape = window_shape_neutts();
    int n = shape.lookback + shape.chunk + shape.lookforward + shape.overlap;
    int32_t *codes;
    TRY(alloc_for(&codes, (size_t)n, sizeof *codes, "the measurement"));
    for (int i = 0; i < n; i++) codes[i] = t->frames[i % TRIAL_FRAMES];
    float *pcm = NULL;
    status s = alloc_for(&pcm, (size_t)n * (size_t)t->codec->config.hop, sizeof *pcm, "the measurement");
    int64_t done = 0, since = clock_ns();
    while (s == UTTER_OK && (done == 0 || clock_ns() - since < MEASURE_NS)) {
        s = device->ops->synthesize(device, &(struct synthesis){codes, n, pcm}, 1, deadline);
        done += n;
    }
    double seconds = (double)(clock_ns() - since) * 1e-9;
    *out = (double)(done * t->codec->config.hop) / t->codec->config.sample_rate / seconds;
    free_aligned(pcm);
    free_aligned(codes);
    return s;
}

status trial_measure(const struct trial *t, struct device *device, int64_t deadline, struct trial_speed *out) {
    TRY(measure_tokens(t, device, deadline, &out->tokens_s));
    return measure_codec(t, device, deadline, &out->audio_s);
}
