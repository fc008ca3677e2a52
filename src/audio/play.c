#include "audio/play.h"

#include <fcntl.h>
#include <math.h>
#include <portaudio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "audio/ring.h"
#include "base/clock.h"

enum { RING_SECONDS = 4, BLOCK = 1024 };
static const int64_t stall_ns = 5000000000;  // a card that takes nothing for so long is dead

struct player {
    struct ring ring;
    PaStream *stream;
    int rate_hz;
    const atomic_bool *stop;  // may be NULL
    bool started;
    bool stalled;           // the card is dead: its stream may never return from being closed
    atomic_bool complete;   // nothing more will be pushed
    atomic_long underruns;  // changed by the callback only
    bool starved;           // the callback's: inside an underrun
};

// ---- the sound card's thread ----

static int callback(const void *input, void *output, unsigned long n, const PaStreamCallbackTimeInfo *time,
                    PaStreamCallbackFlags flags, void *user) {
    (void)input, (void)time, (void)flags;
    struct player *p = user;
    float *samples = output;
    bool complete = atomic_load(&p->complete);  // before popping: what was pushed until then is seen
    size_t got = ring_pop(&p->ring, samples, n);
    memset(samples + got, 0, (n - got) * sizeof *samples);
    bool starved = got < n && !complete;
    if (starved && !p->starved) atomic_fetch_add(&p->underruns, 1);
    p->starved = starved;
    return complete && got < n ? paComplete : paContinue;
}

// ---- opening ----

// ALSA and JACK print to standard error whatever they try in vain; -1 when nothing was redirected.
static int silence_stderr(void) {
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (saved >= 0 && null >= 0) dup2(null, STDERR_FILENO);
    if (null >= 0) close(null);
    return saved;
}

static void restore_stderr(int saved) {
    if (saved < 0) return;
    dup2(saved, STDERR_FILENO);
    close(saved);
}

static const char no_device[] = "there is no sound device to play on; write a file with -o FILE, as in -o speech.wav";

static status open_stream(struct player *p) {
    PaStreamParameters parameters = {
        .device = Pa_GetDefaultOutputDevice(), .channelCount = 1, .sampleFormat = paFloat32};
    if (parameters.device == paNoDevice) return fail(UTTER_DEVICE, "%s", no_device);
    parameters.suggestedLatency = Pa_GetDeviceInfo(parameters.device)->defaultHighOutputLatency;
    PaError e =
        Pa_OpenStream(&p->stream, NULL, &parameters, p->rate_hz, paFramesPerBufferUnspecified, paClipOff, callback, p);
    if (e == paNoError) return UTTER_OK;
    p->stream = NULL;
    return fail(UTTER_DEVICE, "the sound device \"%s\" cannot play at %d Hz: %s; write a file with -o FILE",
                Pa_GetDeviceInfo(parameters.device)->name, p->rate_hz, Pa_GetErrorText(e));
}

// PortAudio 19.6 asserts that ALSA's configuration names a default card, and aborts the program where none does.
static sigjmp_buf aborted;
static void leave_abort(int signal_number) { siglongjmp(aborted, signal_number); }

static PaError initialize(void) {
    struct sigaction leave = {.sa_handler = leave_abort}, before;
    sigaction(SIGABRT, &leave, &before);
    PaError e = sigsetjmp(aborted, 1) == 0 ? Pa_Initialize() : paDeviceUnavailable;
    sigaction(SIGABRT, &before, NULL);
    return e;
}

static status open_portaudio(struct player *p) {
    PaError e = initialize();
    if (e == paDeviceUnavailable) return fail(UTTER_DEVICE, "%s", no_device);
    if (e != paNoError)
        return fail(UTTER_DEVICE, "the sound system does not start: %s; write a file with -o FILE", Pa_GetErrorText(e));
    status s = open_stream(p);
    if (s != UTTER_OK) Pa_Terminate();
    return s;
}

status player_open(int rate_hz, const atomic_bool *stop, struct player **out) {
    *out = NULL;
    struct player *p = calloc(1, sizeof *p);
    if (!p) return fail_memory(sizeof *p, "the player");
    p->rate_hz = rate_hz;
    p->stop = stop;
    status s = ring_init(&p->ring, (size_t)rate_hz * RING_SECONDS);
    if (s == UTTER_OK) {
        int saved = silence_stderr();
        s = open_portaudio(p);
        restore_stderr(saved);
    }
    if (s != UTTER_OK) {
        ring_free(&p->ring);
        free(p);
        return s;
    }
    *out = p;
    return UTTER_OK;
}

// ---- playing ----

static bool stopped(const struct player *p) { return p->stop && atomic_load(p->stop); }

static status give_up(struct player *p) {
    if (stopped(p)) return fail(UTTER_CANCELLED, "playing was stopped");
    p->stalled = true;
    return fail(UTTER_DEVICE, "the sound device has taken no samples for %d seconds; write a file with -o FILE",
                (int)(stall_ns / 1000000000));
}

static status start(struct player *p) {
    if (p->started) return UTTER_OK;
    PaError e = Pa_StartStream(p->stream);
    if (e != paNoError)
        return fail(UTTER_DEVICE, "the sound device does not start: %s; write a file with -o FILE", Pa_GetErrorText(e));
    p->started = true;
    return UTTER_OK;
}

status player_write(struct player *p, const float *samples, size_t n) {
    float clipped[BLOCK];
    while (n > 0) {
        size_t now = n < BLOCK ? n : BLOCK, pushed;
        for (size_t i = 0; i < now; i++)
            clipped[i] = isnan(samples[i]) ? 0 : samples[i] < -1 ? -1 : samples[i] > 1 ? 1 : samples[i];
        if (p->ring.capacity - ring_length(&p->ring) < now) TRY(start(p));
        if (!ring_push_all(&p->ring, clipped, now, stall_ns, p->stop, &pushed)) return give_up(p);
        samples += now;
        n -= now;
    }
    return start(p);  // after the samples, so that the card's first wish can be met
}

status player_drain(struct player *p) {
    static const struct timespec nap = {0, 10000000};
    if (!p->started) return UTTER_OK;
    atomic_store(&p->complete, true);
    size_t length = ring_length(&p->ring);
    int64_t moved_ns = clock_ns();
    while (Pa_IsStreamActive(p->stream) == 1) {
        nanosleep(&nap, NULL);
        size_t now = ring_length(&p->ring);
        if (now != length) moved_ns = clock_ns();
        length = now;
        if (stopped(p) || clock_ns() - moved_ns >= stall_ns) return give_up(p);
    }
    return UTTER_OK;
}

long player_underruns(const struct player *p) { return atomic_load(&p->underruns); }

void player_close(struct player *p) {
    if (!p || p->stalled) return;  // closing a dead card's stream waits for its thread; the process's end does not
    Pa_AbortStream(p->stream);
    Pa_CloseStream(p->stream);
    Pa_Terminate();
    ring_free(&p->ring);
    free(p);
}
