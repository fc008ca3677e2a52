/* Any bytes as a voice file, for the built-in model: a status, or a voice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/engine.h"
#include "fixtures/visit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct backbone *backbone;
static struct codec *codec;

static void close_networks(void) {
    codec_free(codec);
    backbone_free(backbone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!backbone) {
        if (open_backbone(NULL, &backbone) != UTTER_OK || open_codec(NULL, &codec) != UTTER_OK) abort();
        atexit(close_networks);
    }
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0) return 0;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct voice_list list = {0};
    if (write(fd, data, size) == (ssize_t)size && voice_list_add_file(&list, path, backbone, codec) == UTTER_OK)
        for (int i = 0; i < list.voices[0]->n_codes; i++) visit_sum += (uint64_t)list.voices[0]->codes[i];
    voice_list_free(&list);
    close(fd);
    return 0;
}
