/* node_recover.c — a membership forced by an operator: raft/peers.json, once, at a start (daemon.md §8).
 *
 *   read and check ─► raft/forced durable ─► the new cluster id durable ─► peers.json becomes peers.info
 *                     └── from here on it happens, crash or not: until the last step each start does all
 *
 * The log stays as it is: who has most of it is elected and makes the others like it, as ever. What
 * changes is which configuration counts. A recovery makes a new cluster: its id follows from the former one
 * and from the members given, so that all who are recovered by the same file agree on it, and who was left out
 * is refused at the greeting instead of voting for, or being believed, what the others have given up.
 *
 * A configuration names its cluster. Those of a former one count no more, wherever they stand in the log or in an
 * image; until the image holds one of this cluster raft/forced says what it begins with.
 *
 *   raft/forced:  | 'RQF1' | crc32c of the rest | configuration (src/wire/wire_conf.c) |
 *                   u32      u32                                                          */
#include "node_int.h"
#include <rq/util/crc.h>
#include <rq/util/endian.h>

enum { FORCED_MAGIC = 0x31465152, FORCED_HEAD = 8, PEERS_BYTES_MAX = 1024 * 1024 };

static void path_of(const struct node_recovery *r, const char *name, char out[DB_PATH_MAX + 64])
{
    (void)snprintf(out, DB_PATH_MAX + 64, "%s/%s", r->dir, name);
}

/* ---- files ---------------------------------------------------------------------------------------------- */

/* The whole file appended to out. 0; ERR_NOT_FOUND; ERR_TOO_BIG; ERR_IO, ERR_NOMEM. */
static int file_read(const struct node_recovery *r, const char *name, struct buf *out)
{
    char path[DB_PATH_MAX + 64];
    struct env_file *f;
    uint64_t size;
    size_t got = 0;

    path_of(r, name, path);
    int rc = env_file_open(r->env, path, ENV_FILE_READONLY, &f);
    if (rc)
        return rc;
    rc = env_file_size(f, &size);
    if (rc == 0 && size > PEERS_BYTES_MAX)
        rc = ERR_TOO_BIG;
    uint8_t *bytes = rc == 0 ? mem_alloc(size + 1) : NULL;
    if (rc == 0)
        rc = bytes ? env_file_read(f, bytes, size, 0, &got) : ERR_NOMEM;
    if (rc == 0)
        rc = buf_append(out, bytes, got);
    mem_free(bytes);
    env_file_close(f);
    return rc;
}

static int file_write(const struct node_recovery *r, const char *name, struct slice bytes)
{
    char path[DB_PATH_MAX + 64];
    struct env_file *f;

    path_of(r, name, path);
    int rc = env_file_open(r->env, path, ENV_FILE_CREATE, &f);
    if (rc)
        return rc;
    rc = env_file_truncate(f, 0);
    if (rc == 0)
        rc = env_file_write(f, bytes.data, bytes.len, 0);
    if (rc == 0)
        rc = env_file_sync(f);
    env_file_close(f);
    return rc;
}

static int file_rename(const struct node_recovery *r, const char *from, const char *to)
{
    char a[DB_PATH_MAX + 64], b[DB_PATH_MAX + 64];

    path_of(r, from, a);
    path_of(r, to, b);
    int rc = env_file_rename(r->env, a, b);
    return rc ? rc : env_dir_sync(r->env, r->dir);
}

/* ---- what was forced --------------------------------------------------------------------------------------- */

