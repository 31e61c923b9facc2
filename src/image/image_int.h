/* image_int.h — inside the image: what is in memory, and who calls whom.
 *
 *   image.c          open, close, look, scrub
 *   image_send.c  image_receive.c
 *   image_replace.c  another main file
 *   image_cut.c      begin, page, seal, apply; redo is apply at open
 *   image_pages.c    pages of a set, wherever they are
 *   image_files.c    files of a generation, records, journal bytes
 *   image_format.c
 *
 * Files call downwards in this list only. */
#ifndef RQ_IMAGE_INT_H
#define RQ_IMAGE_INT_H

#include "image_format.h"
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/util/list.h>
#include <rq/util/mem.h>
#include <string.h>

enum {
    IMAGE_BUF_BYTES = 256 * 1024, /* journal bytes gathered, or read ahead */
    IMAGE_JOURNAL_KEPT = 8 * 1024 * 1024,
    IMAGE_NAME_MAX = 40,
};

/* One page set of one generation. */
struct image_pages {
    struct env_file *pages,
        *table;     /* live: pages of IMAGE_MAIN are NULL while the database has them */
    uint32_t *sums; /* of the pages of image_now */
};

enum image_phase { IMAGE_IDLE, IMAGE_CUTTING, IMAGE_SEALED };

struct image_cut {
    enum image_phase phase;
    struct image_head head; /* of the journal; what the image will be */
    uint8_t *state;
    struct {
        uint32_t *sums;      /* what the table will be; NULL while redoing: the journal has it */
        uint8_t *given;      /* per page */
        uint8_t *sector_new; /* per sector of the table */
        bool unsynced;       /* pages were written since the last flush */
    } set[IMAGE_SET_COUNT];
    uint64_t at;     /* end of the journal's frames; while applying: of those done */
    uint32_t chain;  /* of the frame before at */
    uint64_t frames; /* written */
    bool frames_done;
};

/* A stretch of the journal in memory: what was gathered for it, or read from it. */
struct image_window {
    uint8_t *data; /* IMAGE_BUF_BYTES and the largest frame, made when first wanted */
    uint64_t offset;
    size_t len;
};

struct image {
    struct env *env;
    char *dir, *main_path; /* main_path NULL: never live */
    bool live;
    struct image_live database; /* .read NULL: nobody has the live file open */
    bool poisoned, receiving;
    bool damaged; /* what image_open found: only another image helps */
    struct env_file *record[2], *journal;
    struct image_head now; /* number 0: none yet */
    uint8_t *state;        /* now.moment.state points here */
    struct image_pages set[IMAGE_SET_COUNT];
    struct image_cut cut;
    struct image_window window;
    struct list sends;
};

/* ---- image_files.c ----------------------------------------------------------------------------------- */

static inline int image_poison(struct image *im, int rc)
{
    im->poisoned = im->poisoned || rc == ERR_IO || rc == ERR_CORRUPT;
    return rc;
}
int image_file_open(struct image *im, const char *name, unsigned flags,
                    struct env_file **out) MUST_USE;
void image_set_name(char out[IMAGE_NAME_MAX], uint64_t generation, enum image_set set, bool table);
/* Make or open the files of a generation; empty: of no length. */
int image_generation_open(struct image *im, uint64_t generation, bool empty,
                          struct image_pages set[IMAGE_SET_COUNT]) MUST_USE;
/* The files of one set; empty: made, of no length. */
int image_set_open(struct image *im, uint64_t generation, enum image_set set, bool empty,
                   struct image_pages *out) MUST_USE;
