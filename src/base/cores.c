#include "base/cores.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROCESSORS = 8192, PATH_BYTES = 1024, SLOW_PERCENT = 60 };

static FILE *open_below(const char *root, const char *path) {
    char whole[PATH_BYTES];
    const int n = snprintf(whole, sizeof whole, "%s%s", root, path);
    return n > 0 && n < (int)sizeof whole ? fopen(whole, "r") : NULL;
}

/* The numbers that a file begins with, up to n; returns how many. */
static int read_numbers(const char *root, const char *path, double *out, int n) {
    FILE *f = open_below(root, path);
    int n_read = 0;
    while (f && n_read < n && fscanf(f, "%lf", &out[n_read]) == 1) n_read++;
    if (f) fclose(f);
    return n_read;
}

/* ---- cores ---- */

/* Whether a list as "0-3,8,10-11" in a file has this number. */
static bool list_has(const char *root, const char *path, int number) {
    FILE *f = open_below(root, path);
    bool has = false;
    int first, last;
    while (f && !has && fscanf(f, "%d", &first) == 1) {
        last = first;
        int c = fgetc(f);
        if (c == '-' && fscanf(f, "%d", &last) == 1) c = fgetc(f);
        has = first <= number && number <= last;
        if (c != ',') break;
    }
    if (f) fclose(f);
    return has;
}

/* A core is known by the first processor upon it. */
static int core_of(const char *root, int processor) {
    char path[128];
    double first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", processor);
    return read_numbers(root, path, &first, 1) == 1 && first >= 0 && first < MAX_PROCESSORS ? (int)first : processor;
}

/* How fast a core is beside others of the machine: ARM's kernels tell it for each, Intel's which are efficient ones. */
static double speed_of(const char *root, int processor) {
    char path[128];
    double capacity;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpu_capacity", processor);
    if (read_numbers(root, path, &capacity, 1) == 1 && capacity > 0) return capacity;
    return list_has(root, "/sys/devices/cpu_atom/cpus", processor) ? 0.5 : 1;
}

static int count_cores(const char *root, const int *processors, int n) {
    bool seen[MAX_PROCESSORS] = {0};
    double fastest = 0;
    int n_cores = 0;
    for (int i = 0; i < n; i++) {
        const double speed = speed_of(root, processors[i]);
        if (speed > fastest) fastest = speed;
    }
    for (int i = 0; i < n; i++) {
        const int core = core_of(root, processors[i]);
        if (seen[core] || speed_of(root, processors[i]) * 100 < fastest * SLOW_PERCENT) continue;
        seen[core] = true;
        n_cores++;
    }
    return n_cores;
}

/* ---- control groups ---- */

/* Processors' time that the group at this folder grants, or `most` when that is less. */
static double granted(const char *root, const char *folder, double most) {
    char path[PATH_BYTES];
    double v[2];
    bool told =
        snprintf(path, sizeof path, "%s/cpu.max", folder) < (int)sizeof path && read_numbers(root, path, v, 2) == 2;
    if (!told)
        told = snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder) < (int)sizeof path &&
               read_numbers(root, path, &v[0], 1) == 1 &&
               snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder) < (int)sizeof path &&
               read_numbers(root, path, &v[1], 1) == 1;
    return told && v[0] > 0 && v[1] > 0 && v[0] / v[1] < most ? v[0] / v[1] : most;
}

/* Of the group and all that it lies in. In a container the group's name may be one that only the host sees: its own
   limit is then where the groups are mounted. */
static double granted_up(const char *root, const char *mounted, char *group, double most) {
    char folder[PATH_BYTES];
    for (;;) {
        if (snprintf(folder, sizeof folder, "%s%s", mounted, group) < (int)sizeof folder)
            most = granted(root, folder, most);
        char *slash = strrchr(group, '/');
        if (!slash) return most;
        *slash = 0;
    }
}

/* Whether a list as "cpu,cpuacct" has the controller of processors' time. */
static bool has_time(const char *controllers) {
    for (const char *at = controllers; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, "cpu", 3) && (!at[3] || at[3] == ',')) return true;
    }
    return false;
}

static double limit_of(const char *root, double most) {
    char line[PATH_BYTES];
    FILE *f = open_below(root, "/proc/self/cgroup");
    while (f && fgets(line, sizeof line, f)) {  // number:controllers:group
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *controllers++ = *group++ = 0;
        if (!*controllers)
            most = granted_up(root, "/sys/fs/cgroup", group, most);
        else if (has_time(controllers))
            most = granted_up(root, "/sys/fs/cgroup/cpu", group, most);
    }
    if (f) fclose(f);
    return most;
}

/* ---- all ---- */

int cores_to_use_of(const char *root, const int *processors, int n) {
    const int n_cores = count_cores(root, processors, n), n_granted = (int)limit_of(root, n_cores);
    return n_granted > 1 ? n_granted : 1;
}

int cores_to_use(void) {
    int *processors = malloc(MAX_PROCESSORS * sizeof *processors);
    cpu_set_t *set = CPU_ALLOC(MAX_PROCESSORS);
    const size_t size = CPU_ALLOC_SIZE(MAX_PROCESSORS);
    int n = 0;
    if (processors && set && sched_getaffinity(0, size, set) == 0)
        for (int i = 0; i < MAX_PROCESSORS; i++)
            if (CPU_ISSET_S(i, size, set)) processors[n++] = i;
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 0; n == 0 && processors && i < online && i < MAX_PROCESSORS; i++) processors[n++] = i;
    const int n_cores = processors ? cores_to_use_of("", processors, n) : 1;
    free(processors);
    CPU_FREE(set);
    return n_cores;
}
