#include "cpu/cpu.h"

#include "base/memory.h"
#include "base/str.h"
#include "cpu/backbone.h"
#include "cpu/codec.h"
#include "cpu/encoder.h"

struct cpu {
    struct device base;
    const struct kernels *kernels;
    struct pool *pool;              // the backbone's lane
    struct pool *codec_pool;        // the codec's and the encoder's, which shares its threads
    struct cpu_backbone *backbone;  // NULL until loaded
    struct cpu_codec *codec;        // NULL until loaded
    struct cpu_encoder *encoder;    // NULL until loaded
    struct str description;
};

static struct cpu *cpu_of(struct device *d) { return (struct cpu *)d; }

static status describe_anew(struct cpu *c) {
    str_clear(&c->description);
    str_printf(&c->description, "CPU (%s kernels, %d thread%s", c->kernels->name, pool_n_threads(c->pool),
               pool_n_threads(c->pool) == 1 ? "" : "s");
    const size_t mib = 1 << 20;
    if (c->backbone) str_printf(&c->description, ", backbone %zu MiB", cpu_backbone_bytes(c->backbone) / mib);
    if (c->codec) str_printf(&c->description, ", codec %zu MiB", cpu_codec_bytes(c->codec) / mib);
    if (c->encoder) str_printf(&c->description, ", encoder %zu MiB", cpu_encoder_bytes(c->encoder) / mib);
    str_putc(&c->description, ')');
    return str_status(&c->description);
}

static status load_backbone(struct device *d, const struct backbone *b, bool speech_only, int n_slots, int n_ctx) {
    struct cpu *c = cpu_of(d);
    if (c->backbone) return fail(UTTER_INTERNAL, "the CPU device has a backbone already");
    TRY(cpu_backbone_new(b, speech_only, n_slots, n_ctx, c->kernels, c->pool, &c->backbone));
    return describe_anew(c);
}

static status load_codec(struct device *d, const struct codec *codec) {
    struct cpu *c = cpu_of(d);
    if (c->codec) return fail(UTTER_INTERNAL, "the CPU device has a codec already");
    TRY(cpu_codec_new(codec, c->kernels, c->codec_pool, &c->codec));
    return describe_anew(c);
}

static status load_encoder(struct device *d, const struct codec_encoder *encoder) {
    struct cpu *c = cpu_of(d);
    if (c->encoder) return fail(UTTER_INTERNAL, "the CPU device has an encoder already");
    TRY(cpu_encoder_new(encoder, c->kernels, c->codec_pool, &c->encoder));
    return describe_anew(c);
}

static status no_backbone(void) { return fail(UTTER_INTERNAL, "the CPU device has no backbone yet"); }

static void reset(struct device *d, int slot) {
    if (cpu_of(d)->backbone) cpu_backbone_reset(cpu_of(d)->backbone, slot);
}

static int keep(struct device *d, int slot, const int32_t *tokens, int n) {
    return cpu_of(d)->backbone ? cpu_backbone_keep(cpu_of(d)->backbone, slot, tokens, n) : 0;
}

static status prefill(struct device *d, int slot, const int32_t *tokens, int n, float *logits, int64_t deadline) {
    struct cpu *c = cpu_of(d);
    if (!c->backbone) return no_backbone();
    pool_begin(c->pool);
    status s = cpu_backbone_prefill(c->backbone, slot, tokens, n, logits, deadline);
    pool_end(c->pool);
    return s;
}

static status generate(struct device *d, struct generation *generations, int n, int steps, int64_t deadline) {
    struct cpu *c = cpu_of(d);
    if (!c->backbone) return no_backbone();
    pool_begin(c->pool);
    status s = cpu_backbone_generate(c->backbone, generations, n, steps, deadline);
    pool_end(c->pool);
    return s;
}

static status synthesize(struct device *d, const struct synthesis *pieces, int n, int64_t deadline) {
    struct cpu *c = cpu_of(d);
    if (!c->codec) return fail(UTTER_INTERNAL, "the CPU device has no codec yet");
    status s = UTTER_OK;
    pool_begin(c->codec_pool);
    for (int i = 0; i < n && s == UTTER_OK; i++)
        s = cpu_codec_decode(c->codec, pieces[i].codes, pieces[i].n, pieces[i].pcm, deadline);
    pool_end(c->codec_pool);
    return s;
}

static status analyse(struct device *d, const float *pcm, int64_t n, int32_t *codes, int *n_codes, int64_t deadline) {
    struct cpu *c = cpu_of(d);
    if (!c->encoder) return fail(UTTER_INTERNAL, "the CPU device has no encoder yet");
    pool_begin(c->codec_pool);
    status s = cpu_encoder_encode(c->encoder, pcm, n, codes, n_codes, deadline);
    pool_end(c->codec_pool);
    return s;
}

static int64_t n_bytes(const struct device *d) {
    const struct cpu *c = (const struct cpu *)d;
    size_t n = c->backbone ? cpu_backbone_bytes(c->backbone) : 0;
    if (c->codec) n += cpu_codec_bytes(c->codec);
    if (c->encoder) n += cpu_encoder_bytes(c->encoder);
    return (int64_t)n;
}

static const char *describe(const struct device *d) { return str_text(&((const struct cpu *)d)->description); }

static void close_cpu(struct device *d) {
    struct cpu *c = cpu_of(d);
    cpu_backbone_free(c->backbone);
    cpu_codec_free(c->codec);
    cpu_encoder_free(c->encoder);
    pool_free(c->pool);
    str_free(&c->description);
    free_aligned(c);
}

static const struct device_ops ops = {
    .load_backbone = load_backbone,
    .load_codec = load_codec,
    .reset = reset,
    .keep = keep,
    .prefill = prefill,
    .generate = generate,
    .synthesize = synthesize,
    .load_encoder = load_encoder,
    .analyse = analyse,
    .n_bytes = n_bytes,
    .describe = describe,
    .close = close_cpu,
};

status cpu_open(const struct cpu_options *options, const struct log *log, struct device **out) {
    *out = NULL;
    const struct kernels *kernels;
    TRY(kernels_find(options->kernels, &kernels));
    struct cpu *c;
    TRY(alloc_for(&c, 1, sizeof *c, "the CPU device"));
    c->base.ops = &ops;
    c->kernels = kernels;
    status s = pool_new(options->n_threads, &c->pool);
    if (s == UTTER_OK) c->codec_pool = pool_second_lane(c->pool);
    if (s == UTTER_OK) s = describe_anew(c);
    if (s != UTTER_OK) {
        close_cpu(&c->base);
        return s;
    }
    log_say(log, UTTER_LOG_DEBUG, "%s", describe(&c->base));
    *out = &c->base;
    return UTTER_OK;
}
