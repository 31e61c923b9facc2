/* fuzz_auth.c — the first line is an Authorization header, the rest a credentials file. Whatever they are:
 * what is read fits its bounds; nobody without a right password gets more than everybody; a yes for some
 * permissions is a yes for each of them; what was remembered of bcrypt is what bcrypt said. */
#include "fuzz_int.h"

#include <rq/auth.h>
#include <rq/util/assert.h>

static const uint8_t key[AUTH_KEY_BYTES] = {1, 2, 3};

static void check_basic(const struct auth_basic *b)
{
    ASSERT(b->user.len <= AUTH_USER_MAX && b->password.len <= AUTH_PASSWORD_MAX);
    ASSERT(b->user.len == 0 || !memchr(b->user.data, 0, b->user.len));
    ASSERT(b->password.len == 0 || !memchr(b->password.data, 0, b->password.len));
}

/* The verdict once bcrypt has spoken; `said` is what it would say (bcrypt itself is too slow here). */
static bool settle(struct auth *a, const struct auth_question *q, bool said)
{
    struct auth_hash hash;
    enum auth_verdict v = auth_decide(a, q, &hash);
    if (v == AUTH_VERDICT_HASH) {
        hash.matched = said && !hash.decoy;
        ASSERT(strlen(hash.hash) == AUTH_HASH_TEXT);
        auth_hash_keep(a, &hash);
        v = auth_decide(a, q, &hash);
        ASSERT(v != AUTH_VERDICT_HASH);
    }
    return v == AUTH_VERDICT_YES;
}

static void check_decisions(struct auth *a, const struct auth_basic *b, bool said)
{
    const struct slice none = {NULL, 0};
    for (uint32_t perms = 1; perms <= 2 * AUTH_JOIN_READ_REPLICA; perms = perms * 2 + 1) {
        const struct auth_question q = {b->user, b->password, perms};
        const struct auth_question nobody = {none, none, perms};
        const bool yes = settle(a, &q, said);
        ASSERT(!yes || auth_grants(a, b->user, perms));
        ASSERT(yes || !settle(a, &nobody, false));
        for (uint32_t one = 1; yes && one <= AUTH_JOIN_READ_REPLICA; one *= 2) {
            const struct auth_question part = {b->user, b->password, one};
            ASSERT((perms & one) == 0 || settle(a, &part, said));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    const size_t header_len = end ? (size_t)(end - data) : size;
    const size_t file_at = end ? header_len + 1 : size;
    struct auth_basic basic;
    struct auth *a = NULL;
    struct err_text why = {""};

    auth_basic_parse(slice_of(data, header_len), &basic);
    check_basic(&basic);
    const int rc = auth_create(slice_of(data + file_at, size - file_at), key, &a, &why);
    if (rc != 0) {
        ASSERT(why.text[0] != '\0' && a == NULL);
        return 0;
    }
    check_decisions(a, &basic, header_len % 2 == 0);
    auth_destroy(a);
    return 0;
}
