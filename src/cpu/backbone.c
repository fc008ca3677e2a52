#include "cpu/backbone.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cpu/forward.h"

/* Tokens of a prompt that run through the layers together: enough that reading the weights costs little beside the
   arithmetic, few enough that their activations stay in the caches. */
enum { PROMPT_BLOCK = 256 };

struct slot {
    int n_past;       // positions in the cache
    bool ready;       // `hidden` is the last position's state
    int32_t pending;  // token drawn last, not yet run; -1: none
    int n_read;       // positions from the first on that were read as a prompt, and are there still
};

struct cpu_backbone {
    const struct backbone *model;
    struct forward *forward;
    int32_t *rows;  // [n_head] token of each row of the head
    int n_head;
    struct pages head_memory;
    struct packed head;  // [n_head, E]

    struct slot *slots;    // [n_slots]
    int32_t *read;         // [n_slots, n_ctx] the tokens at their n_read positions
    float *hidden;         // [n_slots, E] last state of each slot
    struct place *places;  // [forward->n_rows]

    /* One step of generate. */
    int *active;    // [n_slots] indices of the generations that still go on
    float *states;  // [n_slots, E] their hidden states
    float *logits;  // [n_slots, n_head]
};

static status out_of_time(void) { return fail(UTTER_DEADLINE, "the language model was not done in the time allowed"); }

static status multiply_head(struct cpu_backbone *b, const float *states, int n, float *logits) {
    struct forward *f = b->forward;
    return matmul(forward_step_kernels(f), f->pool, f->scratch, &b->head, states, b->model->config.n_embd, n, NULL,
                  logits, b->n_head);
}

static float *hidden_of(struct cpu_backbone *b, int slot) {
    return b->hidden + (int64_t)slot * b->model->config.n_embd;
}

static status check_slot(const struct cpu_backbone *b, int slot) {
    if (slot < 0 || slot >= b->forward->n_slots)
        return fail(UTTER_INVALID, "slot %d of a device with %d slots", slot, b->forward->n_slots);
    return UTTER_OK;
}

/* ---- prompts ---- */

void cpu_backbone_reset(struct cpu_backbone *b, int slot) {
    if (slot >= 0 && slot < b->forward->n_slots) b->slots[slot] = (struct slot){.pending = -1};
}

static int32_t *read_of(struct cpu_backbone *b, int slot) { return b->read + (int64_t)slot * b->forward->n_ctx; }

int cpu_backbone_keep(struct cpu_backbone *b, int slot, const int32_t *tokens, int n) {
    if (slot < 0 || slot >= b->forward->n_slots) return 0;
    const int32_t *read = read_of(b, slot);
    int n_kept = 0;
    while (n_kept < b->slots[slot].n_read && n_kept < n - 1 && read[n_kept] == tokens[n_kept]) n_kept++;
    b->slots[slot] = (struct slot){.n_past = n_kept, .pending = -1, .n_read = n_kept};
    return n_kept;
}

/* Runs up to PROMPT_BLOCK tokens; of a block with logits every state is wanted, else only that of the last block's end.
 */
static status prefill_block(struct cpu_backbone *b, int slot, const int32_t *tokens, int n, bool last, float *logits) {
    struct slot *s = &b->slots[slot];
    const int n_keep = logits ? n : last ? 1 : 0;
    for (int i = 0; i < n; i++) b->places[i] = (struct place){tokens[i], slot, s->n_past + i};
    s->ready = false;
    TRY(forward_run(b->forward, true, b->places, n, n_keep));
    if (s->n_read == s->n_past) {
        memcpy(read_of(b, slot) + s->n_past, tokens, (size_t)n * sizeof *tokens);
        s->n_read += n;
    }
    s->n_past += n;
    if (logits) TRY(multiply_head(b, b->forward->normed, n, logits));
    if (!last) return UTTER_OK;
    const int64_t e = b->model->config.n_embd;
    memcpy(hidden_of(b, slot), b->forward->normed + (n_keep - 1) * e, (size_t)e * sizeof(float));
    s->ready = true;
    return UTTER_OK;
}

