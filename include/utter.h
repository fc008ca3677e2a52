/* utter: NeuTTS text to speech in C.

   One engine holds a model (the backbone that writes speech codes), a codec (that turns codes into sound) and its
   voices. A stream speaks one text; samples are read from it as they come:

       utter *u;
       utter_options options = utter_options_default();           // the built-in model on the CPU
       if (utter_open(&options, &u) != UTTER_OK) { puts(utter_error_message()); return 1; }

       utter_request request = utter_request_default();
       request.text = "Hello.";
       utter_stream *s;
       if (utter_speak(u, &request, &s) == UTTER_OK) {
           float samples[4096];
           size_t n;
           while (utter_read(s, samples, 4096, &n) == UTTER_OK && n > 0) play(samples, n);
           utter_stream_close(s);
       }
       utter_close(u);

   Sound is mono, 32-bit float, nominally in [-1, 1] (not clipped), at utter_sample_rate() Hz.

   Errors. Every function that can fail returns a utter_status. utter_error_message() then gives one sentence for a
   person: what was wrong, where, and what to do. It belongs to the calling thread and lives until that thread's next
   failing call.

   Threads. An engine may be used from any number of threads at once. A stream belongs to one thread at a time, but
   utter_cancel may be called on it from any thread.

   Ownership. What is passed in is copied; strings handed out live as long as the engine or the stream they came from. */
#ifndef UTTER_H
#define UTTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define UTTER_API __declspec(dllexport)
#elif defined(__GNUC__)
#define UTTER_API __attribute__((visibility("default")))
#else
#define UTTER_API
#endif

#define UTTER_VERSION "0.1.0"

typedef enum utter_status {
    UTTER_OK = 0,
    UTTER_INVALID,     /* an argument or a text that cannot be used as it is */
    UTTER_NO_TEXT,     /* the text holds nothing that can be spoken */
    UTTER_IO,          /* a file could not be opened, read or written */
    UTTER_FORMAT,      /* a file is damaged, or not of the kind it should be */
    UTTER_UNSUPPORTED, /* a file is sound but asks for something utter does not do */
    UTTER_MEMORY,      /* out of memory */
    UTTER_LIMIT,       /* too long: a prompt beyond the context, a list beyond its bound */
    UTTER_DEADLINE,    /* not done in the time allowed */
    UTTER_CANCELLED,   /* stopped by utter_cancel */
    UTTER_DEVICE,      /* the device failed */
    UTTER_SPEECH,      /* the model produced no usable speech, retries included */
    UTTER_INTERNAL     /* a defect in utter */
} utter_status;

/* The sentence that belongs to the last failure in this thread; "" when there was none. */
UTTER_API const char *utter_error_message(void);

/* A short name of the status, as in JSON output: "ok", "invalid", "no_text", "io", ... */
UTTER_API const char *utter_status_name(utter_status s);

/* The library's version, UTTER_VERSION at its build. */
UTTER_API const char *utter_version(void);

/* ---- engine ---- */

typedef struct utter utter;

typedef enum utter_log_level { UTTER_LOG_DEBUG, UTTER_LOG_INFO, UTTER_LOG_WARNING } utter_log_level;

/* Called with one sentence, without a newline; may be called from any thread. */
typedef void utter_log_fn(void *user, utter_log_level level, const char *sentence);

typedef struct utter_options {
    const char *model;   /* name of an installed model, or path of a backbone GGUF; NULL: the built-in model */
    const char *codec;   /* the same for a codec; NULL: the one that belongs to `model`, or lies beside it */
    const char *device;  /* "auto", "cpu", "gpu" or "gpu:N"; NULL: "auto", which falls back on the CPU and says so */
    const char *kernels; /* CPU kernel set: "auto", "portable", "avx2", "avx512", "avx512vnni"; NULL: "auto" */
    int n_threads;       /* threads of the CPU device; 0: one for each core */
    int n_streams;       /* streams that hold a place on the device at once; 0: 4. More wait for a place. */
    utter_log_fn *log;   /* NULL: nothing is logged */
    void *log_user;
} utter_options;

