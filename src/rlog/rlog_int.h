/* rlog_int.h — inside the log: what is in memory, and who calls whom.
 *
 *   rlog.c ──► rlog_recover.c ─┬─► rlog_batch.c ──► rlog_segment.c ──► rlog_format.c
 *        └─────────────────────┴─► rlog_hard.c ────────────────────────────┘
 *
 * The log is written strictly forward: nothing that stands in a segment is ever written over in that
 * use of the file. Replacing entries means appending a batch that says "cut behind index i first". So
 * physical order is the order of batch numbers, the state before a torn batch is still whole, and no
 * remains of a longer tail can lie behind what is written next. */
#ifndef RQ_RLOG_INT_H
#define RQ_RLOG_INT_H

#include "rlog_format.h"
#include <rq/rlog.h>

enum {
    RLOG_SPARES_MAX = 8,
    RLOG_CHUNK_BYTES = 64 * 1024,  /* one write at most, but for large payloads */
    RLOG_DIRECT_BYTES = 16 * 1024, /* payloads from here on are written without a copy */
    RLOG_WINDOW_BYTES = 64 * 1024, /* read ahead */
    RLOG_NAME_MAX = 32,
};

/* One segment file, open. Its live entries are consecutive: base_index + 1 … base_index + count. */
struct segment {
    struct env_file *file;
    struct rlog_seg_head head;
    uint64_t end;                   /* where the next batch goes; sector-aligned */
    uint64_t base_index, base_term; /* position before its first live entry */
    uint32_t count, cap;
    uint32_t *at; /* offset / 8 of each live entry's head */
};

/* A window of one file's bytes, read once and looked at often. */
struct window {
    uint8_t *buf;
    size_t cap, len;
    uint64_t offset;
    const struct segment *of; /* NULL: holds nothing */
};

struct rlog {
    struct env *env;
    char *dir;
    uint32_t segment_bytes, spare_max;
    bool poisoned;

    /* Ascending by number without gaps; the last one is written to. At least one while open. */
    struct segment **segments;
    uint32_t segment_count, segment_cap;
    bool spare[RLOG_SPARES_MAX]; /* file spare.N is there, durably, of segment_bytes */

    /* End of the log. Invariant: everything below is durable between calls. */
    uint64_t last_index, last_term;
    uint64_t batch; /* number of the last batch */
    uint32_t chain; /* of the last mark */

    struct env_file *hard_file[2]; /* hard.a, hard.b */
    struct rlog_hard_rec hard;
    struct rlog_mark_rec mark;
    unsigned mark_turn; /* copy that takes the next mark */

    uint8_t *out; /* RLOG_CHUNK_BYTES, from the first write on: batches are encoded here */
    struct window window;
    uint64_t sync_count, batch_count;
};

/* ---- rlog_segment.c: files and names ------------------------------------------------------------- */

static inline struct segment *rlog_tail(const struct rlog *l)
{
    return l->segments[l->segment_count - 1];
}
/* Path of a file of the log; mem_free. */
char *rlog_path(const struct rlog *l, const char *name);
void rlog_segment_name(char out[RLOG_NAME_MAX], uint64_t number);
void rlog_spare_name(char out[RLOG_NAME_MAX], uint32_t slot);
uint8_t *rlog_out(struct rlog *l); /* l->out, made when first wanted */
/* Takes trust away for good; returns rc. */
int rlog_poison(struct rlog *l, int rc);
/* Counted; a failure poisons. */
int rlog_file_sync(struct rlog *l, struct env_file *f) MUST_USE;
int rlog_dir_sync(struct rlog *l) MUST_USE;
int rlog_file_remove(struct rlog *l, const char *name) MUST_USE; /* missing is fine */
/* A new last segment with room for batch_bytes. 0; ERR_NOSPC: nothing changed; else poisoned. */
int rlog_segment_make(struct rlog *l, uint64_t batch_bytes) MUST_USE;
/* Let go of the first segment: a spare, or removed; durable on return. 0 or poisoned. */
int rlog_segment_drop(struct rlog *l) MUST_USE;
/* Takes s into the list, behind the last. */
void rlog_segment_push(struct rlog *l, struct segment *s);
void rlog_segment_free(struct segment *s);
/* The in-memory index: the log now ends at (index, term), which lies at or before its end, or
 * anywhere (reset). Entries behind it are forgotten; if it lies before everything, so is everything. */
void rlog_index_cut(struct rlog *l, uint64_t index, uint64_t term);
/* Entry last_index + 1 stands in the last segment at this offset. */
void rlog_index_push(struct rlog *l, uint64_t offset, uint64_t term);
uint64_t rlog_base(const struct rlog *l, uint64_t *term); /* position before the first entry */
/* Where an entry stands; base < index <= last_index. */
struct segment *rlog_index_find(const struct rlog *l, uint64_t index, uint64_t *offset);
/* len bytes of s at offset, lent until the next call. 0, ERR_IO, ERR_CORRUPT (the file is shorter). */
int rlog_window_get(struct rlog *l, const struct segment *s, uint64_t offset, size_t len,
                    const uint8_t **out) MUST_USE;

/* ---- rlog_batch.c: the one way bytes get into a segment ---------------------------------------------- */

struct rlog_batch {
    enum rlog_batch_kind kind;
    uint64_t number;
    uint64_t index, term; /* position before its entries */
    const struct wire_entry *entries;
    uint32_t count;
};
/* Write behind the end of the last segment (with a new one if there is no room) and sync, then adopt
 * in memory. 0; ERR_NOSPC: the log is as before; else poisoned. */
int rlog_batch_write(struct rlog *l, const struct rlog_batch *b) MUST_USE;
/* Effects of a whole batch head on memory; the caller then pushes its entries. */
void rlog_batch_adopt(struct rlog *l, const struct rlog_batch *b, uint32_t chain, uint64_t end);

/* ---- rlog_hard.c ---------------------------------------------------------------------------------------- */

/* What the two files say; changes nothing on disk. */
struct rlog_hard_found {
    bool there[2];
    bool good[2];
    struct rlog_hard_rec rec[2];
    struct rlog_mark_rec mark; /* the better one; batch 0: none */
};
int rlog_hard_look(struct rlog *l, struct rlog_hard_found *found, struct err_text *why) MUST_USE;
/* Make two new files with record number 1, durable. */
int rlog_hard_create(struct rlog *l, uint64_t store_id) MUST_USE;
/* Open both for good and leave equal, durable copies. *repaired: a bad one was there. */
int rlog_hard_settle(struct rlog *l, const struct rlog_hard_found *found, bool *repaired) MUST_USE;
/* l->hard with another number to both copies. */
int rlog_hard_put(struct rlog *l) MUST_USE;
int rlog_mark_put(struct rlog *l) MUST_USE;
void rlog_hard_close(struct rlog *l);

/* ---- rlog_recover.c ------------------------------------------------------------------------------------- */

/* From a directory to a log in memory whose every promise is durable; fills found but for `fresh` and
 * visits nothing. */
int rlog_recover(struct rlog *l, uint64_t store_id_if_fresh, struct rlog_recovered *found,
                 struct err_text *why) MUST_USE;

#endif
