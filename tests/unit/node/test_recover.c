/* test_recover.c — raft/peers.json: what is accepted, in which words it is refused; and a recovery crashed at
 * every disk operation, with every outcome of what was pending.
 *
 *   start (recovers) ─► a member is added ─► crash at operation k ─┬─ power cut, each subset ─► start, check
 *                                                                  └─ start again, crash at j ─► power cut ─► …
 *
 * What must hold: the start succeeds, the log is whole, the forced members are in force under the one cluster
 * id that follows from the file; once the addition was acknowledged it stays, so that no recovery is done twice.
 * The second half takes out each sync and demands to be caught. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "env/env_sim.h"
#include "node_int.h"
#include <cmocka.h>
#include <rq/env_impl.h>

#define DIR "n1/raft"
enum { FORMER = 4711, STORE = 51, ENTRIES = 3, LAST = 1 + ENTRIES, PENDING_MAX = 200 };
static const char peers[] =
    "[{\"id\":\"a\",\"address\":\"h:1\"},{\"id\":\"b\",\"address\":\"h:2\",\"non_voter\":true}]";

/* ---- what the file may say ------------------------------------------------------------------------------- */

static void test_a_file_becomes_members_in_their_order(void **state)
{
    (void)state;
    static struct wire_conf c;
    struct err_text why;
    const char *text = " [{\"id\":\"a\",\"address\":\"h:1\",\"more\":[1,{}]},"
                       "{\"non_voter\":true,\"address\":\"[::1]:2\",\"id\":\"b c\"}] and so on";

    assert_int_equal(node_peers_parse(slice_str(text), &c, &why), 0);
    assert_int_equal(c.count, 2);
    assert_true(c.members[0].id < c.members[1].id);
    const struct wire_member *a = node_conf_find_name(&c, slice_str("a"));
    const struct wire_member *b = node_conf_find_name(&c, slice_str("b c"));
    assert_true(a->voter && !a->replica && strcmp(a->addr, "h:1") == 0);
    assert_true(!b->voter && b->replica && strcmp(b->addr, "[::1]:2") == 0);
}

static void test_what_makes_no_sense_is_refused_in_known_words(void **state)
{
    (void)state;
    static struct wire_conf c;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "failed to read peers file: not JSON at offset 0"},
        {"{}", "failed to read peers file: an array is expected at offset 1"},
        {"null", "failed to read peers file: need at least one voter in configuration: {[]}"},
        {"[1]", "failed to read peers file: an object or the array's end is expected at offset 2"},
        {"[{\"id\":1}]", "failed to read peers file: a text is expected at offset 8"},
        {"[{\"non_voter\":\"x\"}]",
         "failed to read peers file: true or false is expected at offset 17"},
        {"[{\"id\":\"a\",\"address\":\"h:1\"", "failed to read peers file: not JSON at offset 26"},
        {"[{\"address\":\"h:1\"}]",
         "failed to read peers file: empty ID in configuration: {[{Voter  h:1}]}"},
        {"[{\"id\":\"a\"}]",
         "failed to read peers file: empty address in configuration: {Voter a }"},
        {"[{\"id\":\"a\",\"address\":\"a:b:1\"}]",
         "failed to recover node: invalid address in configuration: a:b:1"},
        {"[{\"id\":\"a\",\"address\":\"tcp://h\"}]",
         "failed to recover node: protocol specified in address: tcp://h"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err_text why = {""};
        assert_int_equal(node_peers_parse(slice_str(cases[i].text), &c, &why), ERR_INVALID);
        assert_string_equal(why.text, cases[i].words);
    }
}

static void test_more_members_than_a_cluster_has_are_refused(void **state)
{
    (void)state;
    static struct wire_conf c;
    struct err_text why;
    struct buf b;

    for (int count = RAFT_NODES_MAX; count <= RAFT_NODES_MAX + 1; count++) {
        buf_init(&b, 100000);
        for (int i = 0; i < count; i++)
            (void)buf_printf(&b, "%c{\"id\":\"n%d\",\"address\":\"h:%d\"}", i ? ',' : '[', i, i);
        (void)buf_append_str(&b, "]");
        int rc = node_peers_parse(buf_slice(&b), &c, &why);
        assert_int_equal(rc, count == RAFT_NODES_MAX ? 0 : ERR_INVALID);
        buf_fini(&b);
    }
}

/* ---- taking out syncs --------------------------------------------------------------------------------------- */

enum site { SITE_NONE, SITE_FORCED, SITE_FORCED_NAME, SITE_INFO_NAME, SITE_COUNT };
static const char *const site_text[] = {"none", "raft/forced before it gets its name",
                                        "name of raft/forced", "name of peers.info"};
