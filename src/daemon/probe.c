/* probe — all addresses at once, each asked "GET /status" in the clear, for at most two seconds. A Raft port
 * says nothing or closes; an HTTPS port answers plain HTTP with 400. The first bytes decide. */
#include "probe.h"

#include "flags.h"

#include <rq/util/assert.h>
#include <rq/util/mem.h>

#include <string.h>

enum { PROBE_MS = 2000 };

struct probe_line {
    struct probe *probe;
    const char *addr;
    struct env_stream *stream; /* NULL: closed */
    char head[5];
    uint8_t head_len;
    bool over; /* it will tell nothing new */
};

struct probe {
    struct env *env;
    struct env_timer timer;
    struct probe_line *lines;
    uint32_t count, open;
    uint32_t waiting; /* lines that may still speak */
    const char *found;
    bool ending, told;
    void (*done)(void *ctx, const char *addr);
    void *ctx;
};

static void probe_free(struct probe *p)
{
    env_timer_disarm(&p->timer);
    mem_free(p->lines);
    mem_free(p);
}

static void probe_tell(struct probe *p)
{
    void (*done)(void *, const char *) = p->done;
    void *ctx = p->ctx;
    const char *found = p->found;
    const bool tell = !p->told;
    probe_free(p);
    if (tell)
        done(ctx, found);
}

/* Close what is open; the last one closed tells. */
static void probe_end(struct probe *p)
{
    if (p->ending)
        return;
    p->ending = true;
    env_timer_arm(&p->timer, 0); /* should none be open */
    for (uint32_t i = 0; i < p->count; i++)
        if (p->lines[i].stream)
            env_stream_close(p->lines[i].stream);
}

static void line_over(struct probe_line *l)
{
    struct probe *p = l->probe;
    if (l->over)
        return;
    l->over = true;
    if (--p->waiting == 0)
        probe_end(p);
}

static void line_opened(void *ctx, int rc)
{
    static const char question[] =
        "GET /status HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    struct probe_line *l = ctx;
    const struct slice bytes = slice_of(question, sizeof question - 1);
    if (rc != 0 || env_stream_write(l->stream, &bytes, 1, sizeof question) != 0)
        line_over(l);
    else
        env_stream_read_start(l->stream);
}

static void line_data(void *ctx, struct slice bytes)
{
    struct probe_line *l = ctx;
    for (size_t i = 0; i < bytes.len && l->head_len < sizeof l->head; i++)
        l->head[l->head_len++] = (char)bytes.data[i];
    if (l->head_len < sizeof l->head)
        return;
    if (memcmp(l->head, "HTTP/", sizeof l->head) == 0 && !l->probe->ending) {
        l->probe->found = l->addr;
        probe_end(l->probe);
        return;
    }
    env_stream_read_stop(l->stream);
    line_over(l);
}

static void line_ended(void *ctx, int rc)
{
    (void)rc;
    line_over(ctx);
}

static void line_drained(void *ctx)
{
    (void)ctx;
}

static void line_closed(void *ctx)
{
    struct probe_line *l = ctx;
    struct probe *p = l->probe;
    l->stream = NULL;
    if (--p->open == 0 && p->ending)
        probe_tell(p);
}

static const struct env_stream_events line_events = {
    .opened = line_opened,
    .data = line_data,
    .ended = line_ended,
    .drained = line_drained,
    .closed = line_closed,
};

static void probe_timer(struct env_timer *t)
{
    struct probe *p = t->ctx;
    if (p->ending && p->open == 0)
        probe_tell(p);
    else
        probe_end(p);
}

int probe_start(struct env *e, const char *const *addrs, uint32_t count,
                void (*done)(void *ctx, const char *addr), void *ctx, struct probe **out)
{
    struct probe *p = mem_zalloc(sizeof *p);
    struct probe_line *lines = mem_zalloc((count + 1) * sizeof *lines);
    if (!p || !lines) {
        mem_free(p);
        mem_free(lines);
        return ERR_NOMEM;
    }
    p->env = e;
    p->lines = lines;
    p->done = done;
    p->ctx = ctx;
    env_timer_init(&p->timer, e, probe_timer, p);
    for (uint32_t i = 0; i < count; i++) {
        struct probe_line *l = &p->lines[p->count];
        l->probe = p;
        l->addr = addrs[i];
        if (!flags_is_url(addrs[i]) &&
            env_stream_connect(e, addrs[i], &line_events, l, &l->stream) == 0) {
            p->count++;
            p->open++;
            p->waiting++;
        }
    }
    env_timer_arm(&p->timer, p->count > 0 ? PROBE_MS * ENV_MS_NS : 0);
    *out = p;
    return 0;
}

void probe_cancel(struct probe *p)
{
    if (!p)
        return;
    p->told = true;
    probe_end(p);
}
