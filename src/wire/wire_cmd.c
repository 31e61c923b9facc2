/* wire_cmd.c — payload of NORMAL log entries: statements with typed parameters (drawn in wire.h).
 *
 * Called by api, which decodes a client's JSON straight into the builder (the hot path: one
 * reservation per statement and per parameter, counts kept up in place), by node, which seals, and
 * by db, which reads. Opening checks everything, so that reading afterwards is plain walking. */
#include "wire_int.h"
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/crc.h>
#include <rq/wire.h>

enum {
    CMD_VERSION = 1,
    CMD_CRC = 4,
    CMD_CONDITION = WIRE_CMD_IF_INDEX | WIRE_CMD_IF | WIRE_CMD_IS,
    CMD_FLAGS = WIRE_CMD_TRANSACTION | WIRE_CMD_QUEUED | WIRE_CMD_UPKEEP | CMD_CONDITION
};

enum { /* places in the head */
       AT_VERSION = 0,
       AT_KIND = 1,
       AT_FLAGS = 2,
       AT_DB = 4,
       AT_WALL = 8,
       AT_SEED = 16,
       AT_COUNT = 24,
       AT_KEY_LEN = 28,
       AT_RESERVED = 30,
       /* While building, the seed's place holds where the last statement's parameter count is. */
       AT_OPEN_COUNT = AT_SEED,
       /* … and the wall clock's where the condition's count is. */
       AT_OPEN_IF = AT_WALL,
};

/* ---- builder ----------------------------------------------------------------------------------
 */

static uint8_t *head_of(const struct buf *b)
{
    return b->data + b->start;
}

static void head_begin(struct buf *b, enum wire_cmd_kind kind, uint16_t flags, size_t key_len)
{
    uint8_t *head = buf_reserve(b, WIRE_CMD_HEAD);

    ASSERT(buf_len(b) == 0);
    if (!head)
        return;
    memset(head, 0, WIRE_CMD_HEAD);
    head[AT_VERSION] = CMD_VERSION;
    head[AT_KIND] = (uint8_t)kind;
    put_u16(head + AT_FLAGS, flags);
    put_u16(head + AT_KEY_LEN, (uint16_t)key_len);
    buf_commit(b, WIRE_CMD_HEAD);
}

void wire_cmd_begin(struct buf *b, enum wire_cmd_kind kind, uint16_t flags,
                    struct slice idempotency_key)
{
    ASSERT(kind >= WIRE_CMD_EXECUTE && kind <= WIRE_CMD_QUERY);
    ASSERT((flags & ~(CMD_FLAGS & ~CMD_CONDITION)) == 0);
    head_begin(b, kind, flags, idempotency_key.len);
    (void)buf_append_slice(b, idempotency_key);
    if (idempotency_key.len > LIMIT_KEY_BYTES)
        wire_fail(b, ERR_INVALID);
}

/* Add one to the u32 at `at`; 0, or ERR_INVALID at max. */
static int count_up(uint8_t *at, uint32_t max)
{
    uint32_t count = get_u32(at);
    if (count >= max)
        return ERR_INVALID;
    put_u32(at, count + 1);
    return 0;
}

void wire_cmd_statement(struct buf *b, struct slice sql)
{
    if (sql.len > LIMIT_ENTRY_BYTES)
        wire_fail(b, ERR_TOO_BIG);
    uint8_t *p = buf_reserve(b, 4 + sql.len + 4);
    if (!p)
        return;
    ASSERT(buf_len(b) >= WIRE_CMD_HEAD);
    put_u32(p, (uint32_t)sql.len);
    if (sql.len)
        memcpy(p + 4, sql.data, sql.len);
    put_u32(p + 4 + sql.len, 0);
    put_u64(head_of(b) + AT_OPEN_COUNT, buf_len(b) + 4 + sql.len);
    buf_commit(b, 4 + sql.len + 4);
    if (count_up(head_of(b) + AT_COUNT, LIMIT_STATEMENTS))
        wire_fail(b, ERR_INVALID);
}

/* ---- the condition --------------------------------------------------------------------------- */

static void flag_set(struct buf *b, uint16_t flags)
{
    uint8_t *at = head_of(b) + AT_FLAGS;
    put_u16(at, get_u16(at) | flags);
}

void wire_cmd_if_index(struct buf *b, uint64_t index)
{
    wire_give_u64(b, index);
    if (b->failed)
        return;
    ASSERT((get_u16(head_of(b) + AT_FLAGS) & CMD_CONDITION) == 0);
    ASSERT(get_u32(head_of(b) + AT_COUNT) == 0);
    flag_set(b, WIRE_CMD_IF_INDEX);
}

