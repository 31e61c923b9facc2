/* test_rlog.c — the log's door on an honest disk, and on one that lies, refuses and rots. */
#include "rlog_fixture.h"
#include "rlog_format.h"

enum { SEGMENT = 4096, STORE = 0x77 };

struct room {
    struct sim_disk *disk;
    struct env *env;
    struct rlog *log;
    struct model_log model;
    struct seen seen;
    struct err_text why;
    uint32_t spares;
};

static int room_open(struct room *r)
{
    struct rlog_config c = {.dir = DIR, .segment_bytes = SEGMENT, .spare_count = r->spares};
    memset(&r->seen, 0, sizeof(r->seen));
    r->why.text[0] = '\0';
    return rlog_open(r->env, &c, STORE, seen_visit, &r->seen, &r->seen.found, &r->log, &r->why);
}

static void room_close(struct room *r)
{
    if (r->log)
        rlog_close(r->log);
    r->log = NULL;
}

static void room_reopen(struct room *r)
{
    room_close(r);
    assert_int_equal(room_open(r), 0);
}

/* What is pending is lost, what was acknowledged must come back. */
static void room_power_loss(struct room *r)
{
    room_close(r);
    enum sim_disk_fate *fate = calloc(sim_disk_pending_count(r->disk) + 1, sizeof(*fate));
    for (size_t i = 0; i < sim_disk_pending_count(r->disk); i++)
        fate[i] = SIM_DROP;
    sim_disk_power_cut_choose(r->disk, fate);
    free(fate);
    assert_int_equal(room_open(r), 0);
}

static void room_matches(struct room *r)
{
    const char *differs = model_differs(&r->model, &r->seen);
    if (differs)
        fail_msg("%s", differs);
}

static struct room *room_make(uint32_t spares)
{
    struct sim_disk_config c;
    struct room *r = calloc(1, sizeof(*r));
    sim_disk_config_default(&c, 1);
    r->disk = sim_disk_create(&c);
    r->env = env_sim_create(r->disk, 1);
    r->spares = spares;
    assert_int_equal(room_open(r), 0);
    assert_true(r->seen.found.fresh);
    return r;
}

static void room_end(struct room *r)
{
    room_close(r);
    assert_int_equal(env_sim_live_blocks(r->env), 0);
    env_sim_destroy(r->env);
    sim_disk_destroy(r->disk);
    free(r);
}

/* rc of the append; the model follows if it is 0. */
static int append(struct room *r, uint64_t first, uint64_t term, uint32_t count, uint32_t bytes)
{
    static uint32_t salt;
    struct wire_entry e[64];
    struct model_log before = r->model;
    struct model_entry m = {.term = term, .salt = ++salt, .bytes = bytes};

    if (count)
        model_append(&r->model, first, &m, count, e);
    else
        r->model.last = first - 1;
    int rc = rlog_append(r->log, first, e, count);
    if (rc)
        r->model = before;
    rlog_check(r->log);
    return rc;
}

/* ---- plain ---- */

static void test_append_survives_power_loss_over_segments(void **state)
{
    (void)state;
    struct room *r = room_make(2);
    for (uint64_t i = 1; i <= 30; i += 3)
        assert_int_equal(append(r, i, 1 + i / 7, 3, 300), 0);
    room_power_loss(r);
    room_matches(r);
    assert_false(r->seen.found.fresh);
    assert_false(r->seen.found.torn_tail_cut);
    assert_int_equal(r->seen.found.identity.store_id, STORE);
    room_end(r);
}

static void test_replaced_entries_never_revive(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 9, 50), 0);
    assert_int_equal(append(r, 10, 3, 2, 50), 0);
    assert_int_equal(append(r, 10, 2, 1, 50), 0);
    room_power_loss(r);
    room_matches(r);
    assert_int_equal(r->seen.found.last_index, 10);
    assert_int_equal(append(r, 5, 0, 0, 0), 0);
    room_power_loss(r);
    room_matches(r);
    assert_int_equal(append(r, 5, 9, 1, 50), 0);
    room_reopen(r);
    room_matches(r);
    room_end(r);
}

