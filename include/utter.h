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

   Ownership. What is passed in is copied; strings handed out live as long as the engine or the stream they came from.
 */
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
    const char *model;   /* name of an installed model, path of a backbone GGUF, or "built-in"; NULL: the best that is
                            installed, else the built-in one */
    const char *codec;   /* the same for a codec; NULL: the one that belongs to `model`, or lies beside it */
    const char *voices;  /* a folder of voices besides: voice files, and recordings (NAME.wav with its transcript NAME.txt),
                            which are encoded once; NULL: none */
    const char *device;  /* "auto", "cpu", "gpu" or "gpu:N"; NULL: "auto", which falls back on the CPU and says so */
    const char *kernels; /* CPU kernels: "auto", "portable", "avx2", "avxvnni", "avx512", "avx512vnni" or "amx", on ARM
                            "neon", "dotprod" or "i8mm"; NULL: "auto" */
    int n_threads;       /* threads of the CPU device; 0: one for each core */
    int n_streams;       /* streams that hold a place on the device at once; 0: as suits its memory. More wait for one. */
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

typedef struct utter_state {
    int n_places;         /* streams that the device takes at once */
    int n_active;         /* streams that hold a place now */
    int n_waiting;        /* streams that wait for one */
    int64_t n_tokens;     /* speech codes generated by all streams since utter_open, retries included */
    int64_t n_retries;    /* attempts thrown away as garbage since then */
    char device[256];     /* one line: what runs the model now, which kernels, how much memory */
    bool is_gpu;          /* the model runs on a GPU now */
    bool gpu_lost;        /* a GPU should be in use, was lost, and is not in use again yet */
    int n_gpu_losses;     /* how often one was lost since utter_open */
    int64_t device_bytes; /* of memory that the networks take on their devices */
} utter_state;

/* How the engine is at the moment. From any thread; never waits for a device. */
UTTER_API utter_status utter_state_get(utter *u, utter_state *out);

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

/* Reads the folders of voices anew: those that came with the model, and the user's own. New ones are added, changed
   ones replaced, and those whose file is gone are no longer found; voices of the model itself and of utter_voice_load
   stay. Streams that run keep the voices they have, and strings handed out stay. On failure nothing has changed. */
UTTER_API utter_status utter_voices_reload(utter *u);

/* ---- speech ---- */

typedef struct utter_stream utter_stream;

/* A piece of the work for one stream, for profiles. Seconds count from utter_speak on. Spans of different stages may
   overlap: while one device call makes the codes of several streams, each of them gets a span of that call. */
typedef struct utter_span {
    const char *stage;     /* a constant string:
                              "text"      from written to spoken text; count: bytes of the piece of text
                              "phonemes"  from spoken text to phonemes; count: bytes of the phonemes
                              "place"     waiting for a place on the device; count: 1
                              "queue"     waiting for the device to take a call; count: 1
                              "prefill"   the backbone reads the prompt; count: tokens
                              "decode"    the backbone writes codes; count: codes, the end included
                              "codec"     codes to samples; count: frames decoded */
    double begin_s, end_s; /* since utter_speak */
    int count;
    int sentence; /* which piece of the text it was for, from 0, as in utter_report.n_sentences */
} utter_span;

/* Called in the thread that is inside utter_speak or utter_read of that stream, with spans in the order in which they
   ended. Must not call anything of that stream. */
typedef void utter_trace_fn(void *user, const utter_span *span);

typedef struct utter_request {
    const char *text;      /* UTF-8, NUL-terminated */
    const char *voice;     /* name of a voice; NULL: the engine's first */
    const char *language;  /* NULL: the voice's */
    const char *emotion;   /* for models that know emotions; NULL or "neutral": none */
    bool raw;              /* true: the text goes to the phonemizer as it is, with no normalisation */
    bool streaming;        /* true: sound comes in pieces while the codes are made; false: a sentence at a time */
    int first_frames;      /* streaming: frames of the first piece, 1..25, for an earlier start; 0: 25, as NeuTTS */
    uint32_t seed;         /* the same seed gives the same codes on any machine with the same device */
    float temperature;     /* 0: greedy; negative: the model's own */
    int top_k;             /* 0: all; negative: the model's own */
    float top_p;           /* 1: all; negative: the model's own */
    float min_p;           /* 0: all; negative: the model's own */
    int retries;           /* new attempts for a sentence that came out as garbage; negative: 2 */
    int64_t deadline_ms;   /* for the whole text, from utter_speak on; 0: none */
    utter_trace_fn *trace; /* NULL: nothing is traced */
    void *trace_user;
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
    int n_sentences;       /* spoken so far */
    int n_retries;         /* attempts thrown away as garbage */
    int n_failed;          /* sentences whose last attempt was still garbage and was cut or left out */
    int64_t n_codes;       /* speech codes generated, retries included */
    int64_t n_samples;     /* handed out so far */
    double first_audio_s;  /* from utter_speak to the first sample; 0 until then */
    double work_s;         /* spent inside utter_read so far */
    double prefill_s;      /* that the backbone was reading its prompts. This and what follows may overlap, */
    double decode_s;       /* that it was writing its codes, maybe those of other streams too, */
    double codec_s;        /* and that its codes became samples */
    int progress_permille; /* of the text, 0..1000 */
} utter_report;

UTTER_API void utter_stream_report(const utter_stream *s, utter_report *out);

/* A piece of text that was spoken in one go, a sentence or several short ones, and where it lies in the sound. Between
   pieces are pauses, which belong to none. */
typedef struct utter_sentence {
    const char *text;     /* as it was written, without markup and line ends; lives as long as the stream */
    int64_t first_sample; /* of all samples of the stream, from 0 */
    int64_t n_samples;
} utter_sentence;

/* Piece i, from 0, of those whose samples have all been handed out by utter_read; UTTER_INVALID when there are not so
   many yet. What could not be spoken is left out. */
UTTER_API utter_status utter_stream_sentence(const utter_stream *s, int i, utter_sentence *out);

#ifdef __cplusplus
}
#endif
#endif
