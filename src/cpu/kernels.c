#include "cpu/kernels.h"

#include <stdbool.h>
#include <string.h>

#include "base/str.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
/* clang 14 has no name for it in __builtin_cpu_supports. AVX's registers are what the system must save for it. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* What the processor, and the system that saves its registers, does not have; NULL when all is there. */
static const char *avx2_lacks(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return "AVX2";
    if (!__builtin_cpu_supports("fma")) return "FMA";
    if (!has_f16c()) return "F16C";
    return NULL;
}

static const char *avxvnni_lacks(void) {
    const char *lacks = avx2_lacks();
    if (lacks) return lacks;
    enum { AVX_VNNI = 1 << 4 };  // in eax of leaf 7, 1
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX_VNNI) ? NULL : "AVX-VNNI";
}

static const char *avx512_lacks(void) {
    const char *lacks = avx2_lacks();
    if (lacks) return lacks;
    if (!__builtin_cpu_supports("avx512f")) return "AVX-512 F";
    if (!__builtin_cpu_supports("avx512bw")) return "AVX-512 BW";
    if (!__builtin_cpu_supports("avx512vl")) return "AVX-512 VL";
    if (!__builtin_cpu_supports("avx512dq")) return "AVX-512 DQ";
    return NULL;
}

static const char *avx512vnni_lacks(void) {
    const char *lacks = avx512_lacks();
    if (lacks) return lacks;
    return __builtin_cpu_supports("avx512vnni") ? NULL : "AVX-512 VNNI";
}

/* Linux gives a process the tiles' registers when it asks for them, once for all its threads. */
static bool may_use_tiles(void) {
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static const char *amx_lacks(void) {
    const char *lacks = avx512vnni_lacks();
    if (lacks) return lacks;
    enum { TILE = 1 << 24, BF16 = 1 << 22 };  // in edx of leaf 7
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (TILE | BF16)) != (TILE | BF16)) return "AMX";
    return may_use_tiles() ? NULL : "the system's leave to use AMX";
}
#elif defined(__aarch64__)
static const char *dotprod_lacks(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? NULL : "dotprod"; }

static const char *i8mm_lacks(void) {
    const char *lacks = dotprod_lacks();
    if (lacks) return lacks;
    return getauxval(AT_HWCAP2) & HWCAP2_I8MM ? NULL : "i8mm";
}
#endif

static const char *nothing(void) { return NULL; }

static const struct {
    const struct kernels *kernels;
    const char *(*lacks)(void);
} sets[] = {
    {&kernels_portable, nothing},
#if defined(__x86_64__)
    {&kernels_avx2, avx2_lacks},       {&kernels_avxvnni, avxvnni_lacks},
    {&kernels_avx512bw, avx512_lacks}, {&kernels_avx512vnni, avx512vnni_lacks},
    {&kernels_amx, amx_lacks},
#elif defined(__aarch64__)
    {&kernels_neon, nothing},
    {&kernels_dotprod, dotprod_lacks},
    {&kernels_i8mm, i8mm_lacks},
#endif
};

enum { N_SETS = sizeof sets / sizeof *sets };

const struct kernels *kernels_at(int i, const char **missing) {
    if (i < 0 || i >= N_SETS) return NULL;
    *missing = sets[i].lacks();
    return sets[i].kernels;
}

/* "auto" (or NULL) is any set, "avx512" either of that family, VNNI where present. */
static bool is_called(const struct kernels *k, const char *name) {
    if (!name || !strcmp(name, "auto") || !strcmp(name, k->name)) return true;
    return !strcmp(name, "avx512") && !strncmp(k->name, "avx512", 6);
}

status kernels_find(const char *name, const struct kernels **out) {
    *out = NULL;
    const char *lacks = NULL;
    bool known = false;
    for (int i = N_SETS - 1; i >= 0; i--) {
        if (!is_called(sets[i].kernels, name)) continue;
        known = true;
        lacks = sets[i].lacks();
        if (lacks) continue;
        *out = sets[i].kernels;
        return UTTER_OK;
    }
    struct str usable = {0};
    for (int i = 0; i < N_SETS; i++)
        if (!sets[i].lacks()) str_printf(&usable, "%s%s", usable.len ? ", " : "", sets[i].kernels->name);
    status s = known ? fail(UTTER_UNSUPPORTED, "kernels \"%s\" need %s, which this processor lacks: use auto, %s", name,
                            lacks, str_text(&usable))
                     : fail(UTTER_INVALID, "there are no kernels called \"%s\": use auto, %s", name, str_text(&usable));
    str_free(&usable);
    return s;
}
