/* Runs a fuzz target where libFuzzer is not at hand: over the files of a corpus, then over mutations of them, the same
   ones on every machine, until the time is up.

       fuzz_gguf [-max_total_time=SECONDS] [-runs=N] FOLDER...

   Options are libFuzzer's; others of its options are ignored. What made the target crash is left in ./crash-input. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

enum { MAX_SEEDS = 1024, MAX_SEED = 1 << 20, SLACK = 4096 };

struct input {
    uint8_t *bytes;
    size_t size;
};

static struct input seeds[MAX_SEEDS];
static int n_seeds;
static struct input current;  // [MAX_SEED + SLACK]

static void save_current(void) {
    int fd = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return;
    ssize_t n = write(fd, current.bytes, current.size);
    (void)n;
    close(fd);
}

static void on_signal(int number) {
    save_current();
    signal(number, SIG_DFL);
    raise(number);
}

static void run(void) { LLVMFuzzerTestOneInput(current.bytes, current.size); }

/* ---- seeds ---- */

static void add_seed(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return;
    struct input *s = &seeds[n_seeds];
    s->bytes = malloc(MAX_SEED);
    if (s->bytes) {
        s->size = fread(s->bytes, 1, MAX_SEED, f);
        n_seeds++;
    }
    fclose(f);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// In the order of their names, so that every machine does the same.
static void add_folder(const char *path) {
    DIR *d = opendir(path);
    if (!d) return;
    char *names[MAX_SEEDS];
    int n = 0;
    for (struct dirent *entry; n < MAX_SEEDS && (entry = readdir(d));)
        if (entry->d_name[0] != '.' && asprintf(&names[n], "%s/%s", path, entry->d_name) >= 0) n++;
    closedir(d);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        if (n_seeds < MAX_SEEDS) add_seed(names[i]);
        free(names[i]);
    }
}

/* ---- mutations ---- */

static uint64_t random_state = 1;

static uint64_t random_number(void) {  // splitmix64
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static size_t below(size_t n) { return n ? (size_t)(random_number() % n) : 0; }

static void overwrite(size_t at, const void *bytes, size_t n) {
    if (n > current.size - at) n = current.size - at;
    memcpy(current.bytes + at, bytes, n);
}

static void insert(size_t at, const uint8_t *bytes, size_t n) {
    if (current.size + n > MAX_SEED + SLACK) return;
    memmove(current.bytes + at + n, current.bytes + at, current.size - at);
    memcpy(current.bytes + at, bytes, n);
    current.size += n;
}

static void erase(size_t at, size_t n) {
    if (n > current.size - at) n = current.size - at;
    memmove(current.bytes + at, current.bytes + at + n, current.size - at - n);
    current.size -= n;
}

static void mutate(void) {
    static const uint64_t numbers[] = {
        0,        1,          2,         7,          31,         32,         33,
        127,      128,        255,       256,        65535,      65536,      INT32_MAX,
        1u << 31, UINT32_MAX, INT64_MAX, 1ull << 63, 1ull << 61, UINT64_MAX, UINT64_MAX - 7};
    size_t at = below(current.size);
    uint64_t number = numbers[below(sizeof numbers / sizeof *numbers)];
    const struct input *other = &seeds[below((size_t)n_seeds)];
    size_t from = below(other->size), len = 1 + below(below(4) ? 8 : 64);
    uint8_t chunk[64];
    if (len > other->size - from) len = other->size - from;
    switch (below(current.size ? 9 : 1)) {
        case 0:
            if (len) memcpy(chunk, other->bytes + from, len);
            insert(at, chunk, len);
            break;
        case 1:
            current.bytes[at] ^= (uint8_t)(1u << below(8));
            break;
        case 2:
            current.bytes[at] = (uint8_t)random_number();
            break;
        case 3:
            overwrite(at, &number, (size_t)1 << below(4));
            break;
        case 4:
            overwrite(at, other->bytes + from, len);
            break;
        case 5:
            erase(at, 1 + below(below(4) ? 8 : 64));
            break;
        case 6:
            current.size = at;
            break;
        case 7:
            current.bytes[at] += (uint8_t)(below(2) ? 1 : -1);
            break;
        default: {  // a piece of itself again
            size_t n = len < current.size - at ? len : current.size - at;
            memcpy(chunk, current.bytes + at, n);
            insert(below(current.size), chunk, n);
        }
    }
}

static void take_seed(const struct input *s) {
    memcpy(current.bytes, s->bytes, s->size);
    current.size = s->size;
}

int main(int argc, char **argv) {
    double seconds = 5;
    long max_runs = -1;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-max_total_time=", 16) == 0)
            seconds = atof(argv[i] + 16);
        else if (strncmp(argv[i], "-runs=", 6) == 0)
            max_runs = atol(argv[i] + 6);
        else if (argv[i][0] != '-')
            add_folder(argv[i]);
    }
    if (n_seeds == 0) {
        fprintf(stderr, "%s: no corpus: name a folder with at least one file\n", argv[0]);
        return 2;
    }
    current.bytes = malloc(MAX_SEED + SLACK);
    if (!current.bytes) return 1;
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGFPE, on_signal);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(save_current);

    long n_runs = 0;
    int64_t end = clock_ns() + (int64_t)(seconds * 1e9);
    for (int i = 0; i < n_seeds; i++, n_runs++) {
        take_seed(&seeds[i]);
        run();
    }
    for (; clock_ns() < end && (max_runs < 0 || n_runs < max_runs); n_runs++) {
        take_seed(&seeds[below((size_t)n_seeds)]);
        for (size_t n = 1 + below(8); n > 0; n--) mutate();
        run();
    }
    printf("%s: %ld inputs, no crash\n", argv[0], n_runs);
    for (int i = 0; i < n_seeds; i++) free(seeds[i].bytes);
    free(current.bytes);
    return 0;
}
