/* The connections that there are: who hangs up while his text is spoken, and who takes too long to ask.

   The HTTP library looks at a connection only while it has something to read or write there. A thread of its own
   watches the sockets of those that wait, and cuts off what is past its deadline. A client that closes its sending side
   is taken to be gone, as other servers do: nothing tells it from one that closed both. */
#ifndef UTTER_SERVER_WATCH_H
#define UTTER_SERVER_WATCH_H

#include <stdint.h>

#include "base/status.h"
#include "server/jobs.h"

struct watch;
struct peer;

/* tick: called ten times a second by the watching thread. */
status watch_new(void (*tick)(void *user), void *user, struct watch **out);
void watch_free(struct watch *w);

/* A connection was made. NULL: there is no memory for it. */
struct peer *watch_open(struct watch *w, int fd, int64_t deadline);
/* Before its socket is closed. */
void watch_close(struct peer *p);

/* The connection is cut off at `deadline`, NO_DEADLINE: never. */
void peer_deadline(struct peer *p, int64_t deadline);
/* From now on the job is cancelled when the peer hangs up, at once if it has; NULL: no more. */
void peer_watch(struct peer *p, struct job *j);
int watch_count(struct watch *w);

#endif