static struct {
    enum site swallow, names;
    struct env_file *forced;
    uint64_t met[SITE_COUNT];
    const struct env_ops *real;
    struct env_ops ops;
} tap;

static int tap_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    int rc = tap.real->file_open(e, path, flags, out);
    if (rc == 0 && strstr(path, "forced.new"))
        tap.forced = *out;
    return rc;
}

static int tap_rename(struct env *e, const char *from, const char *to)
{
    tap.names = strstr(to, "peers.info") ? SITE_INFO_NAME
                : strstr(to, "forced")   ? SITE_FORCED_NAME
                                         : SITE_NONE;
    return tap.real->file_rename(e, from, to);
}

static int tap_sync(struct env_file *f)
{
    bool forced = f == tap.forced;
    tap.met[SITE_FORCED] += forced;
    tap.forced = forced ? NULL : tap.forced;
    return forced && tap.swallow == SITE_FORCED ? 0 : tap.real->file_sync(f);
}

static int tap_dir_sync(struct env *e, const char *path)
{
    enum site s = tap.names;
    tap.names = SITE_NONE;
    tap.met[s]++;
    return s != SITE_NONE && s == tap.swallow ? 0 : tap.real->dir_sync(e, path);
}

static struct env *env_make(struct sim_disk *d)
{
    struct env *e = env_sim_create(d, 77);
    tap.real = e->ops;
    tap.ops = *e->ops;
    tap.ops.file_open = tap_open;
    tap.ops.file_rename = tap_rename;
    tap.ops.file_sync = tap_sync;
    tap.ops.dir_sync = tap_dir_sync;
    e->ops = &tap.ops;
    tap.forced = NULL;
    tap.names = SITE_NONE;
    return e;
}

/* ---- one start ------------------------------------------------------------------------------------------------- */

/* May the member that is added later be there; must it be. */
struct belief {
    bool may, must;
};
struct stage {
    struct env *env;
    struct belief *b;
    bool found; /* make the log, instead */
    bool add;   /* a member, behind the start */
    uint64_t cluster_id;
    char violation[300];
};
struct seen {
    struct node_confs confs;
    uint64_t entries;
};
static uint64_t cluster_wanted; /* that of the first recovery */

static int visit(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct seen *s = ctx;
    struct wire_conf conf;

    s->entries++;
    if (e->kind == RAFT_ENTRY_CONF && wire_conf_get(e->payload, &conf) == 0)
        node_confs_push(&s->confs, index, &conf);
    return 0;
}

static void member_add(struct wire_conf *c, const char *name, const char *addr)
{
    struct wire_member m = {
        .id = wire_member_id(slice_str(name)), .store_id = STORE, .voter = true};

    (void)snprintf(m.name, sizeof(m.name), "%s", name);
    (void)snprintf(m.addr, sizeof(m.addr), "%s", addr);
    node_conf_insert(c, &m);
}

static int append_conf(struct rlog *l, uint64_t index, uint64_t term, const struct wire_conf *c)
{
    struct buf b;

    buf_init(&b, 100000);
    int rc = wire_conf_put(&b, c);
    struct wire_entry e = {.term = term, .kind = RAFT_ENTRY_CONF, .payload = buf_slice(&b)};
    rc = rc ? rc : rlog_append(l, index, &e, 1);
    buf_fini(&b);
    return rc;
}

static int log_make(struct rlog *l)
{
    static struct wire_conf c;
    struct wire_entry e = {.term = 1, .kind = RAFT_ENTRY_NOOP};

    c = (struct wire_conf){.cluster_id = FORMER};
    member_add(&c, "a", "old:1");
    member_add(&c, "b", "old:2");
    member_add(&c, "c", "old:3");
    int rc = rlog_identity_save(l, FORMER);
    rc = rc ? rc : append_conf(l, 1, 1, &c);
    for (uint64_t i = 0; rc == 0 && i < ENTRIES; i++)
        rc = rlog_append(l, 2 + i, &e, 1);
    return rc;
}

