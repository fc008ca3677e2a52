#include "base/processor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ARM's cores tell numbers, of which Linux' arch/arm64/include/asm/cputype.h has the names. */
static const struct {
    unsigned implementer, part;
    const char *name;
} cores[] = {
    {0x41, 0xd03, "Cortex-A53"},   {0x41, 0xd04, "Cortex-A35"},  {0x41, 0xd05, "Cortex-A55"},
    {0x41, 0xd07, "Cortex-A57"},   {0x41, 0xd08, "Cortex-A72"},  {0x41, 0xd09, "Cortex-A73"},
    {0x41, 0xd0a, "Cortex-A75"},   {0x41, 0xd0b, "Cortex-A76"},  {0x41, 0xd0c, "Neoverse N1"},
    {0x41, 0xd0d, "Cortex-A77"},   {0x41, 0xd40, "Neoverse V1"}, {0x41, 0xd41, "Cortex-A78"},
    {0x41, 0xd42, "Cortex-A78AE"}, {0x41, 0xd44, "Cortex-X1"},   {0x41, 0xd46, "Cortex-A510"},
    {0x41, 0xd47, "Cortex-A710"},  {0x41, 0xd48, "Cortex-X2"},   {0x41, 0xd49, "Neoverse N2"},
    {0x41, 0xd4b, "Cortex-A78C"},  {0x41, 0xd4d, "Cortex-A715"}, {0x41, 0xd4e, "Cortex-X3"},
    {0x41, 0xd4f, "Neoverse V2"},  {0x41, 0xd80, "Cortex-A520"}, {0x41, 0xd81, "Cortex-A720"},
    {0x41, 0xd82, "Cortex-X4"},    {0x41, 0xd84, "Neoverse V3"}, {0x41, 0xd8e, "Neoverse N3"},
    {0x4e, 0x004, "Carmel"},       {0x51, 0x001, "Oryon"},       {0xc0, 0xac3, "Ampere-1"},
};

static void core_name(unsigned implementer, unsigned part, char *name, size_t size) {
    snprintf(name, size, "an ARM core (implementer 0x%02x, part 0x%03x)", implementer, part);
    if (implementer == 0x61) snprintf(name, size, "Apple silicon");
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (cores[i].implementer == implementer && cores[i].part == part) snprintf(name, size, "%s", cores[i].name);
}

/* What stands behind the colon when the line's key begins like this, else NULL. */
static const char *value_of(const char *line, const char *key) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, key, strlen(key)) != 0 || !colon) return NULL;
    return colon + 1 + strspn(colon + 1, " \t");
}

static void append(char *name, size_t size, const char *between, const char *what) {
    const size_t len = strlen(name);
    snprintf(name + len, size - len, "%s%s", len ? between : "", what);
}

static void add_board(const char *path, char *name, size_t size) {
    char model[128] = "";
    FILE *f = fopen(path, "r");
    if (!f) return;
    if (fgets(model, sizeof model, f)) model[strcspn(model, "\n")] = 0;
    fclose(f);
    if (*model) append(name, size, " in a ", model);
}

void processor_name_from(const char *cpuinfo, const char *board, char *name, size_t size) {
    char line[512], core[64];
    unsigned implementer = 0;
    *name = 0;
    FILE *f = fopen(cpuinfo, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        const char *value;
        if ((value = value_of(line, "model name")) && *value) {
            snprintf(name, size, "%s", value);
            break;
        }
        if ((value = value_of(line, "CPU implementer"))) implementer = (unsigned)strtoul(value, NULL, 0);
        if (!(value = value_of(line, "CPU part"))) continue;
        core_name(implementer, (unsigned)strtoul(value, NULL, 0), core, sizeof core);
        if (!strstr(name, core)) append(name, size, " and ", core);
    }
    if (f) fclose(f);
    if (*name) add_board(board, name, size);
    if (!*name) snprintf(name, size, "a processor without a name");
}

void processor_name(char *name, size_t size) {
    processor_name_from("/proc/cpuinfo", "/proc/device-tree/model", name, size);
}
