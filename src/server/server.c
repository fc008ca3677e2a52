/* The server's life: opening, loading, reading settings anew, stopping. */
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/nearest.h"
#include "server/folder.h"
#include "server/parts.h"

enum {
    DEFAULT_PORT = 5555,
    DEFAULT_PLACES = 8,
    DEFAULT_DRAIN_S = 30,
    MAX_PARKED = 64,
    BUFFER_BYTES = 1 << 20,
    BUFFERS_BYTES = 64 << 20,
    END_MS = 5000,  // for connections that are told to end
};

struct server_options server_options_default(void) {
    return (struct server_options){.port = DEFAULT_PORT,
                                   .n_places = DEFAULT_PLACES,
                                   .queue = -1,
                                   .characters = -1,
                                   .deadline_s = -1,
                                   .requests_per_minute = -1,
                                   .at_once = -1,
                                   .connections = -1,
                                   .drain_s = DEFAULT_DRAIN_S,
                                   .engine = utter_options_default()};
}

// ---- settings ----

static int choose(int option, int file, int otherwise) { return option >= 0 ? option : file >= 0 ? file : otherwise; }

// The bounds that hold: what the command line says before what the file says.
static struct limits_config choose_limits(const struct server_options *o, const struct limits_config *file) {
    return (struct limits_config){
        .queue = choose(o->queue, file->queue, 256),
        .queue_per_caller = choose(-1, file->queue_per_caller, 0),
        .characters = choose(o->characters, file->characters, 4096),
        .deadline_s = choose(o->deadline_s, file->deadline_s, 600),
        .requests_per_minute = choose(o->requests_per_minute, file->requests_per_minute, 0),
        .at_once = choose(o->at_once, file->at_once, 0),
        .connections = choose(o->connections, file->connections, 4096),
    };
}

static status read_pem(const char *path, char **out) {
    struct file_map m;
    TRY(file_map_open(path, &m));
    *out = strndup(m.data ? m.data : "", m.size);
    file_map_close(&m);
    return *out ? UTTER_OK : fail_memory(m.size, path);
}

static status load_settings(struct server *s) {
    const struct server_options *o = &s->options;
    TRY(config_load(o->config, &s->config));
    s->limit = choose_limits(o, &s->config.limits);
    s->has_keys = o->keys != NULL;
    if (o->keys) TRY(keys_load(o->keys, &s->keys));
    if (!o->tls_cert != !o->tls_key) return fail(UTTER_INVALID, "--tls-cert and --tls-key belong together");
    if (!o->tls_cert) return UTTER_OK;
    TRY(read_pem(o->tls_cert, &s->tls_cert));
    return read_pem(o->tls_key, &s->tls_key);
}

// As many files as the system allows: each connection is one.
static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

// ---- starting ----

static void on_tick(void *user) { jobs_tick(((struct server *)user)->jobs); }

static void on_done(void *user, const struct outcome *o, status result) {
    metrics_outcome(&((struct server *)user)->metrics, o, result);
}

static status open_parts(struct server *s) {
    const struct server_options *o = &s->options;
    const struct jobs_options jobs = {
        .n_threads = o->n_places,
        .n_places = o->n_places + 1 + o->n_places / 2,
        .n_open = o->n_places + MAX_PARKED,
        .n_queue = s->limit.queue,
        .n_queue_caller = s->limit.queue_per_caller,
        .first_frames = o->first_frames,
        .buffer_bytes = BUFFER_BYTES,
        .buffers_bytes = BUFFERS_BYTES,
        .done = on_done,
        .user = s,
    };
    s->options.engine.n_streams = jobs.n_places;
    metrics_init(&s->metrics);
    TRY(limits_new(&s->limits));
    if (o->output_folder) TRY(folder_open(o->output_folder, &s->folder));
    if (o->encoder) TRY(cloner_open(o->encoder, &s->options.engine, &s->cloner));
    TRY(jobs_new(&jobs, &s->jobs));
    return watch_new(on_tick, s, &s->watch);
}

// NAME of /somewhere/NAME.gguf, or of a model that is installed.
static void name_model(struct server *s) {
    const char *path = s->options.engine.model ? s->options.engine.model : "utter", *slash = strrchr(path, '/');
    snprintf(s->model, sizeof s->model, "%s", slash ? slash + 1 : path);
    size_t len = strlen(s->model);
    if (len > 5 && strcmp(s->model + len - 5, ".gguf") == 0) s->model[len - 5] = 0;
}

