/* Models to measure with: the shapes of the published ones, random weights, no knowledge. Speed does not depend on what
   the weights say.

       make_models FOLDER     air-q4_0.gguf, nano-q4_0.gguf, neucodec.safetensors, neucodec-{f32,f16,q8_0}.gguf,
                              neucodec-encoder-f16.gguf, voices/bench.json

   What is there already is left alone. NeuTTS Air's shape is its own. Nano's is a guess that has its published sizes:
   120 M weights without and 229 M with embeddings, Llama-shaped.

   Rows of the output matrix that are no speech codes are a tenth of the others, so that sampling from the whole
   vocabulary, as programs do that know nothing of speech, finds speech codes alone, and never the end: how many codes
   are written is up to whoever asks. utter waits for an end until twice what the text should take at the voice's pace,
   and a second and a half: the voice is a hasty one, so that this is some four seconds for the sentence that is
   measured. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"
#include "fixtures/encoder_rule.h"
#include "gguf/layouts.h"
#include "gguf/write.h"
#include "models/convert.h"

enum { N_BYTES = 256, N_SPEECH = 65536, REFERENCE_CODES = 250, N_RESERVED = 41 };
#define WEIGHT_STD 0.02

struct shape {
    const char *file, *name, *arch, *pre;
    int n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_ffn, n_vocab;
    bool bias, tied;
    double rope_base, eps;
};

static const struct shape air = {"air-q4_0.gguf",
                                 "random weights in the shape of NeuTTS Air",
                                 "qwen2",
                                 "qwen2",
                                 24,
                                 896,
                                 14,
                                 2,
                                 64,
                                 4864,
                                 217232,
                                 true,
                                 false,
                                 1e6,
                                 1e-6};
static const struct shape nano = {"nano-q4_0.gguf",
                                  "random weights of the size of NeuTTS Nano",
                                  "llama",
                                  "smollm",
                                  34,
                                  576,
                                  9,
                                  3,
                                  64,
                                  1536,
                                  188416,
                                  false,
                                  true,
                                  1e5,
                                  1e-5};

static uint64_t mix(uint64_t z) {  // splitmix64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint64_t random_at(uint64_t seed, uint64_t i) { return mix(seed + (i + 1) * 0x9E3779B97F4A7C15u); }

/* ---- tokenizer: bytes, merges of any two of them and then of three, what NeuTTS adds, speech codes ---- */

struct vocabulary {
    char **tokens;   // [n]
    int32_t *types;  // [n]
    char **merges;   // [n_merges]
    int n, n_merges;
    int first_speech;
};

static const char *const added[] = {
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|TEXT_PROMPT_START|>",
    "<|TEXT_PROMPT_END|>",
    "<|SPEECH_GENERATION_START|>",
    "<|SPEECH_GENERATION_END|>",
};
enum { N_ADDED = sizeof added / sizeof *added };

// The character that stands for a byte in a byte-level vocabulary.
static void byte_text(int byte, char text[4]) {
    bool as_it_is = (byte >= 33 && byte < 127) || (byte >= 161 && byte < 173) || byte >= 174;
    int code = byte, n_before = 0;
    for (int b = 0; b < byte && !as_it_is; b++)
        if (!((b >= 33 && b < 127) || (b >= 161 && b < 173) || b >= 174)) n_before++;
    if (!as_it_is) code = 256 + n_before;
    if (code < 128) {
        text[0] = (char)code;
        text[1] = 0;
        return;
    }
    text[0] = (char)(0xC0 | code >> 6);
    text[1] = (char)(0x80 | (code & 63));
    text[2] = 0;
}

static void push(struct vocabulary *v, const char *text, int type) {
    v->tokens[v->n] = strdup(text);
    v->types[v->n++] = type;
}

