/* rlog_recover.c — from a directory to a log whose every promise is durable.
 *
 *   list names ─► hard state ─► segments, oldest first: every batch ─► last one: torn or damaged?
 *        (all of this only reads; ERR_CORRUPT leaves the disk as it was)
 *   ─► mend: hard copies, void batch over a torn tail, syncs, leftovers
 *
 * Torn or damaged. A segment that has a successor ends where the successor's head says; anything bad
 * before that was synced once: damage. In the last segment a bad mark is damage if something shows
 * that its batch was synced: a mark of a later batch behind it (those are written only after the sync
 * returned), or the synced-up-to mark. Otherwise its batch was never promised: a torn tail. It is cut
 * by writing a void batch in its place, whose number is above that of all remains behind it.
 *
 * "Protocol-aware recovery for consensus-based storage", FAST 2018. */
#include "rlog_int.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/util/mem.h>
#include <string.h>

enum { VERDICT_WHOLE, VERDICT_BAD, VERDICT_STOP };

struct recovery {
    struct rlog *l;
    struct err_text *why;
    uint64_t *numbers; /* of .seg files, ascending */
    size_t number_count, number_cap;
    bool leftover[RLOG_SPARES_MAX]; /* spare.N is there, with this size and number in its head */
    uint64_t spare_bytes[RLOG_SPARES_MAX], spare_number[RLOG_SPARES_MAX];
    struct rlog_hard_found hard;
    uint32_t *offsets; /* / 8, of the entries of the batch at hand */
    uint64_t *terms;
    uint32_t entry_count, entry_cap;
    uint64_t bad_offset; /* after VERDICT_BAD */
    bool torn;
};

static int corrupt(struct recovery *r, uint64_t number, uint64_t offset, const char *what)
{
    return err_set(r->why, ERR_CORRUPT, "%s/%010llu.seg: offset %llu: %s", r->l->dir,
                   (unsigned long long)number, (unsigned long long)offset, what);
}

/* ---- names ------------------------------------------------------------------------------------------------- */

static bool segment_number_of(const char *name, uint64_t *out)
{
    uint64_t n = 0;

    for (int i = 0; i < 10; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(name[i] - '0');
    }
    *out = n;
    return strcmp(name + 10, ".seg") == 0;
}

/* Anything that is not exactly one of our names is somebody else's and is left alone. */
static void name_seen(void *ctx, const char *name)
{
    struct recovery *r = ctx;
    uint64_t number;

    if (strncmp(name, "spare.", 6) == 0 && name[6] >= '0' && name[6] < '0' + RLOG_SPARES_MAX &&
        !name[7])
        r->leftover[name[6] - '0'] = true;
    if (!segment_number_of(name, &number))
        return;
    if (r->number_count == r->number_cap) {
        size_t cap = r->number_cap ? r->number_cap * 2 : 16;
        uint64_t *grown = mem_must_alloc(cap * sizeof(uint64_t));
        if (r->number_count)
            memcpy(grown, r->numbers, r->number_count * sizeof(uint64_t));
        mem_free(r->numbers);
        r->numbers = grown;
        r->number_cap = cap;
    }
    size_t at = r->number_count++;
    for (; at > 0 && r->numbers[at - 1] > number; at--)
        r->numbers[at] = r->numbers[at - 1];
    r->numbers[at] = number;
}

/* Looked at before the segments are opened: a spare may turn out to be one of them under a second
 * name, and a file is open once. */
static int spare_look(struct recovery *r, uint32_t slot)
{
    struct rlog *l = r->l;
    char name[RLOG_NAME_MAX];
    uint8_t sector[RLOG_SECTOR];
    struct rlog_seg_head h;
    struct env_file *f = NULL;
    size_t got = 0;

    rlog_spare_name(name, slot);
    char *path = rlog_path(l, name);
    int rc = env_file_open(l->env, path, ENV_FILE_READONLY, &f);
    mem_free(path);
    if (rc == 0)
        rc = env_file_size(f, &r->spare_bytes[slot]);
    if (rc == 0)
        rc = env_file_read(f, sector, sizeof(sector), 0, &got);
    env_file_close(f);
    if (rc == 0 && got == sizeof(sector) && rlog_seg_head_get(sector, &h) == 0)
        r->spare_number[slot] = h.number;
    return rc ? err_set(r->why, rc, "%s/%s: cannot be read", l->dir, name) : 0;
}

