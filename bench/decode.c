/* How fast the backbone reads a prompt and writes codes: tokens a second, as JSON.

       bench_decode MODEL.gguf [THREADS [PROMPT [STEPS [KERNELS]]]]

   Fixed tokens, speech-only head where the model has one. "decode": greedy, then with the sampling NeuTTS asks for;
   "decode_deep" begins behind PROMPT tokens. Made to stand beside llama-bench (pp, tg, tg at depth). */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cpu/cpu.h"

enum { STEPS_A_CALL = 16 };

struct bench {
    struct device *device;
    struct backbone *model;
    int n_logits;
    int32_t *prompt;  // [n_prompt]
    int n_prompt, n_steps;
};

static double seconds_since(int64_t t) { return (double)(clock_ns() - t) * 1e-9; }

static status prefill(struct bench *b, int n, double *tokens_per_s) {
    const struct device_ops *ops = b->device->ops;
    ops->reset(b->device, 0);
    const int64_t t = clock_ns();
    TRY(ops->prefill(b->device, 0, b->prompt, n, NULL, NO_DEADLINE));
    *tokens_per_s = n / seconds_since(t);
    return UTTER_OK;
}

static status decode(struct bench *b, float temperature, double *tokens_per_s) {
    struct sampling sampling = sampling_neutts();
    sampling.temperature = temperature;
    struct sampler *sampler;
    TRY(sampler_new(&sampling, 1, b->n_logits, &sampler));
    int32_t indices[STEPS_A_CALL];
    struct generation g = {.sampler = sampler, .indices = indices, .end_index = -1};
    int n = 0;
    status s = UTTER_OK;
    const int64_t t = clock_ns();
    while (s == UTTER_OK && n < b->n_steps) {
        s = b->device->ops->generate(b->device, &g, 1, STEPS_A_CALL, NO_DEADLINE);
        n += g.n;
        if (g.n == 0) break;
    }
    *tokens_per_s = n / seconds_since(t);
    sampler_free(sampler);
    return s;
}

static status measure(struct bench *b, const char *model, double load_s) {
    double warm, pp, tg, tg_sampled, tg_deep;
    TRY(prefill(b, 32, &warm));
    TRY(decode(b, 0, &warm));
    TRY(prefill(b, b->n_prompt, &pp));
    TRY(decode(b, 0, &tg_deep));
    TRY(prefill(b, 1, &warm));
    TRY(decode(b, 0, &tg));
    TRY(prefill(b, 1, &warm));
    TRY(decode(b, 1, &tg_sampled));
    printf(
        "{\"model\": \"%s\", \"device\": \"%s\", \"load_s\": %.3f, \"prompt\": %d, \"steps\": %d, \"prefill\": %.1f, "
        "\"decode\": %.2f, \"decode_sampled\": %.2f, \"decode_deep\": %.2f}\n",
        model, b->device->ops->describe(b->device), load_s, b->n_prompt, b->n_steps, pp, tg, tg_sampled, tg_deep);
    return UTTER_OK;
}

static status run(const char *model, const struct cpu_options *options, struct bench *b) {
    struct gguf *file;
    int32_t *rows;
    const int64_t t = clock_ns();
    TRY(gguf_open(model, &file));
    TRY(backbone_load(file, &b->model));
    const bool speech = b->model->n_codes > 0;
    TRY(backbone_head_rows(b->model, speech, &rows, &b->n_logits));
    free_aligned(rows);
    TRY(cpu_open(options, &(struct log){0}, &b->device));
    TRY(b->device->ops->load_backbone(b->device, b->model, speech, 1, b->n_prompt + b->n_steps + 2 * STEPS_A_CALL));
    const double load_s = seconds_since(t);
    TRY(alloc_for(&b->prompt, (size_t)b->n_prompt, sizeof *b->prompt, "the prompt"));
    for (int i = 0; i < b->n_prompt; i++) b->prompt[i] = (int32_t)((int64_t)i * 7919 % b->model->config.n_vocab);
    return measure(b, model, load_s);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_decode MODEL.gguf [THREADS [PROMPT [STEPS [KERNELS]]]]\n");
        return 2;
    }
    const struct cpu_options options = {argc > 2 ? atoi(argv[2]) : 0, argc > 5 ? argv[5] : NULL};
    struct bench b = {.n_prompt = argc > 3 ? atoi(argv[3]) : 512, .n_steps = argc > 4 ? atoi(argv[4]) : 128};
    if (b.n_prompt < 32 || b.n_steps < 1) {
        fprintf(stderr, "bench_decode: PROMPT is 32 or more, STEPS 1 or more\n");
        return 2;
    }
    status s = run(argv[1], &options, &b);
    if (s != UTTER_OK) fprintf(stderr, "bench_decode: %s\n", fail_message());
    if (b.device) b.device->ops->close(b.device);
    free_aligned(b.prompt);
    backbone_free(b.model);
    return s == UTTER_OK ? 0 : 1;
}
