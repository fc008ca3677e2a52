/* How many threads of arithmetic this process should have. */
#ifndef UTTER_BASE_CORES_H
#define UTTER_BASE_CORES_H

/* One for each core that the process may run on: siblings upon one core share its arithmetic, and cores about half as
   fast as the fastest, or slower, keep the others waiting. No more than whole processors' time that its control groups
   grant. At least 1. */
int cores_to_use(void);

/* The same for n processors, with `root` in place of /: sysfs, procfs and control groups lie below it. */
int cores_to_use_of(const char *root, const int *processors, int n);

#endif
