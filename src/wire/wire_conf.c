/* wire_conf.c — the replicated configuration: who is a member, where, with which data directory.
 *
 * Payload of CONF entries and part of the snapshot record; called by node. Stored, hence versioned.
 *
 *   0     1        4       8         16
 *   | ver | 0      | count | cluster | members … |
 *     u8    u8[3]    u32     u64
 *
 *   member:  u64 id, u64 store, u8 flags (1 voter, 2 replica), T name, T address
 *            (T: u16 length, bytes; ids ascend strictly) */
#include "wire_int.h"
#include <rq/util/assert.h>
#include <rq/util/prng.h>
#include <rq/wire.h>

enum { CONF_VERSION = 1 };
enum { FLAG_VOTER = 1, FLAG_REPLICA = 2 };

/* Chosen once; changing it would give every member another id. */
static const uint64_t member_id_seed = UINT64_C(0x7271206d656d6265);

raft_id wire_member_id(struct slice name)
{
    uint64_t id = prng_hash(member_id_seed, name.data, name.len);
    return id ? id : 1;
}

int wire_conf_put(struct buf *out, const struct wire_conf *c)
{
    ASSERT(c->count <= RAFT_NODES_MAX);
    wire_give_u32(out, CONF_VERSION); /* version, then three zeros */
    wire_give_u32(out, c->count);
    wire_give_u64(out, c->cluster_id);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct wire_member *m = &c->members[i];
        ASSERT(i == 0 || c->members[i - 1].id < m->id);
        ASSERT(!(m->voter && m->replica));
        wire_give_u64(out, m->id);
        wire_give_u64(out, m->store_id);
        wire_give_u8(out, (uint8_t)((m->voter ? FLAG_VOTER : 0) | (m->replica ? FLAG_REPLICA : 0)));
        wire_give_text(out, slice_str(m->name), WIRE_NAME_MAX);
        wire_give_text(out, slice_str(m->addr), WIRE_ADDR_MAX);
    }
    return out->failed;
}

static void take_string(struct wire_reader *r, char *dst, size_t max)
{
    struct slice s = wire_take_text(r, max);
    if (r->bad)
        return;
    if (s.len)
        memcpy(dst, s.data, s.len);
    dst[s.len] = '\0';
}

static void member_get(struct wire_reader *r, struct wire_member *m)
{
    memset(m, 0, sizeof(*m));
    m->id = wire_take_u64(r);
    m->store_id = wire_take_u64(r);
    uint8_t flags = wire_take_flags(r, FLAG_VOTER | FLAG_REPLICA);
    m->voter = (flags & FLAG_VOTER) != 0;
    m->replica = (flags & FLAG_REPLICA) != 0;
    take_string(r, m->name, WIRE_NAME_MAX);
    take_string(r, m->addr, WIRE_ADDR_MAX);
    if (m->name[0] == '\0' || (m->voter && m->replica) ||
        m->id != wire_member_id(slice_str(m->name)))
        r->bad = true;
}

int wire_conf_get(struct slice payload, struct wire_conf *c)
{
    struct wire_reader r = wire_reader_of(payload);

    memset(c, 0, sizeof(*c));
    if (wire_take_u8(&r) != CONF_VERSION)
        return ERR_PROTOCOL;
    wire_take_zeros(&r, 3);
    c->count = wire_take_u32(&r);
    c->cluster_id = wire_take_u64(&r);
    if (r.bad || c->count > RAFT_NODES_MAX)
        return ERR_PROTOCOL;
    for (uint32_t i = 0; i < c->count; i++) {
        member_get(&r, &c->members[i]);
        if (i > 0 && c->members[i].id <= c->members[i - 1].id)
            return ERR_PROTOCOL;
    }
    return wire_reader_end(&r);
}

void wire_conf_to_raft(const struct wire_conf *c, struct raft_conf *out)
{
    ASSERT(c->count <= RAFT_NODES_MAX);
    memset(out, 0, sizeof(*out));
    out->count = c->count;
    for (uint32_t i = 0; i < c->count; i++) {
        out->members[i].id = c->members[i].id;
        out->members[i].voter = c->members[i].voter;
    }
}