static int forced_read(struct node_recovery *r, struct err_text *why)
{
    struct buf b;

    buf_init(&b, PEERS_BYTES_MAX);
    int rc = file_read(r, "forced", &b);
    struct slice s = buf_slice(&b);
    r->forced = r->forced_there = rc == 0;
    if (rc == 0 && (s.len < FORCED_HEAD || get_u32(s.data) != FORCED_MAGIC ||
                    get_u32(s.data + 4) != crc32c(0, s.data + FORCED_HEAD, s.len - FORCED_HEAD) ||
                    wire_conf_get(slice_of(s.data + FORCED_HEAD, s.len - FORCED_HEAD), &r->conf)))
        rc = err_set(why, ERR_CORRUPT, "%s/forced: offset 0: the forced configuration is damaged",
                     r->dir);
    else if (rc && rc != ERR_NOT_FOUND)
        rc = err_set(why, rc, "%s/forced: %s", r->dir, err_text_of(rc));
    buf_fini(&b);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int forced_write(const struct node_recovery *r)
{
    uint8_t head[FORCED_HEAD] = {0};
    struct buf b;

    buf_init(&b, PEERS_BYTES_MAX);
    (void)buf_append(&b, head, sizeof(head));
    int rc = wire_conf_put(&b, &r->conf);
    if (rc == 0) {
        uint8_t *at = b.data + b.start;
        put_u32(at, FORCED_MAGIC);
        put_u32(at + 4, crc32c(0, at + FORCED_HEAD, buf_len(&b) - FORCED_HEAD));
        rc = file_write(r, "forced.new", buf_slice(&b));
    }
    buf_fini(&b);
    return rc ? rc : file_rename(r, "forced.new", "forced");
}

/* ---- what is asked for ---------------------------------------------------------------------------------------- */

static bool same_members(const struct wire_conf *a, const struct wire_conf *b)
{
    bool same = a->count == b->count;

    for (uint32_t i = 0; same && i < a->count; i++)
        same = strcmp(a->members[i].name, b->members[i].name) == 0 &&
               strcmp(a->members[i].addr, b->members[i].addr) == 0 &&
               a->members[i].voter == b->members[i].voter;
    return same;
}

static bool cluster_has_conf(const struct node_recovery *r, uint64_t cluster_id)
{
    for (uint32_t i = 0; i < r->confs->count; i++)
        if (r->confs->at[i].conf.cluster_id == cluster_id)
            return true;
    return false;
}

/* The same on every node that is given the same members. */
static uint64_t next_cluster(uint64_t former, const struct wire_conf *conf)
{
    uint64_t id = former;

    for (uint32_t i = 0; i < conf->count; i++) {
        const struct wire_member *m = &conf->members[i];
        id = prng_mix(id, prng_hash(m->voter, m->name, strlen(m->name)));
        id = prng_mix(id, prng_hash(m->id, m->addr, strlen(m->addr)));
    }
    return id ? id : 1;
}

/* Data directories are known from before, by name; that of a node with another name is not known. */
static void conf_complete(const struct node_recovery *r, struct wire_conf *conf)
{
    const struct wire_conf *former = node_confs_latest(r->confs);

    for (uint32_t i = 0; i < conf->count; i++) {
        struct wire_member *m = &conf->members[i];
        const struct wire_member *before = node_conf_find(former, m->id);
        m->store_id = m->id == r->self ? r->store_id : before ? before->store_id : 0;
    }
    conf->cluster_id = next_cluster(r->cluster_id, conf);
}

static int asked_check(const struct node_recovery *r, const struct wire_conf *conf,
                       struct err_text *why)
{
    const struct wire_member *self = node_conf_find(conf, r->self);

    if (r->cluster_id == 0)
        return err_set(why, ERR_INVALID,
                       "failed to recover node: there is no state to recover in %s", r->dir);
    if (!self)
        return err_set(why, ERR_INVALID,
                       "failed to recover node: this node's ID is not in %s/peers.json", r->dir);
    return 0;
}

static int asked_read(const struct node_recovery *r, struct wire_conf *conf, bool *asked,
                      struct err_text *why)
{
    struct buf b;

    buf_init(&b, PEERS_BYTES_MAX);
    int rc = file_read(r, "peers.json", &b);
    *asked = rc != ERR_NOT_FOUND;
    if (*asked)
        env_log(r->env, "store", "attempting node recovery using %s/peers.json", r->dir);
    if (rc == 0)
        rc = node_peers_parse(buf_slice(&b), conf, why);
    else if (*asked)
        rc = err_set(why, rc, "failed to read peers file: %s/peers.json: %s", r->dir,
                     err_text_of(rc));
    buf_fini(&b);
    return *asked ? rc : 0;
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

/* Already forced by a start that did not come to its end, and nothing came of it since. */
static bool done_before(const struct node_recovery *r, const struct wire_conf *asked)
{
    return r->forced && same_members(&r->conf, asked) && !cluster_has_conf(r, r->conf.cluster_id);
}

static int force(struct node_recovery *r, struct rlog *log, struct wire_conf *asked,
                 struct err_text *why)
{
    int rc = asked_check(r, asked, why);
    if (rc)
        return rc;
    if (!done_before(r, asked)) {
        conf_complete(r, asked);
        r->conf = *asked;
        rc = forced_write(r);
    }
    if (rc == 0)
        rc = rlog_identity_save(log, r->conf.cluster_id);
    if (rc == 0)
        rc = file_rename(r, "peers.json", "peers.info");
    if (rc)
        return err_set(why, rc, "failed to recover node: %s: %s", r->dir, err_text_of(rc));
    r->cluster_id = r->conf.cluster_id;
    r->forced = r->forced_there = r->recovered = true;
    env_log(r->env, "store", "node recovered successfully using %s/peers.json", r->dir);
    return 0;
}

int node_recover(struct node_recovery *r, struct rlog *log, struct err_text *why)
{
    struct wire_conf asked_conf;
    bool asked;

    int rc = forced_read(r, why);
    if (rc == 0)
        rc = asked_read(r, &asked_conf, &asked, why);
    if (rc == 0 && asked)
        rc = force(r, log, &asked_conf, why);
    /* One that was about to be forced when the operator took the file away. */
    if (r->forced && r->conf.cluster_id != r->cluster_id)
        r->forced = false;
    return rc;
}

int node_recover_confs(const struct node_recovery *r, struct node_confs *confs,
                       uint64_t image_index, bool *base)
{
    struct node_confs kept = {.count = 0};
    bool held = false, foreign = false;

    for (uint32_t i = 0; i < confs->count; i++) {
        bool ours = confs->at[i].conf.cluster_id == r->cluster_id;
        bool in_image = confs->at[i].index <= image_index;
        held |= ours && in_image;
        foreign |= !ours && in_image;
    }
    *base = !held && r->forced;
    if (foreign && !held && !r->forced)
        return ERR_CORRUPT;
    if (*base)
        node_confs_push(&kept, image_index, &r->conf);
    for (uint32_t i = *base && confs->count == NODE_CONFS_MAX ? 1 : 0; i < confs->count; i++)
        if (confs->at[i].conf.cluster_id == r->cluster_id)
            node_confs_push(&kept, confs->at[i].index, &confs->at[i].conf);
    *confs = kept;
    return 0;
}

void node_recover_forget(const struct node_recovery *r)
{
    char path[DB_PATH_MAX + 64];

    path_of(r, "forced", path);
    int rc = env_file_remove(r->env, path);
    (void)rc; /* if it comes back it says nothing new */
}