static int spares_look(struct recovery *r)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < RLOG_SPARES_MAX; i++)
        if (r->leftover[i])
            rc = spare_look(r, i);
    return rc;
}

/* ---- hard state -------------------------------------------------------------------------------------------- */

/* Nothing was ever promised here: no segment (a creation ends by making the first), and hard copies
 * missing or as a creation leaves them. Anything else without segments has lost them. Recycled segments
 * do not come out of a creation either. */
static bool directory_is_fresh(const struct recovery *r)
{
    for (unsigned i = 0; i < 2; i++)
        if (r->hard.there[i] && (!r->hard.good[i] || r->hard.rec[i].number != 1))
            return false;
    for (unsigned i = 0; i < RLOG_SPARES_MAX; i++)
        if (r->leftover[i])
            return false;
    return r->number_count == 0;
}

static bool copies_contradict(const struct rlog_hard_found *h)
{
    const struct rlog_hard_rec *a = &h->rec[0], *b = &h->rec[1];

    if (!h->good[0] || !h->good[1])
        return false;
    if (a->number != b->number)
        return a->store_id != b->store_id;
    return a->store_id != b->store_id || a->cluster_id != b->cluster_id ||
           a->hard.term != b->hard.term || a->hard.vote != b->hard.vote;
}

static int hard_choose(struct recovery *r)
{
    struct rlog *l = r->l;
    const struct rlog_hard_found *h = &r->hard;

    if (!h->good[0] && !h->good[1])
        return err_set(
            r->why, ERR_CORRUPT,
            "%s/hard.a, hard.b: offset 0: no good copy of term and vote; this node does not vote",
            l->dir);
    if (r->number_count == 0)
        return err_set(r->why, ERR_CORRUPT, "%s: hard state is there, but all segments are missing",
                       l->dir);
    if (copies_contradict(h))
        return err_set(r->why, ERR_CORRUPT,
                       "%s/hard.a, hard.b: offset 16: two good copies contradict each other",
                       l->dir);
    bool b = h->good[1] && (!h->good[0] || h->rec[1].number > h->rec[0].number);
    l->hard = h->rec[b];
    if (h->mark.store_id == l->hard.store_id)
        l->mark = h->mark;
    l->mark.store_id = l->hard.store_id;
    return 0;
}

/* ---- one batch --------------------------------------------------------------------------------------------- */

static void entry_note(struct recovery *r, uint64_t offset, uint64_t term)
{
    if (r->entry_count == r->entry_cap) {
        uint32_t cap = r->entry_cap ? r->entry_cap * 2 : 256;
        uint32_t *offsets = mem_must_alloc(cap * sizeof(uint32_t));
        uint64_t *terms = mem_must_alloc(cap * sizeof(uint64_t));
        if (r->entry_count) {
            memcpy(offsets, r->offsets, r->entry_count * sizeof(uint32_t));
            memcpy(terms, r->terms, r->entry_count * sizeof(uint64_t));
        }
        mem_free(r->offsets);
        mem_free(r->terms);
        r->offsets = offsets;
        r->terms = terms;
        r->entry_cap = cap;
    }
    r->offsets[r->entry_count] = (uint32_t)(offset / 8);
    r->terms[r->entry_count++] = term;
}

static int verdict_bad(struct recovery *r, uint64_t offset)
{
    r->bad_offset = offset;
    return VERDICT_BAD;
}

/* A good mark at offset that follows `chain`, in out. */
static int rec_read(struct recovery *r, struct segment *s, uint64_t offset, uint32_t chain,
                    struct rlog_rec *out, int *rc)
{
    const uint8_t *p;

    if (offset + RLOG_MARK_BYTES > s->head.file_bytes)
        return verdict_bad(r, offset);
    *rc = rlog_window_get(r->l, s, offset, RLOG_MARK_BYTES, &p);
    if (*rc)
        return VERDICT_STOP;
    if (!rlog_rec_get(p, &s->head, out) || !rlog_rec_follows(out, chain))
        return verdict_bad(r, offset);
    return VERDICT_WHOLE;
}

static int entry_read(struct recovery *r, struct segment *s, uint64_t offset, uint64_t end,
                      struct rlog_rec *e, int *rc)
{
    const uint8_t *p;

