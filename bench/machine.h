/* What a measurement was made on. */
#ifndef UTTER_BENCH_MACHINE_H
#define UTTER_BENCH_MACHINE_H

#include <jansson.h>

/* processor, cores, flags, memory_gb, system, compiler, utter, date, load; a new object. */
json_t *machine_describe(void);
/* Of the last minute, as the system has it. */
double machine_load(void);

#endif
