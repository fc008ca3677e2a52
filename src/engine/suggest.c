#include "engine/suggest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/doctor_parts.h"
#include "gguf/write.h"
#include "gpu/gpu.h"

/* NeuCodec's decoder, and NeuTTS Air's backbone; the slices have their widths, and fewer layers. */
enum { C = 1024, VQ = 2048, CODEC_FFN = 4096, N_FFT = 1920, CODEC_BLOCKS = 12, SLICE_BLOCKS = 1 };
enum { EMBD = 896, KV = 128, FFN = 4864, SLICE_LAYERS = 3, N_SPEECH = 65536, N_BYTES = 256 };
#define DEADLINE_NS ((int64_t)60 * 1000000000)
#define WINDOW_OVERHEAD (81.0 / 25)  // frames decoded for each that is new, while streaming
#define CODES_S 50.0                 // of speech
#define MARGIN 0.8

const block_type suggest_types[SUGGEST_TYPES] = {BLOCK_Q8_0, BLOCK_Q4_0, BLOCK_F16};

/* Weights that a code reads: of the layers, and of the rows of the head that stand for codes, which are kept in Q8_0.
 */
static const struct release {
    const char *name, *about;
    double layers, head, all;  // weights
    const char *suffix[SUGGEST_TYPES];
} releases[SUGGEST_RELEASES] = {
    {"neutts-air", "NeuTTS Air", 358e6, 65537.0 * 896, 552e6, {"-q8", "", "-full"}},
    {"neutts-nano", "NeuTTS Nano", 120e6, 65537.0 * 576, 229e6, {"-q8", "", "-full"}},
};

static double codec_products(int n_blocks) {  // for a frame
    const double c = C, convolutions = (7 + 8 * 3) * c * c, block = 4 * c * c + 2.0 * CODEC_FFN * c;
    return 8.0 * VQ + VQ * c + convolutions + n_blocks * block + (N_FFT + 2) * c;
}

const double suggest_codec_products =
    CODES_S * WINDOW_OVERHEAD *
    (8.0 * VQ + (double)VQ * C + 31.0 * C * C + CODEC_BLOCKS * (4.0 * C * C + 2.0 * CODEC_FFN * C) + (N_FFT + 2.0) * C);

static double bytes_of(block_type type, double n_weights) {
    return n_weights * (double)block_row_bytes(type, 256) / 256;
}

/* ---- a file of random weights ---- */

struct slice {
    struct gguf_writer *w;
    bool data;  // second pass
    status status;
    double n_bytes;  // of matrices in the layers and the head
};

/* All rows are the same: speed does not depend on what weights say. */
static void tensor(struct slice *s, block_type type, int64_t cols, int64_t taps, int64_t rows, const char *name) {
    const int64_t dims[3] = {cols, taps ? taps : rows, rows}, n = cols * (taps ? taps : 1);
    int n_dims = taps ? 3 : rows ? 2 : 1;
    if (!s->data) {
        gguf_put_tensor(s->w, name, type, n_dims, dims);
        return;
    }
    float *values = NULL;
    void *row = NULL;
    if (s->status == UTTER_OK) s->status = alloc_for(&values, (size_t)n, sizeof *values, "a slice of a model");
    if (s->status == UTTER_OK) s->status = alloc_for(&row, block_row_bytes(type, n), 1, "a slice of a model");
    uint32_t random = 1;
    for (int64_t i = 0; s->status == UTTER_OK && i < n; i++) {
        random = random * 1664525 + 1013904223;
        values[i] = (rows ? 0 : 1) + ((float)(random >> 8) * 0x1p-23f - 1) * 0.02f;
    }
    if (s->status == UTTER_OK) s->status = quantize_row(type, values, row, n);
    for (int64_t r = 0; s->status == UTTER_OK && r < (rows ? rows : 1); r++)
        s->status = gguf_write_data(s->w, row, block_row_bytes(type, n));
    free_aligned(values);
    free_aligned(row);
}

