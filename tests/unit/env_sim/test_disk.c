/* test_disk.c — the disk model against itself: a program that syncs right never loses data in any profile
 * or at any crash point; with one sync removed it does, and the model shows it. */
#include "env/env_sim.h"
#include <rq/util/prng.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECORD_BYTES = 700, RECORDS = 6 };

static struct sim_disk *disk_new(uint64_t seed, enum sim_disk_profile profile)
{
    struct sim_disk_config c;
    sim_disk_config_default(&c, seed);
    c.profile = profile;
    return sim_disk_create(&c);
}

static void record_fill(uint8_t *record, uint8_t number)
{
    memset(record, number, RECORD_BYTES);
}

/* A little log: records appended to one file, `acked` moves on after each sync. */
struct program {
    struct env *env;
    bool sync_file, sync_dir;
    unsigned acked;
};

static void run_program(void *ctx)
{
    struct program *p = ctx;
    struct env_file *f;
    uint8_t record[RECORD_BYTES];

    assert_int_equal(env_dir_create(p->env, "data"), 0);
    assert_int_equal(env_file_open(p->env, "data/log", ENV_FILE_CREATE, &f), 0);
    if (p->sync_dir)
        assert_int_equal(env_dir_sync(p->env, "data"), 0);
    for (uint8_t i = 0; i < RECORDS; i++) {
        record_fill(record, (uint8_t)(i + 1));
        assert_int_equal(env_file_write(f, record, sizeof(record), (uint64_t)i * RECORD_BYTES), 0);
        if (p->sync_file)
            assert_int_equal(env_file_sync(f), 0);
        p->acked = i + 1U;
    }
    env_file_close(f);
}

static bool acked_are_there(struct sim_disk *d, unsigned acked)
{
    uint8_t want[RECORD_BYTES], have[RECORD_BYTES];
    size_t got;

    for (unsigned i = 0; i < acked; i++) {
        record_fill(want, (uint8_t)(i + 1));
        if (sim_disk_durable_read(d, "data/log", have, sizeof(have), (uint64_t)i * RECORD_BYTES,
                                  &got) != 0 ||
            got != RECORD_BYTES || memcmp(want, have, got) != 0)
            return false;
    }
    return true;
}

/* Crash at op k under each profile; how many runs lost something acknowledged. */
static unsigned losses(bool sync_file, bool sync_dir)
{
    unsigned lost = 0;

    for (int profile = 0; profile < SIM_DISK_PROFILE_COUNT; profile++) {
        for (uint64_t k = 1; k <= 20; k++) {
            for (uint64_t seed = 1; seed <= 8; seed++) {
                struct sim_disk *d = disk_new(seed, (enum sim_disk_profile)profile);
                struct env *e = env_sim_create(d, seed);
                struct program p = {e, sync_file, sync_dir, 0};
                env_sim_crash_at_op(e, k);
                (void)env_sim_run(e, run_program, &p);
                env_sim_destroy(e);
                sim_disk_power_cut(d);
                lost += !acked_are_there(d, p.acked);
                sim_disk_destroy(d);
            }
        }
    }
    return lost;
}

static void test_right_syncs_lose_nothing_in_any_profile(void **state)
{
    (void)state;
    assert_int_equal(losses(true, true), 0);
}

static void test_missing_file_sync_is_noticed(void **state)
{
    (void)state;
    assert_true(losses(false, true) > 50);
}

static void test_missing_folder_sync_is_noticed(void **state)
{
    (void)state;
    assert_true(losses(true, false) > 50);
}

static void test_process_crash_keeps_the_cache(void **state)
{
    (void)state;
    struct sim_disk *d = disk_new(1, SIM_DISK_WRITEBACK);
    struct env *e = env_sim_create(d, 1);
    struct program p = {e, false, false, 0};
    uint8_t byte;
    size_t got;

    assert_true(env_sim_run(e, run_program, &p));
    assert_int_equal(sim_disk_cache_read(d, "data/log", &byte, 1, 0, &got), 0);
    assert_int_equal(byte, 1);
    assert_false(sim_disk_is_durable(d, "data/log"));
    assert_int_equal(sim_disk_durable_read(d, "data/log", &byte, 1, 0, &got), ERR_NOT_FOUND);
    env_sim_destroy(e);
    sim_disk_destroy(d);
}

