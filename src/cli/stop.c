#include "cli/stop.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"

// Signals belong to the process, so what they stop does too.
static atomic_bool requested;
static atomic_int signal_number;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static utter_stream *stream;  // under the lock
static sigset_t signals;

static void *wait_for_signals(void *user) {
    (void)user;
    int got;
    while (sigwait(&signals, &got) == 0) {
        if (atomic_load(&requested)) _exit(128 + got);
        atomic_store(&signal_number, got);
        atomic_store(&requested, true);
        pthread_mutex_lock(&lock);
        if (stream) utter_cancel(stream);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

utter_status stop_begin(void) {
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP};
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct sigaction action;
        sigaction(wanted[i], NULL, &action);
        if (action.sa_handler != SIG_IGN) sigaddset(&signals, wanted[i]);  // nohup and shells' "&" want them ignored
    }
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, wait_for_signals, NULL);
    if (error) return fail(UTTER_INTERNAL, "cannot start a thread: %s", strerror(error));
    pthread_detach(thread);
    return UTTER_OK;
}

void stop_cancels(utter_stream *s) {
    pthread_mutex_lock(&lock);
    stream = s;
    if (s && atomic_load(&requested)) utter_cancel(s);
    pthread_mutex_unlock(&lock);
}

bool stop_requested(void) { return atomic_load(&requested); }
const atomic_bool *stop_flag(void) { return &requested; }
int stop_exit_code(void) { return 128 + atomic_load(&signal_number); }
