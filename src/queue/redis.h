/* A connection to Redis that comes back by itself. hiredis writes commands and reads replies; the socket, TLS and every
   wait are here, so that nothing waits longer than it may.

   URLs: redis://[[USER:]PASSWORD@]HOST[:PORT][/DB], rediss:// the same by TLS (certificates of the system, or of
   SSL_CERT_FILE), unix:///PATH. A password may also stand in the environment variable REDIS_PASSWORD. */
#ifndef UTTER_QUEUE_REDIS_H
#define UTTER_QUEUE_REDIS_H

#include <hiredis/hiredis.h>
#include <stdatomic.h>

#include "base/log.h"

struct redis;

struct redis_options {
    const char *url;
    const struct log *log;    // told once when the connection is lost, and once when it is back; may be NULL
    const atomic_bool *stop;  // ends every wait with UTTER_CANCELLED; may be NULL
    double patience_s;        // a connection that is lost is made anew for so long; then UTTER_IO
};

/* Connects, logs in, and looks whether the server has what is needed (Redis 6.2 or later). */
status redis_open(const struct redis_options *options, struct redis **out);
void redis_close(struct redis *r);

/* One command, written as hiredis has it: "XACK %s %s %s", "%b" takes data and size_t. *reply is the caller's
   (freeReplyObject). A connection that breaks is made anew and the command sent again, so that it may be carried out
   twice. An error reply is a failure: UTTER_FORMAT when a key is of another kind, as another program's, else UTTER_IO.
 */
status redis_call(struct redis *r, redisReply **reply, const char *format, ...);

/* The same for a command that waits up to block_s in the server. */
status redis_wait(struct redis *r, double block_s, redisReply **reply, const char *format, ...);

/* Several commands as one transaction: redis_add each, then redis_commit. Carried out as a whole or not at all; after a
   broken connection again as a whole. *reply: an array of their replies. */
status redis_add(struct redis *r, const char *format, ...);
status redis_commit(struct redis *r, redisReply **reply);

/* The last error reply's first word: "BUSYGROUP"; "" when there was none. */
const char *redis_error_word(const struct redis *r);

/* Element i of an array reply, or NULL; the text of a string reply, or NULL. */
const redisReply *reply_at(const redisReply *reply, size_t i);
const char *reply_text(const redisReply *reply);
/* The value of `name` in an array of names and values, or NULL. */
const redisReply *reply_field(const redisReply *fields, const char *name);

#endif
