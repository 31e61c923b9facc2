/* test_backup.c — backups in parts: pulled, left alone, forgotten, one too many; on a node of which only its
 * database is alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "node_int.h"
#include <cmocka.h>
#include <env/world.h>
#include <stdlib.h>

enum { PART_BYTES = 4096, ASKERS = LIMIT_BACKUPS + 2, PAGES = 200 };

struct asker { /* what it was told */
    uint64_t ticket;
    size_t bytes;
    uint8_t head[16];
    uint32_t parts, ends;
    int rc;
    bool part_out;
    bool greedy; /* pulls within reply */
};

static struct {
    struct world *world;
    struct host *host;
    struct node node;
    struct env_job job;
    struct asker askers[ASKERS];
    uint32_t copies; /* files of vacuumed ones */
} t;

static void lane_idle(struct node *n)
{
    (void)n;
}

static void apply_sql(const char *sql)
{
    struct err_text why = {""};
    struct buf b;

    buf_init(&b, 4096);
    wire_cmd_begin(&b, WIRE_CMD_EXECUTE, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str(sql));
    assert_int_equal(wire_cmd_finish(&b), 0);
    wire_cmd_seal(b.data, buf_len(&b), 1, 1);
    struct db_state s;
    db_state(t.node.db, &s);
    struct db_entry e = {.index = s.applied_index + 1,
                         .term = 1,
                         .kind = RAFT_ENTRY_NORMAL,
                         .payload = buf_slice(&b)};
    assert_int_equal(db_apply(t.node.db, &e, 1, &why), 0);
    buf_fini(&b);
}

static void open_run(struct env_job *j)
{
    static const struct db_config config = {
        .path = "memory", .batch_max = 1, .cache_pages = 10, .wal_limit_bytes = 1 << 20};
    struct err_text why;

    (void)j;
    assert_int_equal(env_dir_create(t.node.env, t.node.dir), 0);
    assert_int_equal(db_open(t.node.env, &config, NULL, &t.node.db, &why), 0);
    apply_sql("CREATE TABLE a(x)");
    apply_sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) "
              "INSERT INTO a SELECT zeroblob(3900) FROM n");
}

static void close_run(struct env_job *j)
{
    (void)j;
    db_close(t.node.db);
    t.node.db = NULL;
}

static void note_copy(void *ctx, const char *name)
{
    (void)ctx;
    t.copies += strncmp(name, "rqlite-backup-", 14) == 0;
}

static void list_run(struct env_job *j)
{
    (void)j;
    t.copies = 0;
    assert_int_equal(env_dir_list(t.node.env, t.node.dir, note_copy, NULL), 0);
}

static void sweep_run(struct env_job *j)
{
    struct env_file *f;
    (void)j;
    assert_int_equal(env_file_open(t.node.env, "n/rqlite-backup-77.sqlite", ENV_FILE_CREATE, &f),
                     0);
    env_file_close(f);
    node_backup_sweep(&t.node);
}

static void job_done(struct env_job *j)
{
    (void)j;
}

static void boot(struct env *e, void *ctx)
{
    struct node *n = &t.node;

    (void)ctx;
    n->env = e;
    n->phase = NODE_OPEN;
    strcpy(n->dir, "n");
    n->up.lane_idle = lane_idle;
    n->up.backup_end = node_backup_end;
    n->config.part_bytes = PART_BYTES;
    list_init(&n->parked);
    t.job.run = open_run;
    t.job.done = job_done;
    env_job_submit(e, ENV_LANE_APPLY, &t.job);
}

static void run_ms(uint64_t ms)
{
    (void)world_run_for(t.world, ms * ENV_MS_NS);
}

static int set_up(void **state)
{
    struct world_config config;
    static bool library;

    (void)state;
    if (!library)
        assert_int_equal(db_library_init(true), 0);
    library = true;
    memset(&t, 0, sizeof(t));
    world_config_default(&config, 1);
    t.world = world_create(&config);
    t.host = world_host_add(t.world, "n", NULL);
    host_start(t.host, boot, NULL);
    run_ms(1000);
    return t.node.db ? 0 : -1;
}

