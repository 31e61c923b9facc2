/* image_format.h — what the image's files look like, and the pure functions that write and check them.
 *
 * All integers are little-endian; a sector is 512 bytes, the unit a disk writes whole or ruins whole.
 *
 *   record.a, record.b   which moment the page files hold; two copies with one number
 *   cut                  redo journal of the cut at hand
 *   GGGGGGGG.main  .keys  .load      pages, as SQLite counts them; G: generation, in hex
 *   GGGGGGGG.main.sums  .keys.sums  .load.sums   their checksums
 *
 * Head of a record and of the journal (one sector), behind it `state bytes` of the caller's:
 *
 *   0       8         12    16       24           32      40     48      56
 *   | magic | version | crc | number | generation | nonce | index | term |
 *     8 B     u32       u32   u64      u64          u64     u64     u64
 *   56                       64 …                72           76          80          88      96           104     512
 *   | main: page bytes count | keys: bytes count | state bytes | state crc | main size | inode | changed ns | …
 *     u32, u32                 u32, u32            u32           u32         u64         u64     u64
 *   104                      112     512
 *   | load: page bytes count | zeros |
 *     u32, u32
 *
 *   main size, inode, changed: of the live main file when the record was written; zeros where it is not live.
 *
 *   crc covers the whole sector but itself. number grows by one with each record; the journal bears that of
 *   the record it leads to. nonce: random per journal; 0 in records.
 *
 * Frame of the journal, from the sector behind head and state on, one behind the other:
 *
 *   0      1     2   4        8        16    20      24
 *   | type | set | 0 | length | number | crc | chain | payload …
 *     u8     u8    u16 u32      u64      u32   u32
 *
 *   type    1 page (number: of the page), 2 sector of a checksum table (number: of the sector),
 *           3 end (number: of frames before it; length 0)
 *   crc     crc32c of the payload
 *   chain   crc32c seeded with the predecessor's chain (the first frame: with the head's crc), over
 *           bytes 0 … 20: remains of an earlier journal never read as a continuation
 *
 * Checksum table: sectors of 127 checksums and a checksum of themselves.
 *
 *   0              508   512
 *   | u32 × 127    | crc |      crc: crc32c seeded with the sector's number, over bytes 0 … 508
 */
#ifndef RQ_IMAGE_FORMAT_H
#define RQ_IMAGE_FORMAT_H

#include <rq/image.h>

enum {
    IMAGE_VERSION = 1,
    IMAGE_SECTOR = 512,
    IMAGE_FRAME_HEAD = 24,
    IMAGE_SUMS_PER_SECTOR = 127,
};

enum image_head_kind { IMAGE_HEAD_RECORD, IMAGE_HEAD_JOURNAL };
struct image_head {
    uint64_t number, generation, nonce;
    struct image_moment moment; /* .state: only its length here */
    uint32_t state_crc;
    struct env_file_facts main; /* of the live file; in records only */
    uint32_t crc;               /* filled by put and get */
};
void image_head_put(uint8_t out[IMAGE_SECTOR], enum image_head_kind kind, struct image_head *h);
/* 0; ERR_CORRUPT; ERR_VERSION: intact, but written by a newer program. */
int image_head_get(const uint8_t in[IMAGE_SECTOR], enum image_head_kind kind,
                   struct image_head *h) MUST_USE;

enum image_frame_type {
    IMAGE_FRAME_PAGE = 1,
    IMAGE_FRAME_SUMS,
    IMAGE_FRAME_END,
    IMAGE_FRAME_MOMENT, /* only in transfers: image_send.c */
};
struct image_frame {
    enum image_frame_type type;
    enum image_set set;
    uint32_t length;
    uint64_t number;
    uint32_t crc;   /* of the payload */
    uint32_t chain; /* filled by put and get */
};
void image_frame_put(uint8_t out[IMAGE_FRAME_HEAD], uint32_t prev_chain, struct image_frame *f);
/* Does it follow a frame with prev_chain? */
bool image_frame_get(const uint8_t in[IMAGE_FRAME_HEAD], uint32_t prev_chain,
                     struct image_frame *f) MUST_USE;

void image_sums_put(uint8_t out[IMAGE_SECTOR], uint32_t sector, const uint32_t *sums,
                    uint32_t count);
bool image_sums_get(const uint8_t in[IMAGE_SECTOR], uint32_t sector,
                    uint32_t sums[IMAGE_SUMS_PER_SECTOR]) MUST_USE;
static inline uint32_t image_sums_sectors(uint32_t page_count)
{
    return (page_count + IMAGE_SUMS_PER_SECTOR - 1) / IMAGE_SUMS_PER_SECTOR;
}

/* Could SQLite have such a file: page size a power of two in its range, or both zero? */
bool image_moment_is_sane(const struct image_moment *m);
/* The page that SQLite leaves out for its locks; 0: the file is shorter. */
static inline uint32_t image_lock_page(uint32_t page_bytes)
{
    return 0x40000000U / page_bytes + 1;
}

#endif
