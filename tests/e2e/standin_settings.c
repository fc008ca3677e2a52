/* The stand-in for the NVIDIA driver's library as STANDIN_SETTINGS says, "n_devices=2 capability=61": for programs that
   load it by UTTER_CUDA_LIBRARY and know nothing of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

extern struct standin standin;

static void set(const char *name, long value) {
    if (strcmp(name, "driver_version") == 0) standin.driver_version = (int)value;
    if (strcmp(name, "n_devices") == 0) standin.n_devices = (int)value;
    if (strcmp(name, "capability") == 0) standin.capability = (int)value;
    if (strcmp(name, "call") == 0) standin.call = (enum standin_call)value;
    if (strcmp(name, "result") == 0) standin.result = (int)value;
    if (strcmp(name, "blocked") == 0) standin.blocked = (enum standin_call)value;
    if (strcmp(name, "wrong_results") == 0) standin.wrong_results = value != 0;
}

__attribute__((constructor)) static void set_all(void) {
    standin.restore();
    char name[32];
    long value;
    int n;
    for (const char *at = getenv("STANDIN_SETTINGS"); at && sscanf(at, " %31[a-z_]=%ld%n", name, &value, &n) == 2;
         at += n)
        set(name, value);
}
