/* utter serve: speech over HTTP, until a signal. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "server/keys.h"
#include "server/listen.h"
#include "server/server.h"

enum { LOOK_MS = 50 };

static const struct manual manual = {
    .usage = "[options]",
    .about =
        "Serves speech over HTTP, as OpenAI's speech endpoint is asked (POST /v1/audio/speech), with a\n"
        "page to try it in a browser. Only this machine can ask, unless --host says otherwise.\n"
        "SIGTERM or Ctrl-C lets what is being spoken end; SIGHUP reads keys, names and voices anew.\n",
    .examples =
        "  utter serve                                     http://127.0.0.1:5555\n"
        "  curl -s http://127.0.0.1:5555/v1/audio/speech \\\n"
        "    -d '{\"input\": \"Hello.\", \"voice\": \"alloy\"}' -o hello.mp3\n"
        "  utter serve --new-key anna >>keys               prints the key, keeps its hash\n"
        "  utter serve --host 0.0.0.0 --keys keys\n"
        "  utter serve --unix /run/utter.sock --output-folder ~/speech --log json\n",
};

struct serve {
    struct server_options options;
    const char *log, *new_key;
    struct server *server;
    pthread_t loader;
    bool has_loader;
    atomic_bool loaded;
    status load;  // of the loader, when loaded
    char *load_message;
};

// ---- a key ----

// The key to the terminal, its line to where the file is.
static status print_new_key(const char *name) {
    struct str key = {0}, line = {0};
    status s = keys_new(name, &key, &line);
    if (s == UTTER_OK) {
        fprintf(stderr, "The key of %s, which is shown this once:\n%s\n", name, str_text(&key));
        if (isatty(STDOUT_FILENO)) fprintf(stderr, "The line for the file of --keys:\n");
        printf("%s\n", str_text(&line));
    }
    str_free(&key);
    str_free(&line);
    return s;
}

// ---- loading ----

static void *load(void *user) {
    struct serve *serve = user;
    int64_t since = clock_ns();
    serve->load = server_load(serve->server);
    if (serve->load != UTTER_OK) serve->load_message = strdup(fail_message());
    atomic_store(&serve->loaded, true);
    if (serve->load == UTTER_OK) {
        struct str sentence = {0};
        str_printf(&sentence, "ready after %.1f s: %s", (double)(clock_ns() - since) * 1e-9,
                   utter_describe(server_engine(serve->server)));
        access_sentence(serve->options.log, UTTER_LOG_INFO, str_text(&sentence));
        str_free(&sentence);
        listen_notify("READY=1");
    }
    return NULL;
}

// ---- until it is over ----

static status drain(struct serve *serve, sigset_t *signals) {
    static const struct timespec look = {0, LOOK_MS * 1000000};
    listen_notify("STOPPING=1");
    server_drain(serve->server);
    int n = server_n_requests(serve->server);
    if (n > 0) {
        struct str sentence = {0};
        str_printf(&sentence, "stopping; %d request%s may take %d s yet, a second signal ends them", n,
                   n == 1 ? "" : "s", serve->options.drain_s);
        access_sentence(serve->options.log, UTTER_LOG_INFO, str_text(&sentence));
        str_free(&sentence);
    }
    int64_t until = clock_ns() + (int64_t)serve->options.drain_s * 1000000000;
    while (server_n_requests(serve->server) > 0 && clock_ns() < until) {
        int got = sigtimedwait(signals, NULL, &look);
        if (got == SIGTERM || got == SIGINT) return UTTER_OK;
    }
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);  // from here on a second signal ends the process
    return UTTER_OK;
}

static status wait_for_signals(struct serve *serve, sigset_t *signals) {
    static const struct timespec look = {0, LOOK_MS * 1000000};
    for (;;) {
        int got = sigtimedwait(signals, NULL, &look);
        bool loaded = atomic_load(&serve->loaded);
        if (loaded && serve->load != UTTER_OK)
            return fail(serve->load, "%s", serve->load_message ? serve->load_message : "the model cannot be loaded");
        if (got == SIGHUP && loaded) {
            listen_notify("RELOADING=1");
            server_reload(serve->server);
            listen_notify("READY=1");
        }
        if (got != SIGTERM && got != SIGINT) continue;
        if (!loaded) _exit(128 + got);  // nothing is being spoken, and loading cannot be broken off
        return drain(serve, signals);
    }
}

static status run(struct serve *serve) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);  // before there are other threads, which are to have it so too
    TRY(server_start(&serve->options, &serve->server));
    struct str sentence = {0};
    str_printf(&sentence, "listening on %s", server_describe(serve->server));
    access_sentence(serve->options.log, UTTER_LOG_INFO, str_text(&sentence));
    str_free(&sentence);
    int error = pthread_create(&serve->loader, NULL, load, serve);
    if (error) return fail(UTTER_INTERNAL, "cannot start a thread: %s", strerror(error));
    serve->has_loader = true;
    return wait_for_signals(serve, &signals);
}

static void serve_close(struct serve *serve) {
    if (serve->has_loader) pthread_join(serve->loader, NULL);
    server_stop(serve->server);
    free(serve->load_message);
}

// ---- the command line ----

static status check_usage(struct serve *serve, char **words, int n_words) {
    struct server_options *o = &serve->options;
    if (n_words > 0) return fail(UTTER_INVALID, "\"%s\" is one too many", words[0]);
    o->wyoming |= o->wyoming_address != NULL;
    if (o->no_tcp && !o->unix_path)
        return fail(UTTER_INVALID, "--no-tcp leaves nothing to listen on; give --unix PATH");
    return serve->log ? access_format_parse(serve->log, &o->log) : UTTER_OK;
}

int command_serve(int argc, char **argv) {
    struct serve serve = {.options = server_options_default()};
    struct server_options *o = &serve.options;
    const struct option options[] = {
        {"host", 0, OPTION_TEXT, &o->host, "ADDRESS", "listen on this address or name; default: 127.0.0.1", 0, 0},
        {"port", 'p', OPTION_INT, &o->port, "N", "and on this port, 0: any; default: 5555", 0, 65535},
        {"unix", 0, OPTION_TEXT, &o->unix_path, "PATH", "listen on this Unix socket too", 0, 0},
        {"no-tcp", 0, OPTION_FLAG, &o->no_tcp, NULL, "on the Unix socket alone", 0, 0},
        {"keys", 0, OPTION_TEXT, &o->keys, "FILE", "serve only who has one of these API keys", 0, 0},
        {"new-key", 0, OPTION_TEXT, &serve.new_key, "NAME",
         "make a key: its line for the file to standard output, and end", 0, 0},
        {"allow-anyone", 0, OPTION_FLAG, &o->allow_anyone, NULL, "serve other machines without keys", 0, 0},
        {"tls-cert", 0, OPTION_TEXT, &o->tls_cert, "FILE", "serve HTTPS with this certificate (PEM)", 0, 0},
        {"tls-key", 0, OPTION_TEXT, &o->tls_key, "FILE", "and its key", 0, 0},
        {"proxies", 0, OPTION_TEXT, &o->proxies, "ADDRESSES",
         "of proxies whose X-Forwarded-For is believed: with commas,\nas ADDRESS/BITS, or unix", 0, 0},
        {"cors", 0, OPTION_TEXT, &o->cors, "ORIGIN", "let pages of this origin ask, * of any; default: none", 0, 0},
        {"config", 0, OPTION_TEXT, &o->config, "FILE", "names of models and voices, and limits (JSON)", 0, 0},
        {"output-folder", 0, OPTION_TEXT, &o->output_folder, "DIR", "POST / writes files here; default: it writes none",
         0, 0},
        {"play", 0, OPTION_FLAG, &o->play, NULL, "POST / plays what it spoke on this machine", 0, 0},
        {"encoder", 0, OPTION_TEXT, &o->encoder, "FILE", "let clients make voices of recordings, with this encoder", 0,
         0},
        {"wyoming", 0, OPTION_FLAG, &o->wyoming, NULL, "speak the Wyoming protocol too, for Home Assistant", 0, 0},
        {"wyoming-address", 0, OPTION_TEXT, &o->wyoming_address, "HOST:PORT", "there; default: 127.0.0.1:10200", 0, 0},
        {"places", 0, OPTION_INT, &o->n_places, "N", "texts spoken at once; default: 8", 1, 256},
        {"queue", 0, OPTION_INT, &o->queue, "N", "texts that may wait; default: 256", 1, 1000000},
        {"characters", 0, OPTION_INT, &o->characters, "N", "of a text at most; default: 4096", 1, 10000000},
        {"deadline", 0, OPTION_INT, &o->deadline_s, "SECONDS", "for a text, waiting included; default: 600", 1,
         1000000},
        {"rate", 0, OPTION_INT, &o->requests_per_minute, "N",
         "requests a minute of each key or address; default: 0, any", 0, 1000000},
        {"at-once", 0, OPTION_INT, &o->at_once, "N", "requests of each key or address at once; default: 0, any", 0,
         1000000},
        {"connections", 0, OPTION_INT, &o->connections, "N", "at most; default: 4096", 1, 1000000},
        {"drain", 0, OPTION_INT, &o->drain_s, "SECONDS", "that texts may go on when it stops; default: 30", 0, 86400},
        {"first-frames", 0, OPTION_INT, &o->first_frames, "N",
         "frames (20 ms) of the first piece of sound, for an earlier\nstart; default: 25", 1, 25},
        {"log", 0, OPTION_TEXT, &serve.log, "FORMAT", "text, json or off: a line for each request; default: text", 0,
         0},
        OPTION_MODEL(o->engine),
        OPTION_CODEC(o->engine),
        OPTION_VOICES(o->engine),
        OPTIONS_DEVICE(o->engine),
    };
    int n_words, exit_code;
    if (!command_begin(&manual, options, sizeof options / sizeof *options, argc, argv, &n_words, &exit_code))
        return exit_code;
    if (check_usage(&serve, argv + 1, n_words) != UTTER_OK) return command_usage(argv[0]);
    if (serve.new_key) return command_end(argv[0], print_new_key(serve.new_key));
    exit_code = command_end(argv[0], run(&serve));
    serve_close(&serve);
    return exit_code;
}