void wire_cmd_if_begin(struct buf *b, bool with_rows)
{
    size_t at = buf_len(b);

    wire_give_u32(b, 0);
    if (b->failed)
        return;
    ASSERT((get_u16(head_of(b) + AT_FLAGS) & WIRE_CMD_IF) == 0);
    ASSERT(get_u32(head_of(b) + AT_COUNT) == 0);
    flag_set(b, with_rows ? WIRE_CMD_IF | WIRE_CMD_IS : WIRE_CMD_IF);
    put_u64(head_of(b) + AT_OPEN_IF, at);
}

/* What was counted as statements so far belongs to the condition. */
void wire_cmd_if_end(struct buf *b)
{
    if (b->failed)
        return;
    uint8_t *head = head_of(b);
    uint64_t at = get_u64(head + AT_OPEN_IF);

    ASSERT(at >= WIRE_CMD_HEAD && at + 4 <= buf_len(b));
    ASSERT(get_u32(head + AT_COUNT) > 0);
    put_u32(head + at, get_u32(head + AT_COUNT));
    put_u32(head + AT_COUNT, 0);
    put_u64(head + AT_OPEN_IF, 0);
    put_u64(head + AT_OPEN_COUNT, 0);
}

/* ---- parameters -------------------------------------------------------------------------------- */

static size_t value_len(const struct wire_param *p)
{
    switch (p->type) {
    case WIRE_NULL:
        return 0;
    case WIRE_INTEGER:
    case WIRE_REAL:
        return 8;
    case WIRE_TEXT:
    case WIRE_BLOB:
        return 4 + p->bytes.len;
    }
    UNREACHABLE();
}

static void value_put(uint8_t *at, const struct wire_param *p)
{
    uint64_t bits = (uint64_t)p->integer;

    switch (p->type) {
    case WIRE_NULL:
        break;
    case WIRE_REAL:
        memcpy(&bits, &p->real, sizeof(bits));
        put_u64(at, bits);
        break;
    case WIRE_INTEGER:
        put_u64(at, bits);
        break;
    case WIRE_TEXT:
    case WIRE_BLOB:
        put_u32(at, (uint32_t)p->bytes.len);
        if (p->bytes.len)
            memcpy(at + 4, p->bytes.data, p->bytes.len);
        break;
    }
}

void wire_cmd_param(struct buf *b, const struct wire_param *p)
{
    if (p->name.len > UINT8_MAX)
        wire_fail(b, ERR_INVALID);
    if (p->bytes.len > LIMIT_ENTRY_BYTES)
        wire_fail(b, ERR_TOO_BIG);
    size_t len = 2 + p->name.len + value_len(p);
    uint8_t *at = buf_reserve(b, len);
    if (!at)
        return;
    at[0] = (uint8_t)p->type;
    at[1] = (uint8_t)p->name.len;
    if (p->name.len)
        memcpy(at + 2, p->name.data, p->name.len);
    value_put(at + 2 + p->name.len, p);
    buf_commit(b, len);

    uint64_t open_count = get_u64(head_of(b) + AT_OPEN_COUNT);
    ASSERT(open_count >= WIRE_CMD_HEAD && open_count + 4 <= buf_len(b));
    if (count_up(head_of(b) + open_count, LIMIT_PARAMS_PER_STATEMENT))
        wire_fail(b, ERR_INVALID);
}

int wire_cmd_finish(struct buf *b)
{
    wire_give_u32(b, 0); /* checksum, filled by sealing */
    if (!b->failed && buf_len(b) > LIMIT_ENTRY_BYTES)
        wire_fail(b, ERR_TOO_BIG);
    if (!b->failed) {
        ASSERT(get_u64(head_of(b) + AT_OPEN_IF) == 0); /* the condition was ended */
        put_u64(head_of(b) + AT_OPEN_COUNT, 0);
    }
    return b->failed;
}

int wire_cmd_load(struct buf *b, enum wire_cmd_kind kind, const struct wire_load *l)
{
    ASSERT(kind >= WIRE_CMD_LOAD_PIECE && kind <= WIRE_CMD_LOAD_DROP);
    ASSERT(l->id != 0);
    head_begin(b, kind, 0, 0);
    wire_give_u64(b, l->id);
    if (kind != WIRE_CMD_LOAD_DROP)
        wire_give_u64(b, l->at);
    if (kind == WIRE_CMD_LOAD_INSTALL)
        wire_give_u32(b, l->digest);
    if (kind == WIRE_CMD_LOAD_PIECE)
        (void)buf_append_slice(b, l->bytes);
    wire_give_u32(b, 0); /* checksum, filled by sealing */
    return b->failed;
}