static void judge(struct stage *st, const struct seen *seen, uint64_t cluster_id)
{
    const struct wire_conf *c = node_confs_latest(&seen->confs);
    bool added = c && node_conf_find_name(c, slice_str("d")) != NULL;

    if (cluster_wanted == 0)
        cluster_wanted = cluster_id;
    if (!c || c->count != (added ? 3U : 2U) || c->cluster_id != cluster_wanted ||
        cluster_id != cluster_wanted ||
        strcmp(node_conf_find_name(c, slice_str("a"))->addr, "h:1") != 0)
        (void)snprintf(st->violation, sizeof(st->violation),
                       "%u members of cluster %llx under %llx, not of %llx", c ? c->count : 0,
                       (unsigned long long)(c ? c->cluster_id : 0), (unsigned long long)cluster_id,
                       (unsigned long long)cluster_wanted);
    else if (added ? !st->b->may : st->b->must)
        (void)snprintf(st->violation, sizeof(st->violation), "the later member is %s",
                       added ? "there" : "lost");
    else if (seen->entries != (added ? LAST + 1U : LAST))
        (void)snprintf(st->violation, sizeof(st->violation), "%llu entries",
                       (unsigned long long)seen->entries);
    st->b->may = st->b->must = added; /* told once, true for ever */
}

static void stage_main(void *ctx)
{
    struct stage *st = ctx;
    struct rlog_config config = {.dir = DIR, .segment_bytes = 4096, .spare_count = 1};
    struct rlog_recovered found;
    struct err_text why = {""};
    struct rlog *l = NULL;
    static struct seen seen;
    bool base;

    memset(&seen, 0, sizeof(seen));
    int rc = rlog_open(st->env, &config, STORE, visit, &seen, &found, &l, &why);
    if (rc == 0 && st->found) {
        rc = log_make(l);
        rlog_close(l);
        assert_int_equal(rc, 0);
        return;
    }
    static struct node_recovery r;
    r = (struct node_recovery){.env = st->env,
                               .dir = DIR,
                               .self = wire_member_id(slice_str("a")),
                               .store_id = STORE,
                               .confs = &seen.confs,
                               .cluster_id = found.identity.cluster_id};
    rc = rc ? rc : node_recover(&r, l, &why);
    rc = rc ? rc : node_recover_confs(&r, &seen.confs, 0, &base);
    if (rc) {
        (void)snprintf(st->violation, sizeof(st->violation), "the start is refused: %s: %.200s",
                       err_name_of(rc), why.text);
        return;
    }
    judge(st, &seen, r.cluster_id);
    if (!st->violation[0] && st->add && !st->b->must) {
        static struct wire_conf c;
        c = *node_confs_latest(&seen.confs);
        member_add(&c, "d", "h:4");
        st->b->may = true;
        rc = append_conf(l, found.last_index + 1, 2, &c);
        assert_int_equal(rc, 0);
        st->b->must = true;
    }
    rlog_close(l);
}

static bool stage_run(struct sim_disk *d, bool add, uint64_t k, struct belief *b, char *violation)
{
    static struct stage st;
    st = (struct stage){.env = env_make(d), .add = add, .b = b};
    if (k)
        env_sim_crash_at_op(st.env, k);
    bool ended = env_sim_run(st.env, stage_main, &st);
    env_sim_destroy(st.env);
    (void)snprintf(violation, sizeof(st.violation), "%s", st.violation);
    return ended;
}

/* ---- the search ---------------------------------------------------------------------------------------------- */

static struct {
    uint64_t crash_points, cuts, exhaustive;
    bool found;
    char violation[600];
} tally;

static void complain(const char *story, const char *violation)
{
    if (violation[0] && !tally.found) {
        tally.found = true;
        (void)snprintf(tally.violation, sizeof(tally.violation), "%.250s: %.300s", story,
                       violation);
    }
}

static void cut_all(const struct sim_disk *d, const struct belief *known, const char *story)
{
    static enum sim_disk_fate fate[PENDING_MAX];
    size_t n = sim_disk_pending_count(d);
    struct prng p;

    assert_true(n < PENDING_MAX);
    prng_init(&p, n);
    bool all = n <= 6;
    uint64_t cases = 1;
    for (size_t i = 0; i < n && all; i++)
        cases *= 3;
    cases = all ? cases : 400;
    tally.exhaustive += all;
    for (uint64_t c = 0; c < cases && !tally.found; c++) {
        struct belief b = *known;
        char violation[300], where[400];
        struct sim_disk *cut = sim_disk_clone(d, c + 1);
        uint64_t rest = c;
        for (size_t i = 0; i < n; i++, rest /= 3)
            fate[i] = (enum sim_disk_fate)(all ? rest % 3 : prng_below(&p, 3));
        sim_disk_power_cut_choose(cut, fate);
        stage_run(cut, false, 0, &b, violation);
        (void)snprintf(where, sizeof(where), "%s, cut %llu (%zu pending)", story,
                       (unsigned long long)c, n);
        complain(where, violation);
        if (!tally.found) { /* and once more: nothing is done again, nothing is lost */
            stage_run(cut, false, 0, &b, violation);
            complain(where, violation);
        }
        tally.cuts++;
        sim_disk_destroy(cut);
    }
}