    if (offset + rlog_entry_bytes(e->length) > end)
        return verdict_bad(r, offset);
    *rc = rlog_window_get(r->l, s, offset, RLOG_MARK_BYTES + (size_t)e->length, &p);
    if (*rc)
        return VERDICT_STOP;
    if (crc32c(0, p + RLOG_MARK_BYTES, e->length) != e->aux)
        return verdict_bad(r, offset);
    return VERDICT_WHOLE;
}

/* Does the head make sense behind what is in memory? What bears all checksums and makes no sense was
 * not torn. */
static bool batch_fits(const struct rlog *l, const struct rlog_rec *b)
{
    if (b->type != RLOG_REC_BATCH || b->batch <= l->batch)
        return false;
    switch (b->kind) {
    case RLOG_BATCH_APPEND:
        return b->batch == l->batch + 1 && b->index <= l->last_index &&
               (b->index != l->last_index || b->term == l->last_term);
    case RLOG_BATCH_RESET:
        return b->batch == l->batch + 1 && b->aux == 0;
    case RLOG_BATCH_VOID:
        return b->index == l->last_index && b->aux == 0;
    default:
        return false;
    }
}

/* Look at the batch that should stand at s->end; on WHOLE memory has it. */
static int batch_read(struct recovery *r, struct segment *s, int *rc)
{
    struct rlog *l = r->l;
    struct rlog_rec head, e;
    int verdict = rec_read(r, s, s->end, l->chain, &head, rc);

    if (verdict != VERDICT_WHOLE)
        return verdict;
    if (!batch_fits(l, &head)) {
        *rc = corrupt(r, s->head.number, s->end, "intact batch that does not belong here");
        return VERDICT_STOP;
    }
    uint64_t at = s->end + RLOG_MARK_BYTES, end = s->end + (uint64_t)head.length * 8;
    uint32_t chain = head.chain;
    r->entry_count = 0;
    for (uint32_t i = 0; i < head.aux; i++) {
        verdict = rec_read(r, s, at, chain, &e, rc);
        if (verdict == VERDICT_WHOLE && (e.type != RLOG_REC_ENTRY || e.index != head.index + 1 + i))
            verdict = verdict_bad(r, at);
        if (verdict == VERDICT_WHOLE)
            verdict = entry_read(r, s, at, end, &e, rc);
        if (verdict != VERDICT_WHOLE)
            return verdict;
        entry_note(r, at, e.term);
        at += rlog_entry_bytes(e.length);
        chain = e.chain;
    }
    if (at != end)
        return verdict_bad(r, s->end);
    struct rlog_batch b = {.kind = (enum rlog_batch_kind)head.kind,
                           .number = head.batch,
                           .index = head.index,
                           .term = head.term};
    rlog_batch_adopt(l, &b, chain, end);
    for (uint32_t i = 0; i < r->entry_count; i++)
        rlog_index_push(l, (uint64_t)r->offsets[i] * 8, r->terms[i]);
    return VERDICT_WHOLE;
}

/* ---- segments ------------------------------------------------------------------------------------------------ */

static int segment_open(struct recovery *r, uint64_t number)
{
    struct rlog *l = r->l;
    struct segment *s = mem_must_zalloc(sizeof(*s));
    char name[RLOG_NAME_MAX];
    const uint8_t *p;
    uint64_t size = 0;

    rlog_segment_name(name, number);
    char *path = rlog_path(l, name);
    int rc = env_file_open(l->env, path, 0, &s->file);
    mem_free(path);
    if (rc)
        rc = err_set(r->why, rc, "%s/%s: cannot be opened", l->dir, name);
    if (rc == 0 && env_file_size(s->file, &size))
        rc = err_set(r->why, ERR_IO, "%s/%s: cannot be read", l->dir, name);
    if (rc == 0)
        rc = rlog_window_get(l, s, 0, RLOG_SECTOR, &p);
    if (rc == 0)
        rc = rlog_seg_head_get(p, &s->head);
    if (rc == ERR_IO && s->file)
        rc = err_set(r->why, rc, "%s/%s: cannot be read", l->dir, name);
    else if (rc == ERR_VERSION)
        rc = err_set(r->why, rc, "%s/%s: written by a newer program", l->dir, name);
    else if (rc == ERR_CORRUPT)
        rc = corrupt(r, number, 0, "bad segment head");
    else if (rc == 0 && s->head.file_bytes != size)
        rc = corrupt(r, number, size, "the file has another size than its head says");
    else if (rc == 0 && s->head.number != number)
        rc = corrupt(r, number, 24, "head of another segment");
    else if (rc == 0 && s->head.store_id != l->hard.store_id)
        rc = corrupt(r, number, 16, "segment of another store");
    l->window.of = NULL; /* it may have looked at memory that goes away now */
    if (rc) {
        rlog_segment_free(s);
        return rc;
    }
    s->end = RLOG_SECTOR;
    s->base_index = s->head.base_index;
    s->base_term = s->head.base_term;
    rlog_segment_push(l, s);
    return 0;
}

