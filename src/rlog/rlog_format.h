/* rlog_format.h — what the log's files look like, byte by byte, and the pure functions that write and
 * check them. Called by every file of the room; knows no files and no environment.
 *
 * All integers are little-endian. A sector is 512 bytes: the unit a disk writes whole or, at worst,
 * ruins whole.
 *
 * Segment file NNNNNNNNNN.seg: a head in sector 0, then batches, each beginning on a sector boundary:
 *
 *   0       512                                                             file_bytes
 *   | head  | batch 7        | pad | batch 8 | pad | zeros, or bytes of an earlier life … |
 *
 *   head    0        8         12      16         24       32      40           48
 *           | magic  | version | crc   | store id | number | nonce | file bytes | next batch |
 *             8 B      u32       u32     u64        u64      u64     u64          u64
 *           56           64          72         80           84                 512
 *           | base index | base term | prev end | prev chain | zeros            |
 *             u64          u64         u64        u32
 *
 *   crc covers the whole sector but itself. nonce is random at every use of the file. base: last index
 *   and term before this segment. prev end and prev chain: where the batches of segment number - 1 end
 *   and the chain value there (0: this is the first segment).
 *
 * Batch: one batch head, then its entries. Both are 48-byte marks of one shape, entries followed by
 * their payload and zeros up to a multiple of 8:
 *
 *   0     4       8       12     13     14    16       20      24      32      40     48
 *   | tag | check | chain | type | kind | 0   | length | aux   | batch | index | term | payload …
 *     u32   u32     u32     u8     u8     u16   u32      u32     u64     u64     u64
 *
 *   tag     upper half of the segment's nonce
 *   check   crc32c seeded with the segment head's crc, over bytes 12 … 48
 *   chain   crc32c seeded with the predecessor's chain (the first mark of a segment: with the segment
 *           head's crc), over check
 *   type    1 batch head, 2 entry
 *   kind    batch: 1 append, 2 reset, 3 void; entry: enum raft_entry_kind
 *   length  batch: bytes of the whole batch / 8; entry: bytes of payload
 *   aux     batch: number of entries; entry: crc32c of the payload
 *   index   batch: the entries behind this index are cut first; entry: its own
 *   term    batch: the term at that index; entry: its own
 *
 * hard.a, hard.b: two records, each in a page of its own so that writing one cannot ruin the other:
 *
 *   hard    0        8         12    16       24         32           40     48     56     512
 *           | magic  | version | crc | number | store id | cluster id | term | vote | copy | zeros |
 *   mark    4096     4104      4108  4112       4120    4128            4608
 *           | magic  | version | crc | store id | batch | commit index  | zeros |
 */
#ifndef RQ_RLOG_FORMAT_H
#define RQ_RLOG_FORMAT_H

#include <rq/raft.h>
#include <rq/util/err.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    RLOG_VERSION = 1,
    RLOG_SECTOR = 512,
    RLOG_MARK_BYTES = 48,
    RLOG_MARK_OFFSET = 4096, /* of the commit mark in hard.a and hard.b */
    RLOG_HARD_BYTES = 8192,  /* size of hard.a and hard.b */
};

struct rlog_seg_head {
    uint64_t store_id, number, nonce, file_bytes;
    uint64_t next_batch;            /* number of the first batch that may stand here, or higher */
    uint64_t base_index, base_term; /* end of the log when this segment began */
    uint64_t prev_end;              /* where segment number - 1 ends; 0: there was none */
    uint32_t prev_chain;
    uint32_t seed; /* = the head's crc; filled by put and get */
};

enum rlog_rec_type { RLOG_REC_BATCH = 1, RLOG_REC_ENTRY };
enum rlog_batch_kind {
    RLOG_BATCH_APPEND = 1, /* cut behind index, then the entries */
    RLOG_BATCH_RESET,      /* the log is empty and begins behind index */
    RLOG_BATCH_VOID,       /* nothing; stands where a torn batch was cut */
};

/* A batch head or an entry's head. */
struct rlog_rec {
    enum rlog_rec_type type;
    uint8_t kind;
    uint32_t length, aux;
    uint64_t batch, index, term;
    uint32_t check, chain; /* filled by put and get */
};

struct rlog_hard_rec {
    uint64_t number; /* equal in both copies once a save returned; 1: as created */
    uint64_t store_id, cluster_id;
    struct raft_hard hard;
    char copy; /* 'a' or 'b': a record in the wrong file is a bad record */
};

struct rlog_mark_rec {
    uint64_t store_id;
    uint64_t batch; /* every batch up to this number was synced */
    uint64_t commit_index;
};

/* All put functions fill the whole sector (or mark); all get functions trust no byte of it.
 * get returns 0, ERR_CORRUPT, or ERR_VERSION (intact, but written by a newer program). */
void rlog_seg_head_put(uint8_t out[RLOG_SECTOR], struct rlog_seg_head *h);
int rlog_seg_head_get(const uint8_t in[RLOG_SECTOR], struct rlog_seg_head *h) MUST_USE;
void rlog_hard_rec_put(uint8_t out[RLOG_SECTOR], const struct rlog_hard_rec *h);
int rlog_hard_rec_get(const uint8_t in[RLOG_SECTOR], struct rlog_hard_rec *h) MUST_USE;
void rlog_mark_rec_put(uint8_t out[RLOG_SECTOR], const struct rlog_mark_rec *m);
int rlog_mark_rec_get(const uint8_t in[RLOG_SECTOR], struct rlog_mark_rec *m) MUST_USE;

/* Write r behind a predecessor whose chain value is prev_chain; fills r->check and r->chain. */
void rlog_rec_put(uint8_t out[RLOG_MARK_BYTES], const struct rlog_seg_head *h, uint32_t prev_chain,
                  struct rlog_rec *r);
/* True if these bytes are a head written into this use of this segment, wherever it stands: the chain
 * is not looked at (rlog_rec_follows does). */
bool rlog_rec_get(const uint8_t in[RLOG_MARK_BYTES], const struct rlog_seg_head *h,
                  struct rlog_rec *r) MUST_USE;
bool rlog_rec_follows(const struct rlog_rec *r, uint32_t prev_chain) MUST_USE;

static inline uint64_t rlog_align(uint64_t n, uint64_t to) /* to: a power of two */
{
    return (n + to - 1) & ~(to - 1);
}
/* Bytes of an entry in the file, head and padding included. */
static inline uint64_t rlog_entry_bytes(uint64_t payload_bytes)
{
    return RLOG_MARK_BYTES + rlog_align(payload_bytes, 8);
}

#endif
