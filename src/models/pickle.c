#include "models/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    MAX_PICKLE = 4 << 20,  // bytes; a checkpoint of a thousand tensors takes a few hundred KB
    MAX_FUNCTION = 128,    // bytes of a function's name
    CHUNK = 64 << 10,      // bytes of a piece of the arena
};

// Memory that is freed all at once.
struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

struct pickle {
    struct chunk *arena;
    const struct pickle_value *root;
};

struct machine {
    const char *label;
    const uint8_t *data;
    size_t size, at;
    bool more;  // the file goes on beyond `size`
    const char *const *functions;
    struct pickle *p;
    struct pickle_value **stack;  // [capacity]
    size_t depth, capacity;
    size_t *marks;  // depths of the stack
    size_t n_marks, marks_capacity;
    struct pickle_value **memo;  // [memo_capacity]
    size_t memo_capacity;
};

static struct pickle_value none = {.kind = PICKLE_NONE};
static struct pickle_value yes = {.kind = PICKLE_BOOL, .truth = true};
static struct pickle_value no = {.kind = PICKLE_BOOL};

/* ---- memory ---- */

static status arena_take(struct pickle *p, size_t n_bytes, void *out) {
    n_bytes = (n_bytes + 15) & ~(size_t)15;
    if (!p->arena || n_bytes > p->arena->size - p->arena->used) {
        size_t size = n_bytes > CHUNK ? n_bytes : CHUNK;
        struct chunk *c = malloc(sizeof *c + size);
        if (!c) return fail_memory(size, "a pickle");
        c->next = p->arena;
        c->used = 0;
        c->size = size;
        p->arena = c;
    }
    *(void **)out = p->arena->bytes + p->arena->used;
    p->arena->used += n_bytes;
    return UTTER_OK;
}

// Room for one more element of an array that doubles.
static status grow(void *array, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return UTTER_OK;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*(void **)array, wanted * size);
    if (!grown) return fail_memory(wanted * size, "a pickle");
    *(void **)array = grown;
    *capacity = wanted;
    return UTTER_OK;
}

/* ---- refusals ---- */

static status damaged(const struct machine *m, const char *what) {
    return fail(UTTER_FORMAT, "%s: its pickle cannot be read: %s at byte %zu", m->label, what, m->at);
}

static status refuse_call(const struct machine *m, const char *name, size_t len) {
    return fail(UTTER_UNSUPPORTED, "%s asks to call %.*s; nothing was run. utter reads tensors and plain values only",
                m->label, (int)(len < MAX_FUNCTION ? len : MAX_FUNCTION), name);
}

/* ---- stack ---- */

static status push(struct machine *m, struct pickle_value *v) {
    TRY(grow(&m->stack, m->depth, &m->capacity, sizeof *m->stack));
    m->stack[m->depth++] = v;
    return UTTER_OK;
}

// What lies above the last mark, or on the whole stack.
static size_t above_mark(const struct machine *m) { return m->depth - (m->n_marks ? m->marks[m->n_marks - 1] : 0); }

static status pop(struct machine *m, struct pickle_value **out) {
    if (above_mark(m) == 0) return damaged(m, "a value is missing");
    *out = m->stack[--m->depth];
    return UTTER_OK;
}

static status top(struct machine *m, enum pickle_kind kind, struct pickle_value **out) {
    if (above_mark(m) == 0) return damaged(m, "a value is missing");
    *out = m->stack[m->depth - 1];
    return (*out)->kind == kind ? UTTER_OK : damaged(m, "a value is of another kind than its use");
}

// Takes the values above the last mark, and the mark. *items lies on the stack until the next push.
static status pop_mark(struct machine *m, struct pickle_value ***items, size_t *n) {
    if (m->n_marks == 0) return damaged(m, "a mark is missing");
    *n = above_mark(m);
    m->depth = m->marks[--m->n_marks];
    *items = m->stack ? m->stack + m->depth : NULL;
    return UTTER_OK;
}

