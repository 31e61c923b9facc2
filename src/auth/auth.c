/* auth — decisions (http-api.md §16.2). Called by guard, and by tests. */
#include "auth_int.h"

int auth_create(struct slice json, const uint8_t key[AUTH_KEY_BYTES], struct auth **out,
                struct err_text *why)
{
    struct auth *a = mem_zalloc(sizeof *a);
    if (!a)
        return err_set(why, ERR_NOMEM, "out of memory");
    memcpy(a->key, key, sizeof a->key);
    const int rc = auth_load(a, json, why);
    if (rc != 0) {
        auth_destroy(a);
        return rc;
    }
    *out = a;
    return 0;
}

void auth_destroy(struct auth *a)
{
    if (!a)
        return;
    mem_free(a->users);
    mem_free(a);
}

/* All are looked at, so that the time does not tell which one it was. NULL: nobody. */
static const struct auth_user *user_find(const struct auth *a, struct slice name)
{
    const struct auth_digest digest = auth_digest_of(a->key, name);
    const struct auth_user *found = NULL;
    for (uint32_t i = 0; i < a->user_count; i++)
        if (auth_digest_equal(&a->users[i].name, &digest))
            found = &a->users[i];
    return found;
}

static bool granted(const struct auth *a, uint32_t users, uint32_t perms)
{
    const uint32_t all = users | a->everybody;
    return (all & AUTH_ALL) != 0 || (perms & ~all) == 0;
}

bool auth_grants(const struct auth *a, struct slice user, uint32_t perms)
{
    const struct auth_user *u = user_find(a, user);
    return granted(a, u ? u->perms : 0, perms);
}

/* One digest for both: no two pairs of user and password share one. */
static struct auth_digest pair_digest(const struct auth *a, const struct auth_question *q)
{
    uint8_t bytes[2 * AUTH_KEY_BYTES];
    const struct auth_digest user = auth_digest_of(a->key, q->user);
    const struct auth_digest password = auth_digest_of(a->key, q->password);
    memcpy(bytes, user.bytes, AUTH_KEY_BYTES);
    memcpy(bytes + AUTH_KEY_BYTES, password.bytes, AUTH_KEY_BYTES);
    return auth_digest_of(a->key, slice_of(bytes, sizeof bytes));
}

static void hash_fill(const struct auth *a, const struct auth_user *u, struct slice password,
                      const struct auth_digest *id, struct auth_hash *hash)
{
    memset(hash, 0, sizeof *hash);
    memcpy(hash->id, id->bytes, sizeof hash->id);
    hash->decoy = !u || !u->hashed;
    memcpy(hash->hash, hash->decoy ? a->decoy : u->hash, sizeof hash->hash);
    if (password.len > 0)
        memcpy(hash->password, password.data, password.len);
}

enum auth_verdict auth_decide(struct auth *a, const struct auth_question *q, struct auth_hash *hash)
{
    ASSERT(q->perms != 0);
    if (granted(a, 0, q->perms))
        return AUTH_VERDICT_YES; /* everybody may, even with wrong credentials */
    if (q->user.len == 0 || q->user.len > AUTH_USER_MAX || q->password.len > AUTH_PASSWORD_MAX ||
        (q->password.len > 0 && memchr(q->password.data, 0, q->password.len)))
        return AUTH_VERDICT_NO;
    const struct auth_user *u = user_find(a, q->user);
    const struct auth_digest password = auth_digest_of(a->key, q->password);
    const enum auth_verdict if_right =
        granted(a, u ? u->perms : 0, q->perms) ? AUTH_VERDICT_YES : AUTH_VERDICT_NO;
    if (u && !u->hashed && auth_digest_equal(&u->password, &password))
        return if_right;
    if (a->decoy[0] == '\0')
        return AUTH_VERDICT_NO;
    const struct auth_digest id = pair_digest(a, q);
    if (auth_cache_has(&a->right, &id))
        return if_right;
    if (auth_cache_has(&a->wrong, &id))
        return AUTH_VERDICT_NO;
    hash_fill(a, u, q->password, &id, hash);
    return AUTH_VERDICT_HASH;
}

void auth_hash_keep(struct auth *a, const struct auth_hash *h)
{
    struct auth_digest id;
    memcpy(id.bytes, h->id, sizeof id.bytes);
    ASSERT(!(h->matched && h->decoy));
    auth_cache_put(h->matched ? &a->right : &a->wrong, &id);
}
