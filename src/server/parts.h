/* What the files of the HTTP server share. */
#ifndef UTTER_SERVER_PARTS_H
#define UTTER_SERVER_PARTS_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>

#include "base/str.h"
#include "server/clone.h"
#include "server/config.h"
#include "server/jukebox.h"
#include "server/keys.h"
#include "server/limits.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/proxies.h"
#include "server/server.h"
#include "server/watch.h"
#include "server/wyoming.h"

enum { MAX_DAEMONS = 8 };

struct server {
    struct server_options options;
    pthread_rwlock_t settings_lock;
    struct config config;  // under settings_lock, and so are the keys
    struct keys keys;
    bool has_keys;
    struct proxies proxies;
    struct limits_config limit;  // as they hold, options and file together
    struct limits *limits;
    struct watch *watch;
    struct jobs *jobs;
    struct metrics metrics;
    struct folder *folder;    // NULL: nothing is written
    struct jukebox *jukebox;  // NULL: nothing is played
    struct cloner *cloner;    // NULL: no voices are made
    struct listeners listeners;
    struct MHD_Daemon *daemons[MAX_DAEMONS];
    int n_daemons;
    char *tls_cert, *tls_key;  // PEM
    _Atomic(utter *) engine;   // NULL: it is loading
    atomic_bool draining;
    atomic_int n_requests;
    struct wyoming *wyoming;  // NULL: it is not spoken
    char model[128];          // what the model is called, beside the names of config
    int64_t created;          // seconds of the epoch, for OpenAI's lists
};

struct route;

/* One request, from its headers to its last byte. */
struct request {
    struct server *server;
    struct MHD_Connection *connection;
    struct peer *peer;
    const struct route *route;
    int route_index;
    char id[64], trace[64], caller[MAX_CALLER];
    char method[16];
    char *path;
    int64_t begun;
    struct str body;
    size_t n_body;  // received; more than the body when that was too large
    bool counted;   // in limits
    // a refusal that is known before the body is: status 0: none
    int refusal;
    const char *refusal_code;
    char *refusal_message;
    double retry_s;

    struct job *job;
    struct clone_task *clone;
    bool seed;       // answered as the first server did
    bool announced;  // its failure, to a reader of events
    bool held;       // what is sent, until there is more
    char *voice, *output;
    const char *format;
    int n_characters;
    int http_status;
    int64_t n_sent;
    char *error;  // for the log
};

typedef enum MHD_Result handler(struct request *r);

struct route {
    const char *method, *path;  // a path that ends in * takes any that begins so
    const char *name;           // in the metrics
    bool is_open;               // needs no key and counts for no limit
    bool needs_engine;
    handler *begin;   // the body is there
    handler *resume;  // what begin waited for has happened; NULL: it never waits
};

/* routes[*n]; the last is for what is not there. */
const struct route *server_routes(int *n);

/* ---- answers (reply.c) ---- */

/* body: taken. headers: pairs of name and value, ended by NULL; NULL: none. */
enum MHD_Result reply(struct request *r, int http_status, const char *mime, struct str *body,
                      const char *const *headers);
/* Takes the object. */
enum MHD_Result reply_json(struct request *r, int http_status, json_t *o);
/* As OpenAI's errors are, and for the first server's callers as its were. param and code may be NULL. */
enum MHD_Result reply_error(struct request *r, int http_status, const char *message, const char *param,
                            const char *code);
/* With fail_message(), as `s` is answered. */
enum MHD_Result reply_failure(struct request *r, status s, const char *param);
/* The job's bytes, as they come. */
enum MHD_Result reply_stream(struct request *r, const char *mime);
int http_status_of(status s);
void add_common_headers(struct request *r, struct MHD_Response *response);

/* ---- asking (submit.c) ---- */

/* How a job or a clone tells the request that waits for it: the connection sleeps until then. */
struct job_reader request_reader(struct request *r);
/* Puts the order in the queue and lets the request wait; answers when that cannot be. */
enum MHD_Result submit(struct request *r, struct order *o);

/* ---- the library's calls (http.c) ---- */

/* From now on what is sent waits for more to go with it, a fifth of a second at most; or no longer. */
void hold_back(struct request *r, bool hold);

/* Begins to serve the socket; the daemon is added to the server's. */
status http_listen(struct server *s, int fd);

/* Who asks, and whether he may (access rules in admit.c): sets the request's caller, or its refusal. */
void admit(struct request *r);
void refuse(struct request *r, int http_status, const char *code, const char *format, ...) PRINTF_LIKE(4, 5);

/* ---- routes ---- */

handler page_begin, speech_begin, speech_resume, models_begin, model_begin, audio_models_begin, voices_begin,
    clone_begin, clone_resume, seed_begin, seed_resume, health_begin, ready_begin, metrics_begin, unknown_begin;

/* Whether the model may be asked for by this name. */
bool knows_model(struct server *s, const char *name);

/* ---- what JSON bodies have in common (fields.c) ---- */

/* The body as an object; NULL: answered in *result. */
json_t *body_object(struct request *r, enum MHD_Result *result);
/* Texts and numbers of it; absent or null: left alone. UTTER_INVALID names the field. */
status field_text(const json_t *o, const char *name, const char **out);
status field_number(const json_t *o, const char *name, double least, double most, double *out);
status field_flag(const json_t *o, const char *name, bool *out);
/* The text to speak, checked against the limit of characters. */
status field_input(struct request *r, const json_t *o, const char *name, char **out);
/* "voice", a name or {"id": name}, as the engine's name. */
status field_voice(struct request *r, const json_t *o, char **out);
/* language, seed */
status field_rest(const json_t *o, struct order *out);

#endif