static status new_value(struct machine *m, struct pickle_value value) {
    struct pickle_value *v = NULL;
    TRY(arena_take(m->p, sizeof *v, &v));
    *v = value;
    return push(m, v);
}

/* ---- bytes of the pickle ---- */

static status take(struct machine *m, uint64_t n, const uint8_t **out) {
    if (n > m->size - m->at && m->more)
        return fail(UTTER_LIMIT, "%s: its pickle has more than the %d bytes that utter reads", m->label, MAX_PICKLE);
    if (n > m->size - m->at)
        return fail(UTTER_FORMAT, "%s is cut off or damaged: its pickle ends inside a value; get it again", m->label);
    *out = m->data + m->at;
    m->at += (size_t)n;
    return UTTER_OK;
}

static status take_number(struct machine *m, int n_bytes, uint64_t *out) {
    const uint8_t *p = NULL;
    TRY(take(m, (uint64_t)n_bytes, &p));
    *out = 0;
    for (int i = 0; i < n_bytes; i++) *out |= (uint64_t)p[i] << (8 * i);
    return UTTER_OK;
}

// A text up to the end of its line.
static status take_line(struct machine *m, const char **text, size_t *len) {
    const uint8_t *end = memchr(m->data + m->at, '\n', m->size - m->at);
    if (!end) return damaged(m, "a line has no end");
    *text = (const char *)m->data + m->at;
    *len = (size_t)(end - m->data) - m->at;
    m->at += *len + 1;
    return UTTER_OK;
}

/* ---- values ---- */

static status put_int(struct machine *m, int64_t number) {
    return new_value(m, (struct pickle_value){.kind = PICKLE_INT, .number = number});
}

static status put_text(struct machine *m, enum pickle_kind kind, int length_bytes) {
    uint64_t n = 0;
    const uint8_t *p = NULL;
    TRY(take_number(m, length_bytes, &n));
    TRY(take(m, n, &p));
    return new_value(m, (struct pickle_value){.kind = kind, .n = (size_t)n, .text = (const char *)p});
}

// A whole number of any length, in two's complement.
static status put_long(struct machine *m, int length_bytes) {
    uint64_t n = 0, number = 0;
    const uint8_t *p = NULL;
    TRY(take_number(m, length_bytes, &n));
    TRY(take(m, n, &p));
    if (n > 8)
        return new_value(m, (struct pickle_value){.kind = PICKLE_BYTES, .n = (size_t)n, .text = (const char *)p});
    for (uint64_t i = 0; i < n; i++) number |= (uint64_t)p[i] << (8 * i);
    if (n > 0 && n < 8 && p[n - 1] & 128) number |= UINT64_MAX << (8 * n);
    return put_int(m, (int64_t)number);
}

static status put_real(struct machine *m) {
    const uint8_t *p = NULL;
    uint64_t bits = 0;
    double real;
    TRY(take(m, 8, &p));
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];  // the one big-endian thing
    memcpy(&real, &bits, sizeof real);
    return new_value(m, (struct pickle_value){.kind = PICKLE_FLOAT, .real = real});
}

static status copy_items(struct machine *m, struct pickle_value *const *items, size_t n,
                         const struct pickle_value ***out) {
    *out = NULL;
    if (n == 0) return UTTER_OK;
    TRY(arena_take(m->p, n * sizeof **out, out));
    memcpy(*out, items, n * sizeof **out);
    return UTTER_OK;
}

static status put_tuple(struct machine *m, enum pickle_kind kind, struct pickle_value *const *items, size_t n) {
    struct pickle_value v = {.kind = kind, .n = n};
    TRY(copy_items(m, items, n, &v.items));
    return new_value(m, v);
}

static status put_last_as_tuple(struct machine *m, size_t n) {
    if (above_mark(m) < n) return damaged(m, "a value is missing");
    m->depth -= n;
    return put_tuple(m, PICKLE_TUPLE, m->stack + m->depth, n);
}