static status vocabulary_new(const struct shape *s, struct vocabulary *v) {
    *v = (struct vocabulary){0};
    int n_merges = s->n_vocab - N_BYTES - N_ADDED - N_RESERVED - N_SPEECH;
    TRY(alloc_for(&v->tokens, (size_t)s->n_vocab, sizeof *v->tokens, "a vocabulary"));
    TRY(alloc_for(&v->types, (size_t)s->n_vocab, sizeof *v->types, "a vocabulary"));
    TRY(alloc_for(&v->merges, (size_t)n_merges, sizeof *v->merges, "merges"));
    char bytes[N_BYTES][4], left[16], both[24], merge[40];
    for (int i = 0; i < N_BYTES; i++) {
        byte_text(i, bytes[i]);
        push(v, bytes[i], 1);
    }
    for (int i = 0; i < n_merges; i++) {
        int pair = i % 65536;
        const char *right = bytes[i < 65536 ? pair % 256 : i / 65536 - 1];
        snprintf(left, sizeof left, "%s%s", bytes[pair / 256], i < 65536 ? "" : bytes[pair % 256]);
        snprintf(both, sizeof both, "%s%s", left, right);
        snprintf(merge, sizeof merge, "%s %s", left, right);
        push(v, both, 1);
        v->merges[v->n_merges++] = strdup(merge);
    }
    char name[32];
    for (int i = 0; i < N_ADDED; i++) push(v, added[i], i < 3 ? 3 : 4);
    for (int i = 0; i < N_RESERVED; i++) {
        snprintf(name, sizeof name, "<|reserved_%d|>", i);
        push(v, name, 4);
    }
    v->first_speech = v->n;
    for (int i = 0; i < N_SPEECH; i++) {
        snprintf(name, sizeof name, "<|speech_%d|>", i);
        push(v, name, 4);
    }
    return UTTER_OK;
}

static void vocabulary_free(struct vocabulary *v) {
    for (int i = 0; v->tokens && i < v->n; i++) free(v->tokens[i]);
    for (int i = 0; v->merges && i < v->n_merges; i++) free(v->merges[i]);
    free_aligned(v->tokens);
    free_aligned(v->types);
    free_aligned(v->merges);
}

/* ---- weights ---- */

// Announces each tensor in the first pass, and writes it in the second.
struct pass {
    struct gguf_writer *w;
    bool data;
    uint64_t seed;
    status status;
};

// One row; its blocks' scales are a quarter more or less, and `scale` of the usual.
static void fill_row(block_type type, uint64_t seed, int64_t row, int64_t cols, double mean, double scale, void *to) {
    const uint64_t at = (uint64_t)row * (uint64_t)cols;
    if (type == BLOCK_F32) {
        for (int64_t i = 0; i < cols; i++) {
            double u = (double)(random_at(seed, at + (uint64_t)i) >> 40) * 0x1p-23 - 1;
            ((float *)to)[i] = (float)(mean + scale * u);
        }
        return;
    }
    const double std = type == BLOCK_Q4_0 ? 4.61 : 73.6;  // of all values that a block's integers can have
    for (int64_t b = 0; b < cols / 32; b++) {
        uint64_t random[5];
        const uint64_t first = (at / 32 + (uint64_t)b) * 5;
        for (int i = 0; i < 5; i++) random[i] = random_at(seed, first + (uint64_t)i);
        const uint16_t d = f32_to_f16((float)(scale / std * (0.75 + (double)(random[4] >> 40) * 0x1p-25)));
        if (type == BLOCK_Q4_0) {
            struct q4_0 *q = (struct q4_0 *)to + b;
            q->d = d;
            memcpy(q->qs, random, sizeof q->qs);
        } else {
            struct q8_0 *q = (struct q8_0 *)to + b;
            q->d = d;
            memcpy(q->qs, random, sizeof q->qs);
            for (int i = 0; i < 32; i++)
                if (q->qs[i] == -128) q->qs[i] = -127;
        }
    }
}

// loud_from: rows before it are a tenth of the others.
static void tensor(struct pass *p, const char *name, block_type type, int64_t cols, int64_t rows, int64_t loud_from,
                   double mean, double scale) {
    const int64_t dims[2] = {cols, rows};
    if (!p->data) {
        gguf_put_tensor(p->w, name, type, rows ? 2 : 1, dims);
        return;
    }
    uint64_t seed = p->seed;
    for (const char *c = name; *c; c++) seed = (seed ^ (unsigned char)*c) * 0x100000001B3u;
    size_t n_bytes = block_row_bytes(type, cols);
    void *row = NULL;
    if (p->status == UTTER_OK) p->status = alloc_for(&row, n_bytes, 1, "a row");
    for (int64_t r = 0; r < (rows ? rows : 1) && p->status == UTTER_OK; r++) {
        fill_row(type, seed, r, cols, mean, r < loud_from ? scale * 0.1 : scale, row);
        p->status = gguf_write_data(p->w, row, n_bytes);
    }
    free_aligned(row);
}