static void test_entries_of_any_size_come_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0,   1,    7,    8,    9,     463,   464,
                                     465, 3488, 3489, 4096, 16384, 20000, 5};
    struct room *r = room_make(1);
    for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        assert_int_equal(append(r, i + 1, 1, 1, sizes[i]), 0);
    assert_int_equal(append(r, 15, 1, 20, 4000), 0); /* one batch, many chunks */
    room_power_loss(r);
    room_matches(r);
    room_end(r);
}

static int visit_count(void *ctx, uint64_t index, const struct wire_entry *e)
{
    (void)index;
    (void)e;
    ++*(int *)ctx;
    return 0;
}

static void test_read_stops_at_count_bytes_and_end(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    int n = 0;
    assert_int_equal(append(r, 1, 1, 20, 100), 0);
    assert_int_equal(rlog_read(r->log, 3, 5, SIZE_MAX, visit_count, &n), 0);
    assert_int_equal(n, 5);
    n = 0;
    assert_int_equal(rlog_read(r->log, 3, 50, 250, visit_count, &n), 0);
    assert_int_equal(n, 2);
    n = 0;
    assert_int_equal(rlog_read(r->log, 3, 50, 1, visit_count, &n), 0);
    assert_int_equal(n, 1); /* at least one */
    n = 0;
    assert_int_equal(rlog_read(r->log, 18, UINT32_MAX, SIZE_MAX, visit_count, &n), 0);
    assert_int_equal(n, 3);
    room_end(r);
}

static void test_compact_recycles_segments_and_keeps_the_rest(void **state)
{
    (void)state;
    struct room *r = room_make(2);
    struct rlog_stat before, after;
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(append(r, i, i, 1, 3000), 0);
    rlog_stat(r->log, &before);
    r->model.compacted = 7;
    assert_int_equal(rlog_compact(r->log, 7, 7), 0);
    rlog_check(r->log);
    rlog_stat(r->log, &after);
    assert_int_equal(after.first_index, 8);
    assert_int_equal(rlog_read(r->log, 7, 1, SIZE_MAX, visit_count, NULL), ERR_NOT_FOUND);
    assert_int_equal(before.disk_bytes - after.disk_bytes,
                     5 * SEGMENT); /* 7 dropped, 2 of them spares */
    for (uint64_t i = 11; i <= 12; i++)
        assert_int_equal(append(r, i, 20, 1, 3000), 0);
    rlog_stat(r->log, &before);
    assert_int_equal(before.disk_bytes, after.disk_bytes); /* both spares were used */
    room_power_loss(r);
    room_matches(r);
    assert_int_equal(r->seen.found.compacted_index, 7);
    assert_int_equal(r->seen.found.compacted_term, 7);
    room_end(r);
}

static void test_reset_replaces_everything(void **state)
{
    (void)state;
    struct room *r = room_make(1);
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(append(r, i, 1, 1, 2000), 0);
    r->model = (struct model_log){.base = 90, .base_term = 8, .compacted = 90, .last = 90};
    assert_int_equal(rlog_reset(r->log, 90, 8), 0);
    rlog_check(r->log);
    room_power_loss(r);
    room_matches(r);
    assert_int_equal(r->seen.found.compacted_index, 90);
    assert_int_equal(append(r, 91, 9, 2, 100), 0);
    room_power_loss(r);
    room_matches(r);
    room_end(r);
}

/* ---- hard state ---- */

static void test_hard_state_survives_one_bad_copy(void **state)
{
    (void)state;
    for (int copy = 0; copy < 2; copy++)
        for (uint64_t at = 0; at < RLOG_SECTOR; at += 3) {
            struct room *r = room_make(0);
            struct raft_hard h = {.term = 5, .vote = 77};
            assert_int_equal(rlog_identity_save(r->log, 1234), 0);
            assert_int_equal(rlog_hard_save(r->log, &h), 0);
            room_close(r);
            assert_int_equal(
                sim_disk_flip(r->disk, copy ? DIR "/hard.b" : DIR "/hard.a", at, at % 8), 0);
            assert_int_equal(room_open(r), 0);
            assert_true(r->seen.found.hard_repaired);
            assert_int_equal(r->seen.found.hard.term, 5);
            assert_int_equal(r->seen.found.hard.vote, 77);
            assert_int_equal(r->seen.found.identity.cluster_id, 1234);
            room_reopen(r);
            assert_false(r->seen.found.hard_repaired);
            room_end(r);
        }
}