static void go_on(const struct sim_disk *d, const struct belief *known, const char *story)
{
    bool ended = false;

    for (uint64_t j = 1; !ended && !tally.found; j++) {
        struct belief b = *known;
        char violation[300], where[300];
        struct sim_disk *again = sim_disk_clone(d, 5);
        ended = stage_run(again, true, j, &b, violation);
        tally.crash_points++;
        (void)snprintf(where, sizeof(where), "%s, again at %llu", story, (unsigned long long)j);
        complain(where, violation);
        cut_all(again, &b, where);
        sim_disk_destroy(again);
    }
}

static struct sim_disk *disk_make(void)
{
    static struct stage st;
    struct sim_disk_config c;

    sim_disk_config_default(&c, 1);
    c.writeback_sectors = PENDING_MAX;
    struct sim_disk *d = sim_disk_create(&c);
    st = (struct stage){.env = env_make(d), .found = true};
    assert_true(env_sim_run(st.env, stage_main, &st));
    env_sim_destroy(st.env);
    sim_disk_settle(d);
    sim_disk_file_put(d, DIR "/peers.json", peers, sizeof(peers) - 1);
    return d;
}

static void search(void)
{
    struct sim_disk *d = disk_make();
    bool ended = false;

    memset(&tally, 0, sizeof(tally));
    for (uint64_t k = 1; !ended && !tally.found; k++) {
        struct belief b = {false, false};
        char violation[300], story[100];
        struct sim_disk *one = sim_disk_clone(d, 3);
        ended = stage_run(one, true, k, &b, violation);
        tally.crash_points++;
        (void)snprintf(story, sizeof(story), "crashed at %llu", (unsigned long long)k);
        complain(story, violation);
        cut_all(one, &b, story);
        go_on(one, &b, story);
        sim_disk_destroy(one);
    }
    sim_disk_destroy(d);
}

static void test_every_crash_leaves_the_recovery_to_the_next_start_or_done(void **state)
{
    (void)state;
    tap.swallow = SITE_NONE;
    search();
    print_message("%llu crash points, %llu power cuts (%llu points with all outcomes tried)\n",
                  (unsigned long long)tally.crash_points, (unsigned long long)tally.cuts,
                  (unsigned long long)tally.exhaustive);
    if (tally.found)
        fail_msg("%s", tally.violation);
    assert_true(tally.crash_points >= 250);
    assert_true(tally.exhaustive >= 250);
}

static void test_every_sync_is_needed(void **state)
{
    (void)state;
    for (int s = SITE_NONE + 1; s < SITE_COUNT; s++) {
        tap.swallow = (enum site)s;
        tap.met[s] = 0;
        search();
        print_message("without the sync of %-36s %s\n", site_text[s],
                      tally.found ? tally.violation : "NOTHING FOUND");
        assert_true(tap.met[s] > 0);
        assert_true(tally.found);
    }
    tap.swallow = SITE_NONE;
}

/* ---- which configurations count -------------------------------------------------------------------------- */

static void test_an_image_of_a_former_cluster_without_what_was_forced_is_damage(void **state)
{
    (void)state;
    static struct node_recovery r;
    static struct node_confs c;
    static struct wire_conf former, own;
    bool base;

    former = (struct wire_conf){.cluster_id = FORMER};
    own = (struct wire_conf){.cluster_id = 9};
    member_add(&former, "a", "old:1");
    member_add(&own, "a", "h:1");
    r = (struct node_recovery){.cluster_id = 9};
    c.count = 0;
    node_confs_push(&c, 5, &former);
    assert_int_equal(node_recover_confs(&r, &c, 10, &base), ERR_CORRUPT);
    r.forced = true;
    r.conf = own;
    assert_int_equal(node_recover_confs(&r, &c, 10, &base), 0);
    assert_true(base && c.count == 1 && c.at[0].index == 10);
    assert_int_equal(c.at[0].conf.cluster_id, 9);
    node_confs_push(&c, 11,
                    &former); /* behind the image, by a node that joined later: not counted */
    assert_int_equal(node_recover_confs(&r, &c, 10, &base), 0);
    assert_true(!base && c.count == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_becomes_members_in_their_order),
        cmocka_unit_test(test_what_makes_no_sense_is_refused_in_known_words),
        cmocka_unit_test(test_more_members_than_a_cluster_has_are_refused),
        cmocka_unit_test(test_an_image_of_a_former_cluster_without_what_was_forced_is_damage),
        cmocka_unit_test(test_every_crash_leaves_the_recovery_to_the_next_start_or_done),
        cmocka_unit_test(test_every_sync_is_needed),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
