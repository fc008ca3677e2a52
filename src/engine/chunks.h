/* From a text to the pieces that are spoken one at a time: sentences, written as they are said, as the model reads
   them (phonemes or prepared text), joined while short and cut where prompt and speech would not fit the context. */
#ifndef UTTER_ENGINE_CHUNKS_H
#define UTTER_ENGINE_CHUNKS_H

#include "backbone/prompt.h"
#include "base/str.h"
#include "engine/voice.h"

struct chunk {
    struct str prepared;       // what goes into the prompt
    struct token_list prompt;  // with it, as tokens
    int expected;              // frames it should take to say
    int sentence;              // the first of its sentences, counted from 0
    int n_sentences;
    bool paragraph_end;
    size_t text_begin, text_end;  // bytes [begin, end) of the document that it speaks
};

/* Told how long something took, clock_ns() times, of how much, and for which sentence. */
typedef void stage_fn(void *user, const char *stage, int64_t begin, int64_t end, int count, int sentence);

struct chunks {
    const struct backbone *backbone;
    const struct voice *voice;
    const char *language;
    const char *emotion;
    bool raw;
    int n_ctx;        // positions a slot has
    int join_frames;  // sentences are joined up to this length
    int max_frames;   // and cut beyond this one, the longest that the model has learned to speak
    double frames_per_symbol;
    stage_fn *stage;  // "text" in bytes written, "phonemes" in bytes of them; NULL: nobody listens
    void *stage_user;
    const char *text;  // [len] the document
    size_t len;
    size_t at;                 // bytes of it read
    struct str pending;        // the next sentence, prepared already; empty when there is none
    struct token_list prompt;  // with what is pending; empty: to be made when it is asked for
    size_t pending_begin, pending_end;
    int n_sentences;  // in chunks so far
    bool pending_paragraph_end;
    size_t sentence_end;  // a sentence that is being cut goes up to here; 0: none
    bool sentence_paragraph_end;
};

/* The next chunk; chunk->prepared is empty at the end of the text. The caller passes the same chunk again, and in the
   end to chunk_free. */
status chunks_next(struct chunks *c, struct chunk *chunk);
void chunk_free(struct chunk *chunk);
void chunks_free(struct chunks *c);

/* Appends the tokens of the prompt that a chunk of this text would have. */
status chunk_prompt(const struct chunks *c, const char *prepared, struct token_list *out);

/* Codes after which an utterance that should take `expected` frames is taken for endless. */
int chunk_budget(int expected);

#endif