static void test_missing_copy_is_made_again(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    struct raft_hard h = {.term = 5, .vote = 77};
    assert_int_equal(rlog_hard_save(r->log, &h), 0);
    room_close(r);
    sim_disk_file_erase(r->disk, DIR "/hard.a");
    assert_int_equal(room_open(r), 0);
    assert_true(r->seen.found.hard_repaired);
    room_power_loss(r);
    assert_false(r->seen.found.hard_repaired);
    assert_int_equal(r->seen.found.hard.term, 5);
    room_end(r);
}

static void expect_corrupt(struct room *r, const char *file)
{
    r->log = NULL;
    assert_int_equal(room_open(r), ERR_CORRUPT);
    r->log = NULL;
    if (!strstr(r->why.text, file))
        fail_msg("\"%s\" does not name %s", r->why.text, file);
}

static void test_two_bad_copies_do_not_vote(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 1, 100), 0);
    room_close(r);
    assert_int_equal(sim_disk_flip(r->disk, DIR "/hard.a", 40, 1), 0);
    assert_int_equal(sim_disk_flip(r->disk, DIR "/hard.b", 50, 1), 0);
    expect_corrupt(r, "hard.a");
    sim_disk_file_erase(r->disk, DIR "/hard.a");
    sim_disk_file_erase(r->disk, DIR "/hard.b");
    expect_corrupt(r, "hard.a");
    room_end(r);
}

static void test_lost_segments_are_not_a_fresh_directory(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    struct raft_hard h = {.term = 5, .vote = 77};
    assert_int_equal(append(r, 1, 1, 1, 100), 0);
    assert_int_equal(rlog_hard_save(r->log, &h), 0);
    room_close(r);
    sim_disk_file_erase(r->disk, DIR "/0000000001.seg");
    expect_corrupt(r, "segments are missing");
    room_end(r);
}

/* Make the commit mark unreadable in both copies: recovery has to judge without its help. */
static void mark_ruin(struct room *r)
{
    sim_disk_settle(r->disk);
    sim_disk_power_cut(r->disk); /* nothing pends: only the cache is dropped */
    for (uint64_t at = RLOG_MARK_OFFSET; at < RLOG_MARK_OFFSET + 64; at++) {
        assert_int_equal(sim_disk_flip(r->disk, DIR "/hard.a", at, 1), 0);
        assert_int_equal(sim_disk_flip(r->disk, DIR "/hard.b", at, 1), 0);
    }
}

static void test_bad_mark_never_matters(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 4, 100), 0);
    assert_int_equal(rlog_mark(r->log, 3), 0);
    assert_int_equal(rlog_mark(r->log, 4), 0);
    room_reopen(r);
    assert_int_equal(r->seen.found.marked_index, 4);
    room_close(r);
    mark_ruin(r);
    assert_int_equal(room_open(r), 0);
    assert_int_equal(r->seen.found.marked_index, 0);
    assert_false(r->seen.found.hard_repaired);
    room_matches(r);
    room_end(r);
}

/* ---- damage ---- */

/* Flip each byte (one bit) of [from, to) of the first segment: nothing wrong may ever be served, and
 * nothing promised be cut where a later batch or the mark tells. */
static void flip_all(struct room *r, uint64_t from, uint64_t to, bool harmless_allowed)
{
    room_close(r);
    for (uint64_t at = from; at < to; at++) {
        struct sim_disk *whole = r->disk;
        struct env *env = r->env;
        r->disk = sim_disk_clone(whole, at);
        r->env = env_sim_create(r->disk, 1);
        assert_int_equal(sim_disk_flip(r->disk, DIR "/0000000001.seg", at, at % 8), 0);
        r->log = NULL;
        int rc = room_open(r);
        if (rc == 0) {
            if (!harmless_allowed)
                fail_msg("flip at %llu not noticed", (unsigned long long)at);
            room_matches(r); /* padding */
            room_close(r);
        } else {
            assert_int_equal(rc, ERR_CORRUPT);
            assert_non_null(strstr(r->why.text, "0000000001.seg: offset "));
        }
        env_sim_destroy(r->env);
        sim_disk_destroy(r->disk);
        r->disk = whole;
        r->env = env;
        r->log = NULL;
    }
}

