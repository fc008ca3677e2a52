/* utter read, from outside: a book in, files with chapters out; stopped and gone on with. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sndfile.h>

#include "run.h"

static const char book[] =
    "# Small\n\n## One\n\nThe dog ran over the hill. It was a bright morning, and nobody was up.\n\n---\n\nThen it "
    "slept in "
    "the sun.\n\n## Two\n\nThe cat sat on the mat. It looked at the dog for a very long time.\n";

static void write_file(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", run_folder(), name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static double seconds_of(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", run_folder(), name);
    SF_INFO info = {0};
    SNDFILE *f = sf_open(path, SFM_READ, &info);
    if (!f) fail_msg("%s is no sound file: %s", name, sf_strerror(NULL));
    sf_close(f);
    return (double)info.frames / info.samplerate;
}

static void assert_holds(const char *name, const char *bytes) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", run_folder(), name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static char data[1 << 20];
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    if (!memmem(data, n, bytes, strlen(bytes))) fail_msg("%s does not hold \"%s\"", name, bytes);
}

static void test_list(void **state) {
    (void)state;
    write_file("b.md", book);
    const struct result *r = run("utter read b.md --list");
    assert_int_equal(r->code, 0);
    assert_non_null(strstr(r->out, "  1       5 sentences  One"));
    assert_non_null(strstr(r->out, "  2       2 sentences  Two"));
}

static void test_opus_with_chapters(void **state) {
    (void)state;
    write_file("b.md", book);
    const struct result *r = run("utter read b.md -o b.opus --author Someone --json");
    assert_int_equal(r->code, 0);
    json_error_t error;
    json_t *o = json_loads(r->out, 0, &error);
    assert_non_null(o);
    assert_int_equal(json_integer_value(json_object_get(o, "chapters")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "sentences_failed")), 0);
    double audio_s = json_real_value(json_object_get(o, "audio_s")), file_s = seconds_of("b.opus");
    assert_true(audio_s > 12 && audio_s < 40 && file_s > audio_s - 0.1 && file_s < audio_s + 0.1);
    json_decref(o);
    assert_holds("b.opus", "CHAPTER001=00:00:00.000");
    assert_holds("b.opus", "CHAPTER002NAME=Two");
    assert_holds("b.opus", "ARTIST=Someone");
    assert_int_equal(file_size("b.opus.reading"), -1);
}

static void test_other_formats(void **state) {
    (void)state;
    write_file("b.md", book);
    assert_int_equal(run("utter read b.md -o b.wav -q && utter read b.md -o out/ --format wav -q && ls -A out")->code,
                     0);
    double whole = seconds_of("b.wav");
    assert_true(whole > 12);
    const struct result *r = run("ls -A out | tr \"\\n\" \"|\"");
    assert_string_equal(r->out, "01 One.wav|02 Two.wav|");
    double parts = seconds_of("out/01 One.wav") + seconds_of("out/02 Two.wav");
    assert_true(parts > whole - 2 && parts < whole + 1);
    r = run("utter read b.md -o b.m4b");
    if (r->code == 0) {
        assert_holds("b.m4b", "chpl");
        assert_holds("b.m4b", "Two");
        assert_int_equal(run("utter read b.md -o b.flac -q && utter read b.md -o b.mp3 -q")->code, 0);
        assert_true(seconds_of("b.flac") > whole - 0.1 && seconds_of("b.mp3") > whole - 0.1);
        assert_holds("b.mp3", "CHAP");
        assert_holds("b.flac", "CHAPTER002NAME=Two");
    } else {
        assert_says(r, 1, "libavformat");
    }
}

// Another speed changes what is written, not what is spoken: the reading goes on with it.
static void test_speed(void **state) {
    (void)state;
    write_file("b.md", book);
    assert_int_equal(run("utter read b.md -o s1.wav -q && utter read b.md -o s2.wav --speed 2 -q")->code, 0);
    const double ratio = seconds_of("s2.wav") / seconds_of("s1.wav");
    assert_true(ratio > 0.45 && ratio < 0.55);
    run("utter read b.md -o s3.wav -q & p=$!\nwhile kill -0 $p 2>/dev/null && ! test -s s3.wav.reading; do sleep 0.02; "
        "done; kill -KILL $p; wait $p");
    assert_int_equal(run("utter read b.md -o s3.wav --speed 2 -q && cmp s2.wav s3.wav")->code, 0);
    assert_says(run("utter read b.md -o x.wav --speed 5"), 2, "0.25 to 4");
}

static void test_cover(void **state) {
    (void)state;
    write_file("b.md", book);
    const char *folder = getenv("UTTER_FIXTURES");
    assert_non_null(folder);
    assert_int_equal(run("utter read b.md -o c.opus --cover %s/book/cover.png -q", folder)->code, 0);
    assert_holds("c.opus", "METADATA_BLOCK_PICTURE=");
    assert_says(run("utter read b.md -o x.opus --cover b.md"), 1, "no JPEG or PNG");
    assert_says(run("utter read b.md -o x.opus --cover nowhere.png"), 1, "nowhere.png");
    assert_int_equal(file_size("x.opus.reading"), -1);
}

// Starts `utter read ARGUMENTS` and sends the signal once its journal has so many bytes; its exit code.
static int stop_reading(const char *arguments, const char *journal, long bytes, const char *name) {
    const struct result *r =
        run("utter read %s & p=$!\n"
            "while kill -0 $p 2>/dev/null && [ $(stat -c %%s %s 2>/dev/null || echo 0) -lt %ld ]; do sleep 0.02; done\n"
            "kill -%s $p 2>/dev/null; wait $p; echo $?",
            arguments, journal, bytes, name);
    return atoi(r->out);
}

static void write_long(const char *name, int n) {
    char *text = calloc(1, (size_t)n * 100);
    assert_non_null(text);
    for (int i = 0; i < n; i++)
        sprintf(text + strlen(text), "Sentence number %d is about the weather of the day.\n\n", i);
    write_file(name, text);
    free(text);
}

// Killed in the middle, as by a power cut, and with a torn record at the end: the same bytes as at one go.
static void test_goes_on_after_a_kill(void **state) {
    (void)state;
    write_long("long.txt", 30);
    assert_int_equal(run("utter read long.txt -o whole.wav -q --streams 1")->code, 0);
    for (int i = 1; i <= 3; i++) {
        int code = stop_reading("long.txt -o cut.wav --streams 3", "cut.wav.reading", i * 400000, "KILL");
        assert_int_equal(code, 137);
        assert_int_equal(run("test -s cut.wav.reading && printf UNITtorn >>cut.wav.reading")->code, 0);
    }
    assert_says(run("utter read long.txt -o cut.wav"), 0, "going on at");
    assert_int_equal(run("cmp whole.wav cut.wav && ! test -e cut.wav.reading")->code, 0);
}

static void test_stopped_by_a_signal(void **state) {
    (void)state;
    write_long("tiring.txt", 300);
    assert_int_equal(stop_reading("tiring.txt -o t.opus", "t.opus.reading", 200000, "TERM"), 143);
    assert_int_equal(file_size("t.opus"), -1);
    assert_says(run("utter read tiring.txt -o t.opus & p=$!; sleep 2; kill -TERM $p; wait $p"), 143,
                "goes on from there");
    assert_says(run("utter read tiring.txt -o t.opus --seed 5"), 1, "--restart");
    const struct result *r = run("timeout -k 9 3 utter read tiring.txt -o t.opus 2>&1 | head -1");
    assert_non_null(strstr(r->out, "going on at"));
    run("timeout 2 utter read tiring.txt -o t.opus --seed 5 --restart");
    assert_int_equal(file_size("t.opus"), -1);
}

static void test_what_cannot_be_read(void **state) {
    (void)state;
    write_file("b.md", book);
    assert_says(run("utter read"), 2, "give one book");
    assert_says(run("utter read b.md"), 2, "-o FILE");
    assert_says(run("utter read b.md -o x.xyz"), 2, "does not tell a format");
    assert_says(run("utter read b.md -o out/ --format xyz"), 2, "xyz");
    assert_says(run("utter read nowhere.txt -o x.wav"), 1, "nowhere.txt");
    assert_says(run("utter read b.md -o /nowhere/x.wav"), 1, "/nowhere/x.wav");
    assert_says(run("utter read b.md -o x.wav --voice nobody"), 1, "nobody");
    assert_says(run("printf \"***\\n\" >s.md; utter read s.md -o x.wav"), 1, "nothing to read");
    assert_says(run("printf \"PK\\003\\004xx\" >d.epub; utter read d.epub -o x.wav"), 1, "d.epub");
    run("printf \"<html lang=fr><p>Bonjour tout le monde.\" >f.html");
    assert_says(run("utter read f.html -o f.wav"), 0, "\"fr\"");
    assert_int_equal(file_size("x.wav"), -1);
    assert_int_equal(file_size("x.wav.reading"), -1);
}

// The disk is full while the sound is kept: a sentence, and the same command goes on later.
static void test_full_disk(void **state) {
    (void)state;
    write_file("b.md", book);
    assert_says(run("ulimit -f 500; utter read b.md -o full.wav"), 1, "make room");
    assert_true(file_size("full.wav.reading") > 0 && file_size("full.wav") == -1);
    assert_says(run("utter read b.md -o full.wav"), 0, "going on at");
    assert_int_equal(run("utter read b.md -o plain.wav -q && cmp full.wav plain.wav")->code, 0);
}

// It is full when the file is written at the end: what was spoken is not lost.
static void test_full_disk_at_the_end(void **state) {
    (void)state;
    write_long("end.txt", 12);
    assert_says(run("ulimit -f 8000; utter read end.txt -o end.wav --speed 0.25"), 1,
                "the same command goes on from there");
    assert_int_equal(file_size("end.wav"), -1);
    assert_says(run("utter read end.txt -o end.wav --speed 0.25"), 0, "going on at");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_opus_with_chapters),
        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(test_speed),
        cmocka_unit_test(test_cover),
        cmocka_unit_test(test_goes_on_after_a_kill),
        cmocka_unit_test(test_stopped_by_a_signal),
        cmocka_unit_test(test_what_cannot_be_read),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_full_disk_at_the_end),
    };
    return cmocka_run_group_tests(tests, run_setup, run_cleanup);
}
