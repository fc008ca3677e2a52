/* A stream: one text on its way from sentences to samples. stream.c is what utter.h says of it, speaking.c the work.

   The work is done for a reader inside utter_read: calls are handed to the lanes of a device (scheduler.h) and their
   results taken in. While the codec makes the sound of one portion of codes, the backbone writes the next: of the same
   piece of text, or of the one behind it. What has been written and not been read is never more than that, so that a
   reader that stops reading stops its generation and nobody else's. */
#ifndef UTTER_ENGINE_STREAM_H
#define UTTER_ENGINE_STREAM_H

#include "backbone/sampler_state.h"
#include "codec/windows.h"
#include "engine/chunks.h"
#include "engine/engine.h"
#include "engine/guard.h"

/* A piece of text while it is spoken, in attempts: an attempt that comes out as garbage is made again with the next
   seed as long as none of its sound has been handed out. */
struct utterance {
    struct chunk chunk;  // what it says; empty prepared: nothing
    int attempt;
    status failed;  // could not be begun, while the one before was spoken: told when its turn comes
    char *why;

    /* The attempt. */
    struct runner *runner;     // NULL: none is under way
    int slot;                  // -1: none held
    bool in_slot;              // the slot holds the prompt and the codes so far
    bool alone;                // the next codes are written in a call of their own
    struct token_list tokens;  // that an empty slot is filled with: the chunk's prompt and the codes so far
    struct sampler *sampler;
    struct sampler before;  // the call under way
    struct guard guard;
    int32_t *codes;  // [codes_cap]
    int n_codes, codes_cap;
    bool ended;     // no more codes come
    bool cut;       // what is left is spoken as far as it is good, and no attempt follows
    bool over;      // and no more sound
    int n_sounded;  // codes that the codec was given, or its windows
    bool sounded_last;
    struct windows *windows;  // streaming only
    bool emitted;             // sound of this attempt has been handed out
    int64_t first_sample;     // where it began
};

/* A piece whose sound is made. */
struct spoken {
    char *text;
    int64_t first, n;  // samples
};

struct utter_stream {
    utter *u;
    const struct voice *voice;
    struct str document;
    char *language, *emotion;
    struct sampling sampling;
    uint32_t seed;
    int retries;
    bool streaming;
    struct window_shape shape;
    struct waiter waiter;

    struct chunks chunks;
    struct utterance pieces[2];
    struct utterance *now, *ahead;  // whose sound is made; and the next, written meanwhile
    struct utterance *writer;       // whose call the backbone has; NULL: none is under way
    struct call writing;
    bool is_sounding;  // the codec has a call, of `now`
    struct call sounding;
    float *pcm;  // [pcm_cap] of that call
    int64_t pcm_cap;

    float *ready;  // [n_ready] samples to hand out, from `at` on
    int64_t n_ready, at, ready_cap;
    int64_t n_made;         // samples put there so far
    struct spoken *spoken;  // [n_spoken]
    int n_spoken;
    bool paused_before;  // some piece has been spoken: the next is preceded by a pause
    bool paragraph_before;
    bool done;

    status failed;  // and stays so
    char *failed_message;
    int64_t started;
    utter_trace_fn *trace;
    void *trace_user;
    utter_report report;
};

/* As utter_read, without a copy: the samples lie there until the next call for the stream. */
status stream_read(utter_stream *s, size_t most, const float **samples, size_t *n_read);
/* Whether what is left of the sentence is written, and only to be made sound. */
bool stream_ends_soon(const utter_stream *s);
/* Whether all sound has been read. */
bool stream_is_over(const utter_stream *s);
/* Takes in what the devices have done and hands them what is next, without waiting for them. */
status stream_work(utter_stream *s);
/* Waits until stream_work has something to take in, the stream is cancelled, or until `until`. */
void stream_wait(utter_stream *s, int64_t until);
/* For a stream that is not read for a while: gives its place back. What has been written stays; with the next read the
   prompt is read again, codes and all, and the sound is what it would have been. */
void stream_rest(utter_stream *s);
/* Gives back all that the stream holds of devices. */
void stream_drop(utter_stream *s);

/* Tells the trace. A stage_fn. */
void stream_span(void *stream, const char *stage, int64_t begin, int64_t end, int count, int sentence);

#endif