static void in_lane_now(struct env *e, void *ctx)
{
    t.job.run = *(void (**)(struct env_job *))ctx;
    env_job_submit(e, ENV_LANE_READ, &t.job);
}

static void in_lane(void (*run)(struct env_job *))
{
    assert_true(host_call(t.host, in_lane_now, (void *)&run));
    run_ms(1000);
}

static void free_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    for (uint32_t i = 0; i < t.node.waits.cap; i++)
        mem_free(t.node.waits.slots[i]);
    mem_free(t.node.waits.slots);
    mem_free(t.node.waits.free_slots);
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(t.node.backup_count, 0); /* every test leaves none */
    assert_int_equal(t.node.vacuum_count, 0);
    assert_int_equal(t.node.waits.live_count, 0);
    in_lane(list_run);
    assert_int_equal(t.copies, 0);
    in_lane(close_run);
    assert_null(t.node.db);
    assert_true(host_call(t.host, free_now, NULL));
    world_destroy(t.world);
    return 0;
}

/* ---- asking --------------------------------------------------------------------------------------------------- */

static void replied(void *ctx, const struct node_answer *a)
{
    struct asker *k = ctx;

    assert_false(k->part_out && a->more);
    assert_int_equal(k->ends, 0);
    if (k->bytes == 0 && a->body.len >= sizeof(k->head))
        memcpy(k->head, a->body.data, sizeof(k->head));
    k->bytes += a->body.len;
    if (!a->more) {
        k->ends++;
        k->rc = a->rc;
        return;
    }
    k->parts++;
    k->part_out = true;
    if (k->greedy) {
        k->part_out = false;
        node_pull(&t.node, k->ticket);
    }
}

struct question {
    struct asker *asker;
    struct wire_backup want;
    bool whole;
    struct slice payload; /* in place of want */
};

static void ask_now(struct env *e, void *ctx)
{
    const struct question *q = ctx;
    struct node_request r = {
        .f = {.kind = WIRE_BACKUP, .timeout_ms = 30000, .in_parts = !q->whole}};
    struct buf b;
    int rc;

    (void)e;
    buf_init(&b, 4096);
    assert_int_equal(wire_backup_put(&b, &q->want), 0);
    r.f.payload = q->payload.len ? q->payload : buf_slice(&b);
    struct node_wait *w = node_wait_new(&t.node, &r, replied, q->asker, &rc);
    assert_non_null(w);
    q->asker->ticket = node_wait_ticket(w);
    node_backup_start(w);
    buf_fini(&b);
}

static void ask_for(struct asker *k, enum wire_backup_format format, bool compress)
{
    struct question q = {.asker = k, .want = {.format = format, .compress = compress}};
    assert_true(host_call(t.host, ask_now, &q));
}

static void ask(struct asker *k, enum wire_backup_format format)
{
    ask_for(k, format, false);
    run_ms(1000);
}

static void pull_now(struct env *e, void *ctx)
{
    struct asker *k = ctx;
    (void)e;
    k->part_out = false;
    node_pull(&t.node, k->ticket);
}

static void pull(struct asker *k)
{
    assert_true(host_call(t.host, pull_now, k));
    run_ms(1000);
}

static void forget_now(struct env *e, void *ctx)
{
    struct asker *k = ctx;
    (void)e;
    node_forget(&t.node, k->ticket);
}

static void forget(struct asker *k)
{
    assert_true(host_call(t.host, forget_now, k));
    run_ms(1000);
}

/* ---- what holds -------------------------------------------------------------------------------------------------- */

static void test_each_part_comes_when_the_one_before_was_pulled(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    ask(k, WIRE_BACKUP_BINARY);
    assert_int_equal(k->parts, 1);
    run_ms(LIMIT_PARTS_STALL_MS / 2);
    assert_int_equal(k->parts, 1);
    assert_int_equal(k->bytes, PART_BYTES);
    while (k->ends == 0)
        pull(k);
    assert_int_equal(k->rc, 0);
    assert_true(k->parts > PAGES);
    assert_int_equal(k->bytes % 4096, 0);
    assert_memory_equal(k->head, "SQLite format 3", 16);
    assert_int_equal(t.node.counters.backups, 1);
}

