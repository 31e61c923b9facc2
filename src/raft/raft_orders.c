/* raft_orders.c — orders of the step under way, and what earlier orders have reached the disk.
 *
 * Three ways out for a message. `now`: promises nothing. `stored`: a promise about vote or entries,
 * kept back until this batch is durable (§3.8). `answer`: promises only that we know its term, so it
 * leaves at once unless that very term is still on its way to the disk. */
#include "raft_int.h"
#include <string.h>

struct raft_msg msg_to(const struct raft *r, raft_id to, enum raft_msg_kind kind)
{
    struct raft_msg m;

    ASSERT(to != 0 && to != r->config.id);
    memset(&m, 0, sizeof(m));
    m.kind = kind;
    m.from = r->config.id;
    m.to = to;
    m.term = r->hard.term;
    return m;
}

void orders_reset(struct raft *r)
{
    struct orders *o = &r->orders;

    o->hard_set = false;
    o->append.first = 0;
    o->append.count = 0;
    o->append_kind = RAFT_ENTRY_NORMAL;
    o->append_from_msg = false;
    o->now_count = o->stored_count = o->read_count = o->snapshot_count = 0;
    o->install_wanted = o->conf_changed = o->transfer_changed = o->more = false;
}

bool orders_empty(const struct raft *r)
{
    const struct orders *o = &r->orders;
    return !o->hard_set && !o->append.count && !o->now_count && !o->stored_count &&
           !o->read_count && !o->snapshot_count && !o->install_wanted;
}

/* A message too many is a message lost: every kind is sent again. */
void orders_send_now(struct raft *r, const struct raft_msg *m)
{
    if (r->orders.now_count < RAFT_MSGS_MAX)
        r->orders.now[r->orders.now_count++] = *m;
}

void orders_send_stored(struct raft *r, const struct raft_msg *m)
{
    if (r->orders.stored_count < RAFT_MSGS_MAX)
        r->orders.stored[r->orders.stored_count++] = *m;
}

void orders_send_answer(struct raft *r, const struct raft_msg *m)
{
    if (hard_is_durable(r))
        orders_send_now(r, m);
    else
        orders_send_stored(r, m);
}

bool orders_have_room(const struct raft *r)
{
    return r->orders.now_count + MSGS_SPARE < RAFT_MSGS_MAX;
}

void hard_set(struct raft *r, uint64_t term, raft_id vote)
{
    ASSERT(term >= r->hard.term);
    ASSERT(term > r->hard.term || r->hard.vote == 0 || r->hard.vote == vote);
    r->hard.term = term;
    r->hard.vote = vote;
    r->disk.hard_order = r->disk.order + 1;
    r->orders.hard_set = true;
}

bool hard_is_durable(const struct raft *r)
{
    return r->disk.hard_order <= r->disk.stored_order;
}

static struct write *write_at(struct disk *d, uint32_t i)
{
    return &d->writes[(d->write_head + i) % WRITES_MAX];
}

void disk_wrote(struct raft *r, uint64_t last_index)
{
    struct disk *d = &r->disk;

    ASSERT(last_index == r->trail.last_index && last_index > d->durable_index);
    if (d->write_count == WRITES_MAX) /* merged, the older one counts later than it might: safe */
        d->write_count--;
    struct write *w = write_at(d, d->write_count++);
    w->order = d->order + 1;
    w->last_index = last_index;
}

void disk_cut(struct raft *r, uint64_t from)
{
    struct disk *d = &r->disk;

    ASSERT(from > r->commit_index);
    d->durable_index = min_u64(d->durable_index, from - 1);
    for (uint32_t i = 0; i < d->write_count; i++)
        write_at(d, i)->last_index = min_u64(write_at(d, i)->last_index, from - 1);
}

void disk_stored(struct raft *r, uint64_t order)
{
    struct disk *d = &r->disk;

    ASSERT(order <= d->order);
    d->stored_order = max_u64(d->stored_order, order);
    while (d->write_count && write_at(d, 0)->order <= d->stored_order) {
        d->durable_index = max_u64(d->durable_index, write_at(d, 0)->last_index);
        d->write_head = (d->write_head + 1) % WRITES_MAX;
        d->write_count--;
    }
    ASSERT(d->durable_index <= r->trail.last_index);
}

void disk_reset(struct raft *r, uint64_t index)
{
    r->disk.write_count = 0;
    r->disk.durable_index = index;
}

void log_append_own(struct raft *r, uint32_t count, enum raft_entry_kind kind,
                    const uint32_t *bytes)
{
    struct orders *o = &r->orders;

    ASSERT(r->role == RAFT_LEADER && count > 0);
    ASSERT(o->append.count == 0); /* one append per batch */
    o->append.first = r->trail.last_index + 1;
    o->append.count = count;
    o->append_kind = kind;
    for (uint32_t i = 0; i < count; i++)
        trail_push(&r->trail, r->hard.term, bytes ? bytes[i] : 0);
    disk_wrote(r, r->trail.last_index);
}
