/* test_repair.c — three nodes, one of which is stopped, damaged or made different by hand, and started again. */
#include "../image/image_format.h"
#include "node_world.h"
#include <rq/util/crc.h>
#include <rq/util/endian.h>

#define MAIN "data/image/0000000000000001.main"
#define LIVE "data/db.sqlite"

static void join(struct server *s)
{
    server_init(s, s == &t.b ? "n2" : "n3", false);
    host_start(s->host, boot, s);
    run_ms(500);
    assert_true(host_call(s->host, join_now, s));
    for (int i = 0; i < 300 && !s->joined; i++) {
        run_ms(100);
        if (s->refused)
            assert_true(host_call(s->host, join_now, s));
    }
    assert_true(s->joined);
}

static void cut_of_c(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    assert_int_equal(node_snapshot(t.c.node, 0, cut_done, NULL), 0);
}

/* Three nodes with the same rows; the third has an image of them. */
static void begin(bool on_disk)
{
    memset(&t, 0, sizeof(t));
    t.on_disk = on_disk;
    world_begin();
    server_init(&t.a, "n1", true);
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    join(&t.b);
    join(&t.c);
    execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    execute("INSERT INTO t(v) VALUES('changed by hand')");
    for (int i = 0; i < 20; i++)
        execute("INSERT INTO t(v) VALUES(hex(randomblob(500)))");
    run_ms(3000);
    t.cut = false;
    assert_true(host_call(t.c.host, cut_of_c, NULL));
    run_ms(2000);
    assert_true(t.cut);
    execute("INSERT INTO t(v) VALUES('behind the image')");
    run_ms(2000);
    t.log_len = 0;
}

static void end(void)
{
    world_destroy(t.world);
}

static void expect_healed(struct server *s)
{
    execute("UPDATE t SET v = v || '.'");
    run_ms(10000);
    assert_true(s->open);
    assert_int_equal(s->node->repair.why, REPAIR_NONE);
    assert_int_equal(s->node->apply.applied, t.a.node->apply.applied);
    assert_int_equal(s->node->apply.state.digest, t.a.node->apply.state.digest);
    node_check(s->node);
}

static void flip(const char *path, uint64_t at)
{
    assert_int_equal(sim_disk_flip(host_disk(t.c.host), path, at, 5), 0);
}

static void restart(void)
{
    host_start(t.c.host, boot, &t.c);
    run_ms(10000);
}

static void damaged_at(const char *path, uint64_t at, const char *said, bool on_disk)
{
    begin(on_disk);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    flip(path, at);
    restart();
    if (on_disk) { /* found when it is first read */
        assert_int_equal(t.c.node->repair.why, REPAIR_NONE);
        execute("UPDATE t SET v = v || '!'");
        run_ms(10000);
    }
    assert_true(was_said(said));
    assert_true(was_said("repaired: the database is whole again"));
    assert_int_equal(t.c.node->counters.installs, 1);
    expect_healed(&t.c);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    restart(); /* with what it was given */
    assert_int_equal(t.c.node->counters.repairs_begun, 0);
    expect_healed(&t.c);
    end();
}

static void test_a_damaged_page_is_named_and_the_node_repairs_itself(void **state)
{
    (void)state;
    damaged_at(MAIN, 4096 + 100, "offset 4096: page 2 is damaged", false);
    damaged_at(LIVE, 4096 + 100, "damaged", true);
}

static void test_damaged_checksums_are_repaired(void **state)
{
    (void)state;
    damaged_at(MAIN ".sums", 3, "main.sums: offset 0: damaged checksums", false);
}

static void test_one_damaged_record_is_mended_and_two_are_refused(void **state)
{
    (void)state;
    begin(false);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    flip("data/image/record.a", 20);
    restart();
    expect_healed(&t.c);
    assert_int_equal(t.c.node->counters.repairs_begun, 0);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    flip("data/image/record.a", 20);
    flip("data/image/record.b", 20);
    t.c.may_refuse = true;
    restart();
    assert_false(t.c.open);
    assert_non_null(strstr(t.c.why, "record.a, record.b: offset 0: no good copy"));
    end();
}