PRINTF_LIKE(5, 6)
static void named(struct slice *s, block_type type, int64_t cols, int64_t rows, const char *format, ...) {
    char name[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    tensor(s, type, cols, 0, rows, name);
}

/* ---- the backbone's slice ---- */

static const char *const special[] = {
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|TEXT_PROMPT_START|>",
    "<|TEXT_PROMPT_END|>",
    "<|SPEECH_GENERATION_START|>",
    "<|SPEECH_GENERATION_END|>",
};
enum { N_SPECIAL = sizeof special / sizeof *special, N_VOCAB = N_BYTES + N_SPECIAL + N_SPEECH };

/* The character that stands for a byte in a byte-level vocabulary. */
static void byte_text(int byte, char text[32]) {
    bool plain = (byte >= 33 && byte < 127) || (byte >= 161 && byte < 173) || byte >= 174;
    int before = 0;
    for (int b = 0; b < byte; b++) before += !((b >= 33 && b < 127) || (b >= 161 && b < 173) || b >= 174);
    int code = plain ? byte : 256 + before;
    if (code < 128)
        snprintf(text, 32, "%c", code);
    else
        snprintf(text, 32, "%c%c", 0xC0 | code >> 6, 0x80 | (code & 63));
}

static status put_vocabulary(struct gguf_writer *w) {
    char(*texts)[32] = NULL;
    const char **tokens = NULL;
    int32_t *types = NULL;
    const char *merges[] = {"a b"};
    status s = alloc_for(&texts, N_VOCAB, sizeof *texts, "a vocabulary");
    if (s == UTTER_OK) s = alloc_for(&tokens, N_VOCAB, sizeof *tokens, "a vocabulary");
    if (s == UTTER_OK) s = alloc_for(&types, N_VOCAB, sizeof *types, "a vocabulary");
    for (int i = 0; s == UTTER_OK && i < N_VOCAB; i++) {
        if (i < N_BYTES)
            byte_text(i, texts[i]);
        else if (i < N_BYTES + N_SPECIAL)
            snprintf(texts[i], 32, "%s", special[i - N_BYTES]);
        else
            snprintf(texts[i], 32, "<|speech_%d|>", i - N_BYTES - N_SPECIAL);
        tokens[i] = texts[i];
        types[i] = i < N_BYTES ? 1 : 4;
    }
    if (s == UTTER_OK) {
        gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
        gguf_put_string(w, "tokenizer.ggml.pre", "qwen2");
        gguf_put_string_array(w, "tokenizer.ggml.tokens", tokens, N_VOCAB);
        gguf_put_i32_array(w, "tokenizer.ggml.token_type", types, N_VOCAB);
        gguf_put_string_array(w, "tokenizer.ggml.merges", merges, 0);
        gguf_put_u32(w, "tokenizer.ggml.eos_token_id", N_BYTES + 2);
        gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    }
    free_aligned(texts);
    free_aligned(tokens);
    free_aligned(types);
    return s;
}

static status put_backbone(struct gguf_writer *w) {
    gguf_put_string(w, "general.architecture", "qwen2");
    gguf_put_string(w, "general.name", "a slice of NeuTTS Air");
    gguf_put_u32(w, "qwen2.block_count", SLICE_LAYERS);
    gguf_put_u32(w, "qwen2.context_length", 4096);
    gguf_put_u32(w, "qwen2.embedding_length", EMBD);
    gguf_put_u32(w, "qwen2.feed_forward_length", FFN);
    gguf_put_u32(w, "qwen2.attention.head_count", EMBD / 64);
    gguf_put_u32(w, "qwen2.attention.head_count_kv", KV / 64);
    gguf_put_f32(w, "qwen2.rope.freq_base", 1e6f);
    gguf_put_f32(w, "qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
    gguf_put_string(w, "neuphonic.input_format", "phonemes");
    return put_vocabulary(w);
}

static void backbone_tensors(struct slice *s, block_type type) {
    named(s, BLOCK_Q8_0, EMBD, N_VOCAB, "token_embd.weight");
    for (int i = 0; i < SLICE_LAYERS; i++) {
        named(s, BLOCK_F32, EMBD, 0, "blk.%d.attn_norm.weight", i);
        named(s, type, EMBD, EMBD, "blk.%d.attn_q.weight", i);
        named(s, BLOCK_F32, EMBD, 0, "blk.%d.attn_q.bias", i);
        named(s, type, EMBD, KV, "blk.%d.attn_k.weight", i);
        named(s, BLOCK_F32, KV, 0, "blk.%d.attn_k.bias", i);
        named(s, type, EMBD, KV, "blk.%d.attn_v.weight", i);
        named(s, BLOCK_F32, KV, 0, "blk.%d.attn_v.bias", i);
        named(s, type, EMBD, EMBD, "blk.%d.attn_output.weight", i);
        named(s, BLOCK_F32, EMBD, 0, "blk.%d.ffn_norm.weight", i);
        named(s, type, EMBD, FFN, "blk.%d.ffn_gate.weight", i);
        named(s, type, EMBD, FFN, "blk.%d.ffn_up.weight", i);
        named(s, type, FFN, EMBD, "blk.%d.ffn_down.weight", i);
    }
    named(s, BLOCK_F32, EMBD, 0, "output_norm.weight");
}

static double slice_bytes(block_type type) {
    const double layer = 2.0 * EMBD * EMBD + 2.0 * EMBD * KV + 3.0 * EMBD * FFN;
    return bytes_of(type, SLICE_LAYERS * layer) + bytes_of(BLOCK_Q8_0, 65537.0 * EMBD);
}

/* ---- the codec's slice ---- */

static void put_codec(struct gguf_writer *w) {
    const int32_t levels[8] = {4, 4, 4, 4, 4, 4, 4, 4};
    gguf_put_string(w, "general.architecture", "neucodec");
    gguf_put_u32(w, "neucodec.sample_rate", 24000);
    gguf_put_u32(w, "neucodec.hop_length", 480);
    gguf_put_u32(w, "neucodec.fft_length", N_FFT);
    gguf_put_u32(w, "neucodec.embedding_length", C);
    gguf_put_u32(w, "neucodec.block_count", SLICE_BLOCKS);
    gguf_put_u32(w, "neucodec.head_count", C / 64);
    gguf_put_u32(w, "neucodec.group_count", 32);
    gguf_put_u32(w, "neucodec.vq_length", VQ);
    gguf_put_i32_array(w, "neucodec.fsq_levels", levels, 8);
}

static void codec_tensors(struct slice *s) {
    const block_type f32 = BLOCK_F32, f16 = BLOCK_F16;
    named(s, f16, 8, VQ, "generator.quantizer.project_out.weight");
    named(s, f32, VQ, 0, "generator.quantizer.project_out.bias");
    named(s, f16, VQ, C, "fc_post_a.weight");
    named(s, f32, C, 0, "fc_post_a.bias");
    tensor(s, f16, C, 7, C, "generator.backbone.embed.weight");
    named(s, f32, C, 0, "generator.backbone.embed.bias");
    for (int i = 0; i < 8; i++) {
        char name[96];
        const char *net = i < 4 ? "prior_net" : "post_net";
        int block = i / 2 % 2, part = i % 2 + 1;
        named(s, f32, C, 0, "generator.backbone.%s.%d.norm%d.weight", net, block, part);
        named(s, f32, C, 0, "generator.backbone.%s.%d.norm%d.bias", net, block, part);
        snprintf(name, sizeof name, "generator.backbone.%s.%d.conv%d.weight", net, block, part);
        tensor(s, f16, C, 3, C, name);
        named(s, f32, C, 0, "generator.backbone.%s.%d.conv%d.bias", net, block, part);
    }
    for (int i = 0; i < SLICE_BLOCKS; i++) {
        named(s, f32, C, 0, "generator.backbone.transformers.%d.att_norm.weight", i);
        named(s, f16, C, 3 * C, "generator.backbone.transformers.%d.att.c_attn.weight", i);
        named(s, f16, C, C, "generator.backbone.transformers.%d.att.c_proj.weight", i);
        named(s, f32, C, 0, "generator.backbone.transformers.%d.ffn_norm.weight", i);
        named(s, f16, C, CODEC_FFN, "generator.backbone.transformers.%d.mlp.fc1.weight", i);
        named(s, f16, CODEC_FFN, C, "generator.backbone.transformers.%d.mlp.fc2.weight", i);
    }
    named(s, f32, C, 0, "generator.backbone.final_layer_norm.weight");
    named(s, f32, C, 0, "generator.backbone.final_layer_norm.bias");
    named(s, f16, C, N_FFT + 2, "generator.head.out.weight");
    named(s, f32, N_FFT + 2, 0, "generator.head.out.bias");
}

/* ---- measuring ---- */

enum which { BACKBONE, CODEC };

static status write_slice(enum which which, block_type type, const char *path) {
    struct slice s = {0};
    TRY(gguf_writer_open(path, &s.w));
    if (which == CODEC)
        put_codec(s.w);
    else
        s.status = put_backbone(s.w);
    for (int pass = 0; pass < 2; pass++) {
        s.data = pass == 1;
        if (s.status != UTTER_OK) break;
        if (which == CODEC)
            codec_tensors(&s);
        else
            backbone_tensors(&s, type);
    }
    if (s.status == UTTER_OK) return gguf_writer_finish(s.w);
    gguf_writer_abandon(s.w);
    return s.status;
}

static status run_slice(const utter_options *options, const struct backbone *b, const struct codec *c,
                        struct suggest_speed *out, struct trial_speed *speed) {
    struct trial trial;
    struct device *device = NULL;
    const struct log silent = {0};
    TRY(trial_new(b, c, &trial));
    status s = open_device(options, &silent, &device);
    if (s == UTTER_OK) s = trial_load(&trial, device);
    if (s == UTTER_OK) s = trial_measure(&trial, device, clock_ns() + DEADLINE_NS, speed);
    if (s == UTTER_OK) snprintf(out->device, sizeof out->device, "%s", device->ops->describe(device));
    if (device) device->ops->close(device);
    trial_free(&trial);
    return s;
}

/* The files are in a folder of their own, which is gone at the end. */
static status measure(const utter_options *options, const char *folder, struct suggest_speed *out) {
    struct str codec_path = {0}, path = {0};
    struct codec *codec = NULL;
    str_printf(&codec_path, "%s/codec.gguf", folder);
    str_printf(&path, "%s/backbone.gguf", folder);
    status s = str_status(&codec_path);
    if (s == UTTER_OK) s = str_status(&path);
    if (s == UTTER_OK) s = write_slice(CODEC, BLOCK_F16, codec_path.data);
    if (s == UTTER_OK) s = open_codec(codec_path.data, &codec);
    for (int i = 0; s == UTTER_OK && i < SUGGEST_TYPES; i++) {
        struct backbone *backbone;
        struct trial_speed speed;
        s = write_slice(BACKBONE, suggest_types[i], path.data);
        if (s == UTTER_OK) s = open_backbone(path.data, &backbone);
        if (s != UTTER_OK) break;
        s = run_slice(options, backbone, codec, out, &speed);
        backbone_free(backbone);
        if (s != UTTER_OK) break;
        out->bytes_s[i] = speed.tokens_s * slice_bytes(suggest_types[i]);
        double products_s = speed.audio_s * CODES_S * codec_products(SLICE_BLOCKS);
        if (products_s > out->products_s) out->products_s = products_s;
    }
    codec_free(codec);
    if (path.data) unlink(path.data);
    if (codec_path.data) unlink(codec_path.data);
    str_free(&path);
    str_free(&codec_path);
    return s;
}

/* What is free, or was before anything of ours was loaded. */
static int64_t memory_of(bool is_gpu, int index) {
    if (is_gpu) {
        struct gpu_info infos[DOCTOR_MAX_CARDS];
        int n, version;
        if (gpu_probe(infos, DOCTOR_MAX_CARDS, &n, &version) != UTTER_OK || index >= n) return 0;
        return (int64_t)infos[index].n_bytes;
    }
    int64_t kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib > 0 ? kib * 1024 : (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

status suggest_measure(const utter_options *options, struct suggest_speed *out) {
    struct device_choice choice;
    *out = (struct suggest_speed){0};
    TRY(device_choice_parse(options->device, &choice));
    out->is_gpu = !choice.cpu;
    out->memory_bytes = memory_of(out->is_gpu, choice.gpu_index);
    const char *where = getenv("TMPDIR");
    struct str folder = {0};
    str_printf(&folder, "%s/utter-suggest-XXXXXX", where && *where ? where : "/tmp");
    status s = str_status(&folder);
    if (s == UTTER_OK && !mkdtemp(folder.data))
        s = fail(UTTER_IO,
                 "cannot make a folder in %s for 200 MB of random weights; set TMPDIR to one that can be written",
                 where && *where ? where : "/tmp");
    if (s == UTTER_OK) {
        s = measure(options, folder.data, out);
        rmdir(folder.data);
    }
    str_free(&folder);
    return s;
}

/* ---- scaling ---- */

void suggest_scale(const struct suggest_speed *speed, struct suggestion *out) {
    static char names[SUGGEST_MAX][32];
    static const int order[SUGGEST_TYPES] = {2, 0, 1};  // F16, Q8_0, Q4_0
    int n = 0;
    for (int r = 0; r < SUGGEST_RELEASES; r++)
        for (int k = 0; k < SUGGEST_TYPES; k++) {
            const struct release *release = &releases[r];
            int t = order[k];
            struct suggestion *s = &out[n];
            snprintf(names[n], sizeof names[n], "%s%s", release->name, release->suffix[t]);
            *s = (struct suggestion){.model = names[n++], .about = release->about, .type = suggest_types[t]};
            double token_bytes = bytes_of(s->type, release->layers) + bytes_of(BLOCK_Q8_0, release->head);
            s->token_bytes = (int64_t)token_bytes;
            /* The file is mapped, its matrices are laid out anew beside it; the codec in F16, and room to work. */
            double file = bytes_of(s->type, release->all), codec = bytes_of(BLOCK_F16, 190e6);
            s->memory_bytes =
                (int64_t)(speed->is_gpu ? token_bytes + codec + 5e8 : file + token_bytes + 2 * codec + 2e8);
            s->codes_s = speed->bytes_s[t] / token_bytes;
            s->real_time_factor = CODES_S / s->codes_s + suggest_codec_products / speed->products_s;
            s->fits = s->memory_bytes <= speed->memory_bytes;
        }
}

int suggest_pick(const struct suggestion *list) {
    for (int i = 0; i < SUGGEST_MAX; i++)
        if (list[i].fits && list[i].real_time_factor <= MARGIN) return i;
    return -1;
}