static void test_damage_before_a_later_batch_is_refused(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 2, 96), 0); /* 48 + 2 * (48 + 96) = 336 bytes of 512 */
    assert_int_equal(append(r, 3, 1, 1, 96), 0);
    room_close(r);
    mark_ruin(r);
    flip_all(r, 0, 512 + 336, false);
    flip_all(r, 512 + 336, 1024, true);
    room_end(r);
}

static void test_damage_of_a_marked_batch_is_refused(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 2, 96), 0);
    assert_int_equal(rlog_mark(r->log, 1), 0);
    flip_all(r, 512, 512 + 336, false);
    room_end(r);
}

static void test_damage_before_a_later_segment_is_refused(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 1, 3000), 0);
    assert_int_equal(append(r, 2, 1, 1, 3000), 0);
    flip_all(r, 0, 512 + 48 + 48 + 3000, false);
    room_end(r);
}

static void test_bad_last_batch_is_cut_and_its_remains_stay_dead(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 1, 96), 0);
    struct model_log before = r->model;
    assert_int_equal(append(r, 2, 1, 3, 700), 0);
    /* As a power cut leaves it whose sync never returned: its first sector is missing. */
    rlog_close(r->log);
    r->log = NULL;
    mark_ruin(r);
    assert_int_equal(sim_disk_flip(r->disk, DIR "/0000000001.seg", 1024 + 30, 1), 0);
    assert_int_equal(room_open(r), 0);
    assert_true(r->seen.found.torn_tail_cut);
    r->model = before;
    room_matches(r);
    room_power_loss(r);
    assert_false(r->seen.found.torn_tail_cut);
    room_matches(r);
    assert_int_equal(append(r, 2, 4, 1, 10), 0);
    room_power_loss(r);
    room_matches(r);
    room_end(r);
}

static void test_stray_files_are_left_alone(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    uint64_t size;
    assert_int_equal(append(r, 1, 1, 1, 96), 0);
    room_close(r);
    sim_disk_file_put(r->disk, DIR "/0000000007.seg.bak", "x", 1);
    sim_disk_file_put(r->disk, DIR "/lost+found", "x", 1);
    sim_disk_file_put(r->disk, DIR "/7.seg", "x", 1);
    assert_int_equal(room_open(r), 0);
    room_matches(r);
    assert_int_equal(sim_disk_cache_size(r->disk, DIR "/7.seg", &size), 0);
    room_close(r);
    sim_disk_file_put(r->disk, DIR "/0000000002.seg", "x",
                      1); /* a name of ours, not a file of ours */
    expect_corrupt(r, "0000000002.seg");
    sim_disk_file_erase(r->disk, DIR "/0000000002.seg");
    sim_disk_file_put(r->disk, DIR "/0000000003.seg", "x", 1);
    expect_corrupt(r, "0000000002.seg: offset 0: segment is missing");
    room_end(r);
}

static void test_damage_while_running_is_never_served(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    int n = 0;
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(append(r, i, 1, 1, 3000), 0);
    assert_int_equal(sim_disk_flip(r->disk, DIR "/0000000001.seg", 2000, 1), 0);
    assert_int_equal(rlog_read(r->log, 2, 1, SIZE_MAX, visit_count, &n), 0);
    assert_int_equal(rlog_read(r->log, 1, 1, SIZE_MAX, visit_count, &n), ERR_CORRUPT);
    assert_int_equal(n, 1);
    assert_int_equal(append(r, 4, 1, 1, 10), ERR_IO); /* poisoned */
    room_end(r);
}

/* ---- refusals and failures ---- */

static void test_full_disk_refuses_and_lets_try_again(void **state)
{
    (void)state;
    struct room *r = room_make(0);
    assert_int_equal(append(r, 1, 1, 1, 2000), 0);
    sim_disk_config(r->disk)->quota_bytes = sim_disk_used_bytes(r->disk);
    for (int i = 0; i < 3; i++)
        assert_int_equal(append(r, 2, 1, 1, 3000), ERR_NOSPC);
    room_reopen(r); /* a full disk does not keep the log from opening */
    room_matches(r);
    assert_int_equal(append(r, 1, 2, 1, 3000), ERR_NOSPC); /* replacing: the old one stays */
    assert_int_equal(append(r, 2, 1, 1, 100), 0);          /* there is room for this one */
    sim_disk_config(r->disk)->quota_bytes = 0;
    assert_int_equal(append(r, 3, 1, 2, 3000), 0);
    room_power_loss(r);
    room_matches(r);
    room_end(r);
}