status cpu_backbone_prefill(struct cpu_backbone *b, int slot, const int32_t *tokens, int n, float *logits,
                            int64_t deadline) {
    TRY(check_slot(b, slot));
    struct slot *s = &b->slots[slot];
    const int n_ctx = b->forward->n_ctx, n_past = s->n_past + (s->pending >= 0);
    if (n > n_ctx - n_past)
        return fail(UTTER_LIMIT, "%d tokens after %d do not fit a context of %d: shorten the text or the reference", n,
                    n_past, n_ctx);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= b->model->config.n_vocab)
            return fail(UTTER_INVALID, "token %d at position %d is not in the vocabulary of %d", (int)tokens[i], i,
                        b->model->config.n_vocab);
    if (n > 0 && s->pending >= 0) {
        const int32_t token = s->pending;
        s->pending = -1;
        TRY(prefill_block(b, slot, &token, 1, false, NULL));
    }
    for (int i = 0; i < n; i += PROMPT_BLOCK) {
        if (clock_ns() > deadline) return out_of_time();
        const int n_block = n - i < PROMPT_BLOCK ? n - i : PROMPT_BLOCK;
        TRY(prefill_block(b, slot, tokens + i, n_block, i + n_block == n,
                          logits ? logits + (int64_t)i * b->n_head : NULL));
    }
    return UTTER_OK;
}

/* ---- generation ---- */

/* Runs the tokens drawn in the step before, so that every active slot is ready. */
static status run_pending(struct cpu_backbone *b, const struct generation *generations, int n_active) {
    const int64_t e = b->model->config.n_embd;
    int n = 0;
    for (int i = 0; i < n_active; i++) {
        const int slot = generations[b->active[i]].slot;
        const struct slot *s = &b->slots[slot];
        if (s->pending >= 0) b->places[n++] = (struct place){s->pending, slot, s->n_past};
    }
    if (n == 0) return UTTER_OK;
    TRY(forward_run(b->forward, false, b->places, n, n));
    for (int i = 0; i < n; i++) {
        struct slot *s = &b->slots[b->places[i].slot];
        memcpy(hidden_of(b, b->places[i].slot), b->forward->normed + i * e, (size_t)e * sizeof(float));
        s->n_past++;
        s->pending = -1;
        s->ready = true;
    }
    return UTTER_OK;
}

/* Takes out the generations that are at their end; returns how many are left. */
static int keep_active(struct cpu_backbone *b, const struct generation *generations, int n_active) {
    int n = 0;
    for (int i = 0; i < n_active; i++) {
        const struct generation *g = &generations[b->active[i]];
        const struct slot *s = &b->slots[g->slot];
        const bool full = s->n_past + (s->pending >= 0) >= b->forward->n_ctx;
        if (!g->ended && !full) b->active[n++] = b->active[i];
    }
    return n;
}

static status draw(struct cpu_backbone *b, struct generation *g, const float *logits) {
    int index;
    TRY(sampler_draw(g->sampler, logits, &index));
    g->indices[g->n++] = index;
    g->ended = index == g->end_index;
    b->slots[g->slot].pending = b->rows[index];
    return UTTER_OK;
}

static status step(struct cpu_backbone *b, struct generation *generations, int n_active) {
    const int64_t e = b->model->config.n_embd;
    TRY(run_pending(b, generations, n_active));
    for (int i = 0; i < n_active; i++)
        memcpy(b->states + i * e, hidden_of(b, generations[b->active[i]].slot), (size_t)e * sizeof(float));
    TRY(multiply_head(b, b->states, n_active, b->logits));
    for (int i = 0; i < n_active; i++) TRY(draw(b, &generations[b->active[i]], b->logits + (int64_t)i * b->n_head));
    return UTTER_OK;
}