static status put_marked(struct machine *m, enum pickle_kind kind) {
    struct pickle_value **items = NULL;
    size_t n = 0;
    TRY(pop_mark(m, &items, &n));
    if (kind == PICKLE_DICT && n % 2) return damaged(m, "a key has no value");
    return put_tuple(m, kind, items, n);
}

// The arrays of lists and dictionaries have room for the power of two that holds them, so that n tells the capacity
// once something was appended one by one.
static size_t room_of(size_t n) {
    size_t room = 4;
    while (room < n) room *= 2;
    return room;
}

static status append(struct machine *m, struct pickle_value *v, struct pickle_value *const *items, size_t n,
                     bool *grown) {
    size_t wanted = room_of(v->n + n);
    if (!*grown || wanted != room_of(v->n) || !v->items) {
        const struct pickle_value **moved = NULL;
        TRY(arena_take(m->p, wanted * sizeof *moved, &moved));
        if (v->n) memcpy(moved, v->items, v->n * sizeof *moved);
        v->items = moved;
    }
    memcpy(v->items + v->n, items, n * sizeof *v->items);
    v->n += n;
    *grown = true;
    return UTTER_OK;
}

static status append_to(struct machine *m, enum pickle_kind kind, struct pickle_value *const *items, size_t n) {
    struct pickle_value *v = NULL;
    TRY(top(m, kind, &v));
    if (n == 0) return UTTER_OK;
    return append(m, v, items, n, &v->truth);  // truth: its array was made here, with room
}

static status append_last(struct machine *m, enum pickle_kind kind, size_t n) {
    struct pickle_value *items[2] = {NULL, NULL};
    for (size_t i = n; i-- > 0;) TRY(pop(m, &items[i]));
    return append_to(m, kind, items, n);
}

static status append_marked(struct machine *m, enum pickle_kind kind) {
    struct pickle_value **items = NULL;
    size_t n = 0;
    TRY(pop_mark(m, &items, &n));
    if (kind == PICKLE_DICT && n % 2) return damaged(m, "a key has no value");
    return append_to(m, kind, items, n);
}

/* ---- calls that are not made ---- */

static const char ORDERED_DICT[] = "collections.OrderedDict";

// Notes the function MODULE.NAME, or refuses it.
static status put_function(struct machine *m, const char *module, size_t module_len, const char *name, size_t len) {
    char full[MAX_FUNCTION + 2];
    if (module_len > MAX_FUNCTION || len > MAX_FUNCTION - module_len) return refuse_call(m, name, len);
    int n = snprintf(full, sizeof full, "%.*s.%.*s", (int)module_len, module, (int)len, name);
    const char *known = strcmp(full, ORDERED_DICT) == 0 ? ORDERED_DICT : NULL;
    for (size_t i = 0; !known && m->functions[i]; i++)
        if (strcmp(full, m->functions[i]) == 0) known = m->functions[i];
    if (!known || (size_t)n != module_len + 1 + len) return refuse_call(m, full, strlen(full));
    return new_value(m, (struct pickle_value){.kind = PICKLE_FUNCTION, .text = known});
}

static status put_named_function(struct machine *m) {
    struct pickle_value *name = NULL, *module = NULL;
    TRY(pop(m, &name));
    TRY(pop(m, &module));
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT) return damaged(m, "a function's name is no text");
    return put_function(m, module->text, module->n, name->text, name->n);
}

static status put_function_of_lines(struct machine *m) {
    const char *module = NULL, *name = NULL;
    size_t module_len = 0, len = 0;
    TRY(take_line(m, &module, &module_len));
    TRY(take_line(m, &name, &len));
    return put_function(m, module, module_len, name, len);
}

static status put_call(struct machine *m) {
    struct pickle_value *arguments = NULL, *function = NULL;
    TRY(pop(m, &arguments));
    TRY(pop(m, &function));
    if (function->kind != PICKLE_FUNCTION || arguments->kind != PICKLE_TUPLE)
        return damaged(m, "a call is of no function, or without arguments");
    if (function->text != ORDERED_DICT)
        return new_value(m, (struct pickle_value){.kind = PICKLE_CALL, .call = {function, arguments}});
    if (arguments->n != 0) return damaged(m, "an OrderedDict is made of arguments");
    return new_value(m, (struct pickle_value){.kind = PICKLE_DICT});
}