/* Those of the present one: live, the main file is opened at main_path, or (empty) left to the database. */
int image_present_open(struct image *im, uint64_t generation, bool empty) MUST_USE;
void image_generation_close(struct image_pages set[IMAGE_SET_COUNT]);
void image_generation_remove(struct image *im, uint64_t generation);
int image_set_sync(struct image_pages *set) MUST_USE;
int image_generation_sync(struct image_pages set[IMAGE_SET_COUNT]) MUST_USE;
int image_main_path_sync(struct image *im) MUST_USE;           /* the folder of the live file */
char *image_path_of(const struct image *im, const char *name); /* mem_free */
int image_sums_load(struct image *im, enum image_set set, struct err_text *why) MUST_USE;
int image_table_write(struct image_pages *set, uint32_t count) MUST_USE; /* all of it, unsynced */
uint32_t image_sum_of_zeros(uint32_t page_bytes);

struct image_records { /* the two copies, as found */
    bool empty[2], good[2];
    struct image_head head[2];
    uint8_t *state[2]; /* of good ones; mem_free */
};
int image_record_prepare(struct image *im, unsigned copy) MUST_USE;
int image_records_look(struct image *im, struct image_records *found,
                       struct err_text *why) MUST_USE;
/* Write im->now to one copy and sync it. */
int image_record_write(struct image *im, unsigned copy) MUST_USE;
int image_record_clear(struct image *im, unsigned copy) MUST_USE; /* as if never written; synced */
/* im->now becomes h with this state (taken over). */
void image_now_set(struct image *im, const struct image_head *h, uint8_t *state);

/* Gather bytes at the journal's end; image_window_flush writes them. */
int image_window_put(struct image *im, const void *src, size_t len) MUST_USE;
int image_window_flush(struct image *im) MUST_USE;
void image_window_begin(struct image *im, uint64_t offset);
/* len bytes of the journal at offset, lent until the next call; *out NULL: it ends before. */
int image_window_get(struct image *im, uint64_t offset, size_t len, const uint8_t **out) MUST_USE;
void image_window_free(struct image *im);

/* The page files are between two moments, or, live, may be: the database begins as soon as the cut is sealed. */
static inline bool image_is_applying(const struct image *im)
{
    return im->cut.phase == IMAGE_SEALED && (im->live || im->cut.frames > 0 || im->cut.frames_done);
}

/* ---- image_pages.c ---------------------------------------------------------------------------------------- */

int image_pages_write(struct image *im, enum image_set set, uint32_t number, const void *bytes,
                      size_t len) MUST_USE;
int image_pages_sync(struct image *im, enum image_set set) MUST_USE;
/* Bring the files to the size of m, and sync them. */
int image_pages_settle(struct image *im, const struct image_moment *m) MUST_USE;
/* The main set's file of this generation gets to where it belongs. 0; ERR_IO. */
int image_place_move(struct image *im, uint64_t generation) MUST_USE;
/* What the system tells of the live main file, into im->now; zeros where it is not live, or not trusted. */
int image_main_look(struct image *im, bool trusted) MUST_USE;
bool image_main_is_there(struct image *im);
/* Nobody but we had his hands on it, by what the record tells. */
bool image_main_is_known(struct image *im);
/* Every page of a set. 0; ERR_CORRUPT: why names the first bad one. */
int image_pages_verify(struct image *im, enum image_set set, struct err_text *why) MUST_USE;

/* ---- image_cut.c ---------------------------------------------------------------------------------------- */

/* Is the journal a sealed one? Then im->cut is ready to be applied; else it is idle. Only reads. */
int image_cut_find(struct image *im) MUST_USE;
void image_cut_fini(struct image *im);
static inline uint64_t image_frames_begin(const struct image_head *h)
{
    return IMAGE_SECTOR + h->moment.state.len;
}

/* ---- image_send.c ---------------------------------------------------------------------------------------- */

void image_sends_changed(struct image *im, enum image_set set,
                         uint32_t number);  /* a page was applied */
void image_sends_resized(struct image *im); /* image_now changed */
void image_sends_ended(struct image *im);   /* another image took its place */
/* One number for all pages of a moment. */
uint64_t image_digest(const struct image_moment *m, const uint32_t *const sums[IMAGE_SET_COUNT]);

#endif
