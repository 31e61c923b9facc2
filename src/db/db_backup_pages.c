/* db_backup_pages.c — all pages of the database under a pin, one by one, as one file. Called by db_backup.c.
 *
 * The pin sees F frames of the WAL: a page's content is in its last frame up to F, else in the main file
 * (db_pages.c). Where frames are is looked up once, in a hash table that is as large as the WAL, so that memory
 * does not depend on the database. */
#include "db_int.h"

enum {
    WAL_HEADER = 32,
    WAL_FRAME = 24,
    SLOTS_MIN = 64,
    LOCK_BYTE = 0x40000000, /* the page that holds it is never written (fileformat2.html §1.3) */
    /* the database header (fileformat2.html §1.3) */
    WRITE_VERSION_AT = 18,
    READ_VERSION_AT = 19,
    CHANGE_COUNTER_AT = 24,
    PAGE_COUNT_AT = 28,
    VALID_FOR_AT = 92,
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void db_backup_pages_init(struct db_backup_pages *p, struct db_pin *pin, bool delete_mode)
{
    *p = (struct db_backup_pages){.pin = pin, .delete_mode = delete_mode, .next = 1};
}

void db_backup_pages_fini(struct db_backup_pages *p)
{
    mem_free(p->frames);
    p->frames = NULL;
}

/* ---- where pages are -------------------------------------------------------------------------------------- */

static uint64_t frame_at(const struct db_backup_pages *p, uint32_t frame)
{
    return WAL_HEADER + (frame - 1) * (uint64_t)(WAL_FRAME + p->pin->page_bytes);
}

/* The page's slot, or the empty one where it belongs; there always is one. */
static uint32_t slot_of(const struct db_backup_pages *p, uint32_t page)
{
    uint32_t slot = (uint32_t)prng_mix(page, 0) & (p->frame_slots - 1);

    while (p->frames[slot].page != 0 && p->frames[slot].page != page)
        slot = (slot + 1) & (p->frame_slots - 1);
    return slot;
}

static int frames_read(struct db_backup_pages *p)
{
    uint32_t slots = SLOTS_MIN;

    while (slots / 2 < p->pin->frames)
        slots *= 2;
    p->frames = mem_zalloc(slots * sizeof(p->frames[0]));
    p->frame_slots = slots;
    if (!p->frames)
        return ERR_NOMEM;
    for (uint32_t i = 1; i <= p->pin->frames; i++) {
        uint8_t head[4];
        int rc = db_pin_read(p->pin, DB_SLOT_WAL, head, sizeof(head), frame_at(p, i));
        if (rc)
            return rc;
        uint32_t page = be32(head);
        if (page == 0)
            return ERR_CORRUPT;
        uint32_t slot = slot_of(p, page);
        p->frames[slot].page = page;
        p->frames[slot].frame = i; /* the last one wins */
    }
    return 0;
}

static int page_read(struct db_backup_pages *p, uint32_t number, uint8_t *dst)
{
    uint32_t bytes = p->pin->page_bytes;
    uint32_t frame = p->frames[slot_of(p, number)].frame;

    if (number == LOCK_BYTE / bytes + 1) {
        memset(dst, 0, bytes);
        return 0;
    }
    return frame ? db_pin_read(p->pin, DB_SLOT_WAL, dst, bytes, frame_at(p, frame) + WAL_FRAME)
                 : db_pin_read(p->pin, DB_SLOT_MAIN, dst, bytes, (uint64_t)(number - 1) * bytes);
}

/* ---- giving them ------------------------------------------------------------------------------------------- */

/* SQLite looks at the size in the header only if the two counters agree; else it believes the file's length. */
static void header_write(const struct db_backup_pages *p, uint8_t *page)
{
    page[WRITE_VERSION_AT] = page[READ_VERSION_AT] = p->delete_mode ? 1 : 2;
    for (int i = 0; i < 4; i++)
        page[PAGE_COUNT_AT + i] = (uint8_t)(p->pin->page_count >> (24 - 8 * i));
    memcpy(page + VALID_FOR_AT, page + CHANGE_COUNTER_AT, 4);
}

int db_backup_pages_step(struct db_backup_pages *p, struct buf *out, size_t bytes)
{
    int rc = p->frames ? 0 : frames_read(p);

    while (rc == 0 && p->next <= p->pin->page_count && buf_len(out) < bytes) {
        uint8_t *dst = buf_reserve(out, p->pin->page_bytes);
        if (!dst)
            return out->failed;
        rc = page_read(p, p->next, dst);
        if (rc)
            return rc;
        if (p->next == 1)
            header_write(p, dst);
        buf_commit(out, p->pin->page_bytes);
        p->next++;
    }
    return rc || p->next > p->pin->page_count ? rc : DB_MORE;
}
