/* test_join.c — a node that forgot everything asks to be added anew, whatever became of an earlier attempt. */
#include "node_world.h"

static void join(struct server *s)
{
    host_start(s->host, boot, s);
    run_ms(500);
    host_post(s->host, 0, join_now, s);
    run_ms(5000);
    assert_true(s->joined);
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    world_begin();
    server_init(&t.a, "a", true);
    server_init(&t.b, "b", false);
    server_init(&t.c, "c", false);
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    join(&t.b);
    join(&t.c);
}

static void wipe_b(void)
{
    host_crash(t.b.host, HOST_CRASH_POWER);
    sim_disk_wipe(host_disk(t.b.host));
    t.b.joined = false;
    run_ms(5000); /* long enough not to be taken for alive */
    host_start(t.b.host, boot, &t.b);
    run_ms(500);
    assert_true(t.b.open);
}

/* A leader had begun to add it, which tells the cluster's identity; then that change was cut off. */
static void adopted_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    t.b.node->cluster_id = t.a.node->cluster_id;
    t.b.node->joining = false;
    node_self_tell(t.b.node);
}

static void joins_anew(void)
{
    host_post(t.b.host, 0, join_now, &t.b);
    run_ms(10000);
    assert_true(t.b.joined);
    assert_int_equal(node_confs_latest(&t.b.node->confs)->count, 3);
    world_destroy(t.world);
}

static void test_wiped_member_is_added_anew(void **state)
{
    (void)state;
    begin();
    wipe_b();
    joins_anew();
}

static void test_wiped_member_whose_addition_was_cut_off_is_added_anew(void **state)
{
    (void)state;
    begin();
    wipe_b();
    host_post(t.b.host, 0, adopted_now, NULL);
    run_ms(1500); /* connections of before are gone by then */
    joins_anew();
}

/* The log begins with another cluster's members, who count for nothing; and with an entry before which the newcomer
 * must make an image, when no member of this one is known to it yet. */
static void test_newcomer_applies_what_was_before_a_recovery(void **state)
{
    static const char peers[] = "[{\"id\":\"a\",\"address\":\"a:4002\"}]";

    (void)state;
    memset(&t, 0, sizeof(t));
    world_begin();
    server_init(&t.a, "a", true); /* in memory: without an image */
    t.a.config.snapshot_trailing = 1000;
    t.on_disk = true;
    server_init(&t.b, "b", false);
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    execute("CREATE TABLE t(x)");
    execute("VACUUM");
    execute("INSERT INTO t VALUES(1)");
    host_crash(t.a.host, HOST_CRASH_PROCESS);
    sim_disk_file_put(host_disk(t.a.host), "data/raft/peers.json", peers, sizeof(peers) - 1);
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    assert_int_equal(t.a.node->counters.recoveries, 1);
    join(&t.b);
    execute("INSERT INTO t VALUES(2)");
    run_ms(5000);
    assert_int_equal(t.b.node->counters.installs, 0); /* by the log */
    assert_int_equal(t.b.node->apply.applied, t.a.node->apply.applied);

    /* And it starts again from that image. */
    host_crash(t.b.host, HOST_CRASH_POWER);
    host_start(t.b.host, boot, &t.b);
    run_ms(5000);
    assert_true(t.b.open);
    execute("INSERT INTO t VALUES(3)");
    run_ms(1000);
    assert_int_equal(t.b.node->apply.applied, t.a.node->apply.applied);
    assert_int_equal(node_confs_latest(&t.b.node->confs)->count, 2);
    world_destroy(t.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wiped_member_is_added_anew),
        cmocka_unit_test(test_wiped_member_whose_addition_was_cut_off_is_added_anew),
        cmocka_unit_test(test_newcomer_applies_what_was_before_a_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
