/* auth_int — the room's inside. Private to src/auth. Files call downwards only:
 *
 *      auth.c                    life, decisions
 *      auth_load.c               the file
 *      auth_cache.c              what bcrypt has said lately
 *      auth_hash.c auth_basic.c  keyed hash, bcrypt; the header */
#ifndef RQ_AUTH_INT_H
#define RQ_AUTH_INT_H

#include <rq/auth.h>
#include <rq/util/assert.h>
#include <rq/util/mem.h>

struct
    auth_digest { /* of bytes, under the key: can be compared without telling where they differ */
    uint8_t bytes[AUTH_KEY_BYTES];
};
/* SipHash-2-4 with 128 bits of output. */
struct auth_digest auth_digest_of(const uint8_t key[AUTH_KEY_BYTES], struct slice text);
bool auth_digest_equal(const struct auth_digest *a, const struct auth_digest *b);
bool auth_is_hash(struct slice password); /* begins as a bcrypt hash does */
/* NULL, or what is wrong with a text that auth_is_hash. */
const char *auth_hash_fault(struct slice password);

/* A set of digests that forgets. Where a digest lies follows from itself, and it is keyed: nobody outside can
 * choose what is forgotten. */
enum { AUTH_CACHE_SETS = 64, AUTH_CACHE_WAYS = 4 };
struct auth_cache {
    struct auth_digest at[AUTH_CACHE_SETS][AUTH_CACHE_WAYS];
    uint8_t used[AUTH_CACHE_SETS]; /* ways in use */
    uint8_t next[AUTH_CACHE_SETS]; /* way that is overwritten next, once all are */
};
bool auth_cache_has(const struct auth_cache *c, const struct auth_digest *d);
void auth_cache_put(struct auth_cache *c, const struct auth_digest *d);

struct auth_user {
    struct auth_digest name, password; /* password: plain ones only */
    bool hashed;
    char hash[AUTH_HASH_TEXT + 1];
    uint32_t perms;
};

struct auth {
    uint8_t key[AUTH_KEY_BYTES];
    uint32_t everybody;             /* permissions of "*" */
    char decoy[AUTH_HASH_TEXT + 1]; /* the dearest hash of the file; empty: it has none */
    struct auth_cache right, wrong; /* apart, so that guessing does not push out who is known */
    uint32_t user_count, user_cap;
    struct auth_user *users; /* names differ; "*" is not among them */
};

/* Fill users, everybody and decoy. 0, or an error with words. */
int auth_load(struct auth *a, struct slice json, struct err_text *why) MUST_USE;

#endif
