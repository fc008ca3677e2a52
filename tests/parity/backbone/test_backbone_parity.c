/* The backbone on the CPU against the float64 reference: all tiny models, every kernel set that this machine can run.
   Logits may not be further from the reference than llama.cpp's are (the figures stand in NAME.json), and greedy
   continuations must be the reference's. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "cpu/cpu.h"
#include "cpu/kernels.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "fixtures/tiny.h"

enum { N_TOKENS = 40, N_GREEDY = 32, N_CTX = 80 };

struct difference {
    double max, rms, kl;
    int same_argmax;
};

/* What is stored of a model, and the model. */
struct fixture {
    const char *name;
    int n_vocab;
    int32_t tokens[N_TOKENS];
    int32_t greedy[N_GREEDY];
    struct difference llama;    // llama.cpp's, with an F16 cache
    struct file_map reference;  // float [N_TOKENS, n_vocab]
    struct backbone *model;
};

static void read_ids(const json_t *root, const char *key, int32_t *out, size_t n) {
    const json_t *list = json_object_get(root, key);
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
}

static struct fixture fixture_new(const char *name) {
    struct fixture f = {.name = name};
    char path[FIXTURE_PATH], file[64];
    snprintf(file, sizeof file, "tiny/%s.json", name);
    assert_ok(fixture_stored(file, path));
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    f.n_vocab = (int)json_integer_value(json_object_get(root, "n_vocab"));
    read_ids(root, "tokens", f.tokens, N_TOKENS);
    read_ids(root, "greedy_ref", f.greedy, N_GREEDY);
    const json_t *d =
        json_object_get(json_object_get(root, "difference_from_ref"), "cpu plain, f16 KV, one batch (= .llama.f32)");
    f.llama = (struct difference){
        json_number_value(json_object_get(d, "max_abs")), json_number_value(json_object_get(d, "rms")),
        json_number_value(json_object_get(d, "kl_mean")), (int)json_integer_value(json_object_get(d, "same_argmax"))};
    assert_true(f.llama.max > 0 && f.llama.rms > 0 && f.llama.kl > 0);
    json_decref(root);

    snprintf(file, sizeof file, "tiny/%s.ref.f32", name);
    assert_ok(fixture_stored(file, path));
    assert_ok(file_map_open(path, &f.reference));
    assert_int_equal(f.reference.size, sizeof(float) * N_TOKENS * (size_t)f.n_vocab);

    struct gguf *g;
    assert_ok(fixture_path("model.gguf", path));
    assert_ok(fixture_tiny(name, path));
    assert_ok(gguf_open(path, &g));
    assert_ok(backbone_load(g, &f.model));
    return f;
}

static void fixture_free(struct fixture *f) {
    backbone_free(f->model);
    file_map_close(&f->reference);
}

