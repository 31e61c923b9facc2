/* auth_hash — a keyed hash, comparison without a clue, and bcrypt.
 *
 * SipHash-2-4 (Aumasson, Bernstein 2012) is a keyed function made for short texts: whoever does not know
 * the key, drawn at start, can neither predict nor collide its values. It guards what is in memory of
 * one process; nothing of it is ever stored. */
#include "auth_int.h"

#include <crypt.h>
#include <rq/util/endian.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void sip_rounds(struct sip *s, unsigned count)
{
    while (count-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_rounds(s, 2);
    s->v0 ^= word;
}

struct auth_digest auth_digest_of(const uint8_t key[AUTH_KEY_BYTES], struct slice text)
{
    const uint64_t k0 = get_u64(key), k1 = get_u64(key + 8);
    struct sip s = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
                    k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
    struct auth_digest out;
    uint64_t last = (uint64_t)text.len << 56;
    size_t at = 0;

    for (; text.len - at >= 8; at += 8)
        sip_word(&s, get_u64(text.data + at));
    for (unsigned shift = 0; at < text.len; at++, shift += 8)
        last |= (uint64_t)text.data[at] << shift;
    sip_word(&s, last);
    s.v2 ^= 0xee;
    sip_rounds(&s, 4);
    put_u64(out.bytes, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
    s.v1 ^= 0xdd;
    sip_rounds(&s, 4);
    put_u64(out.bytes + 8, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
    return out;
}

bool auth_digest_equal(const struct auth_digest *a, const struct auth_digest *b)
{
    unsigned different = 0;
    for (size_t i = 0; i < AUTH_KEY_BYTES; i++)
        different |= (unsigned)(a->bytes[i] ^ b->bytes[i]);
    return different == 0;
}

/* ---- bcrypt: $2b$cost$ and 53 characters of salt and hash ------------------------------------------ */

bool auth_is_hash(struct slice password)
{
    return password.len >= 4 && password.data[0] == '$' && password.data[1] == '2' &&
           (password.data[2] == 'a' || password.data[2] == 'b' || password.data[2] == 'y') &&
           password.data[3] == '$';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_hash_char(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '/';
}

const char *auth_hash_fault(struct slice p)
{
    ASSERT(auth_is_hash(p));
    if (p.len != AUTH_HASH_TEXT || !is_digit(p.data[4]) || !is_digit(p.data[5]) || p.data[6] != '$')
        return "begins as a bcrypt hash but is none";
    for (size_t i = 7; i < AUTH_HASH_TEXT; i++)
        if (!is_hash_char(p.data[i]))
            return "begins as a bcrypt hash but is none";
    const int cost = (p.data[4] - '0') * 10 + (p.data[5] - '0');
    if (cost < 4 || cost > 31)
        return "is a bcrypt hash with an impossible cost";
    return cost > AUTH_COST_MAX ? "is a bcrypt hash that takes too long (cost over 15)" : NULL;
}

int auth_hash_run(struct auth_hash *h)
{
    struct crypt_data *data = mem_zalloc(sizeof *data); /* 32 KiB: not on a thread's stack */
    if (!data)
        return ERR_NOMEM;
    const char *got = crypt_r(h->password, h->hash, data);
    unsigned different = got && strlen(got) == AUTH_HASH_TEXT ? 0 : 1;
    for (size_t i = 0; different == 0 && i < AUTH_HASH_TEXT; i++) /* of one length: see above */
        different |= (unsigned)(got[i] ^ h->hash[i]);
    h->matched = different == 0 && !h->decoy;
    explicit_bzero(data, sizeof *data);
    explicit_bzero(h->password, sizeof h->password);
    mem_free(data);
    return 0;
}
