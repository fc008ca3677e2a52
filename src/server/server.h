/* utter serve: one engine behind HTTP, as OpenAI's speech endpoint is asked, and as the first utter server was.

   Threads: a few that speak HTTP (libmicrohttpd), which never wait for a device; those of jobs.h, which do; one that
   watches connections (watch.h). */
#ifndef UTTER_SERVER_SERVER_H
#define UTTER_SERVER_SERVER_H

#include "server/access.h"
#include "utter.h"

struct server_options {
    const char *host;                                // address or name to listen on; NULL: 127.0.0.1
    int port;                                        // 0: any that is free
    const char *unix_path;                           // listen there too; NULL: not
    bool no_tcp;                                     // on unix_path alone
    bool allow_anyone;                               // beyond this machine without keys
    const char *keys, *config, *tls_cert, *tls_key;  // files; NULL: none
    const char *proxies;          // whose X-Forwarded-For is believed, as of proxies_parse; NULL: none
    const char *cors;             // an origin whose pages may ask, or "*"; NULL: none
    const char *output_folder;    // POST / writes there; NULL: it writes nothing
    bool play;                    // POST / plays on this machine
    bool wyoming;                 // speak it too
    const char *wyoming_address;  // there; NULL: 127.0.0.1:10200
    const char *encoder;          // makes voices of recordings; NULL: voices cannot be made
    int n_places;                 // texts spoken at once
    int queue, characters, deadline_s, requests_per_minute, at_once, connections;  // negative: the file's, or default
    int drain_s;  // how long texts that are spoken may go on when it stops
    int first_frames;
    enum access_format log;
    utter_options engine;
};

struct server_options server_options_default(void);

struct server;

/* Listens, and answers that it is loading. The options' strings are the caller's and must outlive it. */
status server_start(const struct server_options *o, struct server **out);
/* Opens the engine; from then on it speaks. */
status server_load(struct server *s);
/* Where it listens, a sentence; valid from server_start on. */
const char *server_describe(const struct server *s);
/* Reads keys, names and voices anew. What cannot be read stays as it was, with a sentence. */
void server_reload(struct server *s);
/* Takes no more. */
void server_drain(struct server *s);
/* How many requests are being answered. */
int server_n_requests(const struct server *s);
/* Ends what still runs and closes everything. NULL is allowed. */
void server_stop(struct server *s);

/* The engine, NULL while it loads. */
utter *server_engine(struct server *s);
/* Which voice a name stands for (`out` is set), with a sentence that has the near ones. */
status server_voice(struct server *s, const char *name, const char **out);

#endif
