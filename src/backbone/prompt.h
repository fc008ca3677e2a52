/* The prompt: what stands before the speech codes.

   A template with fields in braces: {ref} the reference transcript, {text} the text, {codes} the reference codes as
   <|speech_N|> tokens, {voice} the voice's own token text (voices without reference), {emotion} the emotion's token or
   a space. Templates come from the file's metadata (`utter.prompt`), else by input format as NeuTTS defines them:

     phonemes  user: Convert the text to speech:<|TEXT_PROMPT_START|>{ref} {text}<|TEXT_PROMPT_END|>\nassistant:
               <|SPEECH_GENERATION_START|>{codes}
     BPE       <|TEXT_PROMPT_START|>{ref}{emotion}{text}<|TEXT_PROMPT_END|><|SPEECH_GENERATION_START|>{codes}

   The whole is tokenised as one string, special tokens parsed. What a user writes must not steer the model: texts of
   control tokens and of tokens in angle brackets are taken out of {ref} and {text}. */
#ifndef UTTER_BACKBONE_PROMPT_H
#define UTTER_BACKBONE_PROMPT_H

#include "backbone/backbone.h"

extern const char prompt_phonemes[];  // default template of INPUT_PHONEMES
extern const char prompt_bpe[];       // default template of INPUT_BPE

struct prompt_parts {
    const char *ref;       // phonemes or prepared text of the reference; "" without
    const char *text;      // phonemes or prepared text to speak
    const int32_t *codes;  // [n_codes] reference codes
    int n_codes;
    const char *voice;    // token text such as "<|VOICE_slt|>"; "" without
    const char *emotion;  // "happy"; NULL or "neutral" for none
};

/* Refuses a template with an unknown field, or without {text}. */
status prompt_check(const char *prompt, const char *label);

/* Refuses a model whose prompt names tokens (<|...|>) that its vocabulary does not have. */
status prompt_check_tokens(const struct backbone *b);

/* Appends the prompt's tokens. Refuses a code beyond the model's range, an emotion the model does not know (naming
   those it does), and a voice that the prompt has no place for. */
status prompt_encode(const struct backbone *b, const struct prompt_parts *parts, struct token_list *out);

/* Appends the prompt as text, for tests and debugging. */
status prompt_text(const struct backbone *b, const struct prompt_parts *parts, struct str *out);

/* What BPE models read instead of phonemes: curly quotes to straight ones, then NFKC; white space collapsed. */
status prompt_prepare_bpe(const char *text, size_t len, struct str *out);

#endif
