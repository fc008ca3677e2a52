/* What can go wrong with a card and its driver: each fault has its own sentence, no call waits for ever, nothing is
   left over, and a card that was lost stays lost. */
#include "test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "fixtures/codec_rule.h"
#include "fixtures/folder.h"
#include "rig.h"

static const int64_t second = 1000000000;

static void sentence_holds(const char *part) {
    if (!strstr(fail_message(), part)) fail_msg("\"%s\" does not hold \"%s\"", fail_message(), part);
}

static void nothing_left(const struct standin *s) {
    assert_int_equal(s->live_allocations + s->live_host + s->live_modules + s->live_streams + s->live_contexts, 0);
}

/* gpu_open fails with this status and a sentence that holds this. */
static void refused(struct standin *s, int index, status expected, const char *part) {
    struct device *d;
    status got = gpu_open(&(struct gpu_options){.index = index, .patience_ns = 60 * second}, NULL, &d);
    if (got != expected) fail_msg("%s: %s", status_name(got), fail_message());
    assert_null(d);
    sentence_holds(part);
    if (s) nothing_left(s);
}

static void no_library(void **unused) {
    (void)unused;
    setenv("UTTER_CUDA_LIBRARY", "/no/such/libcuda.so.1", 1);
    refused(NULL, 0, UTTER_UNSUPPORTED, "no NVIDIA driver: its library /no/such/libcuda.so.1 could not be opened");
    sentence_holds("install the NVIDIA driver");
    setenv("UTTER_CUDA_LIBRARY", "libm.so.6", 1);
    refused(NULL, 0, UTTER_DEVICE, "libm.so.6 has no function cuInit");
    int n, version;
    struct gpu_info info;
    assert_int_equal(gpu_probe(&info, 1, &n, &version), UTTER_DEVICE);
    assert_int_equal(n, 0);
    sentence_holds("no function cuInit");
}