static int argmax(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static double log_sum_exp(const float *x, int n) {
    double most = x[argmax(x, n)], sum = 0;
    for (int i = 0; i < n; i++) sum += exp(x[i] - most);
    return most + log(sum);
}

static struct difference compare(const float *reference, const float *logits, int n_rows, int n_vocab) {
    struct difference d = {0};
    for (int t = 0; t < n_rows; t++, reference += n_vocab, logits += n_vocab) {
        const double zr = log_sum_exp(reference, n_vocab), z = log_sum_exp(logits, n_vocab);
        for (int i = 0; i < n_vocab; i++) {
            const double difference = (double)logits[i] - reference[i];
            d.max = fmax(d.max, fabs(difference));
            d.rms += difference * difference;
            d.kl += exp(reference[i] - zr) * ((reference[i] - zr) - (logits[i] - z));
        }
        d.same_argmax += argmax(reference, n_vocab) == argmax(logits, n_vocab);
    }
    d.rms = sqrt(d.rms / n_rows / n_vocab);
    d.kl /= n_rows;
    return d;
}

/* Not further from the reference than llama.cpp is. With weights that are floats nothing but the F16 cache should be
   seen (llama.cpp with F32 weights: 0.015, 0.0027). With quantised ones it rounds all activations to 8 bits, here they
   are rounded so for the feed-forward networks alone: that leaves about half the divergence. */
static void check(const struct fixture *f, const struct difference *d) {
    const struct difference *l = &f->llama;
    assert_true(d->max <= l->max && d->rms <= l->rms && d->kl <= l->kl);
    if (block_info(f->model->weights.layers[0].gate.type)->n_weights == 1)
        assert_true(d->max <= 0.03 && d->rms <= 0.004 && d->kl <= 1e-5 && d->same_argmax >= 39);
    else
        assert_true(d->rms <= 0.7 * l->rms && d->kl <= 0.6 * l->kl);
}

static void worst(struct difference *a, const struct difference *b) {
    a->max = fmax(a->max, b->max);
    a->rms = fmax(a->rms, b->rms);
    a->kl = fmax(a->kl, b->kl);
    if (b->same_argmax < a->same_argmax) a->same_argmax = b->same_argmax;
}

static void print(const struct fixture *f, const struct difference *d) {
    printf("%-11s max %.4f (%.4f)  rms %.4f (%.4f)  KL %.1e (%.1e)  argmax %d (%d)\n", f->name, d->max, f->llama.max,
           d->rms, f->llama.rms, d->kl, f->llama.kl, d->same_argmax, f->llama.same_argmax);
}

static struct device *open_device(const struct fixture *f, const char *kernels, int n_threads, int n_slots) {
    struct device *d;
    assert_ok(cpu_open(&(struct cpu_options){n_threads, kernels}, &(struct log){0}, &d));
    assert_ok(d->ops->load_backbone(d, f->model, false, n_slots, N_CTX));
    return d;
}

static void run_batch(const struct fixture *f, struct device *d, float *logits) {
    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, f->tokens, N_TOKENS, logits, NO_DEADLINE));
}

/* One at a time the results are the same to the last bit: every row is summed alike whatever stands beside it. */
static void check_token_by_token(const struct fixture *f, struct device *d, const float *batch) {
    float *logits = alloc_aligned((size_t)f->n_vocab * N_TOKENS, sizeof(float));
    d->ops->reset(d, 1);
    for (int i = 0; i < N_TOKENS; i++)
        assert_ok(d->ops->prefill(d, 1, f->tokens + i, 1, logits + (int64_t)i * f->n_vocab, NO_DEADLINE));
    assert_memory_equal(logits, batch, (size_t)f->n_vocab * N_TOKENS * sizeof(float));
    free_aligned(logits);
}

static struct sampler *greedy(int n_logits) {
    struct sampling settings = sampling_neutts();
    settings.temperature = 0;
    struct sampler *s;
    assert_ok(sampler_new(&settings, 1, n_logits, &s));
    return s;
}

static void check_greedy(const struct fixture *f, struct device *d) {
    int32_t indices[N_GREEDY];
    struct generation g = {.slot = 0, .sampler = greedy(f->n_vocab), .indices = indices, .end_index = -1};
    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, f->tokens, N_TOKENS, NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, &g, 1, N_GREEDY, NO_DEADLINE));
    assert_int_equal(g.n, N_GREEDY);
    for (int i = 0; i < N_GREEDY; i++)
        if (indices[i] != f->greedy[i])
            fail_msg("%s: greedy token %d is %d, not %d", f->name, i, (int)indices[i], (int)f->greedy[i]);
    sampler_free(g.sampler);
}

static void logits_and_greedy(void **unused) {
    (void)unused;
    printf("worst of all kernel sets (llama.cpp in brackets), distance to the float64 reference\n");
    for (const char *const *name = fixture_tiny_names; *name; name++) {
        if (!strncmp(*name, "vocab", 5)) continue;
        struct fixture f = fixture_new(*name);
        float *logits = alloc_aligned((size_t)f.n_vocab * N_TOKENS, sizeof(float));
        struct difference all = {.same_argmax = N_TOKENS};
        const struct kernels *k;
        const char *missing;
        for (int set = 0; (k = kernels_at(set, &missing)); set++) {
            if (missing) continue;
            struct device *d = open_device(&f, k->name, 2, 2);
            run_batch(&f, d, logits);
            const struct difference difference = compare(f.reference.data, logits, N_TOKENS, f.n_vocab);
            worst(&all, &difference);
            check_token_by_token(&f, d, logits);
            check_greedy(&f, d);
            d->ops->close(d);
        }
        print(&f, &all);
        check(&f, &all);
        free_aligned(logits);
        fixture_free(&f);
    }
}

