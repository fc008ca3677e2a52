/* Encoders for streams: the right sound comes back, bytes come early, the end is whole, and failures are passed up. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audio/encode.h"
#include "audio/memory_file.h"
#include "decode_aac.h"

enum { RATE = 24000, COUNT = 50000, STEP = 240 };

static float *voice;  // [COUNT] three gliding tones with an envelope, so that a shift of a sample is seen

static int setup(void **state) {
    (void)state;
    voice = malloc(COUNT * sizeof *voice);
    if (!voice) return 1;
    for (int i = 0; i < COUNT; i++) {
        double t = (double)i / RATE;
        voice[i] =
            (float)((0.6 + 0.4 * sin(14 * t)) * (0.3 * sin(2 * M_PI * (220 * t + 30 * t * t)) +
                                                 0.2 * sin(2 * M_PI * 900 * t) + 0.1 * sin(2 * M_PI * 2500 * t)));
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(voice);
    return 0;
}

// ---- bytes in memory ----

struct bytes {
    unsigned char *data;
    size_t n, n_calls;
    size_t fail_beyond;  // bytes that can be taken; 0: any number
};

static status take(void *user, const void *data, size_t n) {
    struct bytes *b = user;
    b->n_calls++;
    if (b->fail_beyond && b->n + n > b->fail_beyond) return fail(UTTER_CANCELLED, "the listener has left");
    b->data = realloc(b->data, b->n + n);
    assert_non_null(b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return UTTER_OK;
}

// Samples of the bytes; at most `capacity`. *info as libsndfile sees it.
static int decode(const struct bytes *b, SF_INFO *info, float *samples, int capacity) {
    struct memory_file file = {.in = b->data, .len = b->n};
    *info = (SF_INFO){0};
    SNDFILE *f = memory_file_open(&file, SFM_READ, info);
    if (!f) fail_msg("cannot decode: %s", sf_strerror(NULL));
    int n = (int)sf_read_float(f, samples, capacity);
    sf_close(f);
    return n;
}

// Signal over error in dB at the shift in 0..max_shift that fits best; that shift in *shift.
static double match(const float *got, int n, int max_shift, int *shift) {
    *shift = 0;
    double best = -HUGE_VAL;
    for (int s = 0; s <= max_shift; s++) {
        double error = 0, power = 0;
        for (int i = 2000; i < COUNT - 2000 && i + s < n; i++) {
            error += pow((double)got[i + s] - (double)voice[i], 2);
            power += pow((double)voice[i], 2);
        }
        double db = 10 * log10(power / fmax(error, 1e-20));
        if (db > best) best = db, *shift = s;
    }
    return best;
}

struct encoded {
    struct bytes bytes;
    unsigned char *head;
    size_t n_head;
    int first_sound_at;  // samples that had been pushed when the first bytes beyond the headers came
    size_t before_end;   // bytes out before audio_encoder_end
};

// The voice through an encoder, pushed as a device would: in small steps, and some large ones.
static struct encoded encode(enum audio_format format) {
    struct encoded r = {.first_sound_at = -1};
    struct audio_encoder *e;
    assert_ok(audio_encoder_new(format, RATE, take, &r.bytes, &e));
    size_t headers = 0;
    for (int at = 0, n; at < COUNT; at += n) {
        n = at < 20 * STEP ? STEP : 1500;
        if (n > COUNT - at) n = COUNT - at;
        assert_ok(audio_encoder_push(e, voice + at, (size_t)n));
        if (at == 0) headers = r.bytes.n;  // no format has sound after 10 ms but those of plain samples
        bool plain = format == AUDIO_WAV || format == AUDIO_PCM;
        if (r.first_sound_at < 0 && (plain ? r.bytes.n > 0 : r.bytes.n > headers)) r.first_sound_at = at + n;
    }
    r.before_end = r.bytes.n;
    assert_ok(audio_encoder_end(e));
    const unsigned char *head;
    audio_encoder_head(e, &head, &r.n_head);
    r.head = malloc(r.n_head + 1);
    assert_non_null(r.head);
    if (r.n_head) memcpy(r.head, head, r.n_head);
    audio_encoder_free(e);
    return r;
}

static void encoded_free(struct encoded *r) {
    free(r->bytes.data);
    free(r->head);
}

// `early`: samples after which the first sound must be out. `late`: most that may be missing until the end is asked
// for, in samples as bytes of the mean rate.
static void check(enum audio_format format, int sf_format, int early, int pad, int shift_wanted, double db_wanted) {
    const char *name = audio_format_name(format);
    struct encoded r = encode(format);
    if (r.first_sound_at < 0 || r.first_sound_at > early)
        fail_msg("%s: the first sound came after %d samples, at most %d expected", name, r.first_sound_at, early);
    // Nothing but about the last tenth of a second is left for the end.
    double left = (double)(r.bytes.n - r.before_end) / (double)r.bytes.n * COUNT;
    if (format != AUDIO_VORBIS && left > RATE * 0.15)
        fail_msg("%s: the sound of %.0f samples came only at the end", name, left);

    SF_INFO info;
    float *got = calloc(COUNT + 10000, sizeof *got);
    assert_non_null(got);
    for (int patched = 0; patched <= (r.n_head > 0); patched++) {
        if (patched) memcpy(r.bytes.data, r.head, r.n_head);
        int n = decode(&r.bytes, &info, got, COUNT + 10000), shift = 0;
        assert_int_equal(info.format & (SF_FORMAT_TYPEMASK | SF_FORMAT_SUBMASK), sf_format);
        assert_int_equal(info.samplerate, RATE);
        assert_int_equal(info.channels, 1);
        int most = patched ? 0 : pad;
        double db = match(got, n, 1600, &shift);
        if (n < COUNT || n > COUNT + most) fail_msg("%s: %d samples came back of %d", name, n, COUNT);
        if (shift != (patched ? 0 : shift_wanted)) fail_msg("%s: the sound is %d samples late", name, shift);
        if (db < db_wanted) fail_msg("%s: %.1f dB over the error, %.1f expected", name, db, db_wanted);
        if (patched) assert_int_equal(info.frames, COUNT);
    }
    free(got);
    encoded_free(&r);
}

static void test_wav(void **state) {
    (void)state;
    check(AUDIO_WAV, SF_FORMAT_WAV | SF_FORMAT_PCM_16, STEP, 0, 0, 80);
}

static void test_flac(void **state) {
    (void)state;
    check(AUDIO_FLAC, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, RATE / 10, 0, 0, 80);
}

// A file's head has the checksum of its samples; nobody would see that of a stream, and it is not worked out.
static void test_flac_has_a_checksum_in_its_head(void **state) {
    (void)state;
    enum { CHECKSUM_AT = 26, CHECKSUM = 16 };
    static const unsigned char none[CHECKSUM];
    struct encoded r = encode(AUDIO_FLAC);
    assert_true(r.n_head >= CHECKSUM_AT + CHECKSUM);
    assert_memory_equal(r.bytes.data + CHECKSUM_AT, none, CHECKSUM);
    assert_memory_not_equal(r.head + CHECKSUM_AT, none, CHECKSUM);
    encoded_free(&r);
}

static void test_vorbis(void **state) {
    (void)state;
    check(AUDIO_VORBIS, SF_FORMAT_OGG | SF_FORMAT_VORBIS, COUNT, 0, 0, 20);
}

static void test_opus(void **state) {
    (void)state;
    check(AUDIO_OPUS, SF_FORMAT_OGG | SF_FORMAT_OPUS, RATE / 10, 0, 0, 15);
}

// libsndfile's decoder leaves the silence of an MP3 of unknown length in: LAME's delay and its own.
static void test_mp3(void **state) {
    (void)state;
    check(AUDIO_MP3, SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, RATE / 10, 3 * 1152, 576 + 529, 20);
}

// What is known at the beginning is there at the beginning, in a frame that decoders know to hold no sound.
static void test_mp3_says_its_delay(void **state) {
    (void)state;
    struct encoded r = encode(AUDIO_MP3);
    const unsigned char *info = r.bytes.data + 4 + 9;
    assert_memory_equal(info, "Info\0\0\0\0LAME", 12);
    assert_int_equal(info[29] << 4 | info[30] >> 4, 576);
    assert_memory_equal(r.bytes.data, r.head, 4);
    assert_memory_equal(r.head + 4 + 9, "Info", 4);
    assert_true(r.bytes.data[r.n_head] == 0xff && (r.bytes.data[r.n_head + 1] & 0xe0) == 0xe0);  // the next frame
    encoded_free(&r);
}

static void test_pcm(void **state) {
    (void)state;
    float samples[6] = {0, 1.5f, -7, NAN, INFINITY, 0.5f};
    struct bytes b = {0};
    struct audio_encoder *e;
    assert_ok(audio_encoder_new(AUDIO_PCM, RATE, take, &b, &e));
    assert_int_equal(b.n, 0);
    assert_ok(audio_encoder_push(e, samples, 6));
    assert_int_equal(b.n, 12);
    assert_memory_equal(b.data, "\0\0\xff\x7f\x01\x80\0\0\xff\x7f\0\x40", 12);
    assert_ok(audio_encoder_end(e));
    assert_int_equal(b.n, 12);
    audio_encoder_free(e);
    free(b.data);
}

static void test_wav_of_unknown_length(void **state) {
    (void)state;
    struct encoded r = encode(AUDIO_WAV);
    assert_memory_equal(r.bytes.data, "RIFF\xff\xff\xff\xffWAVEfmt ", 16);
    assert_memory_equal(r.bytes.data + 36, "data\xff\xff\xff\xff", 8);
    assert_int_equal(r.n_head, 44);
    assert_memory_equal(r.head + 40, "\xa0\x86\x01\0", 4);
    encoded_free(&r);
}

// ---- AAC ----

static void test_aac(void **state) {
    (void)state;
    enum audio_format format;
    if (audio_format_parse("aac", &format) != UTTER_OK) {
        print_message("skipped: %s\n", fail_message());
        skip();
    }
    struct encoded r = encode(AUDIO_AAC);
    if (r.first_sound_at < 0 || r.first_sound_at > RATE / 8) fail_msg("aac: first sound after %d", r.first_sound_at);
    assert_int_equal(r.n_head, 0);
    // ADTS frames follow each other without a gap, as many as the sound and the encoder's delay need
    size_t at = 0, n_frames = 0;
    while (at + 7 <= r.bytes.n) {
        const unsigned char *p = r.bytes.data + at;
        assert_true(p[0] == 0xff && (p[1] & 0xf6) == 0xf0);
        assert_int_equal(p[2] >> 2 & 15, 6);  // 24 kHz
        size_t length = (size_t)(p[3] & 3) << 11 | (size_t)p[4] << 3 | p[5] >> 5;
        assert_true(length > 7);
        at += length;
        n_frames++;
    }
    assert_int_equal(at, r.bytes.n);
    assert_in_range(n_frames, (COUNT + 1023) / 1024 + 1, (COUNT + 1023) / 1024 + 2);

    float *got = calloc(COUNT + 10000, sizeof *got);
    int rate_hz, n = decode_aac(r.bytes.data, r.bytes.n, got, COUNT + 10000, &rate_hz), shift = 0;
    assert_int_equal(rate_hz, RATE);
    assert_in_range(n, COUNT + 1024, COUNT + 1024 + 2 * 1024);
    double db = match(got, n, 1600, &shift);
    assert_int_equal(shift, 1024);
    if (db < 20) fail_msg("aac: %.1f dB over the error, 20 expected", db);
    free(got);
    encoded_free(&r);
}

// ---- all formats ----

static const enum audio_format all[] = {AUDIO_WAV, AUDIO_FLAC, AUDIO_MP3,   AUDIO_OPUS,
                                        AUDIO_AAC, AUDIO_PCM,  AUDIO_VORBIS};

static bool here(enum audio_format f) {
    enum audio_format format;
    return audio_format_parse(audio_format_name(f), &format) == UTTER_OK;
}

// Streams are what files are, but for the head.
static void test_streams_have_no_head(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!here(all[i]) || all[i] == AUDIO_OPUS || all[i] == AUDIO_VORBIS)
            continue;  // those begin with a random number
        struct encoded file = encode(all[i]);
        struct bytes stream = {0};
        struct audio_encoder *e;
        const unsigned char *head;
        size_t n;
        assert_ok(audio_encoder_new_stream(all[i], RATE, take, &stream, &e));
        assert_ok(audio_encoder_push(e, voice, COUNT));
        assert_ok(audio_encoder_end(e));
        audio_encoder_head(e, &head, &n);
        assert_int_equal(n, 0);
        audio_encoder_free(e);
        assert_int_equal(stream.n, file.bytes.n);
        assert_memory_equal(stream.data, file.bytes.data, stream.n);
        free(stream.data);
        encoded_free(&file);
    }
}
enum { N_ALL = sizeof all / sizeof *all };

static void test_names(void **state) {
    (void)state;
    enum audio_format f;
    for (int i = 0; i < N_ALL; i++) {
        if (!here(all[i])) continue;
        assert_ok(audio_format_parse(audio_format_name(all[i]), &f));
        assert_int_equal(f, all[i]);
        assert_non_null(strstr(audio_format_mime(all[i]), "audio/"));
    }
    assert_ok(audio_format_parse("MP3", &f));
    assert_int_equal(f, AUDIO_MP3);
    assert_int_equal(audio_format_parse("m4a", &f), UTTER_INVALID);
    assert_string_equal(fail_message(),
                        "there is no sound format \"m4a\"; there are wav, flac, mp3, opus, aac, pcm and ogg");
    assert_int_equal(audio_format_parse("", &f), UTTER_INVALID);
}

// Nothing but headers, one sample, and noise that is no sound: never a failure, and decoders take it.
static void test_little_and_wild(void **state) {
    (void)state;
    static const float wild[8] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, -NAN, 0.1f, -0.1f};
    for (int i = 0; i < N_ALL; i++) {
        if (!here(all[i])) continue;
        for (int n = 0; n <= 2; n++) {
            struct bytes b = {0};
            struct audio_encoder *e;
            assert_ok(audio_encoder_new(all[i], RATE, take, &b, &e));
            assert_ok(audio_encoder_push(e, wild, 0));
            if (n == 1) assert_ok(audio_encoder_push(e, wild + 6, 1));
            for (int k = 0; n == 2 && k < 2000; k++) assert_ok(audio_encoder_push(e, wild, 8));
            assert_ok(audio_encoder_end(e));
            audio_encoder_free(e);
            if (n > 0 && all[i] != AUDIO_AAC && all[i] != AUDIO_PCM) {
                SF_INFO info;
                float *got = calloc(30000, sizeof *got);
                int count = decode(&b, &info, got, 30000);
                if (count < (n == 1 ? 1 : 16000)) fail_msg("%s: %d samples", audio_format_name(all[i]), count);
                for (int k = 0; k < count; k++) assert_true(isfinite(got[k]));
                free(got);
            }
            free(b.data);
        }
    }
}

// What the writer fails with is what the caller gets, wherever it happens, and the writer is not called again.
static void test_writer_failure(void **state) {
    (void)state;
    for (int i = 0; i < N_ALL; i++) {
        if (!here(all[i])) continue;
        static const size_t beyond[] = {1, 300, 5000};
        for (size_t k = 0; k < 3; k++) {
            struct bytes b = {.fail_beyond = beyond[k]};
            struct audio_encoder *e = NULL;
            status s = audio_encoder_new(all[i], RATE, take, &b, &e);
            for (int at = 0; s == UTTER_OK && at < COUNT; at += 500) s = audio_encoder_push(e, voice + at, 500);
            if (s == UTTER_OK) s = audio_encoder_end(e);
            if (s != UTTER_CANCELLED || strcmp(fail_message(), "the listener has left") != 0)
                fail_msg("%s after %zu: %s %s", audio_format_name(all[i]), beyond[k], status_name(s), fail_message());
            size_t calls = b.n_calls;
            if (e) assert_int_equal(audio_encoder_push(e, voice, 5000), UTTER_CANCELLED);
            audio_encoder_free(e);
            assert_int_equal(b.n_calls, calls);
            free(b.data);
        }
    }
}

// Freed in the middle of the sound: nothing leaks, nothing more is written.
static void test_abandoned(void **state) {
    (void)state;
    for (int i = 0; i < N_ALL; i++) {
        if (!here(all[i])) continue;
        struct bytes b = {0};
        struct audio_encoder *e;
        assert_ok(audio_encoder_new(all[i], RATE, take, &b, &e));
        assert_ok(audio_encoder_push(e, voice, 5000));
        size_t calls = b.n_calls;
        audio_encoder_free(e);
        assert_int_equal(b.n_calls, calls);
        free(b.data);
    }
    audio_encoder_free(NULL);
}

static void test_rates(void **state) {
    (void)state;
    struct bytes b = {0};
    struct audio_encoder *e;
    assert_int_equal(audio_encoder_new(AUDIO_OPUS, 44100, take, &b, &e), UTTER_UNSUPPORTED);
    assert_null(e);
    assert_non_null(strstr(fail_message(), "44100 Hz"));
    if (here(AUDIO_AAC)) assert_int_equal(audio_encoder_new(AUDIO_AAC, 12345, take, &b, &e), UTTER_UNSUPPORTED);
    static const enum audio_format others[] = {AUDIO_WAV, AUDIO_FLAC, AUDIO_MP3, AUDIO_PCM, AUDIO_VORBIS};
    for (int i = 0; i < 5; i++) {
        assert_ok(audio_encoder_new(others[i], 44100, take, &b, &e));
        assert_ok(audio_encoder_push(e, voice, COUNT));
        assert_ok(audio_encoder_end(e));
        audio_encoder_free(e);
    }
    free(b.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wav),
        cmocka_unit_test(test_flac),
        cmocka_unit_test(test_flac_has_a_checksum_in_its_head),
        cmocka_unit_test(test_streams_have_no_head),
        cmocka_unit_test(test_vorbis),
        cmocka_unit_test(test_opus),
        cmocka_unit_test(test_mp3),
        cmocka_unit_test(test_mp3_says_its_delay),
        cmocka_unit_test(test_pcm),
        cmocka_unit_test(test_wav_of_unknown_length),
        cmocka_unit_test(test_aac),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_little_and_wild),
        cmocka_unit_test(test_writer_failure),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests_name("encode", tests, setup, teardown);
}
