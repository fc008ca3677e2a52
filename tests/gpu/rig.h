/* What the GPU's tests share: the stand-in driver, or a real card when UTTER_STANDIN is unset. */
#ifndef UTTER_TESTS_GPU_RIG_H
#define UTTER_TESTS_GPU_RIG_H

#include "gpu/gpu.h"
#include "standin.h"

/* The stand-in, as good as new; NULL with a real card. */
struct standin *rig_standin(void);

/* The same as it is. */
struct standin *rig_standin_now(void);

/* Opens device 0. Every buffer is an allocation of its own, so that memory checkers see the least overrun. */
struct device *rig_open(void);
/* The same with the stand-in as it is. */
struct device *rig_open_now(void);
/* Closes it; under the stand-in nothing may be left, and no kernel may have gone wrong. */
void rig_close(struct device *d);

/* The tiny model `name`. */
struct backbone *rig_backbone(const char *name);

#endif
