/* Voices made of recordings that clients send: one at a time, in a thread of its own, since the encoder is large and
   slow. */
#ifndef UTTER_SERVER_CLONE_H
#define UTTER_SERVER_CLONE_H

#include <jansson.h>

#include "server/jobs.h"
#include "utter.h"

struct cloner;
struct clone_task;

struct clone_order {
    char *name, *text, *language, *note;  // language and note: NULL: none
    char *audio;                          // [n_audio] a sound file
    size_t n_audio;
};
void clone_order_free(struct clone_order *o);

/* encoder: a file, or the name of one that was pulled; `options`: of the engine, for its threads and codec. */
status cloner_open(const char *encoder, const utter_options *options, struct cloner **out);
void cloner_serve(struct cloner *c, utter *u);
/* No more is begun; readers are told. */
void cloner_stop(struct cloner *c);
/* After all readers have let go. NULL is allowed. */
void cloner_close(struct cloner *c);

/* Takes the order's parts. UTTER_LIMIT when too many wait. */
status cloner_submit(struct cloner *c, struct clone_order *o, const struct job_reader *reader, struct clone_task **out);
/* True: it is over, with *s; *warnings: an array of sentences (a new reference). False: the reader's wait was called.
 */
bool clone_ready(struct clone_task *t, status *s, json_t **warnings);
const char *clone_name(const struct clone_task *t);
/* The reader lets go. What has begun is completed all the same. */
void clone_release(struct clone_task *t);

#endif
