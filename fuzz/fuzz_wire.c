/* fuzz_wire.c — every decoder of wire.h on the same bytes: the first byte chooses which one.
 *
 * Beyond "does not crash": what a decoder accepts, its encoder must give back byte for byte (the formats
 * have one spelling), and what wire_cmd_open accepts can be walked to its end. */
#include "fuzz_int.h"
#include <rq/util/assert.h>
#include <rq/wire.h>

enum { OUT_MAX = 1 << 20 };

static void same(const struct buf *out, struct slice in)
{
    ASSERT(out->failed == 0);
    ASSERT(slice_equal(buf_slice(out), in));
}

static void fuzz_frame(struct slice in, struct buf *out)
{
    struct wire_frame f;
    size_t used = 0, need = 0;

    int rc = wire_frame_get(in, &f, &used, &need);
    ASSERT(rc != ERR_EOF || need > in.len);
    if (rc)
        return;
    ASSERT(used <= in.len && f.body.len + WIRE_FRAME_HEADER == used);
    ASSERT(wire_frame_put(out, f.kind, f.stream, f.body) == 0);
    same(out, slice_of(in.data, used));
}

struct entries {
    struct wire_entry entry[RAFT_ENTRIES_PER_STEP];
    uint32_t count;
};

static int collect(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct entries *es = ctx;

    ASSERT(index > 0 && es->count < RAFT_ENTRIES_PER_STEP);
    es->entry[es->count++] = *e;
    return 0;
}

static void fuzz_raft(struct slice in, struct buf *out)
{
    static struct entries es;
    struct raft_msg m;

    es.count = 0;
    if (wire_raft_get(in, &m, collect, &es))
        return;
    ASSERT(es.count == m.span.count);
    (void)wire_raft_put(out, &m, es.entry);
    same(out, in);
}

static void fuzz_conf(struct slice in, struct buf *out)
{
    static struct wire_conf c;
    struct raft_conf r;

    if (wire_conf_get(in, &c))
        return;
    wire_conf_to_raft(&c, &r);
    (void)wire_conf_put(out, &c);
    same(out, in);
}

static void copy_statements(struct wire_cmd *c, struct buf *out)
{
    struct wire_param p;
    struct slice sql;
    uint32_t params;

    while (wire_cmd_next(c, &sql, &params) == 0) {
        wire_cmd_statement(out, sql);
        while (wire_cmd_next_param(c, &p) == 0)
            wire_cmd_param(out, &p);
    }
}

/* What was built from c is what c was read from. Wall clock, seed and checksum are the sealer's. */
static void same_cmd(const struct buf *out, struct slice in)
{
    ASSERT(buf_len(out) == in.len);
    ASSERT(memcmp(buf_slice(out).data + WIRE_CMD_HEAD, in.data + WIRE_CMD_HEAD,
                  in.len - WIRE_CMD_HEAD - 4) == 0);
}

static void fuzz_cmd(struct slice in, struct buf *out)
{
    const uint16_t built = WIRE_CMD_IF_INDEX | WIRE_CMD_IF | WIRE_CMD_IS;
    struct wire_cmd c, condition;

    if (wire_cmd_open(in, false, &c))
        return;
    if (wire_cmd_loads(&c)) {
        ASSERT(wire_cmd_load(out, c.kind, &c.load) == 0);
        same_cmd(out, in);
        return;
    }
    wire_cmd_begin(out, c.kind, (uint16_t)(c.flags & ~built), c.idempotency_key);
    if (c.flags & WIRE_CMD_IF_INDEX)
        wire_cmd_if_index(out, c.if_index);
    if (c.flags & WIRE_CMD_IF) {
        wire_cmd_if_open(&c, &condition);
        wire_cmd_if_begin(out, (c.flags & WIRE_CMD_IS) != 0);
        copy_statements(&condition, out);
        wire_cmd_if_end(out);
    }
    copy_statements(&c, out);
    ASSERT(wire_cmd_finish(out) == 0);
    same_cmd(out, in);
}

/* Decoders of small bodies: accepted, then encoded, gives the same. */
#define FUZZ_BODY(name)                                                                            \
    static void fuzz_##name(struct slice in, struct buf *out)                                      \
    {                                                                                              \
        struct wire_##name body;                                                                   \
        if (wire_##name##_get(in, &body))                                                          \
            return;                                                                                \
        (void)wire_##name##_put(out, &body);                                                       \
        same(out, in);                                                                             \
    }

/* What later versions add behind it is passed over. */
static void fuzz_hello(struct slice in, struct buf *out)
{
    struct wire_hello h;

    if (wire_hello_get(in, &h))
        return;
    (void)wire_hello_put(out, &h);
    if (h.protocol_max > WIRE_PROTOCOL_MAX && in.len > buf_len(out))
        in.len = buf_len(out);
    same(out, in);
}

FUZZ_BODY(join)
FUZZ_BODY(answer)
FUZZ_BODY(meta)
FUZZ_BODY(index)
FUZZ_BODY(forward)
FUZZ_BODY(forward_answer)
FUZZ_BODY(order)

static void (*const targets[])(struct slice, struct buf *) = {
    fuzz_frame, fuzz_raft,    fuzz_conf,           fuzz_cmd,    fuzz_hello, fuzz_join,
    fuzz_meta,  fuzz_forward, fuzz_forward_answer, fuzz_answer, fuzz_order, fuzz_index,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out;

    if (size == 0)
        return 0;
    buf_init(&out, OUT_MAX);
    targets[data[0] % (sizeof(targets) / sizeof(targets[0]))](slice_of(data + 1, size - 1), &out);
    buf_fini(&out);
    return 0;
}
