/* Byte-level BPE as GGUF files carry it ("tokenizer.ggml.model" = "gpt2"), with the pre-tokenizers that NeuTTS models
   use: qwen2, smollm, llama-bpe, gpt-2 ("tokenizer.ggml.pre"). Equal to llama.cpp's tokens. */
#ifndef UTTER_TEXT_TOKENIZER_H
#define UTTER_TEXT_TOKENIZER_H

#include "base/str.h"
#include "gguf/gguf.h"

struct tokenizer;

/* Token types as they stand in files. */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6
};

struct token_list {
    int32_t *ids;  // [n]; owned
    size_t n, cap;
};
void token_list_free(struct token_list *l);
status token_list_push(struct token_list *l, int32_t id);

/* `g` must outlive the tokenizer: token texts are read in place. Refuses, with a sentence, what no tool writes: empty
   or equal tokens, merges of unknown tokens, ids beyond the vocabulary. */
status tokenizer_load(const struct gguf *g, struct tokenizer **out);
void tokenizer_free(struct tokenizer *t);

/* Appends the tokens of text[len]. `parse_special`: control tokens written out in the text become those tokens
   (user-defined ones always do). `add_special`: BOS first, EOS last, where the vocabulary asks for them. Invalid UTF-8
   is taken byte by byte. Bytes that the vocabulary does not know are left out, as llama.cpp does. Thread-safe. */
status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special, bool parse_special,
                        struct token_list *out);

/* Where special tokens stand in text[len]: *at is new memory (free), int32_t [len], with the id of the special token
   that begins at a byte, SPECIAL_NONE where none does, SPECIAL_INSIDE on the other bytes of one. NULL when there are
   none. */
enum { SPECIAL_NONE = -1, SPECIAL_INSIDE = -2 };
status tokenizer_find_special(const struct tokenizer *t, const char *text, size_t len, bool parse_special,
                              int32_t **at);

/* Appends the bytes that a token stands for. Control tokens only with `special`. */
void tokenizer_decode(const struct tokenizer *t, int32_t id, bool special, struct str *out);

/* Appends the text of ids[n] as llama.cpp writes it: with some pre-tokenizers that is not all of the tokens' bytes, but
   spaces before marks and contractions are taken away. */
void tokenizer_detokenize(const struct tokenizer *t, const int32_t *ids, size_t n, bool special, struct str *out);

/* The id of the token whose text (as in the file) is exactly `text`; -1 if there is none. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text);

/* The text of a token as it is in the file; *len bytes, not NUL-terminated. "" for an id beyond the vocabulary. */
const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *len);

int32_t tokenizer_n_vocab(const struct tokenizer *t);
enum token_type tokenizer_type(const struct tokenizer *t, int32_t id);
int32_t tokenizer_bos(const struct tokenizer *t);  // -1 without
int32_t tokenizer_eos(const struct tokenizer *t);  // -1 without
/* True for end-of-generation tokens as llama.cpp knows them (SAMPLER rules: eos, eot, names such as <|im_end|>). */
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id);

#endif