/* Two unsynced writes to one sector each, a rename: every choice of fates gives what it says. */
static void test_each_pending_item_has_its_own_fate(void **state)
{
    (void)state;
    struct sim_disk *base = disk_new(1, SIM_DISK_WRITEBACK);
    uint8_t old[1024], new[1024], have[1024];
    memset(old, 'o', sizeof(old));
    memset(new, 'n', sizeof(new));
    sim_disk_file_put(base, "a", old, sizeof(old));
    struct env *e = env_sim_create(base, 1);
    struct env_file *f;
    assert_int_equal(env_file_open(e, "a", 0, &f), 0);
    assert_int_equal(env_file_write(f, new, sizeof(new), 0), 0);
    env_file_close(f);
    assert_int_equal(env_file_rename(e, "a", "b"), 0);
    env_sim_destroy(e);
    assert_int_equal(sim_disk_pending_count(base), 3);

    for (unsigned choice = 0; choice < 8; choice++) {
        enum sim_disk_fate fate[3];
        size_t got;
        for (unsigned i = 0; i < 3; i++)
            fate[i] = choice >> i & 1 ? SIM_KEEP : SIM_DROP;
        struct sim_disk *d = sim_disk_clone(base, choice);
        sim_disk_power_cut_choose(d, fate);
        const char *name = fate[2] == SIM_KEEP ? "b" : "a",
                   *other = fate[2] == SIM_KEEP ? "a" : "b";
        assert_int_equal(sim_disk_durable_read(d, name, have, sizeof(have), 0, &got), 0);
        assert_int_equal(got, sizeof(have));
        assert_int_equal(have[0], fate[0] == SIM_KEEP ? 'n' : 'o');
        assert_int_equal(have[1023], fate[1] == SIM_KEEP ? 'n' : 'o');
        assert_int_equal(sim_disk_durable_read(d, other, have, 1, 0, &got), ERR_NOT_FOUND);
        assert_true(sim_disk_is_durable(d, name));
        sim_disk_destroy(d);
    }
    sim_disk_destroy(base);
}

static void test_size_and_data_have_separate_fates(void **state)
{
    (void)state;
    struct sim_disk *base = disk_new(1, SIM_DISK_WRITEBACK);
    sim_disk_file_put(base, "a", "", 0);
    struct env *e = env_sim_create(base, 1);
    struct env_file *f;
    uint64_t size;
    uint8_t byte = 'x';
    size_t got;
    assert_int_equal(env_file_open(e, "a", 0, &f), 0);
    assert_int_equal(env_file_write(f, &byte, 1, 0), 0);
    env_file_close(f);
    env_sim_destroy(e);
    assert_int_equal(sim_disk_pending_count(base), 2);

    struct sim_disk *d = sim_disk_clone(base, 1);
    sim_disk_power_cut_choose(d, (enum sim_disk_fate[]){SIM_KEEP, SIM_DROP});
    assert_int_equal(sim_disk_durable_size(d, "a", &size), 0);
    assert_int_equal(size, 0);
    sim_disk_destroy(d);

    sim_disk_power_cut_choose(base, (enum sim_disk_fate[]){SIM_DROP, SIM_KEEP});
    assert_int_equal(sim_disk_durable_read(base, "a", &byte, 1, 0, &got), 0);
    assert_int_equal(got, 1);
    assert_int_equal(byte, 0);
    sim_disk_destroy(base);
}

