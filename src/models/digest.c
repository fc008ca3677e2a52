#include "models/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { PIECE = 1 << 16 };

status digest_start(struct digest *d, int64_t n_bytes) {
    char head[32];
    *d = (struct digest){.sha256 = EVP_MD_CTX_new(), .git = n_bytes < 0 ? NULL : EVP_MD_CTX_new()};
    bool ok = d->sha256 && EVP_DigestInit_ex(d->sha256, EVP_sha256(), NULL);
    if (ok && n_bytes >= 0) {
        int n = snprintf(head, sizeof head, "blob %" PRId64, n_bytes);
        ok = d->git && EVP_DigestInit_ex(d->git, EVP_sha1(), NULL) && EVP_DigestUpdate(d->git, head, (size_t)n + 1);
    }
    if (ok) return UTTER_OK;
    digest_drop(d);
    return fail(UTTER_INTERNAL, "libcrypto cannot make SHA-256 or SHA-1 here, so no download can be checked");
}

void digest_add(struct digest *d, const void *data, size_t n_bytes) {
    EVP_DigestUpdate(d->sha256, data, n_bytes);
    if (d->git) EVP_DigestUpdate(d->git, data, n_bytes);
}

static void finish(EVP_MD_CTX *c, char *hex) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    hex[0] = 0;
    if (c && EVP_DigestFinal_ex(c, sum, &n))
        for (unsigned i = 0; i < n; i++) snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

void digest_finish(struct digest *d, char sha256[65], char git[41]) {
    finish(d->sha256, sha256);
    finish(d->git, git);
    digest_drop(d);
}

void digest_drop(struct digest *d) {
    EVP_MD_CTX_free(d->sha256);
    EVP_MD_CTX_free(d->git);
    *d = (struct digest){0};
}

status digest_add_file(struct digest *d, const char *path, int64_t *n_bytes, digest_stop *stop, void *user) {
    unsigned char piece[PIECE];
    *n_bytes = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return fail(UTTER_IO, "cannot open %s: %s", path, strerror(errno));
    status s = UTTER_OK;
    size_t n;
    while (s == UTTER_OK && (n = fread(piece, 1, sizeof piece, f)) > 0) {
        digest_add(d, piece, n);
        *n_bytes += (int64_t)n;
        if (stop && stop(user)) s = fail(UTTER_CANCELLED, "stopped while checking %s", path);
    }
    if (s == UTTER_OK && ferror(f)) s = fail(UTTER_IO, "cannot read %s: %s", path, strerror(errno));
    fclose(f);
    return s;
}