static void test_a_damaged_node_serves_nothing_and_keeps_its_promises(void **state)
{
    (void)state;
    begin(false);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    flip(MAIN, 4096 + 100);
    host_crash(t.a.host, HOST_CRASH_PROCESS); /* nobody leads */
    host_crash(t.b.host, HOST_CRASH_PROCESS);
    restart();
    assert_true(t.c.open && t.c.node->repair.held && !t.c.node->db);
    uint64_t last = t.c.node->view.last_index;
    host_start(t.a.host, boot, &t.a); /* two of three are a quorum: the damaged one votes */
    run_ms(20000);
    assert_int_equal(t.c.node->repair.why, REPAIR_NONE);
    assert_true(t.c.node->view.last_index > last);
    host_start(t.b.host, boot, &t.b);
    run_ms(5000);
    end();
}

static void test_alone_the_damage_is_named_and_the_start_refused(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    world_begin();
    server_init(&t.a, "n1", true);
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    assert_true(host_call(t.a.host, cut_now, NULL));
    run_ms(2000);
    host_crash(t.a.host, HOST_CRASH_PROCESS);
    assert_int_equal(sim_disk_flip(host_disk(t.a.host), MAIN, 100, 0), 0);
    t.a.may_refuse = true;
    host_start(t.a.host, boot, &t.a);
    run_ms(3000);
    assert_false(t.a.open);
    assert_non_null(strstr(t.a.why, "offset 0: page 1 is damaged"));
    end();
}

static void test_damage_found_at_rest_is_written_anew_from_memory(void **state)
{
    (void)state;
    begin(false);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    t.c.config.scrub_ms = 10;
    restart();
    assert_true(t.c.node->scrub.passes > 10);
    flip(MAIN, 4096 + 100);
    run_ms(5000);
    assert_true(was_said("offset 4096: page 2 is damaged"));
    assert_true(was_said("repaired: the image is whole again"));
    assert_int_equal(t.c.node->counters.installs, 0);
    assert_int_equal(t.c.node->repair.why, REPAIR_NONE);
    uint64_t damaged = t.c.node->scrub.damaged, pages = t.c.node->scrub.pages;
    run_ms(5000);
    assert_int_equal(t.c.node->scrub.damaged, damaged);
    assert_true(t.c.node->scrub.pages > pages + 100);
    expect_healed(&t.c);
    end();
}

static void test_damage_found_at_rest_under_a_database_on_disk_is_fetched(void **state)
{
    (void)state;
    begin(true);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    t.c.config.scrub_ms = 10;
    restart();
    flip(LIVE, 4096 + 100);
    run_ms(5000);
    assert_true(was_said("offset 4096: page 2 is damaged"));
    assert_true(was_said("repaired: the database is whole again"));
    assert_int_equal(t.c.node->counters.installs, 1);
    expect_healed(&t.c);
    end();
}

/* ---- made different by hand ------------------------------------------------------------------------------- */

static struct {
    uint8_t page[4096];
    uint8_t sector[IMAGE_SECTOR];
    bool done;
} hand;

/* In the text of a row, with the checksums made right again. */
static void edit_run(struct env_job *job)
{
    struct env *e = host_env(t.c.host);
    struct env_file *pages, *sums;
    size_t got;

    (void)job;
    assert_int_equal(env_file_open(e, MAIN, 0, &pages), 0);
    assert_int_equal(env_file_open(e, MAIN ".sums", 0, &sums), 0);
    for (uint32_t number = 2; !hand.done; number++) {
        assert_int_equal(
            env_file_read(pages, hand.page, sizeof(hand.page), (number - 1) * 4096ULL, &got), 0);
        assert_int_equal(got, sizeof(hand.page));
        for (size_t i = 0; i + 15 <= got && !hand.done; i++) {
            if (memcmp(hand.page + i, "changed by hand", 15) != 0)
                continue;
            hand.page[i] = 'C';
            hand.done = true;
        }
        if (!hand.done)
            continue;
        assert_int_equal(
            env_file_write(pages, hand.page, sizeof(hand.page), (number - 1) * 4096ULL), 0);
        assert_true(number < IMAGE_SUMS_PER_SECTOR);
        assert_int_equal(env_file_read(sums, hand.sector, sizeof(hand.sector), 0, &got), 0);
        uint32_t first[IMAGE_SUMS_PER_SECTOR];
        assert_true(image_sums_get(hand.sector, 0, first));
        first[number - 1] = crc32c(0, hand.page, sizeof(hand.page));
        image_sums_put(hand.sector, 0, first, IMAGE_SUMS_PER_SECTOR);
        assert_int_equal(env_file_write(sums, hand.sector, sizeof(hand.sector), 0), 0);
    }
    env_file_close(pages);
    env_file_close(sums);
}