UTTER_API utter_options utter_options_default(void);

/* Opens an engine. On failure *out is NULL. */
UTTER_API utter_status utter_open(const utter_options *options, utter **out);

/* Closes the engine; its streams must be closed before. NULL is allowed. */
UTTER_API void utter_close(utter *u);

/* Samples a second of everything this engine produces, in Hz. */
UTTER_API int utter_sample_rate(const utter *u);

/* One sentence that names the model, the codec and the device in use. */
UTTER_API const char *utter_describe(const utter *u);

/* ---- voices ---- */

typedef struct utter_voice {
    const char *name;
    const char *language; /* as espeak-ng names it: "en-us", "de", ... */
    const char *note;     /* who or what it is; "" when unknown */
} utter_voice;

UTTER_API int utter_voice_count(const utter *u);

/* Voice i, 0 <= i < utter_voice_count(u). Voice 0 is the default. The strings live as long as the engine. */
UTTER_API utter_status utter_voice_get(const utter *u, int i, utter_voice *out);

/* Adds the voice in the JSON file `path` (docs/voices.md) under its own name. */
UTTER_API utter_status utter_voice_load(utter *u, const char *path);

/* ---- speech ---- */

typedef struct utter_stream utter_stream;

typedef struct utter_request {
    const char *text;     /* UTF-8, NUL-terminated */
    const char *voice;    /* name of a voice; NULL: the engine's first */
    const char *language; /* NULL: the voice's */
    const char *emotion;  /* for models that know emotions; NULL or "neutral": none */
    bool raw;             /* true: the text goes to the phonemizer as it is, with no normalisation */
    bool streaming;       /* true: sound comes in pieces while the codes are made; false: a sentence at a time */
    int first_frames;     /* streaming: frames of the first piece, 1..25, for an earlier start; 0: 25, as NeuTTS */
    uint32_t seed;        /* the same seed gives the same codes on any machine with the same device */
    float temperature;    /* 0: greedy; negative: the model's own */
    int top_k;            /* 0: all; negative: the model's own */
    float top_p;          /* 1: all; negative: the model's own */
    float min_p;          /* 0: all; negative: the model's own */
    int retries;          /* new attempts for a sentence that came out as garbage; negative: 2 */
    int64_t deadline_ms;  /* for the whole text, from utter_speak on; 0: none */
} utter_request;

UTTER_API utter_request utter_request_default(void);

/* Starts a stream. Returns at once: the work is done by utter_read. On failure *out is NULL. */
UTTER_API utter_status utter_speak(utter *u, const utter_request *request, utter_stream **out);

/* Reads up to `capacity` samples; blocks until there is at least one, the text is spoken (UTTER_OK and *n_read 0), or
   it fails. After a failure the stream gives nothing more, only that status again. */
UTTER_API utter_status utter_read(utter_stream *s, float *samples, size_t capacity, size_t *n_read);

/* Asks the stream to stop: a running or the next utter_read returns UTTER_CANCELLED. From any thread. */
UTTER_API void utter_cancel(utter_stream *s);

/* Closes the stream, finished or not. NULL is allowed. */
UTTER_API void utter_stream_close(utter_stream *s);

typedef struct utter_report {
    int n_sentences;           /* spoken so far */
    int n_retries;             /* attempts thrown away as garbage */
    int n_failed;              /* sentences whose last attempt was still garbage and was cut or left out */
    int64_t n_codes;           /* speech codes generated, retries included */
    int64_t n_samples;         /* handed out so far */
    double first_audio_s;      /* from utter_speak to the first sample; 0 until then */
    double work_s;             /* spent inside utter_read so far */
    double prefill_s;          /* of that: the backbone reading prompts */
    double decode_s;           /* of that: the backbone writing codes */
    double codec_s;            /* of that: codes to samples */
    int progress_permille;     /* of the text, 0..1000 */
} utter_report;

UTTER_API void utter_stream_report(const utter_stream *s, utter_report *out);

#ifdef __cplusplus
}
#endif
#endif