static void test_failed_sync_is_not_repaired_by_a_second(void **state)
{
    (void)state;
    for (int mode = 0; mode <= SIM_SYNC_EIO_LATE; mode++) {
        struct sim_disk *d = disk_new(1, SIM_DISK_WRITEBACK);
        sim_disk_file_put(d, "a", "old", 3);
        sim_disk_config(d)->faults.sync_eio_mode = (enum sim_disk_sync_eio)mode;
        struct env *e = env_sim_create(d, 1);
        struct env_file *f;
        char have[3];
        size_t got;
        assert_int_equal(env_file_open(e, "a", 0, &f), 0);
        assert_int_equal(env_file_write(f, "new", 3, 0), 0);
        sim_disk_fail_once(d, SIM_ONCE_SYNC_EIO, 0);
        int first = env_file_sync(f), second = env_file_sync(f);
        assert_int_equal(first, mode == SIM_SYNC_EIO_LATE ? 0 : ERR_IO);
        assert_int_equal(second, mode == SIM_SYNC_EIO_LATE ? ERR_IO : 0);
        assert_int_equal(env_file_read(f, have, 3, 0, &got), 0);
        assert_memory_equal(have, mode == SIM_SYNC_EIO_REVERT ? "old" : "new", 3);
        assert_int_equal(env_file_sync(f), 0);
        env_file_close(f);
        env_sim_destroy(e);
        sim_disk_power_cut(d);
        assert_int_equal(sim_disk_durable_read(d, "a", have, 3, 0, &got), 0);
        assert_memory_equal(have, "old", 3);
        sim_disk_destroy(d);
    }
}

static void test_full_disk_refuses_and_recovers(void **state)
{
    (void)state;
    struct sim_disk *d = disk_new(1, SIM_DISK_WRITEBACK);
    sim_disk_config(d)->quota_bytes = 8192;
    struct env *e = env_sim_create(d, 1);
    struct env_file *f;
    uint8_t bytes[8192] = {0};
    assert_int_equal(env_file_open(e, "a", ENV_FILE_CREATE, &f), 0);
    assert_int_equal(env_file_write(f, bytes, 8192, 0), 0);
    assert_int_equal(env_file_write(f, bytes, 1, 8192), ERR_NOSPC);
    assert_int_equal(env_file_write(f, bytes, 8192, 0), 0); /* no growth */
    sim_disk_config(d)->quota_bytes = 0;
    assert_int_equal(env_file_write(f, bytes, 1, 8192), 0);
    env_file_close(f);
    env_sim_destroy(e);
    sim_disk_destroy(d);
}

static void test_rot_is_stable_and_seen_through_a_clean_cache(void **state)
{
    (void)state;
    struct sim_disk *d = disk_new(1, SIM_DISK_WRITEBACK);
    uint8_t byte;
    size_t got;
    sim_disk_file_put(d, "a", "\0\0\0", 3);
    assert_int_equal(sim_disk_flip(d, "a", 1, 3), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sim_disk_cache_read(d, "a", &byte, 1, 1, &got), 0);
        assert_int_equal(byte, 8);
    }
    assert_int_equal(sim_disk_flip(d, "a", 3, 0), ERR_INVALID);
    assert_true(sim_disk_rot(d, NULL));
    assert_false(sim_disk_rot(d, "nothing-of-that-name"));
    sim_disk_destroy(d);
}

static void test_clone_shares_nothing_that_changes(void **state)
{
    (void)state;
    struct sim_disk *d = disk_new(1, SIM_DISK_WRITEBACK);
    sim_disk_file_put(d, "a", "one", 3);
    struct sim_disk *copy = sim_disk_clone(d, 2);
    struct env *e = env_sim_create(copy, 1);
    struct env_file *f;
    char have[3];
    size_t got;
    assert_int_equal(env_file_open(e, "a", 0, &f), 0);
    assert_int_equal(env_file_write(f, "two", 3, 0), 0);
    assert_int_equal(env_file_sync(f), 0);
    env_file_close(f);
    env_sim_destroy(e);
    assert_int_equal(sim_disk_durable_read(d, "a", have, 3, 0, &got), 0);
    assert_memory_equal(have, "one", 3);
    assert_int_equal(sim_disk_durable_read(copy, "a", have, 3, 0, &got), 0);
    assert_memory_equal(have, "two", 3);
    sim_disk_destroy(copy);
    sim_disk_destroy(d);
}

