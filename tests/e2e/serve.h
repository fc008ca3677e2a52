/* utter serve for tests: started and stopped, and asked over raw sockets, so that a test says what is on the wire. */
#ifndef UTTER_TESTS_E2E_SERVE_H
#define UTTER_TESTS_E2E_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SPEECH "/v1/audio/speech"
#define SENTENCE "This is a sentence that takes a while to say."

struct served {
    pid_t pid;
    int port;       // of 127.0.0.1; 0: none
    char log[256];  // file of its standard error
};

/* Starts `utter serve --port 0 OPTIONS` in the folder of run.h and waits until it is ready. Fails the test if it is not
   within a minute. */
struct served serve_start(const char *options);
/* As it is started, without waiting: for those that are to fail. */
struct served serve_launch(const char *options);
/* Sends the signal, 0: none, and waits for its end, at most a minute; the exit code, 128 + signal for a death. */
int serve_end(struct served *s, int signal);
/* Whether its log holds the words. */
bool serve_said(const struct served *s, const char *words);
/* Waits until it does, at most a minute; fails the test if it never does. */
void serve_await(const struct served *s, const char *words);

struct answer {
    int status;  // of HTTP; 0: none came
    char *head;  // [] status line and headers
    char *body;  // [n + 1] without the chunks' framing
    size_t n;
    bool whole;      // by its length, or its last chunk
    double first_s;  // from the request to the first byte of the body
};

/* Connects; -1: refused. */
int serve_connect(const struct served *s);
/* All of bytes[n], as far as the other side takes them. */
void serve_send(int fd, const void *bytes, size_t n);
/* Connects and posts, with nothing read: the connection. headers as of serve_ask. */
int serve_begin(const struct served *s, const char *path, const char *headers, const char *body);
/* The body that asks for so many sentences in a format. free */
char *serve_sentences(const char *format, int n);
/* Reads one answer, to its end or that of the connection. */
struct answer serve_receive(int fd);
/* A request with `Connection: close`. headers: complete lines, or "". body NULL: none. */
struct answer serve_ask(const struct served *s, const char *method, const char *path, const char *headers,
                        const char *body, size_t n_body);
struct answer serve_get(const struct served *s, const char *path);
struct answer serve_post(const struct served *s, const char *path, const char *body);
void answer_free(struct answer *a);
/* The value of a header, NULL: it is not there. Lives until the next call. */
const char *answer_header(const struct answer *a, const char *name);
/* A figure of /metrics; -1: it is not there. */
double serve_metric(const struct served *s, const char *name);
/* Waits until the figure is `value`, at most some seconds; how long it took. Fails the test if it does not become so.
 */
double serve_wait_metric(const struct served *s, const char *name, double value);
double seconds_now(void);

#endif
