/* image — the database as of one log index, on disk: what a start begins with and what a member that
 * lacks the log is sent. docs/storage.md draws the files.
 *
 * An image is a few page sets (SQLite files, cut into their pages), the checksum of each page kept
 * outside of them, and a record that says which moment they hold. It changes in one way only, by a cut:
 *
 *   begin ─► page* ─► seal ─────────► apply* ─► done
 *   (journal: what will change)   │   (page files, checksums, then the record)
 *                                 └── from here on the cut happens, crash or not
 *
 * So a cut costs what changed, twice, and nothing of SQLite's own files is needed to recover from a crash
 * at any point. Or as a whole: a received image is written beside the old one, and the record switches; and the
 * main set alone gives way to another file that is there already (image_replace).
 *
 * Where the pages of IMAGE_MAIN are. In a file of the image's own; or, "live", in the very file that a database
 * works in: between two cuts nobody writes to it, and those who cut bring it up to date through whoever has it open.
 *
 * All calls in run(), one at a time. After ERR_IO or ERR_CORRUPT from anything but image_page_read the
 * image is poisoned: later calls return ERR_IO. */
#ifndef RQ_IMAGE_H
#define RQ_IMAGE_H

#include <rq/env.h>
#include <rq/util/buf.h>

/* LOAD: a database file that is coming, whose pages the main set may become as a whole. */
enum image_set { IMAGE_MAIN, IMAGE_KEYS, IMAGE_LOAD, IMAGE_SET_COUNT };
enum {
    IMAGE_PAGE_MIN = 512, /* page sizes are powers of two, https://sqlite.org/fileformat2.html §1.3.2 */
    IMAGE_PAGE_MAX = 65536,
    IMAGE_STATE_MAX = 16 * 1024,
};

struct image;

/* What an image holds, or will. */
struct image_moment {
    uint64_t index, term; /* last log entry contained; index 0: there is no image yet */
    struct {
        uint32_t page_bytes; /* 0 with page_count 0 */
        uint32_t page_count;
    } set[IMAGE_SET_COUNT];
    struct slice state; /* the caller's: membership, digest, sticky values; at most IMAGE_STATE_MAX */
};

/* Open the image in dir (created if missing; copied), finishing a sealed cut, dropping an unsealed one and
 * whatever an interrupted receipt left. What was recovered is durable on return.
 *   returns  0            *out given (image_close frees)
 *            ERR_CORRUPT  both copies of the record, or a checksum table, are damaged, or a file is missing; why
 *                         names file and offset. *out not NULL: a record is good, and image_now tells its moment;
 *                         another image may be received in its place, nothing else is possible
 *            ERR_VERSION  written by a newer program
 *            ERR_IO, ERR_NOSPC */
int image_open(struct env *e, const char *dir, struct image **out, struct err_text *why) MUST_USE;
/* The same for an image whose main set is, or was, live. Where the file is not where it should be, it is moved: as
 * after a restart in the other mode, or an installed receipt. Nobody may have main_path open. */
struct image_place {
    const char *main_path; /* of the live database; copied */
    bool live;             /* from now on */
};
int image_open_placed(struct env *e, const char *dir, const struct image_place *place, struct image **out,
                      struct err_text *why) MUST_USE;
/* Live: the database has the file open from now on; until image_live_end its pages are reached through this. */
struct image_live {
    int (*read)(void *ctx, void *dst, size_t len, uint64_t offset, size_t *got); /* as env_file_read */
    /* One page as of the cut being applied; what the database has put there itself need not be written. */
    int (*write)(void *ctx, uint32_t number, const void *bytes, size_t len);
    int (*settle)(void *ctx, uint64_t size); /* at least that long; synced */
    void *ctx;
};
void image_live_begin(struct image *im, const struct image_live *live); /* copied */
void image_live_end(struct image *im); /* the database is closed; harmless without begin */
/* The checksums of a set's pages, as many as image_now says. Lent until the next cut or receipt ends. */
const uint32_t *image_sums(const struct image *im, enum image_set set);
void image_close(struct image *im); /* may be NULL; an unsealed cut is forgotten */
/* What it holds now; state lent until the next cut or receipt ends. */
const struct image_moment *image_now(const struct image *im);

/* One page, verified. number counts from 1. dst: set[].page_bytes. 0; ERR_CORRUPT: not as it was written
 * (why names file, offset, page); ERR_IO: neither poisons, the page may be had from elsewhere. ERR_BUSY: a cut
 * is being applied, ask again. */
int image_page_read(struct image *im, enum image_set set, uint32_t number, void *dst,
                    struct err_text *why) MUST_USE;

/* ---- cut -------------------------------------------------------------------------------------------- */

/* Begin to change the image to m (copied). m->index not below that of image_now. When a set's page_bytes changes, all
 * of its pages must be given; else those that changed and all new ones (SQLite's lock page, at 1 GiB, is
 * never given and reads as zeros). 0; ERR_IO; ERR_NOSPC: as before the call. */