static void edit_done(struct env_job *job)
{
    (void)job;
    host_exit(t.c.host);
}

static void edit_boot(struct env *e, void *ctx)
{
    static struct env_job job;
    (void)ctx;
    job = (struct env_job){.run = edit_run, .done = edit_done};
    env_job_submit(e, ENV_LANE_READ, &job);
}

static void test_a_node_made_different_by_hand_is_caught_and_heals(void **state)
{
    (void)state;
    begin(false);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    memset(&hand, 0, sizeof(hand));
    host_start(t.c.host, edit_boot, NULL);
    run_ms(1000);
    assert_true(hand.done);
    restart();
    assert_true(t.c.open);
    assert_int_equal(t.c.node->counters.repairs_begun, 0); /* nothing has shown it yet */
    execute("DELETE FROM t WHERE v = 'changed by hand'");
    run_ms(10000);
    assert_true(was_said("n3 this node differs from the others"));
    assert_true(was_said("2 of 3 voters have"));
    assert_int_equal(t.c.node->counters.installs, 1);
    expect_healed(&t.c);
    assert_int_equal(t.a.node->digest.undecided, 0);
    assert_int_equal(t.a.node->counters.repairs_begun + t.b.node->counters.repairs_begun, 0);
    end();
}

static void failed(void *ctx, const struct node_answer *a)
{
    (void)ctx;
    assert_int_equal(a->rc, ERR_NOT_READY);
    t.answered++;
}

static void write_now(struct env *e, void *ctx)
{
    struct node_request r = {.f = {.kind = WIRE_EXECUTE, .timeout_ms = 30000}};
    struct buf b;

    (void)e;
    (void)ctx;
    buf_init(&b, 4096);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str("DELETE FROM t"));
    assert_int_equal(wire_cmd_finish(&b), 0);
    r.f.payload = buf_slice(&b);
    assert_int_equal(node_submit(t.a.node, &r, failed, NULL, NULL), 0);
    buf_fini(&b);
}

static void test_without_a_majority_writes_stop_until_there_is_one(void **state)
{
    (void)state;
    begin(false);
    host_crash(t.c.host, HOST_CRASH_PROCESS);
    memset(&hand, 0, sizeof(hand));
    host_start(t.c.host, edit_boot, NULL);
    run_ms(1000);
    restart();
    host_crash(t.b.host, HOST_CRASH_PROCESS);
    execute("DELETE FROM t WHERE v = 'changed by hand'");
    run_ms(5000);
    assert_true(t.a.node->digest.undecided > 0 && t.c.node->digest.undecided > 0);
    assert_true(was_said("n1 nodes differ: digest"));
    uint32_t before = t.answered;
    assert_true(host_call(t.a.host, write_now, NULL));
    run_ms(1000);
    assert_int_equal(t.answered, before + 1);
    host_start(t.b.host, boot, &t.b); /* it has the casting vote */
    run_ms(20000);
    assert_int_equal(t.a.node->digest.undecided, 0);
    assert_int_equal(t.c.node->counters.installs, 1);
    expect_healed(&t.c);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_damaged_page_is_named_and_the_node_repairs_itself),
        cmocka_unit_test(test_damaged_checksums_are_repaired),
        cmocka_unit_test(test_one_damaged_record_is_mended_and_two_are_refused),
        cmocka_unit_test(test_a_damaged_node_serves_nothing_and_keeps_its_promises),
        cmocka_unit_test(test_alone_the_damage_is_named_and_the_start_refused),
        cmocka_unit_test(test_damage_found_at_rest_is_written_anew_from_memory),
        cmocka_unit_test(test_damage_found_at_rest_under_a_database_on_disk_is_fetched),
        cmocka_unit_test(test_a_node_made_different_by_hand_is_caught_and_heals),
        cmocka_unit_test(test_without_a_majority_writes_stop_until_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