/* Random operations on the disk and on a plain array agree, and all-KEEP gives the cache. */
static void test_cache_agrees_with_a_plain_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        static uint8_t model[20000], have[20000];
        uint64_t size = 0, durable_size;
        size_t got;
        struct prng r;
        struct env_file *f;
        struct sim_disk *d = disk_new(seed, SIM_DISK_WEIRD);
        struct env *e = env_sim_create(d, seed);
        prng_init(&r, seed);
        memset(model, 0, sizeof(model));
        assert_int_equal(env_file_open(e, "/a//./b", ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE, &f),
                         ERR_NOT_FOUND);
        assert_int_equal(env_dir_create(e, "/a"), 0);
        assert_int_equal(env_file_open(e, "/a//./b", ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE, &f), 0);
        for (int i = 0; i < 60; i++) {
            uint64_t at = prng_below(&r, 15000), len = prng_below(&r, 5000);
            if (prng_below(&r, 6) == 0) {
                assert_int_equal(env_file_truncate(f, at), 0);
                if (at < size)
                    memset(model + at, 0, size - at);
                size = at;
            } else if (prng_below(&r, 5) == 0) {
                assert_int_equal(env_file_sync(f), 0);
            } else {
                prng_fill(&r, model + at, len);
                assert_int_equal(env_file_write(f, model + at, len, at), 0);
                if (len && at + len > size)
                    size = at + len;
            }
            assert_int_equal(env_file_read(f, have, sizeof(have), 0, &got), 0);
            assert_int_equal(got, size);
            assert_memory_equal(have, model, size);
        }
        env_file_close(f);
        env_sim_destroy(e);
        sim_disk_settle(d);
        assert_int_equal(sim_disk_durable_size(d, "/a/b", &durable_size), 0);
        assert_int_equal(durable_size, size);
        assert_int_equal(sim_disk_durable_read(d, "/a/b", have, sizeof(have), 0, &got), 0);
        assert_memory_equal(have, model, size);
        assert_true(sim_disk_is_durable(d, "/a/b"));
        sim_disk_destroy(d);
    }
}

struct job_ctx {
    struct env_job job;
    struct env *env;
    int runs, dones;
};

static void job_run(struct env_job *j)
{
    ((struct job_ctx *)(void *)j)->runs++;
}

static void job_done(struct env_job *j)
{
    struct job_ctx *c = (struct job_ctx *)(void *)j;
    if (++c->dones < 3)
        env_job_submit(c->env, ENV_LANE_LOG, j);
}

static void test_scratch_pumps_jobs_and_halts(void **state)
{
    (void)state;
    struct sim_disk *d = disk_new(1, SIM_DISK_ORDERED);
    struct env *e = env_sim_create(d, 1);
    struct job_ctx c = {.job = {.run = job_run, .done = job_done}, .env = e};
    env_job_submit(e, ENV_LANE_LOG, &c.job);
    assert_int_equal(c.runs, 0);
    assert_true(env_sim_pump(e));
    assert_int_equal(c.runs, 3);
    assert_int_equal(c.dones, 3);
    env_sim_destroy(e);
    sim_disk_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_syncs_lose_nothing_in_any_profile),
        cmocka_unit_test(test_missing_file_sync_is_noticed),
        cmocka_unit_test(test_missing_folder_sync_is_noticed),
        cmocka_unit_test(test_process_crash_keeps_the_cache),
        cmocka_unit_test(test_each_pending_item_has_its_own_fate),
        cmocka_unit_test(test_size_and_data_have_separate_fates),
        cmocka_unit_test(test_failed_sync_is_not_repaired_by_a_second),
        cmocka_unit_test(test_full_disk_refuses_and_recovers),
        cmocka_unit_test(test_rot_is_stable_and_seen_through_a_clean_cache),
        cmocka_unit_test(test_clone_shares_nothing_that_changes),
        cmocka_unit_test(test_cache_agrees_with_a_plain_model),
        cmocka_unit_test(test_scratch_pumps_jobs_and_halts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