static struct sampler *sampling(int n_logits, uint32_t seed) {
    const struct sampling settings = sampling_neutts();
    struct sampler *s;
    assert_ok(sampler_new(&settings, seed, n_logits, &s));
    return s;
}

enum { N_SLOTS = 12, N_STEPS = 24 };

/* Sequence i has a prompt of its own, read in two pieces. */
static void read_prompt(const struct fixture *f, struct device *d, int slot, int i) {
    const int n = 11 + i * 17 % 29, cut = i * 5 % n;
    d->ops->reset(d, slot);
    assert_ok(d->ops->prefill(d, slot, f->tokens, cut, NULL, NO_DEADLINE));
    assert_ok(d->ops->prefill(d, slot, f->tokens + cut, n - cut, NULL, NO_DEADLINE));
}

static void generate_alone(const struct fixture *f, struct device *d, int32_t out[N_SLOTS][N_STEPS]) {
    for (int i = 0; i < N_SLOTS; i++) {
        struct generation g = {
            .slot = i, .sampler = sampling(f->model->n_codes + 1, (uint32_t)i), .indices = out[i], .end_index = -1};
        read_prompt(f, d, i, i);
        assert_ok(d->ops->generate(d, &g, 1, N_STEPS, NO_DEADLINE));
        assert_int_equal(g.n, N_STEPS);
        sampler_free(g.sampler);
    }
}

static void generate_together(const struct fixture *f, struct device *d, int32_t out[N_SLOTS][N_STEPS]) {
    struct generation g[N_SLOTS];
    for (int i = 0; i < N_SLOTS; i++) {
        const int slot = N_SLOTS - 1 - i;
        read_prompt(f, d, slot, i);
        g[i] =
            (struct generation){.slot = slot, .sampler = sampling(f->model->n_codes + 1, (uint32_t)i), .end_index = -1};
    }
    for (int done = 0; done < N_STEPS; done += 6) {
        for (int i = 0; i < N_SLOTS; i++) g[i].indices = out[i] + done;
        assert_ok(d->ops->generate(d, g, N_SLOTS, 6, NO_DEADLINE));
    }
    for (int i = 0; i < N_SLOTS; i++) sampler_free(g[i].sampler);
}

static struct device *open_speech(const struct fixture *f, const char *kernels, int n_threads) {
    struct device *d;
    assert_ok(cpu_open(&(struct cpu_options){n_threads, kernels}, &(struct log){0}, &d));
    assert_ok(d->ops->load_backbone(d, f->model, true, N_SLOTS, N_CTX));
    return d;
}

/* Sequences of different lengths, with the head of speech only, stopped and taken up again: together they are what
   each is alone, with any number of threads. */
static void slots_together(void **unused) {
    (void)unused;
    struct fixture f = fixture_new("qwen2-q4_0");
    const char *missing;
    const struct kernels *k;
    for (int set = 0; (k = kernels_at(set, &missing)); set++) {
        if (missing) continue;
        int32_t alone[N_SLOTS][N_STEPS], together[N_SLOTS][N_STEPS];
        struct device *d = open_speech(&f, k->name, 1);
        generate_alone(&f, d, alone);
        d->ops->close(d);
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            d = open_speech(&f, k->name, n_threads);
            generate_together(&f, d, together);
            assert_memory_equal(together, alone, sizeof alone);
            d->ops->close(d);
        }
        for (int i = 0; i < N_SLOTS; i++)
            for (int j = 0; j < N_STEPS; j++) assert_in_range(alone[i][j], 0, f.model->n_codes);
    }
    fixture_free(&f);
}

/* ---- the lanes ---- */

enum { N_FRAMES = 30, N_DECODES = 12 };

struct speaker {
    struct device *device;
    const int32_t *codes;
    float *first;  // [N_FRAMES * hop]
    float *pcm;    // the same, made beside the backbone
    int64_t n_samples;
};

