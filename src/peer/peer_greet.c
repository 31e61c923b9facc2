/* peer_greet.c — the greeting: what we tell, and whether the other end is whom we want. An address may
 * by now belong to another node, or a node may have lost its data directory: then no Raft message
 * may pass. Called by peer_line.c; peer_self_* by peer.c. */
#include "peer_int.h"
#include <rq/util/mem.h>

int peer_greet_put(struct peer_line *line)
{
    const struct peer_self *self = &line->set->self;
    const struct wire_hello h = {
        .protocol_min = line->set->config.protocol_min,
        .protocol_max = line->set->config.protocol_max,
        .cluster_id = self->cluster_id,
        .store_id = self->store_id,
        .id = self->id,
        .expect_id = line->expect_id,
        .expect_store_id = line->expect_store_id,
        .name = slice_str(self->name),
        .raft_addr = slice_str(self->raft_addr),
        .api_url = slice_str(self->api_url),
        .version = slice_str(self->version),
        .sqlite = slice_str(self->sqlite),
    };
    struct buf *out = peer_output_begin(line);
    size_t begun_at = wire_frame_begin(out, WIRE_HELLO, 0);

    (void)wire_hello_put(out, &h);
    int rc = wire_frame_end(out, begun_at);
    if (rc == 0)
        peer_output_commit(line);
    return rc;
}

static bool unlike(uint64_t expected, uint64_t actual)
{
    return expected != 0 && expected != actual;
}

/* Now and then: it will come again and again. */
static void foreign_tell(struct peer_set *s, const struct wire_hello *h)
{
    const uint64_t now = env_now_ns(s->env);

    if (s->foreign_ns && now - s->foreign_ns < PEER_FOREIGN_MS * ENV_MS_NS)
        return;
    s->foreign_ns = now;
    env_log(s->env, "cluster",
            "refusing node %.*s at %.*s, version %.*s: it speaks protocol versions %u to %u, this "
            "node %u to %u",
            (int)h->name.len, (const char *)h->name.data, (int)h->raft_addr.len,
            (const char *)h->raft_addr.data, (int)h->version.len, (const char *)h->version.data,
            h->protocol_min, h->protocol_max, s->config.protocol_min, s->config.protocol_max);
}

int peer_greet_check(const struct peer_line *line, const struct wire_hello *h, uint16_t *protocol)
{
    const struct peer_self *self = &line->set->self;
    const struct peer_config *config = &line->set->config;

    *protocol = wire_protocol_common(config->protocol_min, config->protocol_max, h);
    if (*protocol == 0) {
        foreign_tell(line->set, h);
        return ERR_VERSION;
    }
    if (h->cluster_id != 0 && unlike(self->cluster_id, h->cluster_id))
        return ERR_IDENTITY;
    if (unlike(h->expect_id, self->id) || unlike(h->expect_store_id, self->store_id))
        return ERR_IDENTITY;
    if (unlike(line->expect_id, h->id) || unlike(line->expect_store_id, h->store_id))
        return ERR_IDENTITY;
    return 0;
}

int peer_self_copy(struct peer_self *dst, const struct peer_self *src)
{
    *dst = *src;
    dst->name = mem_strdup(src->name);
    dst->raft_addr = mem_strdup(src->raft_addr);
    dst->api_url = mem_strdup(src->api_url);
    dst->version = mem_strdup(src->version);
    dst->sqlite = mem_strdup(src->sqlite);
    if (dst->name && dst->raft_addr && dst->api_url && dst->version && dst->sqlite)
        return 0;
    peer_self_free(dst);
    return ERR_NOMEM;
}

void peer_self_free(struct peer_self *self)
{
    mem_free((void *)(uintptr_t)self->name);
    mem_free((void *)(uintptr_t)self->raft_addr);
    mem_free((void *)(uintptr_t)self->api_url);
    mem_free((void *)(uintptr_t)self->version);
    mem_free((void *)(uintptr_t)self->sqlite);
    memset(self, 0, sizeof(*self));
}
