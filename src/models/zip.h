/* ZIP archives as PyTorch writes them: entries stored, not compressed, so that each is a piece of the mapped file.
   (PKWARE APPNOTE 6.3; zip64 for archives beyond 4 GB.) Sizes and places come from the central directory and are
   checked against the file, against the local headers and against each other before anything is handed out. */
#ifndef UTTER_MODELS_ZIP_H
#define UTTER_MODELS_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct zip;

struct zip_entry {
    const char *name;
    const void *data;  // inside the file
    size_t n_bytes;
    uint32_t crc;
};

/* Reads the directory of the archive that lies at data[size], which must outlive the result. */
status zip_open(const char *label, const void *data, size_t size, struct zip **out);
void zip_close(struct zip *z);
int64_t zip_n_entries(const struct zip *z);
/* By name, in order. */
const struct zip_entry *zip_at(const struct zip *z, int64_t i);
const struct zip_entry *zip_find(const struct zip *z, const char *name);

/* UTTER_FORMAT unless the entry's bytes have its checksum. */
status zip_check(const struct zip_entry *e, const char *label);

/* CRC-32 as in ZIP files. */
uint32_t zip_crc32(const void *data, size_t n_bytes);

#endif