static void *decode_again_and_again(void *argument) {
    const struct speaker *s = argument;
    const struct synthesis piece = {s->codes, N_FRAMES, s->pcm};
    for (int i = 0; i < N_DECODES; i++) {
        assert_ok(s->device->ops->synthesize(s->device, &piece, 1, NO_DEADLINE));
        assert_memory_equal(s->pcm, s->first, (size_t)s->n_samples * sizeof(float));
    }
    return NULL;
}

/* Codes are decoded while others are generated: either is what it is alone. */
static void lanes_at_once(void **unused) {
    (void)unused;
    struct fixture f = fixture_new("qwen2-q4_0");
    char path[FIXTURE_PATH];
    struct gguf *g;
    struct codec *codec;
    assert_ok(fixture_path("codec.gguf", path));
    assert_ok(fixture_codec(false, BLOCK_F16, path));
    assert_ok(gguf_open(path, &g));
    assert_ok(codec_load(g, &codec));
    int32_t codes[N_FRAMES];
    for (int i = 0; i < N_FRAMES; i++) codes[i] = i * 977 % codec->config.n_codes;
    const int64_t n_samples = (int64_t)N_FRAMES * codec->config.hop;
    struct speaker s = {.codes = codes, .n_samples = n_samples};
    s.first = alloc_aligned((size_t)n_samples, sizeof(float));
    s.pcm = alloc_aligned((size_t)n_samples, sizeof(float));
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        int32_t alone[N_SLOTS][N_STEPS], beside[N_SLOTS][N_STEPS];
        pthread_t other;
        s.device = open_speech(&f, NULL, n_threads);
        assert_ok(s.device->ops->load_codec(s.device, codec));
        assert_ok(s.device->ops->synthesize(s.device, &(struct synthesis){codes, N_FRAMES, s.first}, 1, NO_DEADLINE));
        generate_alone(&f, s.device, alone);
        assert_int_equal(pthread_create(&other, NULL, decode_again_and_again, &s), 0);
        generate_together(&f, s.device, beside);
        pthread_join(other, NULL);
        assert_memory_equal(beside, alone, sizeof alone);
        s.device->ops->close(s.device);
    }
    free_aligned(s.first);
    free_aligned(s.pcm);
    codec_free(codec);
    fixture_free(&f);
}

/* An end ends its slot alone; what was generated counts as context of what follows. */
static void ends(void **unused) {
    (void)unused;
    struct fixture f = fixture_new("llama-q4_0");
    struct device *d = open_device(&f, NULL, 1, 2);
    int32_t a[N_GREEDY], b[N_GREEDY];
    struct generation g[2] = {
        {.slot = 0, .sampler = greedy(f.n_vocab), .indices = a, .end_index = f.greedy[5]},
        {.slot = 1, .sampler = greedy(f.n_vocab), .indices = b, .end_index = -1},
    };
    int first = 0;  // the end may come earlier than asked for
    while (f.greedy[first] != f.greedy[5]) first++;
    for (int i = 0; i < 2; i++) assert_ok(d->ops->prefill(d, i, f.tokens, N_TOKENS, NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, g, 2, N_GREEDY, NO_DEADLINE));
    assert_true(g[0].ended && !g[1].ended);
    assert_int_equal(g[0].n, first + 1);
    assert_int_equal(g[1].n, N_GREEDY);
    assert_memory_equal(b, f.greedy, sizeof b);
    assert_memory_equal(a, f.greedy, sizeof *a * (size_t)g[0].n);

    /* The end's own token has not run yet: a prompt behind it must see it. */
    float *after = alloc_aligned((size_t)f.n_vocab, sizeof(float)),
          *want = alloc_aligned((size_t)f.n_vocab, sizeof(float));
    assert_ok(d->ops->prefill(d, 0, &f.tokens[0], 1, after, NO_DEADLINE));
    d->ops->reset(d, 1);
    assert_ok(d->ops->prefill(d, 1, f.tokens, N_TOKENS, NULL, NO_DEADLINE));
    for (int i = 0; i <= first; i++) assert_ok(d->ops->generate(d, &g[1], 1, 1, NO_DEADLINE));
    assert_ok(d->ops->prefill(d, 1, &f.tokens[0], 1, want, NO_DEADLINE));
    assert_memory_equal(after, want, (size_t)f.n_vocab * sizeof(float));
    free_aligned(after);
    free_aligned(want);
    for (int i = 0; i < 2; i++) sampler_free(g[i].sampler);
    d->ops->close(d);
    fixture_free(&f);
}

