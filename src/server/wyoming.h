/* The Wyoming protocol, by which Home Assistant and its satellites ask for speech: JSON lines and PCM over TCP.
   describe, synthesize, and the streaming synthesize-start, -chunk and -stop; ping. Others' events are passed over.

   The protocol knows no keys and no encryption: who can connect can have speech made. */
#ifndef UTTER_SERVER_WYOMING_H
#define UTTER_SERVER_WYOMING_H

#include "server/jobs.h"

struct wyoming_options {
    const char
        *address;       // "HOST:PORT", "HOST", ":PORT", "[::1]:PORT"; NULL or "": 127.0.0.1:10200. Port 0: any free one
    bool allow_anyone;  // listen beyond this machine: without it such an address is refused
    int connections;    // at once; 0: 32. Further ones are told so
    int characters;     // of a text, or of a sentence that comes in pieces; 0: 4096
    int idle_s;         // a connection that says or reads nothing for so long is closed; 0: 120
    int deadline_s;     // for a text, or a sentence that comes in pieces; 0: 600
    utter_log_fn *log;  // a sentence for each text spoken, and for each connection that failed; NULL: none
    void *log_user;
    void (*done)(void *user, status s);  // of each text that was asked for; NULL: nobody counts them
    void *user;
};

struct wyoming;

/* Listens, and answers in threads of its own; the texts are spoken by `jobs`. Both must outlive it. */
status wyoming_start(const struct wyoming_options *options, utter *u, struct jobs *jobs, struct wyoming **out);
/* The port it listens on. */
int wyoming_port(const struct wyoming *w);
/* How many texts are being spoken. */
int wyoming_n_texts(const struct wyoming *w);
/* Takes no more; connections end after what is being spoken. */
void wyoming_drain(struct wyoming *w);
/* Ends all connections; what is being spoken is broken off. NULL is allowed. */
void wyoming_stop(struct wyoming *w);

#endif
