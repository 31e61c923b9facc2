/* wire_backup.c — which backup a client wants, on its way to the node that makes it: payload of a forwarded request
 * of kind BACKUP.
 *
 *   | version 1 | format | flags | 0 | u32 count | count × (u32 bytes, name) |
 *     u8          u8       u8      u8
 */
#include "wire_int.h"
#include <rq/wire.h>

enum { VERSION = 1, FLAG_COMPRESS = 1, NAMES_MAX = 100 * 1000 };

int wire_backup_put(struct buf *out, const struct wire_backup *b)
{
    wire_give_u8(out, VERSION);
    wire_give_u8(out, (uint8_t)b->format);
    wire_give_u8(out, b->compress ? FLAG_COMPRESS : 0);
    wire_give_u8(out, 0);
    wire_give_u32(out, b->table_count);
    (void)buf_append_slice(out, b->tables);
    return out->failed;
}

void wire_backup_table(struct buf *tables, struct slice name)
{
    wire_give_u32(tables, (uint32_t)name.len);
    (void)buf_append_slice(tables, name);
}

bool wire_backup_next(struct slice *tables, struct slice *name)
{
    struct wire_reader r = wire_reader_of(*tables);

    if (r.left == 0)
        return false;
    *name = wire_take_slice(&r, wire_take_u32(&r));
    *tables = slice_of(r.at, r.left);
    return !r.bad;
}

int wire_backup_get(struct slice payload, struct wire_backup *b)
{
    struct wire_reader r = wire_reader_of(payload);
    uint8_t version = wire_take_u8(&r), format = wire_take_u8(&r);

    b->compress = (wire_take_flags(&r, FLAG_COMPRESS) & FLAG_COMPRESS) != 0;
    wire_take_zeros(&r, 1);
    b->table_count = wire_take_u32(&r);
    if (r.bad || b->table_count > NAMES_MAX || format > WIRE_BACKUP_VACUUM)
        return ERR_PROTOCOL;
    if (version != VERSION)
        return ERR_VERSION;
    b->format = (enum wire_backup_format)format;
    b->tables = slice_of(r.at, r.left);
    for (uint32_t i = 0; i < b->table_count; i++)
        (void)wire_take_slice(&r, wire_take_u32(&r));
    return wire_reader_end(&r);
}