static void test_failed_sync_poisons_and_is_not_believed_after_restart(void **state)
{
    (void)state;
    for (int mode = SIM_SYNC_EIO_CLEAN; mode <= SIM_SYNC_EIO_REVERT; mode++) {
        struct room *r = room_make(0);
        assert_int_equal(append(r, 1, 1, 1, 100), 0);
        sim_disk_config(r->disk)->faults.sync_eio_mode = (enum sim_disk_sync_eio)mode;
        sim_disk_fail_once(r->disk, SIM_ONCE_SYNC_EIO, 0);
        assert_int_equal(append(r, 2, 1, 1, 100), ERR_IO);
        assert_int_equal(append(r, 2, 1, 1, 100), ERR_IO);
        assert_int_equal(rlog_mark(r->log, 1), ERR_IO);
        /* The process ends and comes back: what it tells now must survive the power. */
        room_reopen(r);
        uint64_t told = r->seen.found.last_index;
        room_power_loss(r);
        assert_int_equal(r->seen.found.last_index, told);
        room_matches(r);
        room_end(r);
    }
}

static void test_every_failing_operation_keeps_what_was_promised(void **state)
{
    (void)state;
    static const enum sim_disk_once kinds[] = {SIM_ONCE_WRITE_EIO, SIM_ONCE_SYNC_EIO,
                                               SIM_ONCE_NOSPC};
    unsigned failed = 0;

    for (size_t kind = 0; kind < 3; kind++)
        for (uint64_t after = 0; after < 12; after++) {
            struct room *r = room_make(1);
            struct raft_hard h = {.term = 5, .vote = 77};
            int rc = 0;
            sim_disk_fail_once(r->disk, kinds[kind], after);
            for (uint64_t i = 1; i <= 3 && rc == 0; i++)
                rc = append(r, i, 1, 1, 3000);
            if (rc == 0) {
                r->model.compacted = 2;
                rc = rlog_compact(r->log, 2, 1);
            }
            if (rc == 0)
                rc = append(r, 4, 1, 1, 3000);
            if (rc == 0)
                rc = rlog_hard_save(r->log, &h);
            failed += rc != 0;
            if (rc == ERR_IO)
                assert_int_equal(rlog_hard_save(r->log, &h), ERR_IO);
            room_power_loss(r);
            room_matches(r);
            room_end(r);
        }
    assert_true(failed >= 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_survives_power_loss_over_segments),
        cmocka_unit_test(test_replaced_entries_never_revive),
        cmocka_unit_test(test_entries_of_any_size_come_back),
        cmocka_unit_test(test_read_stops_at_count_bytes_and_end),
        cmocka_unit_test(test_compact_recycles_segments_and_keeps_the_rest),
        cmocka_unit_test(test_reset_replaces_everything),
        cmocka_unit_test(test_hard_state_survives_one_bad_copy),
        cmocka_unit_test(test_missing_copy_is_made_again),
        cmocka_unit_test(test_two_bad_copies_do_not_vote),
        cmocka_unit_test(test_lost_segments_are_not_a_fresh_directory),
        cmocka_unit_test(test_bad_mark_never_matters),
        cmocka_unit_test(test_damage_before_a_later_batch_is_refused),
        cmocka_unit_test(test_damage_of_a_marked_batch_is_refused),
        cmocka_unit_test(test_damage_before_a_later_segment_is_refused),
        cmocka_unit_test(test_bad_last_batch_is_cut_and_its_remains_stay_dead),
        cmocka_unit_test(test_stray_files_are_left_alone),
        cmocka_unit_test(test_damage_while_running_is_never_served),
        cmocka_unit_test(test_full_disk_refuses_and_lets_try_again),
        cmocka_unit_test(test_failed_sync_poisons_and_is_not_believed_after_restart),
        cmocka_unit_test(test_every_failing_operation_keeps_what_was_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