static void does_not_start(void **unused) {
    (void)unused;
    static const struct {
        int result;
        const char *part;
    } cases[] = {
        {34, "stub"},
        {46, "exclusive mode"},
        {100, "finds no NVIDIA device"},
        {101, "device number"},
        {304, "/dev/nvidia"},
        {802, "fabric manager"},
        {803, "different versions"},
        {804, "cuda-compat"},
        {805, "MPS"},
        {999, "modprobe"},
        {3, "not initialised"},
        {777, "no cause that utter knows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct standin *s = rig_standin();
        s->call = STANDIN_INIT;
        s->result = cases[i].result;
        refused(s, 0, UTTER_DEVICE, cases[i].part);
        char code[32];
        snprintf(code, sizeof code, "(CUDA error %d,", cases[i].result);
        sentence_holds(code);
    }
    struct standin *s = rig_standin();
    s->call = STANDIN_INIT;
    s->result = 2;
    refused(s, 0, UTTER_MEMORY, "out of memory");
}

static void cannot_be_used(void **unused) {
    (void)unused;
    struct standin *s = rig_standin();
    s->driver_version = 11030;
    refused(s, 0, UTTER_DEVICE, "too old: it speaks CUDA 11.3 and utter needs 11.4; update it to version 470");
    s = rig_standin();
    s->n_devices = 0;
    refused(s, 0, UTTER_DEVICE, "finds no NVIDIA device");
    s = rig_standin();
    refused(s, 1, UTTER_INVALID, "there is no GPU 1: this machine has 1");
    refused(s, -1, UTTER_INVALID, "there is no GPU -1");
    s->capability = 70;
    refused(s, 0, UTTER_DEVICE, "compute capability is 7.0 and utter needs 7.5");
    s = rig_standin();
    s->compute_mode = 2;
    refused(s, 0, UTTER_DEVICE, "prohibited");
    s = rig_standin();
    s->compute_mode = 3;
    s->call = STANDIN_CONTEXT;
    s->result = 46;
    refused(s, 0, UTTER_DEVICE, "in use by another process and set to exclusive mode");
    s->result = 2;
    refused(s, 0, UTTER_MEMORY, "the GPU is out of memory");
}

static void kernels_refused(void **unused) {
    (void)unused;
    struct standin *s = rig_standin();
    s->call = STANDIN_MODULE;
    s->result = 218;
    s->jit_log = "ptxas application ptx input, line 9; fatal: Unsupported .version\nmore";
    struct device *d;
    assert_int_equal(gpu_open(&(struct gpu_options){.patience_ns = 60 * second}, NULL, &d), UTTER_DEVICE);
    sentence_holds("the driver's compiler says: ptxas application ptx input, line 9; fatal: Unsupported .version)");
    assert_null(strstr(fail_message(), "more"));
    s = rig_standin();
    s->call = STANDIN_MODULE;
    s->result = 222;
    assert_int_equal(gpu_open(&(struct gpu_options){.patience_ns = 60 * second}, NULL, &d), UTTER_DEVICE);
    sentence_holds("update the NVIDIA driver to 470");
    s = rig_standin();
    s->missing = "rope_store";
    assert_int_equal(gpu_open(&(struct gpu_options){.patience_ns = 60 * second}, NULL, &d), UTTER_DEVICE);
    sentence_holds("looking for the kernel rope_store");
    rig_standin();
}

static void probe(void **unused) {
    (void)unused;
    struct standin *s = rig_standin();
    s->n_devices = 3;
    struct gpu_info infos[2];
    int n, version;
    assert_ok(gpu_probe(infos, 2, &n, &version));
    assert_int_equal(n, 2);
    assert_int_equal(version, 12040);
    assert_string_equal(infos[1].name, "Stand-in 1");
    assert_int_equal(infos[1].capability, 90);
    assert_int_equal(infos[1].n_bytes, s->memory_bytes);
    assert_string_equal(infos[1].refusal, "");
    s->capability = 61;
    assert_ok(gpu_probe(infos, 2, &n, &version));
    assert_non_null(strstr(infos[0].refusal, "too old"));
    s->n_devices = 0;
    assert_int_equal(gpu_probe(infos, 2, &n, &version), UTTER_DEVICE);
    assert_int_equal(n, 0);
}

/* ---- memory ---- */

static struct device *open_card(int64_t patience) {
    struct device *d;
    assert_ok(gpu_open(&(struct gpu_options){.patience_ns = patience, .chunk_bytes = 1 << 20}, NULL, &d));
    return d;
}

static struct codec *open_codec(void) {
    char path[FIXTURE_PATH];
    struct gguf *g;
    struct codec *c;
    assert_ok(fixture_path("codec.gguf", path));
    assert_ok(fixture_codec(false, BLOCK_Q8_0, path));
    assert_ok(gguf_open(path, &g));
    assert_ok(codec_load(g, &c));
    return c;
}

static void too_little_memory(void **unused) {
    (void)unused;
    struct standin *s = rig_standin();
    struct backbone *b = rig_backbone("qwen2-q4_0");
    struct codec *c = open_codec();
    struct device *d = open_card(60 * second);
    s->memory_bytes = 4 << 20;
    assert_int_equal(d->ops->load_backbone(d, b, false, 4, 2048), UTTER_MEMORY);
    sentence_holds("not enough memory for the language model: it needs ");
    sentence_holds("MB of 4 MB are still free");
    assert_int_equal(s->live_allocations, 0);
    s->memory_bytes = 64 << 20;
    assert_ok(d->ops->load_backbone(d, b, false, 1, 64));  // the card is as good as before
    assert_ok(d->ops->load_codec(d, c));
    assert_non_null(strstr(d->ops->describe(d), "GPU 0: Stand-in 0, 1.1 GB, sm_80 kernels"));

    // in flight: a longer sound than there is room for
    enum { LONG = 20000 };
    int32_t *codes = calloc(LONG, sizeof *codes);
    float *pcm = calloc((size_t)LONG * 480, sizeof *pcm);
    assert_non_null(codes);
    assert_non_null(pcm);
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, LONG, pcm}, 1, NO_DEADLINE), UTTER_MEMORY);
    sentence_holds("not enough memory for the codec's work");
    assert_ok(d->ops->synthesize(d, &(struct synthesis){codes, 2, pcm}, 1, NO_DEADLINE));
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, 70000, pcm}, 1, NO_DEADLINE), UTTER_LIMIT);
    free(codes);
    free(pcm);

    // sampling without top-k takes its room when it is first asked for
    s->memory_bytes = s->live_bytes;
    struct sampling all = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};
    struct sampler *sampler;
    assert_ok(sampler_new(&all, 1, b->config.n_vocab, &sampler));
    int32_t token = 5, index;
    struct generation g = {.slot = 0, .sampler = sampler, .indices = &index, .end_index = -1};
    assert_ok(d->ops->prefill(d, 0, &token, 1, NULL, NO_DEADLINE));
    assert_int_equal(d->ops->generate(d, &g, 1, 1, NO_DEADLINE), UTTER_MEMORY);
    sentence_holds("sampling without a small top-k");
    s->memory_bytes = 64 << 20;
    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, &token, 1, NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, &g, 1, 1, NO_DEADLINE));
    sampler_free(sampler);
    rig_close(d);
    codec_free(c);
    backbone_free(b);
}