// Attributes of an OrderedDict (a state_dict has a _metadata) are passed over; nothing else may have some.
static status pass_over_attributes(struct machine *m) {
    struct pickle_value *attributes = NULL, *owner = NULL;
    TRY(pop(m, &attributes));
    TRY(top(m, PICKLE_DICT, &owner));
    return attributes->kind == PICKLE_DICT ? UTTER_OK : damaged(m, "attributes are no dictionary");
}

static status put_persistent(struct machine *m) {
    struct pickle_value *id = NULL;
    TRY(pop(m, &id));
    return new_value(m, (struct pickle_value){.kind = PICKLE_PERSISTENT, .part = id});
}

/* ---- memo ---- */

static status remember(struct machine *m, uint64_t i) {
    if (above_mark(m) == 0) return damaged(m, "a value is missing");
    if (i >= m->size) return damaged(m, "a number of the memo is too large");  // it takes bytes to count there
    size_t capacity = m->memo_capacity;
    while (i >= m->memo_capacity) TRY(grow(&m->memo, m->memo_capacity, &m->memo_capacity, sizeof *m->memo));
    memset(m->memo + capacity, 0, (m->memo_capacity - capacity) * sizeof *m->memo);
    m->memo[i] = m->stack[m->depth - 1];
    return UTTER_OK;
}

static status recall(struct machine *m, uint64_t i) {
    if (i >= m->memo_capacity || !m->memo[i]) return damaged(m, "a value of the memo is missing");
    return push(m, m->memo[i]);
}

/* ---- opcodes ---- */

static status step(struct machine *m, int opcode, uint64_t *n_remembered, bool *done) {
    uint64_t n = 0;
    struct pickle_value *v = NULL, **items = NULL;
    size_t n_items = 0;
    const uint8_t *bytes = NULL;
    switch (opcode) {
        case 0x80:  // PROTO
            TRY(take_number(m, 1, &n));
            if (n >= 2 && n <= 5) return UTTER_OK;
            return fail(UTTER_UNSUPPORTED, "%s is a pickle of protocol %" PRIu64 "; utter reads 2 to 5", m->label, n);
        case 0x95:
            return take(m, 8, &bytes);  // FRAME: how much a reader might read ahead
        case '.':
            *done = true;
            return pop(m, &v);
        case '(':
            TRY(grow(&m->marks, m->n_marks, &m->marks_capacity, sizeof *m->marks));
            m->marks[m->n_marks++] = m->depth;
            return UTTER_OK;
        case '0':
            return pop(m, &v);
        case '1':
            return pop_mark(m, &items, &n_items);
        case '2':
            if (above_mark(m) == 0) return damaged(m, "a value is missing");
            return push(m, m->stack[m->depth - 1]);

        case 'N':
            return push(m, &none);
        case 0x88:
            return push(m, &yes);
        case 0x89:
            return push(m, &no);
        case 'J':
            TRY(take_number(m, 4, &n));
            return put_int(m, (int32_t)n);
        case 'K':
            TRY(take_number(m, 1, &n));
            return put_int(m, (int64_t)n);
        case 'M':
            TRY(take_number(m, 2, &n));
            return put_int(m, (int64_t)n);
        case 0x8a:
            return put_long(m, 1);
        case 0x8b:
            return put_long(m, 4);
        case 'G':
            return put_real(m);
        case 0x8c:
        case 'U':
            return put_text(m, PICKLE_TEXT, 1);
        case 'X':
        case 'T':
            return put_text(m, PICKLE_TEXT, 4);
        case 0x8d:
            return put_text(m, PICKLE_TEXT, 8);
        case 'C':
            return put_text(m, PICKLE_BYTES, 1);
        case 'B':
            return put_text(m, PICKLE_BYTES, 4);
        case 0x8e:
            return put_text(m, PICKLE_BYTES, 8);

        case ')':
            return put_last_as_tuple(m, 0);
        case 0x85:
            return put_last_as_tuple(m, 1);
        case 0x86:
            return put_last_as_tuple(m, 2);
        case 0x87:
            return put_last_as_tuple(m, 3);
        case 't':
            return put_marked(m, PICKLE_TUPLE);
        case ']':
            return new_value(m, (struct pickle_value){.kind = PICKLE_LIST});
        case 'l':
            return put_marked(m, PICKLE_LIST);
        case 'a':
            return append_last(m, PICKLE_LIST, 1);
        case 'e':
            return append_marked(m, PICKLE_LIST);
        case '}':
            return new_value(m, (struct pickle_value){.kind = PICKLE_DICT});
        case 'd':
            return put_marked(m, PICKLE_DICT);
        case 's':
            return append_last(m, PICKLE_DICT, 2);
        case 'u':
            return append_marked(m, PICKLE_DICT);

        case 'q':
            TRY(take_number(m, 1, &n));
            return remember(m, n);
        case 'r':
            TRY(take_number(m, 4, &n));
            return remember(m, n);
        case 0x94:
            return remember(m, (*n_remembered)++);
        case 'h':
            TRY(take_number(m, 1, &n));
            return recall(m, n);
        case 'j':
            TRY(take_number(m, 4, &n));
            return recall(m, n);

        case 'c':
        case 'i':
            return put_function_of_lines(m);  // of 'i' only the refusal is of use: nothing makes it any more
        case 0x93:
            return put_named_function(m);
        case 'R':
            return put_call(m);
        case 'b':
            return pass_over_attributes(m);
        case 'Q':
            return put_persistent(m);
        default:
            return fail(UTTER_UNSUPPORTED, "%s: its pickle has the opcode %d at byte %zu, which no checkpoint needs",
                        m->label, opcode, m->at - 1);
    }
}