static void test_all_forms_pulled_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct asker *k = &t.askers[0];
        memset(k, 0, sizeof(*k));
        k->greedy = true;
        ask_for(k, (enum wire_backup_format)(i & 3), i & 4);
        run_ms(60000);
        assert_int_equal(k->ends, 1);
        assert_int_equal(k->rc, 0);
        assert_true(i & 4 ? k->bytes < 100000 : k->bytes > PAGES * 4000);
        if (i & 4)
            assert_memory_equal(k->head, "\x1f\x8b", 2);
    }
}

static void test_who_does_not_pull_is_told_so_and_loses_it(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct asker *k = &t.askers[i];
        ask(k, (enum wire_backup_format)i);
        assert_int_equal(k->parts, 1);
        run_ms(LIMIT_PARTS_STALL_MS);
        assert_int_equal(k->ends, 1);
        assert_int_equal(k->rc, ERR_TIMEOUT);
        assert_int_equal(t.node.backup_count, 0);
    }
}

static void test_all_parts_together_have_a_limit(void **state)
{
    struct asker *k = &t.askers[0];
    uint64_t ms = 0;

    (void)state;
    ask(k, WIRE_BACKUP_BINARY);
    for (; k->ends == 0; ms += 50000) {
        run_ms(49000);
        if (k->ends == 0)
            pull(k);
    }
    assert_int_equal(k->rc, ERR_TIMEOUT);
    assert_true(ms >= LIMIT_BACKUP_TOTAL_MS - 60000 && ms <= LIMIT_BACKUP_TOTAL_MS + 60000);
    assert_true(k->parts > 60 && k->parts < PAGES);
}

static void test_one_more_is_refused_until_one_is_over(void **state)
{
    (void)state;
    for (int i = 0; i < LIMIT_BACKUPS; i++) {
        ask(&t.askers[i], WIRE_BACKUP_SQL);
        assert_int_equal(t.askers[i].parts, 1);
    }
    struct asker *k = &t.askers[LIMIT_BACKUPS];
    ask(k, WIRE_BACKUP_BINARY);
    assert_int_equal(k->ends, 1);
    assert_int_equal(k->rc, ERR_FULL);
    forget(&t.askers[1]);
    k = &t.askers[LIMIT_BACKUPS + 1];
    ask(k, WIRE_BACKUP_BINARY);
    assert_int_equal(k->parts, 1);
    forget(k);
    for (int i = 0; i < LIMIT_BACKUPS; i++)
        forget(&t.askers[i]);
}

static void test_one_is_vacuumed_at_a_time(void **state)
{
    (void)state;
    ask(&t.askers[0], WIRE_BACKUP_VACUUM);
    in_lane(list_run);
    assert_int_equal(t.copies, 1);
    ask(&t.askers[1], WIRE_BACKUP_VACUUM);
    assert_int_equal(t.askers[1].rc, ERR_FULL);
    ask(&t.askers[2], WIRE_BACKUP_BINARY);
    assert_int_equal(t.askers[2].parts, 1);
    forget(&t.askers[2]);
    forget(&t.askers[0]);
    ask(&t.askers[3], WIRE_BACKUP_VACUUM);
    assert_int_equal(t.askers[3].parts, 1);
    forget(&t.askers[3]);
}

/* While it begins, while a part is made, while one is out: whenever the asker leaves. */
static void test_forgotten_at_any_time_it_is_given_up(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 3000; us += 37) {
        for (int format = 0; format < 4; format++) {
            struct asker *k = &t.askers[0];
            memset(k, 0, sizeof(*k));
            k->greedy = us % 2;
            ask_for(k, (enum wire_backup_format)format, us % 3 == 0);
            (void)world_run_for(t.world, us * 1000);
            uint32_t parts = k->parts, ends = k->ends;
            if (ends == 0)
                forget(k);
            run_ms(1000);
            assert_int_equal(k->parts, parts);
            assert_int_equal(k->ends, ends);
            assert_int_equal(t.node.backup_count, 0);
        }
    }
}