/* A context holds what it should and not one position more. */
static void limits(void **unused) {
    (void)unused;
    struct fixture f = fixture_new("qwen3-f16");
    struct device *d = open_device(&f, NULL, 1, 1);
    int32_t indices[N_CTX], tokens[N_CTX + 1];
    for (int i = 0; i <= N_CTX; i++) tokens[i] = f.tokens[i % N_TOKENS];
    struct generation g = {.sampler = greedy(f.n_vocab), .indices = indices, .end_index = -1};

    assert_int_equal(d->ops->generate(d, &g, 1, 1, NO_DEADLINE), UTTER_INVALID);  // no prompt yet
    assert_int_equal(d->ops->prefill(d, 0, tokens, N_CTX + 1, NULL, NO_DEADLINE), UTTER_LIMIT);
    assert_non_null(strstr(fail_message(), "80"));
    assert_ok(d->ops->prefill(d, 0, tokens, N_CTX, NULL, NO_DEADLINE));
    assert_int_equal(d->ops->prefill(d, 0, tokens, 1, NULL, NO_DEADLINE), UTTER_LIMIT);
    assert_ok(d->ops->generate(d, &g, 1, 4, NO_DEADLINE));
    assert_true(g.n == 0 && !g.ended);

    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, tokens, N_CTX - 3, NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, &g, 1, N_CTX, NO_DEADLINE));
    assert_true(g.n == 3 && !g.ended);
    assert_ok(d->ops->generate(d, &g, 1, N_CTX, NO_DEADLINE));
    assert_true(g.n == 0 && !g.ended);

    d->ops->reset(d, 0);
    assert_int_equal(d->ops->prefill(d, 1, tokens, 1, NULL, NO_DEADLINE), UTTER_INVALID);  // no such slot
    assert_int_equal(d->ops->prefill(d, 0, (int32_t[]){f.n_vocab}, 1, NULL, NO_DEADLINE), UTTER_INVALID);
    assert_int_equal(d->ops->prefill(d, 0, (int32_t[]){-1}, 1, NULL, NO_DEADLINE), UTTER_INVALID);
    assert_int_equal(d->ops->prefill(d, 0, tokens, 4, NULL, clock_ns() - 1), UTTER_DEADLINE);
    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, tokens, 4, NULL, NO_DEADLINE));
    assert_int_equal(d->ops->generate(d, &g, 1, 4, clock_ns() - 1), UTTER_DEADLINE);
    struct generation twice[2] = {g, g};
    assert_int_equal(d->ops->generate(d, twice, 2, 4, NO_DEADLINE), UTTER_INVALID);
    sampler_free(g.sampler);
    d->ops->close(d);
    fixture_free(&f);
}

/* Prompts longer than what runs through the layers at once. */
static void long_prompts(void **unused) {
    (void)unused;
    enum { N = 300 };
    struct fixture f = fixture_new("qwen3-q4_0");
    struct device *d;
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = f.tokens[i * 7 % N_TOKENS];
    assert_ok(cpu_open(&(struct cpu_options){3, NULL}, &(struct log){0}, &d));
    assert_ok(d->ops->load_backbone(d, f.model, false, 2, N));
    float *whole = alloc_aligned((size_t)f.n_vocab * N, sizeof(float));
    float *last = alloc_aligned((size_t)f.n_vocab, sizeof(float));
    assert_ok(d->ops->prefill(d, 0, tokens, N, whole, NO_DEADLINE));
    assert_ok(d->ops->prefill(d, 1, tokens, N - 1, NULL, NO_DEADLINE));
    assert_ok(d->ops->prefill(d, 1, tokens + N - 1, 1, last, NO_DEADLINE));
    assert_memory_equal(last, whole + (int64_t)(N - 1) * f.n_vocab, (size_t)f.n_vocab * sizeof(float));
    free_aligned(whole);
    free_aligned(last);
    d->ops->close(d);
    fixture_free(&f);
}

/* What a slot has read of a prompt that begins alike is not read again, and changes nothing: not behind codes that were
   written there, and not when less than all of it was read. */