static status run(struct machine *m) {
    bool done = false;
    uint64_t n_remembered = 0;
    while (!done) {
        const uint8_t *opcode = NULL;
        TRY(take(m, 1, &opcode));
        if (m->at == 1 && *opcode != 0x80) return damaged(m, "it does not start as a pickle");
        if (*opcode == '.' && above_mark(m) == 1 && m->n_marks == 0) m->p->root = m->stack[m->depth - 1];
        TRY(step(m, *opcode, &n_remembered, &done));
    }
    return m->p->root ? UTTER_OK : damaged(m, "it leaves no value, or more than one");
}

status pickle_read(const char *label, const void *data, size_t size, const char *const *functions, size_t *n_used,
                   struct pickle **out) {
    *out = NULL;
    struct pickle *p = calloc(1, sizeof *p);
    if (!p) return fail_memory(sizeof *p, "a pickle");
    struct machine m = {.label = label, .data = data, .functions = functions, .p = p};
    m.more = size > MAX_PICKLE;
    m.size = m.more ? MAX_PICKLE : size;
    status s = run(&m);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    if (s != UTTER_OK) {
        pickle_free(p);
        return s;
    }
    *n_used = m.at;
    *out = p;
    return UTTER_OK;
}

void pickle_free(struct pickle *p) {
    if (!p) return;
    while (p->arena) {
        struct chunk *next = p->arena->next;
        free(p->arena);
        p->arena = next;
    }
    free(p);
}

const struct pickle_value *pickle_root(const struct pickle *p) { return p->root; }

bool pickle_is_text(const struct pickle_value *v, const char *text) {
    return v->kind == PICKLE_TEXT && v->n == strlen(text) && memcmp(v->text, text, v->n) == 0;
}

const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key) {
    for (size_t i = 0; i + 1 < dict->n; i += 2)
        if (pickle_is_text(dict->items[i], key)) return dict->items[i + 1];
    return NULL;
}
