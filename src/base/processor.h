/* What a person calls this machine's processor. */
#ifndef UTTER_BASE_PROCESSOR_H
#define UTTER_BASE_PROCESSOR_H

#include <stddef.h>

/* "AMD EPYC 7763 64-Core Processor", "Cortex-A76 in a Raspberry Pi 5 Model B Rev 1.0"; never empty. */
void processor_name(char *name, size_t size);

/* The same from files in place of Linux' own. */
void processor_name_from(const char *cpuinfo, const char *board, char *name, size_t size);

#endif