static void prompts_that_begin_alike(void **unused) {
    (void)unused;
    enum { N = 40, N_SHARED = 23 };
    struct fixture f = fixture_new("qwen2-q4_0");
    const char *missing;
    const struct kernels *k;
    int32_t first[N], second[N], indices[8];
    for (int i = 0; i < N; i++) {
        first[i] = f.tokens[i];
        second[i] = f.tokens[i < N_SHARED ? i : N_TOKENS - 1 - i];
    }
    assert_int_not_equal(first[N_SHARED], second[N_SHARED]);
    const size_t size = (size_t)f.n_vocab;
    float *want = alloc_aligned(size * N, sizeof(float)), *got = alloc_aligned(size * N, sizeof(float));
    for (int set = 0; (k = kernels_at(set, &missing)); set++) {
        if (missing) continue;
        struct device *d = open_device(&f, k->name, 2, 2);
        struct generation g = {.sampler = greedy(f.n_vocab), .indices = indices, .end_index = -1};
        assert_ok(d->ops->prefill(d, 1, second, N, want, NO_DEADLINE));
        assert_int_equal(d->ops->keep(d, 0, first, N), 0);
        assert_ok(d->ops->prefill(d, 0, first, 9, NULL, NO_DEADLINE));
        assert_ok(d->ops->prefill(d, 0, first + 9, N - 9, NULL, NO_DEADLINE));
        assert_ok(d->ops->generate(d, &g, 1, 8, NO_DEADLINE));

        assert_int_equal(d->ops->keep(d, 0, second, N), N_SHARED);
        assert_ok(d->ops->prefill(d, 0, second + N_SHARED, N - N_SHARED, got, NO_DEADLINE));
        assert_memory_equal(got, want + N_SHARED * size, (N - N_SHARED) * size * sizeof(float));

        assert_int_equal(d->ops->keep(d, 0, first, N), N_SHARED);
        assert_int_equal(d->ops->prefill(d, 0, first + N_SHARED, 4, NULL, clock_ns() - 1), UTTER_DEADLINE);
        assert_int_equal(d->ops->keep(d, 0, second, N), N_SHARED);
        assert_ok(d->ops->prefill(d, 0, second + N_SHARED, N - N_SHARED, NULL, NO_DEADLINE));
        assert_int_equal(d->ops->keep(d, 0, second, N), N - 1);
        assert_ok(d->ops->prefill(d, 0, second + N - 1, 1, got, NO_DEADLINE));
        assert_memory_equal(got, want + (N - 1) * size, size * sizeof(float));

        d->ops->reset(d, 0);
        assert_int_equal(d->ops->keep(d, 0, second, N), 0);
        assert_int_equal(d->ops->keep(d, 2, second, N), 0);  // no such slot
        sampler_free(g.sampler);
        d->ops->close(d);
    }
    free_aligned(want);
    free_aligned(got);
    fixture_free(&f);
}

static void opening(void **unused) {
    (void)unused;
    struct device *d;
    assert_int_equal(cpu_open(&(struct cpu_options){0, "sse9"}, &(struct log){0}, &d), UTTER_INVALID);
    assert_null(d);
    assert_int_equal(cpu_open(&(struct cpu_options){-1, NULL}, &(struct log){0}, &d), UTTER_INVALID);
    assert_null(d);
    assert_ok(cpu_open(&(struct cpu_options){1, "portable"}, &(struct log){0}, &d));
    assert_string_equal(d->ops->describe(d), "CPU (portable kernels, 1 thread)");
    assert_int_equal(d->ops->prefill(d, 0, (int32_t[]){1}, 1, NULL, NO_DEADLINE), UTTER_INTERNAL);
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){(int32_t[]){1}, 1, NULL}, 1, NO_DEADLINE),
                     UTTER_INTERNAL);
    d->ops->close(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_and_greedy),
        cmocka_unit_test(slots_together),
        cmocka_unit_test(lanes_at_once),
        cmocka_unit_test(ends),
        cmocka_unit_test(limits),
        cmocka_unit_test(long_prompts),
        cmocka_unit_test(prompts_that_begin_alike),
        cmocka_unit_test(opening),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