static status start(struct server *s) {
    const struct server_options *o = &s->options;
    name_model(s);
    TRY(load_settings(s));
    TRY(proxies_parse(o->proxies, &s->proxies));
    TRY(listeners_open(o->host, o->port, o->unix_path, o->no_tcp, s->tls_cert != NULL, &s->listeners));
    if (s->listeners.beyond && !s->has_keys && !o->allow_anyone)
        return fail(UTTER_INVALID,
                    "%s can be reached from other machines, and anyone could use it: give --keys FILE (utter serve "
                    "--new-key NAME makes one), or --allow-anyone",
                    str_text(&s->listeners.where));
    raise_file_limit();
    TRY(open_parts(s));
    for (int i = 0; i < s->listeners.n; i++) TRY(http_listen(s, s->listeners.fds[i]));
    return UTTER_OK;
}

status server_start(const struct server_options *o, struct server **out) {
    *out = NULL;
    struct server *s = calloc(1, sizeof *s);
    if (!s) return fail_memory(sizeof *s, "a server");
    s->options = *o;
    s->created = (int64_t)time(NULL);
    pthread_rwlock_init(&s->settings_lock, NULL);
    status result = start(s);
    if (result != UTTER_OK) {
        char *message = strdup(fail_message());  // stopping says something too
        server_stop(s);
        fail(result, "%s", message ? message : "out of memory");
        free(message);
        return result;
    }
    *out = s;
    return UTTER_OK;
}

static void log_sentence(void *user, utter_log_level level, const char *sentence) {
    if (level != UTTER_LOG_DEBUG) access_sentence(((struct server *)user)->options.log, level, sentence);
}

static void on_wyoming_text(void *user, status s) {
    int n;
    server_routes(&n);
    metrics_request(&((struct server *)user)->metrics, n, http_status_of(s));
}

static status open_wyoming(struct server *s, utter *u) {
    const struct wyoming_options o = {
        .address = s->options.wyoming_address,
        .allow_anyone = s->options.allow_anyone,
        .characters = s->limit.characters,
        .deadline_s = s->limit.deadline_s,
        .log = log_sentence,
        .log_user = s,
        .done = on_wyoming_text,
        .user = s,
    };
    TRY(wyoming_start(&o, u, s->jobs, &s->wyoming));
    char sentence[80];
    snprintf(sentence, sizeof sentence, "Wyoming is spoken on port %d", wyoming_port(s->wyoming));
    access_sentence(s->options.log, UTTER_LOG_INFO, sentence);
    return UTTER_OK;
}

status server_load(struct server *s) {
    utter_options options = s->options.engine;
    options.log = log_sentence;
    options.log_user = s;
    utter *u;
    TRY(utter_open(&options, &u));
    atomic_store(&s->engine, u);
    if (s->options.play) TRY(jukebox_open(utter_sample_rate(u), s->options.log, &s->jukebox));
    if (s->cloner) cloner_serve(s->cloner, u);
    TRY(jobs_serve(s->jobs, u));
    return s->options.wyoming ? open_wyoming(s, u) : UTTER_OK;
}

const char *server_describe(const struct server *s) { return str_text(&s->listeners.where); }
utter *server_engine(struct server *s) { return atomic_load(&s->engine); }
int server_n_requests(const struct server *s) {
    return atomic_load(&s->n_requests) + (s->wyoming ? wyoming_n_texts(s->wyoming) : 0);
}

// ---- reading anew ----

static void tell(struct server *s, status result, const char *what) {
    struct str sentence = {0};
    if (result == UTTER_OK)
        str_printf(&sentence, "%s were read anew", what);
    else
        str_printf(&sentence, "%s stay as they were: %s", what, fail_message());
    access_sentence(s->options.log, result == UTTER_OK ? UTTER_LOG_INFO : UTTER_LOG_WARNING, str_text(&sentence));
    str_free(&sentence);
}