static void layer(struct pass *p, const struct shape *s, int i) {
    const int64_t e = s->n_embd, q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim, f = s->n_ffn;
    char name[64];
#define NAME(rest) (snprintf(name, sizeof name, "blk.%d." rest, i), name)
    tensor(p, NAME("attn_norm.weight"), BLOCK_F32, e, 0, 0, 1, 0.1);
    tensor(p, NAME("attn_q.weight"), BLOCK_Q4_0, e, q, 0, 0, WEIGHT_STD);
    if (s->bias) tensor(p, NAME("attn_q.bias"), BLOCK_F32, q, 0, 0, 0, 0.2);
    tensor(p, NAME("attn_k.weight"), BLOCK_Q4_0, e, kv, 0, 0, WEIGHT_STD);
    if (s->bias) tensor(p, NAME("attn_k.bias"), BLOCK_F32, kv, 0, 0, 0, 0.2);
    tensor(p, NAME("attn_v.weight"), BLOCK_Q4_0, e, kv, 0, 0, WEIGHT_STD);
    if (s->bias) tensor(p, NAME("attn_v.bias"), BLOCK_F32, kv, 0, 0, 0, 0.2);
    tensor(p, NAME("attn_output.weight"), BLOCK_Q4_0, q, e, 0, 0, WEIGHT_STD);
    tensor(p, NAME("ffn_norm.weight"), BLOCK_F32, e, 0, 0, 1, 0.1);
    tensor(p, NAME("ffn_gate.weight"), BLOCK_Q4_0, e, f, 0, 0, WEIGHT_STD);
    tensor(p, NAME("ffn_up.weight"), BLOCK_Q4_0, e, f, 0, 0, WEIGHT_STD);
    tensor(p, NAME("ffn_down.weight"), BLOCK_Q4_0, f, e, 0, 0, WEIGHT_STD);
#undef NAME
}

static void tensors(struct pass *p, const struct shape *s, const struct vocabulary *v) {
    tensor(p, "token_embd.weight", s->tied ? BLOCK_Q8_0 : BLOCK_Q4_0, s->n_embd, s->n_vocab,
           s->tied ? v->first_speech : 0, 0, WEIGHT_STD);
    for (int i = 0; i < s->n_layers; i++) layer(p, s, i);
    tensor(p, "output_norm.weight", BLOCK_F32, s->n_embd, 0, 0, 1, 0.1);
    if (!s->tied) tensor(p, "output.weight", BLOCK_Q8_0, s->n_embd, s->n_vocab, v->first_speech, 0, WEIGHT_STD);
}

/* ---- the file ---- */

static void put_u32(struct gguf_writer *w, const char *arch, const char *rest, int value) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", arch, rest);
    gguf_put_u32(w, key, (uint32_t)value);
}

static void put_f32(struct gguf_writer *w, const char *arch, const char *rest, double value) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", arch, rest);
    gguf_put_f32(w, key, (float)value);
}

static void put_metadata(struct gguf_writer *w, const struct shape *s, const struct vocabulary *v) {
    gguf_put_string(w, "general.architecture", s->arch);
    gguf_put_string(w, "general.name", s->name);
    gguf_put_u32(w, "general.file_type", 2);
    gguf_put_u32(w, "general.quantization_version", 2);
    put_u32(w, s->arch, "block_count", s->n_layers);
    put_u32(w, s->arch, "context_length", 32768);
    put_u32(w, s->arch, "embedding_length", s->n_embd);
    put_u32(w, s->arch, "feed_forward_length", s->n_ffn);
    put_u32(w, s->arch, "attention.head_count", s->n_heads);
    put_u32(w, s->arch, "attention.head_count_kv", s->n_kv_heads);
    put_f32(w, s->arch, "rope.freq_base", s->rope_base);
    put_f32(w, s->arch, "attention.layer_norm_rms_epsilon", s->eps);
    if (strcmp(s->arch, "llama") == 0) {
        put_u32(w, s->arch, "rope.dimension_count", s->head_dim);
        put_u32(w, s->arch, "vocab_size", s->n_vocab);
    }
    gguf_put_string(w, "neuphonic.input_format", "phonemes");
    gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(w, "tokenizer.ggml.pre", s->pre);
    gguf_put_string_array(w, "tokenizer.ggml.tokens", (const char *const *)v->tokens, (size_t)v->n);
    gguf_put_i32_array(w, "tokenizer.ggml.token_type", v->types, (size_t)v->n);
    gguf_put_string_array(w, "tokenizer.ggml.merges", (const char *const *)v->merges, (size_t)v->n_merges);
    const int first_added = v->first_speech - N_RESERVED - N_ADDED;
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)first_added);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)first_added + 2);
    gguf_put_u32(w, "tokenizer.ggml.padding_token_id", (uint32_t)first_added);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
}