/* The first segment that is left tells where the log stood when it began; the others must agree with
 * what was read. */
static int segment_enter(struct recovery *r, struct segment *s, bool first)
{
    struct rlog *l = r->l;
    const struct rlog_seg_head *h = &s->head;

    if (first) {
        l->last_index = h->base_index;
        l->last_term = h->base_term;
        l->batch = h->next_batch - 1;
    } else if (h->base_index != l->last_index || h->base_term != l->last_term ||
               h->next_batch != l->batch + 1 || h->prev_chain != l->chain) {
        return corrupt(r, h->number, 48, "head disagrees with the segment before");
    }
    l->chain = h->seed;
    return 0;
}

static int segment_read(struct recovery *r, struct segment *s, const struct rlog_seg_head *next)
{
    int rc = 0, verdict = VERDICT_WHOLE;
    uint64_t limit = next ? next->prev_end : UINT64_MAX;

    while (verdict == VERDICT_WHOLE && s->end < limit)
        verdict = batch_read(r, s, &rc);
    if (verdict == VERDICT_STOP)
        return rc == ERR_IO
                   ? err_set(r->why, rc, "%s/%010llu.seg: offset %llu: cannot be read", r->l->dir,
                             (unsigned long long)s->head.number, (unsigned long long)s->end)
                   : rc;
    if (next && verdict == VERDICT_BAD)
        return corrupt(r, s->head.number, r->bad_offset, "bad record, followed by a later segment");
    if (next && s->end != limit)
        return corrupt(r, next->number, 72, "head disagrees with the segment before");
    return 0;
}

static int segments_read(struct recovery *r)
{
    struct rlog *l = r->l;
    int rc = 0;

    for (size_t i = 0; i < r->number_count; i++) {
        if (i > 0 && r->numbers[i] != r->numbers[i - 1] + 1)
            return corrupt(r, r->numbers[i - 1] + 1, 0, "segment is missing");
        rc = segment_open(r, r->numbers[i]);
        if (rc)
            return rc;
    }
    /* Read with only the segments so far in the list: "the last segment" is the one at hand. */
    uint32_t count = l->segment_count;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        l->segment_count = i + 1;
        rc = segment_enter(r, l->segments[i], i == 0);
        if (rc == 0)
            rc = segment_read(r, l->segments[i], i + 1 < count ? &l->segments[i + 1]->head : NULL);
    }
    l->segment_count = count;
    return rc;
}

/* ---- torn or damaged ------------------------------------------------------------------------------------------ */

/* Intact marks among len bytes at p; those at the very end are for the next piece. */
static void remains_look(const struct segment *s, const uint8_t *p, size_t len, uint64_t *highest)
{
    const uint8_t tag_first = (uint8_t)(s->head.nonce >> 32); /* spares the rest most of the time */
    struct rlog_rec m;

    for (size_t at = 0; at + RLOG_MARK_BYTES <= len; at += 8)
        if (p[at] == tag_first && rlog_rec_get(p + at, &s->head, &m) && m.batch > *highest)
            *highest = m.batch;
}

/* The highest batch number of any intact mark from offset on; marks stand at multiples of 8. */
static int remains_scan(struct recovery *r, struct segment *s, uint64_t offset, uint64_t *highest)
{
    const uint64_t step = RLOG_WINDOW_BYTES - RLOG_SECTOR;
    const uint8_t *p;

    *highest = 0;
    for (; offset < s->head.file_bytes; offset += step) {
        uint64_t left = s->head.file_bytes - offset;
        size_t len = left < RLOG_WINDOW_BYTES ? (size_t)left : RLOG_WINDOW_BYTES;
        int rc = rlog_window_get(r->l, s, offset, len, &p);
        if (rc)
            return rc;
        remains_look(s, p, len, highest);
    }
    return 0;
}