void server_reload(struct server *s) {
    utter *u = server_engine(s);
    if (s->has_keys) {
        struct keys keys, old;
        status result = keys_load(s->options.keys, &keys);
        if (result == UTTER_OK) {
            pthread_rwlock_wrlock(&s->settings_lock);
            old = s->keys;
            s->keys = keys;
            pthread_rwlock_unlock(&s->settings_lock);
            keys_free(&old);
        }
        tell(s, result, "keys");
    }
    if (s->options.config) {
        struct config config, old;
        status result = config_load(s->options.config, &config);
        if (result == UTTER_OK) {
            pthread_rwlock_wrlock(&s->settings_lock);
            old = s->config;
            s->config = config;
            pthread_rwlock_unlock(&s->settings_lock);
            config_free(&old);
        }
        tell(s, result, "names of models and voices");
    }
    if (u) tell(s, utter_voices_reload(u), "voices");
}

// ---- stopping ----

void server_drain(struct server *s) {
    if (atomic_exchange(&s->draining, true)) return;
    jobs_stop(s->jobs, false);
    if (s->wyoming) wyoming_drain(s->wyoming);
    for (int i = 0; i < s->n_daemons; i++) MHD_quiesce_daemon(s->daemons[i]);
    struct str where = s->listeners.where;
    s->listeners.where = (struct str){0};
    listeners_close(&s->listeners);  // so that who comes now is told at once
    s->listeners.where = where;
}

// Connections that wait for a job are woken by its end; the library must not be stopped before.
static void wait_for_requests(struct server *s) {
    for (int i = 0; i < END_MS && server_n_requests(s) > 0; i++) usleep(1000);
}

void server_stop(struct server *s) {
    if (!s) return;
    atomic_store(&s->draining, true);
    if (s->jobs) jobs_stop(s->jobs, true);
    if (s->cloner) cloner_stop(s->cloner);
    wyoming_stop(s->wyoming);
    s->wyoming = NULL;
    if (s->n_daemons > 0) wait_for_requests(s);
    for (int i = 0; i < s->n_daemons; i++) MHD_stop_daemon(s->daemons[i]);
    watch_free(s->watch);
    jobs_free(s->jobs);
    cloner_close(s->cloner);
    jukebox_close(s->jukebox);
    utter_close(server_engine(s));
    listeners_close(&s->listeners);
    limits_free(s->limits);
    folder_close(s->folder);
    keys_free(&s->keys);
    config_free(&s->config);
    proxies_free(&s->proxies);
    free(s->tls_cert);
    free(s->tls_key);
    pthread_rwlock_destroy(&s->settings_lock);
    free(s);
}

// ---- voices ----

static bool find_voice(utter *u, const char *name, const char **out) {
    utter_voice v;
    for (int i = 0; utter_voice_get(u, i, &v) == UTTER_OK; i++)
        if (strcmp(v.name, name) == 0) {
            *out = v.name;
            return true;
        }
    return false;
}

static status no_voice(utter *u, const char *name) {
    enum { MAX_SHOWN = 24 };
    const char *names[256];
    int n = 0;
    utter_voice v;
    struct str list = {0};
    while (n < 256 && utter_voice_get(u, n, &v) == UTTER_OK) {
        names[n++] = v.name;
        if (n <= MAX_SHOWN) str_printf(&list, "%s%s", n > 1 ? ", " : "", v.name);
    }
    const char *near = nearest_name(name, names, (size_t)n);
    status s = fail(UTTER_INVALID, "there is no voice \"%.60s\"%s%s%s%s%s", name, near ? "; did you mean \"" : "",
                    near ? near : "", near ? "\"? There are " : "; there are ", str_text(&list),
                    n > MAX_SHOWN ? " and more" : "");
    str_free(&list);
    return s;
}

status server_voice(struct server *s, const char *name, const char **out) {
    utter *u = server_engine(s);
    utter_voice v;
    if (!name) {
        TRY(utter_voice_get(u, 0, &v));
        *out = v.name;
        return UTTER_OK;
    }
    if (find_voice(u, name, out)) return UTTER_OK;
    pthread_rwlock_rdlock(&s->settings_lock);
    const char *stands_for = config_voice(&s->config, name);
    bool known = stands_for && find_voice(u, stands_for, out);
    pthread_rwlock_unlock(&s->settings_lock);
    if (known) return UTTER_OK;
    int i = config_openai_voice(name);
    if (i < 0) return no_voice(u, name);
    if (i > 0 && utter_voice_count(u) < 2) i = 0;
    TRY(utter_voice_get(u, i, &v));
    *out = v.name;
    return UTTER_OK;
}
