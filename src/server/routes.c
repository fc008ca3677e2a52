#include "server/parts.h"

const struct route *server_routes(int *n) {
    static const struct route routes[] = {
        {"GET", "/", "page", true, false, page_begin, NULL},
        {"POST", "/", "seed", false, true, seed_begin, seed_resume},
        {"POST", "/v1/audio/speech", "speech", false, true, speech_begin, speech_resume},
        {"GET", "/v1/models", "models", false, false, models_begin, NULL},
        {"GET", "/v1/models/*", "model", false, false, model_begin, NULL},
        {"GET", "/v1/audio/models", "audio_models", false, false, audio_models_begin, NULL},
        {"GET", "/v1/audio/voices", "voices", false, true, voices_begin, NULL},
        {"POST", "/v1/audio/voices", "clone", false, true, clone_begin, clone_resume},
        {"GET", "/health", "health", true, false, health_begin, NULL},
        {"GET", "/ready", "ready", true, false, ready_begin, NULL},
        {"GET", "/metrics", "metrics", false, false, metrics_begin, NULL},
        {"", "", "other", true, false, unknown_begin, NULL},
    };
    *n = sizeof routes / sizeof *routes;
    return routes;
}