int image_cut_begin(struct image *im, const struct image_moment *m) MUST_USE;
/* bytes: set[].page_bytes of them; a page given twice: the last one counts. 0; ERR_NOSPC: drop it; ERR_IO. */
int image_cut_page(struct image *im, enum image_set set, uint32_t number, const void *bytes) MUST_USE;
/* Returned 0: it is durable that the cut will be completed, here or by the next image_open. ERR_NOSPC: drop it. */
int image_cut_seal(struct image *im) MUST_USE;
/* Of a sealed cut, bring pages into their files, about bytes_max of them at most. *all: none is left, image_cut_apply
 * only ends it. 0; ERR_NOSPC: call again when there is room; ERR_IO, ERR_CORRUPT. */
int image_cut_write(struct image *im, uint64_t bytes_max, bool *all) MUST_USE;
/* Sync what was given so far or, sealed, what was written. No promise rests on it: what comes at the end is then little,
 * and the log on the same disk does not wait for all of it at once. 0; ERR_NOSPC: drop it; ERR_IO. */
int image_cut_flush(struct image *im) MUST_USE;
/* Go on completing a sealed cut, about bytes_max of pages at most. *done: image_now is m, durably.
 * 0; ERR_NOSPC: call again when there is room; ERR_IO, ERR_CORRUPT. */
int image_cut_apply(struct image *im, uint64_t bytes_max, bool *done) MUST_USE;
void image_cut_drop(struct image *im); /* an unsealed one: as if never begun */

/* ---- another main file ---------------------------------------------------------------------------------- */

/* The main set gives way, atomically and durably: to the pages of IMAGE_LOAD, which then has none; or to the file at
 * `from`, on the same file system, which loses that name; all its bytes count. The other sets stay. No cut is under
 * way. Costs no copy of any page; open sends end. Live: nobody may have main_path open.
 *   m        index, term and state count (copied); index above image_now's
 *   page_bytes  of the file at `from`
 *   returns  0; ERR_IO: poisoned; ERR_NOSPC: nothing changed */
int image_replace(struct image *im, const struct image_moment *m, const char *from, uint32_t page_bytes) MUST_USE;

/* ---- sending and receiving ----------------------------------------------------------------------------- */

/* A transfer is a sequence of chunks. Pages that a cut changes after they were sent are sent again; the last
 * chunk says what moment all of them make, and a digest over all pages. Cuts never wait for a transfer. */
struct image_send;
int image_send_begin(struct image *im, struct image_send **out) MUST_USE; /* 0; ERR_NOT_FOUND: no image yet */
/* Replace out's content by the next chunk: at most about bytes_max (at least one page). *last: it ends the
 * transfer. Empty and not last: a cut is being applied, ask again. 0; ERR_CORRUPT (a page is damaged: why), ERR_IO;
 * ERR_TIMEOUT: pages are taken more slowly than they change (why); ERR_CANCELED: the image was replaced. */
int image_send_next(struct image_send *s, size_t bytes_max, struct buf *out, bool *last,
                    struct err_text *why) MUST_USE;
void image_send_end(struct image_send *s); /* may be NULL; before image_close */
/* A chunk as one zstd frame, appended to out. ERR_TOO_BIG: it would not become smaller; out's failure. Any lane. */
int image_pack(struct slice chunk, struct buf *out) MUST_USE;
/* And back, replacing out's content: as large as out may become at most. ERR_PROTOCOL: it is none. */
int image_unpack(struct slice packed, struct buf *out) MUST_USE;

struct image_receive;
/* One at a time. 0, ERR_IO, ERR_NOSPC. */
int image_receive_begin(struct image *im, struct image_receive **out) MUST_USE;
/* Take one chunk. 0; ERR_PROTOCOL: it is malformed, or does not complete what it claims to (why); ERR_NOSPC,
 * ERR_IO. After any failure: image_receive_end. *complete: it was the last one and everything is there. */
int image_receive_chunk(struct image_receive *r, struct slice chunk, bool *complete, struct err_text *why) MUST_USE;
/* Sync what came so far, as image_cut_flush. 0, ERR_IO. */
int image_receive_flush(struct image_receive *r) MUST_USE;
/* The moment that the received pages make; only when complete. Lent until end. */
const struct image_moment *image_receive_moment(const struct image_receive *r);
/* Once complete: make it durable beside the old one; all that takes long. 0; ERR_NOSPC, ERR_IO: image_receive_end. */
int image_receive_settle(struct image_receive *r) MUST_USE;
/* The settled image takes the place of the old one, atomically and durably; open sends of the old one end.
 * index must not be below that of image_now. r is freed. 0; ERR_IO. */
int image_receive_install(struct image_receive *r) MUST_USE;
/* Live, after it, when the old database is closed: the received file takes its place. A crash before that is made
 * good by the next open. 0, ERR_IO. */
int image_place_settle(struct image *im, struct err_text *why) MUST_USE;
void image_receive_end(struct image_receive *r); /* forget it and its files; may be NULL */

/* Look at every page, a few at a time: from *set, *number on, at most count pages; they are moved on, and
 * wrap to IMAGE_MAIN, 1 after the last one. 0; ERR_CORRUPT: why names it; ERR_IO; ERR_BUSY. */
int image_scrub(struct image *im, enum image_set *set, uint32_t *number, uint32_t count,
                struct err_text *why) MUST_USE;

#endif
