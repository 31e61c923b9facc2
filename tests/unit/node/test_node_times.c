/* When entries were committed, and how long their log jobs took. */
#include "env/env_sim.h"
#include "node_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct node *node;
static struct sim_disk *disk;

static int setup(void **state)
{
    struct sim_disk_config config;
    (void)state;
    sim_disk_config_default(&config, 1);
    disk = sim_disk_create(&config);
    node = mem_must_zalloc(sizeof *node);
    node->env = env_sim_create(disk, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    env_sim_destroy(node->env);
    sim_disk_destroy(disk);
    mem_free(node);
    return 0;
}

static uint64_t commit_later(uint64_t index)
{
    assert_true(env_sim_advance(node->env, ENV_MS_NS));
    node_clock_committed(node, index);
    return env_now_ns(node->env);
}

static void test_each_entry_has_the_time_of_the_commit_that_covered_it(void **state)
{
    (void)state;
    const uint64_t first_ns = commit_later(3), second_ns = commit_later(4),
                   third_ns = commit_later(9);
    assert_int_equal(node_clock_commit_ns(node, 1), first_ns);
    assert_int_equal(node_clock_commit_ns(node, 3), first_ns);
    assert_int_equal(node_clock_commit_ns(node, 4), second_ns);
    assert_int_equal(node_clock_commit_ns(node, 5), third_ns);
    assert_int_equal(node_clock_commit_ns(node, 9), third_ns);
    assert_int_equal(node_clock_commit_ns(node, 10), 0);
    assert_int_equal(node->clock.commit_count, 0); /* nothing is kept of what was asked for */
}

static void test_more_commits_than_marks_stay_in_order_and_known(void **state)
{
    (void)state;
    uint64_t last_mark_ns = 0;
    for (uint64_t i = 1; i <= 3 * NODE_COMMIT_MARKS; i++) {
        const uint64_t at_ns = commit_later(i);
        if (i == NODE_COMMIT_MARKS)
            last_mark_ns = at_ns;
    }
    uint64_t before_ns = 0;
    for (uint64_t i = 1; i <= 3 * NODE_COMMIT_MARKS; i++) {
        const uint64_t ns = node_clock_commit_ns(node, i);
        assert_true(ns != 0 && ns >= before_ns && ns <= env_now_ns(node->env));
        assert_true(i < NODE_COMMIT_MARKS ||
                    ns == last_mark_ns); /* the newest stands for the rest */
        before_ns = ns;
    }
    const uint64_t again_ns =
        commit_later(3 * NODE_COMMIT_MARKS + 1); /* and then it is exact again */
    assert_int_equal(node_clock_commit_ns(node, 3 * NODE_COMMIT_MARKS + 1), again_ns);
}

static void test_a_sync_is_that_of_the_newest_job_with_the_entry(void **state)
{
    (void)state;
    assert_int_equal(node_clock_sync_ns(node, 1), 0);
    node_clock_synced(node, 1, 10, 500);
    node_clock_synced(node, 5, 2, 700); /* written anew */
    assert_int_equal(node_clock_sync_ns(node, 4), 500);
    assert_int_equal(node_clock_sync_ns(node, 5), 700);
    assert_int_equal(node_clock_sync_ns(node, 6), 700);
    assert_int_equal(node_clock_sync_ns(node, 7), 500);
    assert_int_equal(node_clock_sync_ns(node, 11), 0);
    for (uint64_t i = 0; i < NODE_SYNC_MARKS; i++)
        node_clock_synced(node, 100 + i, 1, 900);
    assert_int_equal(node_clock_sync_ns(node, 5), 0); /* forgotten */
    assert_int_equal(node_clock_sync_ns(node, 100), 900);
    assert_int_equal(node->clock.times.log_sync.count, 2 + NODE_SYNC_MARKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_each_entry_has_the_time_of_the_commit_that_covered_it),
        T(test_more_commits_than_marks_stay_in_order_and_known),
        T(test_a_sync_is_that_of_the_newest_job_with_the_entry),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
