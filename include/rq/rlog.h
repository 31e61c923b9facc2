/* rlog — Raft's log and hard state on disk, through env files. docs/storage.md draws the formats.
 *
 * All calls in one lane (LOG), in run(), one at a time. After any call returned ERR_IO or ERR_CORRUPT
 * the log is poisoned: every later call returns ERR_IO, and the node stops. */
#ifndef RQ_RLOG_H
#define RQ_RLOG_H

#include <rq/env.h>
#include <rq/raft.h>
#include <rq/wire.h>

struct rlog;

struct rlog_config {
    const char *dir;        /* copied; created if missing. Files: hard.a, hard.b, NNNNNNNNNN.seg */
    uint32_t segment_bytes; /* size of one segment file, zero-filled ahead; >= 4096; an entry may need a larger one */
    uint32_t spare_count;   /* recycled segments kept ready; 0..8 */
};

/* Who this data directory is. Made once, kept with the hard state. */
struct rlog_identity {
    uint64_t store_id;   /* random, never 0 */
    uint64_t cluster_id; /* 0 until bootstrapped or joined */
};

struct rlog_recovered {
    bool fresh; /* the directory held nothing */
    struct rlog_identity identity;
    struct raft_hard hard;
    uint64_t first_index, last_index; /* first_index = compacted_index + 1; last = first - 1: empty */
    uint64_t compacted_index, compacted_term; /* position before the first entry; 0, 0 at the beginning */
    uint64_t marked_index;    /* highest index that a mark told to be committed; 0: none told */
    bool torn_tail_cut;       /* an unacknowledged tail was cut */
    bool hard_repaired;       /* one bad copy of the hard state was rewritten from the other */
};

/* Open, or create with the given store id. visit() runs for each entry in order while recovering
 * (payload lent). What recovery relies on is synced before this returns (a process crash leaves data in
 * the page cache that a later power loss takes).
 *   returns  0            *out given (rlog_close frees)
 *            ERR_CORRUPT  damage in what may have been acknowledged, or both hard state copies bad:
 *                         why names file and offset; nothing was changed
 *            ERR_VERSION  written by a newer program
 *            ERR_IO, ERR_NOSPC, ERR_NOMEM; visit's own non-zero result
 *   source   thesis §3.8; architecture §6 "torn or damaged" */
int rlog_open(struct env *e, const struct rlog_config *config, uint64_t store_id_if_fresh,
              int (*visit)(void *ctx, uint64_t index, const struct wire_entry *entry), void *ctx,
              struct rlog_recovered *found, struct rlog **out, struct err_text *why) MUST_USE;
void rlog_close(struct rlog *l); /* no sync needed: nothing unsynced was promised */

/* Make entries first .. first+count-1 durable, replacing whatever was at first and behind it. The
 * whole call is one batch: one batch number, one sync (plus those of new segments).
 *   first    compacted_index + 1 <= first <= last_index + 1
 *   entries  lent; count 0 with first <= last_index: only cut
 *   returns  0          all of them survive power loss
 *            ERR_NOSPC  nothing promised is lost; the log holds entries below first, or (if nothing
 *                       was cut) is unchanged; the caller may try again later
 *            ERR_IO     poisoned */
int rlog_append(struct rlog *l, uint64_t first, const struct wire_entry *entries, uint32_t count) MUST_USE;

/* Make term and vote durable: copy A, sync, copy B, sync. 0 or ERR_IO (poisoned).
 * Terms never decrease (ASSERT). */
int rlog_hard_save(struct rlog *l, const struct raft_hard *hard) MUST_USE;
/* The cluster this directory belongs to; never 0. It changes once, from 0, and by a recovery. Durable on return. */
int rlog_identity_save(struct rlog *l, uint64_t cluster_id) MUST_USE;
/* Write lazily (no sync of its own) that everything up to index is known to be committed. Recovery
 * treats a bad record at or below a synced mark as damage. 0 or ERR_IO. */
int rlog_mark(struct rlog *l, uint64_t commit_index) MUST_USE;

/* Read entries from `first` on: visit() for each until count, bytes_max (at least one) or the end.
 * Checksums are verified again. 0, ERR_NOT_FOUND (first is compacted away; nothing visited),
 * ERR_CORRUPT (damage appeared), ERR_IO, visit's result. */
int rlog_read(struct rlog *l, uint64_t first, uint32_t count, size_t bytes_max,
              int (*visit)(void *ctx, uint64_t index, const struct wire_entry *entry), void *ctx) MUST_USE;

/* Everything up to index is covered by a durable snapshot: forget whole segments below it and recycle
 * them. index <= last_index. 0, ERR_IO. */
int rlog_compact(struct rlog *l, uint64_t index, uint64_t term) MUST_USE;
/* A snapshot at index replaces the whole log. 0, ERR_IO, ERR_NOSPC. */
int rlog_reset(struct rlog *l, uint64_t index, uint64_t term) MUST_USE;

struct rlog_stat {
    uint64_t first_index, last_index, disk_bytes, sync_count, batch_count;
};
void rlog_stat(const struct rlog *l, struct rlog_stat *out);
void rlog_check(const struct rlog *l); /* ASSERTs the invariants of the in-memory index */

#endif