/* ---- kernels ---- */

/* Only what a model needs is compiled, when it is known or from the start, and once. */
static void kernels_of_a_model(void **unused) {
    (void)unused;
    struct backbone *b = rig_backbone("llama-q4_0");
    struct codec *c = open_codec();
    int n_modules[2];
    for (int known = 0; known < 2; known++) {
        struct standin *s = rig_standin();
        struct device *d;
        struct gpu_options options = {.patience_ns = 60 * second};
        if (known) options.backbone = b, options.codec = c;
        assert_ok(gpu_open(&options, NULL, &d));
        if (!known) assert_int_equal(s->n_modules, 1);
        assert_ok(d->ops->load_codec(d, c));
        assert_ok(d->ops->load_backbone(d, b, false, 1, 64));
        n_modules[known] = s->n_modules;
        rig_close(d);
    }
    assert_int_equal(n_modules[0], n_modules[1]);
    // backbone, sample, attention, embedding, products, their pair, decode; the head's products at most; six of the codec
    assert_in_range(n_modules[0], 13, 16);
    codec_free(c);
    backbone_free(b);
}

/* A kernel that the driver refuses, or compiles for ever, while weights are on their way. */
static void kernels_of_a_model_refused(void **unused) {
    (void)unused;
    struct backbone *b = rig_backbone("llama-q4_0");
    struct codec *c = open_codec();
    struct standin *s = rig_standin();
    struct device *d = open_card(60 * second);
    s->missing = "sample";
    assert_int_equal(d->ops->load_backbone(d, b, false, 1, 64), UTTER_DEVICE);
    sentence_holds("looking for the kernel sample");
    assert_int_equal(d->ops->load_codec(d, c), UTTER_DEVICE);
    d->ops->close(d);

    s = rig_standin();
    d = open_card(60 * second);
    s->call = STANDIN_MODULE;
    s->result = 222;
    assert_int_equal(d->ops->load_codec(d, c), UTTER_DEVICE);
    sentence_holds("GPU 0 (Stand-in 0), compiling the kernels '");
    sentence_holds("update the NVIDIA driver to 470");
    d->ops->close(d);

    s = rig_standin();
    d = open_card(second / 2);
    s->blocked = STANDIN_MODULE;
    assert_int_equal(d->ops->load_backbone(d, b, false, 1, 64), UTTER_DEVICE);
    sentence_holds("its driver did not answer for ");
    sentence_holds("compiling the kernels '");
    assert_int_equal(d->ops->load_codec(d, c), UTTER_DEVICE);
    d->ops->close(d);
    s->blocked = STANDIN_NONE;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    rig_standin();
    codec_free(c);
    backbone_free(b);
}

struct hearing {
    int n;
    char sentence[512];
};

static void hear(void *user, utter_log_level level, const char *sentence) {
    struct hearing *h = user;
    if (level != UTTER_LOG_WARNING) return;
    h->n++;
    snprintf(h->sentence, sizeof h->sentence, "%s", sentence);
}

static void *unblock_later(void *standin) {
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 300000000}, NULL);
    ((struct standin *)standin)->blocked = STANDIN_NONE;
    return NULL;
}

/* Who waits is told why, once. */
static void kernels_take_a_while(void **unused) {
    (void)unused;
    struct backbone *b = rig_backbone("llama-q4_0");
    struct standin *s = rig_standin();
    struct hearing heard = {0};
    struct device *d;
    const struct log log = {hear, &heard};
    assert_ok(gpu_open(&(struct gpu_options){.patience_ns = 60 * second}, &log, &d));
    s->blocked = STANDIN_MODULE;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, unblock_later, s), 0);
    assert_ok(d->ops->load_backbone(d, b, false, 1, 64));
    pthread_join(thread, NULL);
    assert_int_equal(heard.n, 1);
    assert_string_equal(heard.sentence,
                        "GPU 0 (Stand-in 0): its driver compiles the kernels, a few seconds; this is done once for a "
                        "driver");
    rig_close(d);
    backbone_free(b);
}

/* ---- in flight ---- */

