/* auth_cache — digests seen lately: four places each may lie in, the oldest of the four makes room. */
#include "auth_int.h"

static size_t set_of(const struct auth_digest *d)
{
    return d->bytes[0] % AUTH_CACHE_SETS;
}

bool auth_cache_has(const struct auth_cache *c, const struct auth_digest *d)
{
    const size_t set = set_of(d);
    bool found = false;
    for (uint8_t way = 0; way < c->used[set]; way++)
        found |= auth_digest_equal(&c->at[set][way], d);
    return found;
}

void auth_cache_put(struct auth_cache *c, const struct auth_digest *d)
{
    const size_t set = set_of(d);
    if (auth_cache_has(c, d))
        return;
    if (c->used[set] < AUTH_CACHE_WAYS) {
        c->at[set][c->used[set]++] = *d;
        return;
    }
    c->at[set][c->next[set]] = *d;
    c->next[set] = (uint8_t)((c->next[set] + 1) % AUTH_CACHE_WAYS);
}
