/* The queue in front of bcrypt, with a lane that runs when the test says so. */
#include <rq/env_impl.h>
#include <rq/guard.h>
#include <rq/limits.h>
#include <rq/util/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define HASH4 "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" /* of "secret" */

static struct env_job *submitted;
static struct env_turn *turn;

static uint64_t w_random(struct env *e)
{
    (void)e;
    return 4;
}
static void w_job_submit(struct env *e, enum env_lane lane, struct env_job *j)
{
    (void)e;
    assert_int_equal(lane, ENV_LANE_READ);
    assert_null(submitted); /* one at a time */
    submitted = j;
}
static void w_turn_schedule(struct env_turn *t)
{
    t->scheduled = true;
    turn = t;
}
static void w_turn_cancel(struct env_turn *t)
{
    t->scheduled = false;
    turn = NULL;
}
static const struct env_ops world_ops = {.random_u64 = w_random,
                                         .job_submit = w_job_submit,
                                         .turn_schedule = w_turn_schedule,
                                         .turn_cancel = w_turn_cancel};
static struct env world = {.ops = &world_ops};

static void run_job(void)
{
    struct env_job *j = submitted;
    assert_non_null(j);
    submitted = NULL;
    j->run(j);
    j->submitted = false;
    j->done(j);
}

struct asker {
    struct guard_wait wait;
    int told; /* 1 + answer; 0: not yet */
};

static void told(struct guard_wait *w, enum guard_answer answer)
{
    struct asker *a = LIST_ENTRY(w, struct asker, wait);
    assert_int_equal(a->told, 0);
    a->told = 1 + (int)answer;
}

static struct guard *guard;

static enum guard_answer ask(struct asker *a, const char *user, const char *password,
                             uint32_t perms)
{
    const struct auth_question q = {slice_str(user), slice_str(password), perms};
    memset(a, 0, sizeof *a);
    a->wait.done = told;
    return guard_ask(guard, &q, &a->wait);
}

static int setup(void **state)
{
    struct err_text why;
    (void)state;
    submitted = NULL;
    turn = NULL;
    return guard_create(&world,
                        slice_str("[{\"username\":\"bob\",\"password\":\"" HASH4
                                  "\",\"perms\":[\"query\"]},"
                                  "{\"username\":\"tom\",\"password\":\"s\",\"perms\":[\"all\"]}]"),
                        &guard, &why);
}

static int teardown(void **state)
{
    (void)state;
    guard_destroy(guard);
    return 0;
}

static void count(void *ctx)
{
    ++*(int *)ctx;
}

static void test_without_a_file_everybody_may_everything(void **state)
{
    struct asker a = {.wait = {.done = told}};
    const struct auth_question q = {slice_str("x"), slice_str("y"), AUTH_ALL};
    (void)state;
    assert_int_equal(guard_ask(NULL, &q, &a.wait), GUARD_YES);
}

static void test_plain_passwords_are_answered_at_once(void **state)
{
    struct asker a;
    (void)state;
    assert_int_equal(ask(&a, "tom", "s", AUTH_QUERY), GUARD_YES);
    assert_int_equal(ask(&a, "", "", AUTH_QUERY), GUARD_NO);
    assert_null(submitted);
}

static void test_one_look_serves_all_with_the_same_password(void **state)
{
    struct asker a, b, c;
    (void)state;
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_LATER);
    assert_int_equal(ask(&b, "bob", "secret", AUTH_EXECUTE), GUARD_LATER);
    assert_int_equal(ask(&c, "bob", "wrong", AUTH_QUERY), GUARD_LATER);
    run_job();
    assert_int_equal(a.told, 1 + GUARD_YES);
    assert_int_equal(b.told, 1 + GUARD_NO);
    assert_int_equal(c.told, 0);
    run_job();
    assert_int_equal(c.told, 1 + GUARD_NO);
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_YES);
    assert_int_equal(ask(&c, "bob", "wrong", AUTH_QUERY), GUARD_NO);
    assert_null(submitted);
}

static void test_who_has_left_is_not_told(void **state)
{
    struct asker a, b;
    (void)state;
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_LATER);
    assert_int_equal(ask(&b, "bob", "wrong", AUTH_QUERY), GUARD_LATER);
    guard_forget(&a.wait);
    guard_forget(&a.wait);
    guard_forget(&b.wait);
    run_job();
    assert_int_equal(a.told, 0);
    assert_null(submitted); /* nobody waits for the other */
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_YES); /* was not in vain */
}

static void test_the_queue_is_bounded(void **state)
{
    static struct asker all[LIMIT_GUARD_CHECKS], late;
    (void)state;
    for (int i = 0; i < LIMIT_GUARD_CHECKS; i++) {
        char guess[16];
        (void)snprintf(guess, sizeof guess, "%d", i);
        assert_int_equal(ask(&all[i], "bob", guess, AUTH_QUERY), GUARD_LATER);
    }
    assert_int_equal(ask(&late, "bob", "secret", AUTH_QUERY), GUARD_FULL);
    assert_int_equal(ask(&late, "bob", "0", AUTH_QUERY), GUARD_LATER); /* waits with the first */
    run_job();
    assert_int_equal(late.told, 1 + GUARD_NO);
    assert_int_equal(ask(&late, "bob", "secret", AUTH_QUERY), GUARD_LATER);
    for (int i = 0; i < LIMIT_GUARD_CHECKS; i++)
        run_job();
    assert_int_equal(late.told, 1 + GUARD_YES);
}

static void test_short_memory_is_no_refusal(void **state)
{
    struct asker a;
    (void)state;
    mem_fault_arm(1);
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_FULL);
    mem_fault_arm(0);
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_LATER);
    mem_fault_arm(1);
    run_job();
    mem_fault_arm(0);
    assert_int_equal(a.told, 1 + GUARD_FULL);
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_LATER);
    run_job();
    assert_int_equal(a.told, 1 + GUARD_YES);
}

static void test_stop_waits_for_the_look_under_way(void **state)
{
    struct asker a, b;
    int stopped = 0;
    (void)state;
    assert_int_equal(ask(&a, "bob", "secret", AUTH_QUERY), GUARD_LATER);
    assert_int_equal(ask(&b, "bob", "wrong", AUTH_QUERY), GUARD_LATER);
    guard_forget(&a.wait);
    guard_forget(&b.wait);
    guard_stop(guard, count, &stopped);
    assert_null(turn);
    run_job();
    assert_null(submitted);
    assert_non_null(turn);
    turn->scheduled = false;
    turn->run(turn);
    assert_int_equal(stopped, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_without_a_file_everybody_may_everything),
        CASE(test_plain_passwords_are_answered_at_once),
        CASE(test_one_look_serves_all_with_the_same_password),
        CASE(test_who_has_left_is_not_told),
        CASE(test_the_queue_is_bounded),
        CASE(test_short_memory_is_no_refusal),
        CASE(test_stop_waits_for_the_look_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