struct bench {
    struct standin *standin;
    struct backbone *backbone;
    struct codec *codec;
    struct device *device;
    struct sampler *sampler;
    struct generation generation;
    int32_t indices[8];
};

/* A card in use: model and codec loaded, a prompt read. Without `together` its blocks cannot wait for each other, so
   that each step of generating is many launches. */
static void begin(struct bench *t, int64_t patience, bool together) {
    t->standin = rig_standin();
    t->standin->not_cooperative = !together;
    t->backbone = rig_backbone("llama-q4_0");
    t->codec = open_codec();
    t->device = open_card(patience);
    struct device *d = t->device;
    assert_ok(d->ops->load_backbone(d, t->backbone, false, 2, 64));
    assert_ok(d->ops->load_codec(d, t->codec));
    struct sampling settings = sampling_neutts();
    assert_ok(sampler_new(&settings, 1, t->backbone->config.n_vocab, &t->sampler));
    t->generation = (struct generation){.slot = 0, .sampler = t->sampler, .indices = t->indices, .end_index = -1};
    int32_t tokens[] = {5, 6};
    assert_ok(d->ops->prefill(d, 0, tokens, 2, NULL, NO_DEADLINE));
}

/* Everything that is asked of a lost card fails at once, without a call into the driver. */
static void stays_lost(struct bench *t) {
    struct device *d = t->device;
    int launches = t->standin->n_launches;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", fail_message());
    int32_t tokens[] = {7}, codes[] = {1};
    float pcm[480];
    assert_int_equal(d->ops->prefill(d, 1, tokens, 1, NULL, NO_DEADLINE), UTTER_DEVICE);
    assert_string_equal(fail_message(), reason);
    assert_int_equal(d->ops->generate(d, &t->generation, 1, 1, NO_DEADLINE), UTTER_DEVICE);
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){codes, 1, pcm}, 1, NO_DEADLINE), UTTER_DEVICE);
    assert_string_equal(fail_message(), reason);
    assert_int_equal(t->standin->n_launches, launches);
}

static void end(struct bench *t) {
    t->device->ops->close(t->device);
    sampler_free(t->sampler);
    codec_free(t->codec);
    backbone_free(t->backbone);
    // a thread that was left in a call comes back, lets go and ends
    t->standin->blocked = STANDIN_NONE;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    t->standin->restore();
}