static status check_generations(const struct cpu_backbone *b, struct generation *generations, int n) {
    for (int i = 0; i < n; i++) {
        generations[i].n = 0;
        generations[i].ended = false;
    }
    for (int i = 0; i < n; i++) {
        const int slot = generations[i].slot;
        TRY(check_slot(b, slot));
        const struct slot *s = &b->slots[slot];
        if (!s->ready && s->pending < 0) return fail(UTTER_INVALID, "slot %d has no prompt to go on from", slot);
        for (int j = 0; j < i; j++)
            if (generations[j].slot == slot) return fail(UTTER_INVALID, "slot %d is asked for twice at once", slot);
    }
    return UTTER_OK;
}

status cpu_backbone_generate(struct cpu_backbone *b, struct generation *generations, int n, int steps,
                             int64_t deadline) {
    TRY(check_generations(b, generations, n));
    for (int i = 0; i < n; i++) b->active[i] = i;
    for (int n_active = n; steps > 0; steps--) {
        n_active = keep_active(b, generations, n_active);
        if (n_active == 0) break;
        if (clock_ns() > deadline) return out_of_time();
        TRY(step(b, generations, n_active));
    }
    return UTTER_OK;
}

/* ---- load ---- */

static status make(struct cpu_backbone *b, bool speech_only, int n_slots, int n_ctx, const struct kernels *kernels,
                   struct pool *pool) {
    const size_t e = (size_t)b->model->config.n_embd, n = (size_t)n_slots;
    const int n_rows = n_slots > PROMPT_BLOCK ? n_slots : PROMPT_BLOCK;
    TRY(forward_new(b->model, kernels, pool, n_slots, n_ctx, n_rows, &b->forward));
    TRY(backbone_head_rows(b->model, speech_only, &b->rows, &b->n_head));
    const struct to_pack head = {&b->model->weights.output, b->rows, b->n_head, &b->head, false};
    TRY(pack_all(kernels, pool, &head, 1, "the output matrix", &b->head_memory));
    TRY(alloc_for(&b->slots, n, sizeof *b->slots, "the slots"));
    TRY(alloc_for(&b->read, n, (size_t)n_ctx * sizeof *b->read, "the slots"));
    TRY(alloc_for(&b->hidden, n, e * sizeof(float), "the slots"));
    TRY(alloc_for(&b->places, (size_t)n_rows, sizeof *b->places, "the slots"));
    TRY(alloc_for(&b->active, n, sizeof *b->active, "the slots"));
    TRY(alloc_for(&b->states, n, e * sizeof(float), "the slots"));
    TRY(alloc_for(&b->logits, n, (size_t)b->n_head * sizeof(float), "the logits"));
    for (int i = 0; i < n_slots; i++) cpu_backbone_reset(b, i);
    return UTTER_OK;
}

status cpu_backbone_new(const struct backbone *model, bool speech_only, int n_slots, int n_ctx,
                        const struct kernels *kernels, struct pool *pool, struct cpu_backbone **out) {
    *out = NULL;
    if (n_slots < 1 || n_ctx < 1)
        return fail(UTTER_INVALID, "%d slots of %d positions: there must be one of each", n_slots, n_ctx);
    struct cpu_backbone *b;
    TRY(alloc_for(&b, 1, sizeof *b, "the backbone"));
    b->model = model;
    status s = make(b, speech_only, n_slots, n_ctx, kernels, pool);
    if (s != UTTER_OK) {
        cpu_backbone_free(b);
        return s;
    }
    *out = b;
    return UTTER_OK;
}

void cpu_backbone_free(struct cpu_backbone *b) {
    if (!b) return;
    forward_free(b->forward);
    pages_free(&b->head_memory);
    free_aligned(b->rows);
    free_aligned(b->slots);
    free_aligned(b->read);
    free_aligned(b->hidden);
    free_aligned(b->places);
    free_aligned(b->active);
    free_aligned(b->states);
    free_aligned(b->logits);
    free_aligned(b);
}

size_t cpu_backbone_bytes(const struct cpu_backbone *b) { return b->forward->weights.n_bytes + b->head_memory.n_bytes; }