static void test_nonsense_is_refused(void **state)
{
    struct question q = {.asker = &t.askers[0], .payload = slice_str("nonsense")};

    (void)state;
    assert_true(host_call(t.host, ask_now, &q));
    assert_int_equal(t.askers[0].rc, ERR_PROTOCOL);
    q = (struct question){.asker = &t.askers[1], .whole = true}; /* cannot take parts */
    assert_true(host_call(t.host, ask_now, &q));
    assert_int_equal(t.askers[1].rc, ERR_PROTOCOL);
}

static void look_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    node_backup_look(&t.node);
}

/* SQLite's log cannot be begun anew while a moment is held. */
static void test_who_is_slower_than_the_database_changes_loses_it(void **state)
{
    struct db_state *s = &t.node.apply.state;
    struct asker *slow = &t.askers[0], *late = &t.askers[1], *vacuumed = &t.askers[2];

    (void)state;
    s->wal_used_bytes = 1000000;
    ask(slow, WIRE_BACKUP_BINARY);
    ask(vacuumed, WIRE_BACKUP_VACUUM);
    s->wal_used_bytes += LIMIT_BACKUP_WAL_BYTES;
    assert_true(host_call(t.host, look_now, NULL));
    assert_int_equal(slow->ends, 0);
    ask(late, WIRE_BACKUP_SQL);
    s->wal_used_bytes++;
    s->main_bytes = LIMIT_BACKUP_WAL_BYTES + 2; /* as much as it has may be written */
    assert_true(host_call(t.host, look_now, NULL));
    assert_int_equal(slow->ends, 0);
    s->wal_used_bytes += 2;
    assert_true(host_call(t.host, look_now, NULL));
    assert_int_equal(slow->ends, 1);
    assert_int_equal(slow->rc, ERR_CANCELED);
    assert_int_equal(late->ends + vacuumed->ends, 0);
    pull(late);
    assert_int_equal(late->parts, 2);
    forget(late);
    forget(vacuumed);
    run_ms(1000);
}

static void test_a_new_database_ends_it(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    ask(k, WIRE_BACKUP_BINARY);
    t.node.install.active = true;
    pull(k);
    assert_int_equal(k->ends, 1);
    assert_int_equal(k->rc, ERR_CANCELED);
    assert_int_equal(t.node.backup_count, 0);
    ask(&t.askers[1], WIRE_BACKUP_BINARY);
    assert_int_equal(t.askers[1].rc, ERR_FULL);
}

static void test_a_stop_ends_it(void **state)
{
    struct asker *k = &t.askers[0];

    (void)state;
    ask(k, WIRE_BACKUP_SQL);
    t.node.phase = NODE_STOPPING;
    pull(k);
    assert_int_equal(k->rc, ERR_CANCELED);
    assert_int_equal(t.node.backup_count, 0);
}

static void test_what_a_crash_left_is_removed(void **state)
{
    (void)state;
    in_lane(sweep_run);
    in_lane(list_run);
    assert_int_equal(t.copies, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_each_part_comes_when_the_one_before_was_pulled),
        T(test_all_forms_pulled_at_once),
        T(test_who_does_not_pull_is_told_so_and_loses_it),
        T(test_all_parts_together_have_a_limit),
        T(test_one_more_is_refused_until_one_is_over),
        T(test_one_is_vacuumed_at_a_time),
        T(test_forgotten_at_any_time_it_is_given_up),
        T(test_nonsense_is_refused),
        T(test_who_is_slower_than_the_database_changes_loses_it),
        T(test_a_new_database_ends_it),
        T(test_a_stop_ends_it),
        T(test_what_a_crash_left_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