static void falls_off(void **unused) {
    (void)unused;
    static const struct {
        enum standin_call call;
        int after, result;
        const char *part;
        bool together;
    } cases[] = {
        {STANDIN_LAUNCH, 30, 700, "memory that is not its own; please report this as a defect of utter (CUDA error 700",
         false},
        {STANDIN_LAUNCH, 0, 719, "launching the kernel gather_rows: a kernel failed", false},
        {STANDIN_LAUNCH, 0, 719, "launching the kernel decode: a kernel failed", true},
        {STANDIN_QUERY, 0, 714, "generating: the hardware reported an error", false},
        {STANDIN_QUERY, 0, 714, "generating: the hardware reported an error", true},
        {STANDIN_QUERY, 0, 999, "restart the machine", true},
        {STANDIN_DOWNLOAD, 0, 4, "copying results back: the driver is shutting down", false},
        {STANDIN_DOWNLOAD, 0, 4, "copying results back: the driver is shutting down", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench t;
        begin(&t, 60 * second, cases[i].together);
        t.standin->call = cases[i].call;
        t.standin->after = cases[i].after;
        t.standin->result = cases[i].result;
        assert_int_equal(t.device->ops->generate(t.device, &t.generation, 1, 4, NO_DEADLINE), UTTER_DEVICE);
        sentence_holds("GPU 0 (Stand-in 0), ");
        sentence_holds(cases[i].part);
        stays_lost(&t);
        end(&t);
    }
}

static void never_done(void **unused) {
    (void)unused;
    struct bench t;
    begin(&t, 60 * second, true);
    end(&t);
    begin(&t, 8 * second, true);  // the emulated decode itself takes seconds under sanitizers
    t.standin->never_ready = true;
    float pcm[480];
    assert_int_equal(t.device->ops->synthesize(t.device, &(struct synthesis){(int32_t[]){3}, 1, pcm}, 1, NO_DEADLINE),
                     UTTER_DEVICE);
    sentence_holds("turning codes into sound: no answer for ");
    stays_lost(&t);
    end(&t);
}

/* A block that others wait for does not run: they stop waiting, and say so. */
static void block_is_lost(void **unused) {
    (void)unused;
    struct bench t;
    begin(&t, 3 * second, true);
    t.standin->loses_block = true;
    assert_int_equal(t.device->ops->generate(t.device, &t.generation, 1, 4, NO_DEADLINE), UTTER_DEVICE);
    sentence_holds("its multiprocessors waited for each other in vain");
    stays_lost(&t);
    end(&t);
}

static void call_never_returns(void **unused) {
    (void)unused;
    struct bench t;
    begin(&t, 3 * second, false);
    t.standin->blocked_after = 7;
    t.standin->blocked = STANDIN_LAUNCH;
    assert_int_equal(t.device->ops->generate(t.device, &t.generation, 1, 4, NO_DEADLINE), UTTER_DEVICE);
    sentence_holds("the GPU did not answer within the time that its work can take");
    stays_lost(&t);
    end(&t);
}

static void open_never_returns(void **unused) {
    (void)unused;
    static const enum standin_call calls[] = {STANDIN_INIT, STANDIN_CONTEXT, STANDIN_MODULE};
    for (int i = 0; i < 3; i++) {
        struct standin *s = rig_standin();
        s->blocked = calls[i];
        struct device *d;
        assert_int_equal(gpu_open(&(struct gpu_options){.patience_ns = second / 4}, NULL, &d), UTTER_DEVICE);
        sentence_holds("did not answer");
        s->blocked = STANDIN_NONE;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    rig_standin();
}

/* A deadline that passes is no fault of the card: it goes on with the next call. */
static void deadline(void **unused) {
    (void)unused;
    struct bench t;
    begin(&t, 60 * second, false);
    struct device *d = t.device;
    t.standin->blocked_after = 40;
    t.standin->blocked = STANDIN_LAUNCH;
    assert_int_equal(d->ops->generate(d, &t.generation, 1, 8, clock_ns() + second / 50), UTTER_DEADLINE);
    sentence_holds("not done in the time allowed");
    assert_int_equal(d->ops->prefill(d, 1, (int32_t[]){4}, 1, NULL, clock_ns() + second / 50), UTTER_DEADLINE);
    assert_int_equal(d->ops->generate(d, &t.generation, 1, 8, clock_ns() - 1), UTTER_DEADLINE);
    t.standin->blocked = STANDIN_NONE;
    assert_int_equal(d->ops->generate(d, &t.generation, 1, 8, NO_DEADLINE), UTTER_INVALID);  // its slot was given up
    d->ops->reset(d, 0);
    assert_ok(d->ops->prefill(d, 0, (int32_t[]){5, 6}, 2, NULL, NO_DEADLINE));
    assert_ok(d->ops->generate(d, &t.generation, 1, 4, NO_DEADLINE));
    assert_int_equal(t.generation.n, 4);
    sampler_free(t.sampler);
    rig_close(d);
    codec_free(t.codec);
    backbone_free(t.backbone);
}

static void wrong_results(void **unused) {
    (void)unused;
    struct bench t;
    begin(&t, 60 * second, true);
    struct device *d = t.device;
    t.standin->wrong_results = true;
    float pcm[480];
    assert_int_equal(d->ops->synthesize(d, &(struct synthesis){(int32_t[]){3}, 1, pcm}, 1, NO_DEADLINE), UTTER_DEVICE);
    sentence_holds("sound that holds no numbers");
    assert_int_equal(d->ops->generate(d, &t.generation, 1, 4, NO_DEADLINE), UTTER_DEVICE);
    sentence_holds("tokens that cannot be right");
    end(&t);
}

int main(void) {
    if (!rig_standin()) return 77;  // skipped: a real card has no faults to order
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_library),
        cmocka_unit_test(does_not_start),
        cmocka_unit_test(cannot_be_used),
        cmocka_unit_test(kernels_refused),
        cmocka_unit_test(kernels_of_a_model),
        cmocka_unit_test(kernels_of_a_model_refused),
        cmocka_unit_test(kernels_take_a_while),
        cmocka_unit_test(probe),
        cmocka_unit_test(too_little_memory),
        cmocka_unit_test(falls_off),
        cmocka_unit_test(never_done),
        cmocka_unit_test(call_never_returns),
        cmocka_unit_test(block_is_lost),
        cmocka_unit_test(open_never_returns),
        cmocka_unit_test(deadline),
        cmocka_unit_test(wrong_results),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_cleanup();
    return failed;
}
