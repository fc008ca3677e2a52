#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "audio/memory_file.h"
#include "book/spool.h"

enum { MAX_SECONDS = 3600, AT_ONCE = 4096 };

static float clip(float x) { return isnan(x) ? 0 : x < -1 ? -1 : x > 1 ? 1 : x; }

status sound_pack(const float *samples, int64_t n, int rate_hz, struct str *out) {
    struct str packed = {0};
    struct memory_file memory = {.out = &packed};
    str_puts(&packed, "");
    SF_INFO info = {.samplerate = rate_hz, .channels = 1, .format = SF_FORMAT_FLAC | SF_FORMAT_PCM_24};
    SNDFILE *f = memory_file_open(&memory, SFM_WRITE, &info);
    if (!f) {
        str_free(&packed);
        return fail(UTTER_INTERNAL, "libsndfile cannot write FLAC: %s", sf_strerror(NULL));
    }
    double level = 0;  // of 0 to 1: the least work; more makes it one percent smaller
    sf_command(f, SFC_SET_COMPRESSION_LEVEL, &level, sizeof level);
    bool whole = true;
    for (int64_t at = 0; at < n && whole; at += AT_ONCE) {
        float clipped[AT_ONCE];
        int64_t count = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (int64_t i = 0; i < count; i++) clipped[i] = clip(samples[at + i]);
        whole = sf_writef_float(f, clipped, count) == count;
    }
    whole &= sf_close(f) == 0;
    str_append(out, str_text(&packed), packed.len);
    str_free(&packed);
    TRY(str_status(out));
    return whole ? UTTER_OK : fail(UTTER_INTERNAL, "libsndfile could not make FLAC of %lld samples", (long long)n);
}

// Refuses what is no unit's sound by its format.
static status check_format(int n_channels, int rate_hz, int64_t n, int wanted_hz) {
    if (n_channels == 1 && rate_hz == wanted_hz && n >= 0 && n <= (int64_t)MAX_SECONDS * wanted_hz) return UTTER_OK;
    return fail(UTTER_FORMAT, "a unit's sound has %d channels, %d Hz and %lld samples; wanted mono at %d Hz",
                n_channels, rate_hz, (long long)n, wanted_hz);
}

uint32_t sound_crc(const void *packed, size_t n_bytes) { return (uint32_t)crc32(0, packed, (uInt)n_bytes); }

status sound_check(const void *packed, size_t n_bytes, uint32_t crc, int rate_hz, int64_t *n) {
    // "fLaC", then a block of metadata: its kind, its length, and in it, 10 bytes on, 20 bits of the rate, 3 of the
    // channels, 5 of the bits of a sample, 36 of the number of samples
    enum { STREAMINFO = 8, NUMBERS = STREAMINFO + 10, NUMBERS_END = NUMBERS + 8 };
    const unsigned char *bytes = packed;
    if (n_bytes < NUMBERS_END || memcmp(bytes, "fLaC", 4) != 0 || (bytes[4] & 0x7f) != 0)
        return fail(UTTER_FORMAT, "a unit's sound is no FLAC");
    if (sound_crc(packed, n_bytes) != crc) return fail(UTTER_FORMAT, "a unit's sound is not as it was packed");
    uint64_t numbers = 0;
    for (int i = NUMBERS; i < NUMBERS_END; i++) numbers = numbers << 8 | bytes[i];
    *n = (int64_t)(numbers & ((UINT64_C(1) << 36) - 1));
    return check_format((int)(numbers >> 41 & 7) + 1, (int)(numbers >> 44), *n, rate_hz);
}

status sound_unpack(const void *packed, size_t n_bytes, int rate_hz, float **samples, int64_t *n) {
    *samples = NULL;
    *n = 0;
    struct memory_file memory = {.in = packed, .len = n_bytes};
    SF_INFO info = {0};
    SNDFILE *f = memory_file_open(&memory, SFM_READ, &info);
    if (!f) return fail(UTTER_FORMAT, "a unit's sound is no FLAC: %s", sf_strerror(NULL));
    status s = check_format(info.channels, info.samplerate, info.frames, rate_hz);
    float *data = s == UTTER_OK ? malloc((size_t)info.frames * sizeof *data + 1) : NULL;
    if (s == UTTER_OK && !data) s = fail_memory((size_t)info.frames * sizeof *data, "a unit's sound");
    if (s == UTTER_OK && sf_readf_float(f, data, info.frames) != info.frames)
        s = fail(UTTER_FORMAT, "a unit's sound is cut short");
    sf_close(f);
    if (s != UTTER_OK) {
        free(data);
        return s;
    }
    *samples = data;
    *n = info.frames;
    return UTTER_OK;
}