void wire_cmd_seal(uint8_t *payload, size_t len, int64_t wall_ns, uint64_t seed)
{
    ASSERT(len >= WIRE_CMD_HEAD + CMD_CRC);
    ASSERT(payload[AT_VERSION] == CMD_VERSION);
    put_u64(payload + AT_WALL, (uint64_t)wall_ns);
    put_u64(payload + AT_SEED, seed);
    put_u32(payload + len - CMD_CRC, crc32c(0, payload, len - CMD_CRC));
}

/* ---- reader -----------------------------------------------------------------------------------
 */

int64_t wire_cmd_wall_ns(struct slice payload)
{
    ASSERT(payload.len >= WIRE_CMD_HEAD);
    return (int64_t)get_u64(payload.data + AT_WALL);
}

static uint32_t take_statement(struct wire_reader *r, struct slice *sql)
{
    *sql = wire_take_slice(r, wire_take_u32(r));
    return wire_take_u32(r);
}

static void take_param(struct wire_reader *r, struct wire_param *p)
{
    uint8_t type = wire_take_u8(r);
    uint64_t bits = 0;

    p->name = wire_take_slice(r, wire_take_u8(r));
    p->bytes = slice_of(NULL, 0);
    if (type > WIRE_BLOB)
        r->bad = true;
    if (type == WIRE_INTEGER || type == WIRE_REAL)
        bits = wire_take_u64(r);
    else if (type != WIRE_NULL)
        p->bytes = wire_take_slice(r, wire_take_u32(r));
    p->type = r->bad ? WIRE_NULL : (enum wire_param_type)type;
    p->integer = type == WIRE_INTEGER ? (int64_t)bits : 0;
    p->real = 0;
    if (type == WIRE_REAL)
        memcpy(&p->real, &bits, sizeof(bits));
}

/* Every statement and parameter of so many. */
static void statements_pass(struct wire_reader *r, uint32_t count)
{
    struct wire_param param;
    struct slice sql;

    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint32_t params = take_statement(r, &sql);
        if (params > LIMIT_PARAMS_PER_STATEMENT)
            r->bad = true;
        for (uint32_t j = 0; j < params && !r->bad; j++)
            take_param(r, &param);
    }
}

static void condition_take(struct wire_reader *r, struct wire_cmd *c)
{
    c->if_index = 0;
    c->if_count = 0;
    if (c->flags & WIRE_CMD_IF_INDEX)
        c->if_index = wire_take_u64(r);
    if (c->flags & WIRE_CMD_IF) {
        c->if_count = wire_take_u32(r);
        if (c->if_count == 0 || c->if_count > LIMIT_STATEMENTS)
            r->bad = true;
        if (c->if_count > 1 && !(c->flags & WIRE_CMD_IS))
            r->bad = true; /* rows that nobody compares */
    }
    const uint8_t *from = r->at;
    statements_pass(r, c->if_count);
    c->if_body = slice_of(from, r->bad ? 0 : (size_t)(r->at - from));
}

static int head_check(const uint8_t *head)
{
    uint16_t flags = get_u16(head + AT_FLAGS);

    if (head[AT_KIND] < WIRE_CMD_EXECUTE || head[AT_KIND] > WIRE_CMD_LOAD_DROP)
        return ERR_PROTOCOL;
    if (head[AT_KIND] >= WIRE_CMD_LOAD_PIECE &&
        (flags || get_u16(head + AT_KEY_LEN) || get_u32(head + AT_COUNT)))
        return ERR_PROTOCOL;
    if ((flags & ~CMD_FLAGS) || get_u16(head + AT_RESERVED))
        return ERR_PROTOCOL;
    if ((flags & WIRE_CMD_UPKEEP) && head[AT_KIND] != WIRE_CMD_EXECUTE)
        return ERR_PROTOCOL;
    if ((flags & WIRE_CMD_IS) && !(flags & WIRE_CMD_IF))
        return ERR_PROTOCOL;
    if (head[AT_KIND] == WIRE_CMD_QUERY && get_u16(head + AT_KEY_LEN) > 0)
        return ERR_PROTOCOL;        /* a read has nothing that must not be done twice */
    if (get_u32(head + AT_DB) != 0) /* the only database there is so far */
        return ERR_PROTOCOL;
    return get_u32(head + AT_COUNT) > LIMIT_STATEMENTS ? ERR_PROTOCOL : 0;
}

static int load_open(struct wire_cmd *c)
{
    struct wire_reader r = wire_reader_of(c->body);
    struct wire_load *l = &c->load;

    l->id = wire_take_u64(&r);
    if (c->kind != WIRE_CMD_LOAD_DROP)
        l->at = wire_take_u64(&r);
    if (c->kind == WIRE_CMD_LOAD_INSTALL)
        l->digest = wire_take_u32(&r);
    if (c->kind == WIRE_CMD_LOAD_PIECE) {
        l->bytes = wire_take_slice(&r, r.left);
        if (l->bytes.len == 0 || l->bytes.len > LIMIT_LOAD_PIECE_BYTES)
            r.bad = true;
    }
    if (l->id == 0 || l->at > LIMIT_LOAD_BYTES)
        r.bad = true;
    return wire_reader_end(&r);
}