static int tail_judge(struct recovery *r)
{
    struct rlog *l = r->l;
    struct segment *s = rlog_tail(l);
    uint64_t highest;
    int rc = remains_scan(r, s, s->end, &highest);

    if (rc)
        return err_set(r->why, rc, "%s/%010llu.seg: cannot be read", l->dir,
                       (unsigned long long)s->head.number);
    if (highest > l->batch + 1)
        return corrupt(r, s->head.number, r->bad_offset, "bad record, followed by a later batch");
    if (l->mark.batch > l->batch)
        return corrupt(r, s->head.number, r->bad_offset,
                       "bad or missing record of a batch known to be synced");
    r->torn = highest == l->batch + 1;
    return 0;
}

/* ---- mending --------------------------------------------------------------------------------------------------- */

static int leftovers_mend(struct recovery *r)
{
    struct rlog *l = r->l;
    int rc = rlog_file_remove(l, "spare.new");

    for (uint32_t i = 0; rc == 0 && i < RLOG_SPARES_MAX; i++) {
        char name[RLOG_NAME_MAX];
        if (!r->leftover[i])
            continue;
        /* As good as its size; but it must not be another name of a live segment (a rename that a
         * power cut left half done). */
        l->spare[i] = i < l->spare_max && r->spare_bytes[i] == l->segment_bytes &&
                      (r->spare_number[i] < l->segments[0]->head.number ||
                       r->spare_number[i] > rlog_tail(l)->head.number);
        rlog_spare_name(name, i);
        if (!l->spare[i])
            rc = rlog_file_remove(l, name);
    }
    return rc;
}

/* What was read may live in the page cache only, left there by a process that died before its sync:
 * make it durable before anybody is told of it. */
static int tail_mend(struct recovery *r)
{
    struct rlog *l = r->l;
    struct rlog_batch cut = {.kind = RLOG_BATCH_VOID,
                             .number = l->batch + 2,
                             .index = l->last_index,
                             .term = l->last_term};

    return r->torn ? rlog_batch_write(l, &cut) : rlog_file_sync(l, rlog_tail(l)->file);
}

static int directory_create(struct recovery *r, uint64_t store_id)
{
    struct rlog *l = r->l;

    ASSERT(store_id != 0);
    int rc = rlog_hard_create(l, store_id);
    if (rc == 0)
        rc = rlog_segment_make(l, 0);
    l->mark.store_id = store_id;
    return rc ? err_set(r->why, rc, "%s: cannot be created: %s", l->dir, err_text_of(rc)) : 0;
}

static int directory_mend(struct recovery *r, struct rlog_recovered *found)
{
    struct rlog *l = r->l;
    /* Names first: without the name of the first segment the hard copies must still look as a
     * creation left them, so none of them may be half written. */
    int rc = rlog_dir_sync(l);

    if (rc == 0)
        rc = rlog_hard_settle(l, &r->hard, &found->hard_repaired);
    if (rc == 0)
        rc = tail_mend(r);
    if (rc == 0)
        rc = leftovers_mend(r);
    found->torn_tail_cut = r->torn;
    return rc ? err_set(r->why, rc, "%s: cannot be recovered: %s", l->dir, err_text_of(rc)) : 0;
}

static int directory_read(struct recovery *r)
{
    int rc = hard_choose(r);

    if (rc == 0)
        rc = spares_look(r);
    if (rc == 0)
        rc = segments_read(r);
    return rc ? rc : tail_judge(r);
}

int rlog_recover(struct rlog *l, uint64_t store_id_if_fresh, struct rlog_recovered *found,
                 struct err_text *why)
{
    struct recovery r = {.l = l, .why = why};
    int rc = env_dir_create(l->env, l->dir);

    if (rc == 0)
        rc = env_dir_list(l->env, l->dir, name_seen, &r);
    if (rc)
        rc = err_set(why, rc, "%s: cannot be listed: %s", l->dir, err_text_of(rc));
    if (rc == 0)
        rc = rlog_hard_look(l, &r.hard, why);
    if (rc == 0 && directory_is_fresh(&r)) {
        found->fresh = true;
        rc = directory_create(&r, store_id_if_fresh);
    } else if (rc == 0) {
        rc = directory_read(&r);
        if (rc == 0)
            rc = directory_mend(&r, found);
    }
    mem_free(r.numbers);
    mem_free(r.offsets);
    mem_free(r.terms);
    return rc;
}
