#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/processor.h"
#include "base/str.h"
#include "utter.h"

// What follows "key : " in the first such line of a file of /proc.
static void proc_value(const char *path, const char *key, char *value, size_t n_bytes) {
    char line[8192];
    FILE *f = fopen(path, "r");
    *value = 0;
    while (f && !*value && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        snprintf(value, n_bytes, "%s", colon + 1 + strspn(colon + 1, " \t"));
        value[strcspn(value, "\n")] = 0;
    }
    if (f) fclose(f);
}

// Of the processor's flags those that kernels are chosen by.
static void flags(char *out, size_t n_bytes) {
    static const char *const known[] = {"avx2",        "fma",         "avx_vnni",    "avx512f",  "avx512bw",
                                        "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16",
                                        "asimddp",     "i8mm",        "sve"};
    char all[8192], found[8200];
    proc_value("/proc/cpuinfo", "flags", all, sizeof all);
    if (!*all) proc_value("/proc/cpuinfo", "Features", all, sizeof all);
    snprintf(found, sizeof found, " %s ", all);
    *out = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char word[32];
        snprintf(word, sizeof word, " %s ", known[i]);
        if (strstr(found, word) && strlen(out) + strlen(known[i]) + 2 < n_bytes)
            strcat(strcat(out, *out ? " " : ""), known[i]);
    }
}

double machine_load(void) {
    double load = 0;
    return getloadavg(&load, 1) == 1 ? load : -1;
}

json_t *machine_describe(void) {
    char processor[256], memory[64], found[256], system[256], date[32];
    processor_name(processor, sizeof processor);
    proc_value("/proc/meminfo", "MemTotal", memory, sizeof memory);
    flags(found, sizeof found);
    struct utsname name;
    uname(&name);
    snprintf(system, sizeof system, "%s %.100s %.60s", name.sysname, name.release, name.machine);
    time_t now = time(NULL);
    struct tm parts;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &parts));
    return json_pack("{s:s, s:i, s:s, s:f, s:s, s:s, s:s, s:s, s:f}", "processor", processor, "cores",
                     (int)sysconf(_SC_NPROCESSORS_ONLN), "flags", found, "memory_gb", atof(memory) / 1e6, "system",
                     system, "compiler", __VERSION__, "utter", utter_version(), "date", date, "load", machine_load());
}