static status write_model(const struct shape *s, const char *path) {
    struct vocabulary v;
    struct gguf_writer *w = NULL;
    status ok = vocabulary_new(s, &v);
    if (ok == UTTER_OK) ok = gguf_writer_open(path, &w);
    if (ok == UTTER_OK) {
        put_metadata(w, s, &v);
        struct pass p = {.w = w, .seed = 0xCBF29CE484222325u};
        tensors(&p, s, &v);
        p.data = true;
        tensors(&p, s, &v);
        ok = p.status;
        if (ok == UTTER_OK)
            ok = gguf_writer_finish(w);
        else
            gguf_writer_abandon(w);
    }
    vocabulary_free(&v);
    return ok;
}

/* A voice of five seconds. */
static status write_voice(const char *path) {
    struct str text = {0};
    str_puts(
        &text,
        "{\"format\": \"utter-voice\", \"version\": 1, \"name\": \"bench\", \"language\": \"en-us\",\n"
        "\"note\": \"random codes\",\n"
        "\"text\": \"My name is Dave, and I am from London, and I read the news to whoever listens, as fast as I can, "
        "since there is more of it every day, and nobody has the time to hear all of that twice, least of all those "
        "who "
        "stand in the rain and wait for a bus that will not come.\",\n"
        "\"codec\": \"neucodec\", \"codes\": [");
    for (uint64_t i = 0; i < REFERENCE_CODES; i++)
        str_printf(&text, "%s%d", i ? ", " : "", (int)(random_at(7, i) % N_SPEECH));
    str_puts(&text, "]}\n");
    struct file_writer f = {0};
    status s = str_status(&text);
    if (s == UTTER_OK) s = file_create(path, &f);
    if (s == UTTER_OK) s = file_write(&f, text.data, text.len);
    if (s == UTTER_OK) s = file_commit(&f);
    file_abandon(&f);
    str_free(&text);
    return s;
}

/* ---- all of them ---- */

static bool wanted(const char *folder, const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s", folder, name);
    if (access(path, R_OK) == 0) return false;
    fprintf(stderr, "make_models: %s\n", path);
    return true;
}

static status make_folder(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return UTTER_OK;
    return fail(UTTER_IO, "cannot make the folder %s: %s", path, strerror(errno));
}

/* From a checkpoint of 1.8 GB, which does not stay. */
static status write_encoder(const char *folder, const char *path) {
    char source[512];
    snprintf(source, sizeof source, "%s/encoder.safetensors", folder);
    status s = fixture_encoder_safetensors(true, source);
    if (s == UTTER_OK) s = convert_encoder(source, NULL, path, BLOCK_F16);
    remove(source);
    return s;
}

static status make_all(const char *folder) {
    static struct codec_rule_tensor rules[CODEC_RULE_MAX_TENSORS];
    static const struct {
        const char *name;
        block_type type;
    } codecs[] = {
        {"neucodec-f32.gguf", BLOCK_F32}, {"neucodec-f16.gguf", BLOCK_F16}, {"neucodec-q8_0.gguf", BLOCK_Q8_0}};
    char path[512], source[512];
    TRY(make_folder(folder));
    snprintf(path, sizeof path, "%s/voices", folder);
    TRY(make_folder(path));
    if (wanted(folder, "voices/bench.json", path)) TRY(write_voice(path));
    if (wanted(folder, air.file, path)) TRY(write_model(&air, path));
    if (wanted(folder, nano.file, path)) TRY(write_model(&nano, path));
    if (wanted(folder, "neucodec.safetensors", source))
        TRY(codec_rule_write(rules, codec_rule_tensors(true, rules), "", source));
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (wanted(folder, codecs[i].name, path)) TRY(convert_model(source, path, codecs[i].type));
    if (wanted(folder, "neucodec-encoder-f16.gguf", path)) TRY(write_encoder(folder, path));
    return UTTER_OK;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_models FOLDER\n");
        return 2;
    }
    if (make_all(argv[1]) == UTTER_OK) return 0;
    fprintf(stderr, "make_models: %s\n", fail_message());
    return 1;
}