int wire_cmd_open(struct slice payload, bool sealed, struct wire_cmd *c)
{
    const uint8_t *head = payload.data;

    if (payload.len < WIRE_CMD_HEAD + CMD_CRC || payload.len > LIMIT_ENTRY_BYTES)
        return ERR_PROTOCOL;
    if (head[AT_VERSION] != CMD_VERSION)
        return ERR_VERSION;
    size_t body_len = payload.len - CMD_CRC;
    if (sealed && get_u32(head + body_len) != crc32c(0, head, body_len))
        return ERR_CORRUPT;
    int rc = head_check(head);
    if (rc)
        return rc;
    size_t key_len = get_u16(head + AT_KEY_LEN);
    if (body_len - WIRE_CMD_HEAD < key_len || key_len > LIMIT_KEY_BYTES)
        return ERR_PROTOCOL;
    c->kind = (enum wire_cmd_kind)head[AT_KIND];
    c->flags = get_u16(head + AT_FLAGS);
    c->db_id = get_u32(head + AT_DB);
    c->wall_ns = (int64_t)get_u64(head + AT_WALL);
    c->seed = get_u64(head + AT_SEED);
    c->idempotency_key = slice_of(head + WIRE_CMD_HEAD, key_len);
    c->statement_count = get_u32(head + AT_COUNT);
    c->params_left = 0;
    c->body = slice_of(head + WIRE_CMD_HEAD + key_len, body_len - WIRE_CMD_HEAD - key_len);
    c->load = (struct wire_load){0};
    if (wire_cmd_loads(c)) {
        c->if_index = 0;
        c->if_count = 0;
        c->rest = slice_of(NULL, 0);
        return load_open(c);
    }
    struct wire_reader r = wire_reader_of(c->body);
    condition_take(&r, c);
    c->rest = slice_of(r.at, r.left);
    statements_pass(&r, c->statement_count);
    return wire_reader_end(&r);
}

void wire_cmd_if_open(const struct wire_cmd *c, struct wire_cmd *condition)
{
    ASSERT(c->flags & WIRE_CMD_IF);
    *condition = *c;
    condition->statement_count = c->if_count;
    condition->params_left = 0;
    condition->rest = c->if_body;
}

bool wire_cmd_must_log(struct slice payload)
{
    if (payload.len < WIRE_CMD_HEAD)
        return false;
    return get_u16(payload.data + AT_KEY_LEN) > 0 ||
           (get_u16(payload.data + AT_FLAGS) & CMD_CONDITION) != 0;
}

static void keep_rest(struct wire_cmd *c, const struct wire_reader *r)
{
    ASSERT(!r->bad); /* wire_cmd_open has seen all of it */
    c->rest = slice_of(r->at, r->left);
}

void wire_cmd_join(struct buf *b, struct slice payload)
{
    struct wire_cmd c;

    ASSERT(b->failed || buf_len(b) >= WIRE_CMD_HEAD);
    if (wire_cmd_open(payload, false, &c)) {
        wire_fail(b, ERR_PROTOCOL);
        return;
    }
    if (buf_append_slice(b, c.rest))
        return;
    uint8_t *count = head_of(b) + AT_COUNT;
    if (c.statement_count > LIMIT_STATEMENTS - get_u32(count))
        wire_fail(b, ERR_INVALID);
    else
        put_u32(count, get_u32(count) + c.statement_count);
    put_u64(head_of(b) + AT_OPEN_COUNT, 0); /* no parameter may follow */
}

int wire_cmd_next(struct wire_cmd *c, struct slice *sql, uint32_t *param_count)
{
    struct wire_param skipped;

    while (c->params_left > 0)
        if (wire_cmd_next_param(c, &skipped))
            UNREACHABLE();
    if (c->rest.len == 0)
        return ERR_EOF;
    struct wire_reader r = wire_reader_of(c->rest);
    *param_count = take_statement(&r, sql);
    c->params_left = *param_count;
    keep_rest(c, &r);
    return 0;
}

int wire_cmd_next_param(struct wire_cmd *c, struct wire_param *p)
{
    if (c->params_left == 0)
        return ERR_EOF;
    struct wire_reader r = wire_reader_of(c->rest);
    take_param(&r, p);
    c->params_left--;
    keep_rest(c, &r);
    return 0;
}
