/* The backbone on the CPU: slots, prompts and generation upon the forward pass. */
#ifndef UTTER_CPU_BACKBONE_H
#define UTTER_CPU_BACKBONE_H

#include "backbone/backbone.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "engine/device.h"

struct cpu_backbone;

/* `model`, `kernels` and `pool` stay the caller's and must outlive the result. */
status cpu_backbone_new(const struct backbone *model, bool speech_only, int n_slots, int n_ctx,
                        const struct kernels *kernels, struct pool *pool, struct cpu_backbone **out);
void cpu_backbone_free(struct cpu_backbone *b);

/* As device_ops has them. */
void cpu_backbone_reset(struct cpu_backbone *b, int slot);
int cpu_backbone_keep(struct cpu_backbone *b, int slot, const int32_t *tokens, int n);
status cpu_backbone_prefill(struct cpu_backbone *b, int slot, const int32_t *tokens, int n, float *logits,
                            int64_t deadline);
status cpu_backbone_generate(struct cpu_backbone *b, struct generation *generations, int n, int steps,
                             int64_t deadline);

/* Bytes of packed weights. */
size_t cpu_backbone_bytes(const struct cpu_backbone *b);

#endif
