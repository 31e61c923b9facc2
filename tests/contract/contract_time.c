/* contract_time.c — clocks, chance, timers, end-of-turn hooks, jobs. */
#include "env_contract.h"
#include <string.h>

/* ---- clocks and chance ---- */

static void read_clocks(struct contract *c)
{
    uint64_t last = env_now_ns(c->env);

    for (int i = 0; i < 1000; i++) {
        uint64_t now = env_now_ns(c->env);
        CHECK(now >= last);
        last = now;
    }
    CHECK(env_wall_ns(c->env) > INT64_C(1577836800) * INT64_C(1000000000)); /* 2020 */
}

static void test_clock_never_decreases_on_any_lane(struct contract *c)
{
    contract_job(c, ENV_LANE_LOG, read_clocks);
    contract_job(c, ENV_LANE_READ, read_clocks);
}

static void draw_words(void *ctx)
{
    struct contract *c = ctx;
    uint64_t seen[200];

    for (size_t i = 0; i < 200; i++) {
        seen[i] = env_random_u64(c->env);
        for (size_t k = 0; k < i; k++)
            CHECK(seen[k] != seen[i]); /* 200 of 2^64: a repeat means a broken source */
    }
}

static void test_random_words_differ(struct contract *c)
{
    contract_call(c, draw_words, c);
}

/* ---- timers ---- */

struct alarm {
    struct env_timer timer;
    struct contract *c;
    uint64_t not_before_ns;
    unsigned fired;
};

static void on_alarm(struct env_timer *t)
{
    struct alarm *a = t->ctx;

    contract_callback(a->c);
    CHECK(!env_timer_armed(t));
    CHECK(env_now_ns(t->env) >= a->not_before_ns);
    a->fired++;
}

static void alarm_init(struct alarm *a, struct contract *c)
{
    memset(a, 0, sizeof(*a));
    a->c = c;
    env_timer_init(&a->timer, c->env, on_alarm, a);
}

static void alarm_arm(struct alarm *a, uint64_t after_ns)
{
    a->not_before_ns = env_now_ns(a->c->env) + after_ns;
    SUBMIT(a->c, env_timer_arm(&a->timer, after_ns));
    CHECK(env_timer_armed(&a->timer));
}

enum { ALARM_COUNT = 64 };
struct alarms {
    struct contract *c;
    struct alarm each[ALARM_COUNT];
};

/* Times that fall everywhere between two milliseconds, in no order. */
static void arm_many(void *ctx)
{
    struct alarms *all = ctx;

    for (unsigned i = 0; i < ALARM_COUNT; i++)
        alarm_arm(&all->each[i], (i * 37 % ALARM_COUNT) * UINT64_C(170003));
}

static bool all_fired(void *ctx)
{
    struct alarms *all = ctx;

    for (unsigned i = 0; i < ALARM_COUNT; i++)
        if (all->each[i].fired == 0)
            return false;
    return true;
}

static void test_timer_fires_once_and_never_early(struct contract *c)
{
    struct alarms all = {.c = c};

    for (unsigned i = 0; i < ALARM_COUNT; i++)
        alarm_init(&all.each[i], c);
    contract_call(c, arm_many, &all);
    contract_until(c, all_fired, &all);
    contract_linger(c);
    for (unsigned i = 0; i < ALARM_COUNT; i++)
        CHECK(all.each[i].fired == 1);
}

static void arm_and_disarm_half(void *ctx)
{
    struct alarms *all = ctx;

    arm_many(all);
    for (unsigned i = 0; i < ALARM_COUNT; i += 2) {
        env_timer_disarm(&all->each[i].timer);
        env_timer_disarm(&all->each[i].timer);
        CHECK(!env_timer_armed(&all->each[i].timer));
    }
}

static bool odd_fired(void *ctx)
{
    struct alarms *all = ctx;

    for (unsigned i = 1; i < ALARM_COUNT; i += 2)
        if (all->each[i].fired == 0)
            return false;
    return true;
}

static void test_disarmed_timer_does_not_fire(struct contract *c)
{
    struct alarms all = {.c = c};
    struct env_timer zeroed = {0};

    env_timer_disarm(&zeroed);
    for (unsigned i = 0; i < ALARM_COUNT; i++)
        alarm_init(&all.each[i], c);
    contract_call(c, arm_and_disarm_half, &all);
    contract_until(c, odd_fired, &all);
    contract_linger(c);
    for (unsigned i = 0; i < ALARM_COUNT; i++)
        CHECK(all.each[i].fired == i % 2);
}

struct pair {
    struct contract *c;
    struct alarm first;
    struct alarm second;
};

static void arm_both(void *ctx)
{
    struct pair *p = ctx;

    env_timer_arm(&p->first.timer, 0);
    env_timer_arm(&p->second.timer, 0);
}

static bool first_fired(void *ctx)
{
    return ((struct pair *)ctx)->first.fired > 0;
}

/* Both are due; whichever comes first takes the other away, even within one turn. */
static void on_first_of_two(struct env_timer *t)
{
    struct pair *p = t->ctx;
    struct env_timer *other = t == &p->first.timer ? &p->second.timer : &p->first.timer;

    contract_callback(p->c);
    env_timer_disarm(other);
    p->first.fired++;
}

static void test_due_timer_disarmed_by_another_does_not_fire(struct contract *c)
{
    struct pair p = {.c = c};

    env_timer_init(&p.first.timer, c->env, on_first_of_two, &p);
    env_timer_init(&p.second.timer, c->env, on_first_of_two, &p);
    contract_call(c, arm_both, &p);
    contract_until(c, first_fired, &p);
    contract_linger(c);
    CHECK(p.first.fired == 1);
}

static void arm_short_then_long(void *ctx)
{
    struct pair *p = ctx;

    alarm_arm(&p->first, ENV_MS_NS);
    alarm_arm(&p->first, 40 * ENV_MS_NS); /* replaces: 1 ms would now be early */
    alarm_arm(&p->second, 3600 * ENV_S_NS);
    alarm_arm(&p->second, ENV_MS_NS); /* replaces: an hour would never end the case */
}

static bool both_fired(void *ctx)
{
    struct pair *p = ctx;

    return p->first.fired && p->second.fired;
}

static void test_arming_again_replaces_the_time(struct contract *c)
{
    struct pair p = {.c = c};

    alarm_init(&p.first, c);
    alarm_init(&p.second, c);
    contract_call(c, arm_short_then_long, &p);
    contract_until(c, both_fired, &p);
    contract_linger(c);
    CHECK(p.first.fired == 1 && p.second.fired == 1);
}

static void on_rearming_alarm(struct env_timer *t)
{
    struct alarm *a = t->ctx;

    on_alarm(t);
    if (a->fired < 20)
        alarm_arm(a, 0);
}

static void arm_now(void *ctx)
{
    alarm_arm(ctx, 0);
}

static bool fired_20(void *ctx)
{
    return ((struct alarm *)ctx)->fired == 20;
}

static void test_timer_may_be_armed_in_its_own_callback(struct contract *c)
{
    struct alarm a;

    alarm_init(&a, c);
    a.timer.fire = on_rearming_alarm;
    contract_call(c, arm_now, &a);
    contract_until(c, fired_20, &a);
}

/* ---- end of turn ---- */

struct turns {
    struct contract *c;
    struct env_turn hook;
    struct env_turn other;
    struct env_timer timer;
    struct env_job job;
    unsigned ran;
    unsigned other_ran;
    unsigned wanted;
    unsigned completions;
};

static void on_hook(struct env_turn *t)
{
    struct turns *w = t->ctx;

    contract_callback(w->c);
    CHECK(!t->scheduled);
    w->ran++;
}

static void on_other(struct env_turn *t)
{
    struct turns *w = t->ctx;

    contract_callback(w->c);
    w->other_ran++;
}

static void turns_init(struct turns *w, struct contract *c)
{
    memset(w, 0, sizeof(*w));
    w->c = c;
    env_turn_init(&w->hook, c->env, on_hook, w);
    env_turn_init(&w->other, c->env, on_other, w);
}

static void schedule_twice(void *ctx)
{
    struct turns *w = ctx;

    SUBMIT(w->c, env_turn_schedule(&w->hook));
    SUBMIT(w->c, env_turn_schedule(&w->hook));
    CHECK(w->ran == 0);
}

static bool hook_ran(void *ctx)
{
    return ((struct turns *)ctx)->ran > 0;
}

static void test_hook_runs_once_per_turn(struct contract *c)
{
    struct turns w;

    turns_init(&w, c);
    contract_call(c, schedule_twice, &w);
    contract_until(c, hook_ran, &w);
    contract_linger(c);
    CHECK(w.ran == 1);
}

static void schedule_and_cancel(void *ctx)
{
    struct turns *w = ctx;

    env_turn_schedule(&w->other);
    env_turn_schedule(&w->hook);
    env_turn_cancel(&w->other);
    env_turn_cancel(&w->other);
}

static void test_cancelled_hook_does_not_run(struct contract *c)
{
    struct turns w;

    turns_init(&w, c);
    contract_call(c, schedule_and_cancel, &w);
    contract_until(c, hook_ran, &w);
    contract_linger(c);
    CHECK(w.ran == 1 && w.other_ran == 0);
}

static void on_cancelling_hook(struct env_turn *t)
{
    struct turns *w = t->ctx;

    env_turn_cancel(t == &w->hook ? &w->other : &w->hook);
    w->ran++;
}

static void schedule_both(void *ctx)
{
    struct turns *w = ctx;

    env_turn_schedule(&w->hook);
    env_turn_schedule(&w->other);
}

static void test_hook_cancelled_by_another_of_its_turn_does_not_run(struct contract *c)
{
    struct turns w;

    turns_init(&w, c);
    w.hook.run = on_cancelling_hook;
    w.other.run = on_cancelling_hook;
    contract_call(c, schedule_both, &w);
    contract_until(c, hook_ran, &w);
    contract_linger(c);
    CHECK(w.ran == 1);
}

static void on_again_hook(struct env_turn *t)
{
    struct turns *w = t->ctx;
    unsigned before = w->ran + 1;

    on_hook(t);
    if (w->ran < w->wanted)
        env_turn_schedule(t);
    CHECK(w->ran == before); /* it did not run inside schedule */
}

static void on_turns_timer(struct env_timer *t)
{
    struct turns *w = t->ctx;

    contract_callback(w->c);
    CHECK(w->ran == w->wanted);
    w->completions++;
}

static void arm_late_and_schedule(void *ctx)
{
    struct turns *w = ctx;

    env_timer_arm(&w->timer, 3 * ENV_S_NS);
    env_turn_schedule(&w->hook);
}

static void disarm_late(void *ctx)
{
    env_timer_disarm(&((struct turns *)ctx)->timer);
}

static bool hook_ran_enough(void *ctx)
{
    struct turns *w = ctx;

    return w->ran == w->wanted;
}

static void test_hook_scheduled_by_a_hook_runs_next_turn_without_sleep(struct contract *c)
{
    struct turns w;

    turns_init(&w, c);
    w.wanted = 8000; /* were there a sleep of 1 ms in each round, the timer would come first */
    w.hook.run = on_again_hook;
    env_timer_init(&w.timer, c->env, on_turns_timer, &w);
    contract_call(c, arm_late_and_schedule, &w);
    contract_until(c, hook_ran_enough, &w);
    contract_call(c, disarm_late, &w);
}

static void nothing(struct env_job *j)
{
    (void)j;
}

static struct turns *turns_of_job; /* the case in progress */

static void on_turns_done(struct env_job *j)
{
    struct turns *w = turns_of_job;

    (void)j;
    contract_callback(w->c);
    CHECK(w->ran == w->wanted);
    w->completions++;
}

static void submit_and_schedule(void *ctx)
{
    struct turns *w = ctx;

    w->wanted++;
    w->completions = 0;
    SUBMIT(w->c, env_timer_arm(&w->timer, 0));
    SUBMIT(w->c, env_job_submit(w->c->env, ENV_LANE_LOG, &w->job));
    env_turn_schedule(&w->hook);
}

static bool both_completed(void *ctx)
{
    return ((struct turns *)ctx)->completions == 2;
}

static void test_hook_runs_before_what_its_turn_began_completes(struct contract *c)
{
    struct turns w;

    turns_init(&w, c);
    turns_of_job = &w;
    env_timer_init(&w.timer, c->env, on_turns_timer, &w);
    w.job.run = nothing;
    w.job.done = on_turns_done;
    for (int i = 0; i < 50; i++) {
        contract_call(c, submit_and_schedule, &w);
        contract_until(c, both_completed, &w);
    }
}

/* ---- jobs ---- */

enum { JOB_COUNT = 100 };

struct batch_job {
    struct env_job job;
    struct batch *batch;
    unsigned number;
};

struct batch {
    struct contract *c;
    enum env_lane lane;
    bool ordered;
    unsigned ran; /* ordered lanes only: written by run() */
    unsigned done;
    struct batch_job each[JOB_COUNT];
};

static void batch_run(struct env_job *j)
{
    struct batch_job *b = (struct batch_job *)(void *)j;

    if (b->batch->ordered)
        CHECK(b->batch->ran++ == b->number);
}

static void batch_done(struct env_job *j)
{
    struct batch_job *b = (struct batch_job *)(void *)j;

    contract_callback(b->batch->c);
    if (b->batch->ordered)
        CHECK(b->batch->done == b->number);
    b->batch->done++;
    memset(b, 0xA5, sizeof(*b)); /* ours again: whoever looks now reads nonsense */
}

static void submit_batch(void *ctx)
{
    struct batch *b = ctx;

    for (unsigned i = 0; i < JOB_COUNT; i++) {
        struct batch_job *bj = &b->each[i];
        memset(bj, 0, sizeof(*bj));
        bj->job.run = batch_run;
        bj->job.done = batch_done;
        bj->batch = b;
        bj->number = i;
        SUBMIT(b->c, env_job_submit(b->c->env, b->lane, &bj->job));
    }
}

static bool batch_all_done(void *ctx)
{
    return ((struct batch *)ctx)->done == JOB_COUNT;
}

static void run_batch(struct contract *c, enum env_lane lane, bool ordered)
{
    struct batch b = {.c = c, .lane = lane, .ordered = ordered};

    contract_call(c, submit_batch, &b);
    contract_until(c, batch_all_done, &b);
    contract_linger(c);
    CHECK(b.done == JOB_COUNT);
}

static void test_log_jobs_run_and_finish_in_order(struct contract *c)
{
    run_batch(c, ENV_LANE_LOG, true);
}

static void test_apply_jobs_run_and_finish_in_order(struct contract *c)
{
    run_batch(c, ENV_LANE_APPLY, true);
}

static void test_read_jobs_all_finish(struct contract *c)
{
    run_batch(c, ENV_LANE_READ, false);
}

struct again {
    struct env_job job;
    struct contract *c;
    unsigned ran;
    unsigned done;
};

static void again_run(struct env_job *j)
{
    ((struct again *)(void *)j)->ran++;
}

static void again_done(struct env_job *j)
{
    struct again *a = (struct again *)(void *)j;

    contract_callback(a->c);
    a->done++;
    CHECK(a->ran == a->done); /* not before it ran, and run()'s writes are seen */
    if (a->done < 200)
        SUBMIT(a->c, env_job_submit(a->c->env, ENV_LANE_APPLY, j));
}

static void again_submit(void *ctx)
{
    struct again *a = ctx;

    SUBMIT(a->c, env_job_submit(a->c->env, ENV_LANE_APPLY, &a->job));
}

static bool again_enough(void *ctx)
{
    return ((struct again *)ctx)->done == 200;
}

static void test_job_may_be_resubmitted_in_its_done(struct contract *c)
{
    struct again a = {.job = {.run = again_run, .done = again_done}, .c = c};

    contract_call(c, again_submit, &a);
    contract_until(c, again_enough, &a);
}

const struct contract_case contract_time_cases[] = {
    {"clock_never_decreases_on_any_lane", test_clock_never_decreases_on_any_lane},
    {"random_words_differ", test_random_words_differ},
    {"timer_fires_once_and_never_early", test_timer_fires_once_and_never_early},
    {"disarmed_timer_does_not_fire", test_disarmed_timer_does_not_fire},
    {"due_timer_disarmed_by_another_does_not_fire",
     test_due_timer_disarmed_by_another_does_not_fire},
    {"arming_again_replaces_the_time", test_arming_again_replaces_the_time},
    {"timer_may_be_armed_in_its_own_callback", test_timer_may_be_armed_in_its_own_callback},
    {"hook_runs_once_per_turn", test_hook_runs_once_per_turn},
    {"cancelled_hook_does_not_run", test_cancelled_hook_does_not_run},
    {"hook_cancelled_by_another_of_its_turn_does_not_run",
     test_hook_cancelled_by_another_of_its_turn_does_not_run},
    {"hook_scheduled_by_a_hook_runs_next_turn_without_sleep",
     test_hook_scheduled_by_a_hook_runs_next_turn_without_sleep},
    {"hook_runs_before_what_its_turn_began_completes",
     test_hook_runs_before_what_its_turn_began_completes},
    {"log_jobs_run_and_finish_in_order", test_log_jobs_run_and_finish_in_order},
    {"apply_jobs_run_and_finish_in_order", test_apply_jobs_run_and_finish_in_order},
    {"read_jobs_all_finish", test_read_jobs_all_finish},
    {"job_may_be_resubmitted_in_its_done", test_job_may_be_resubmitted_in_its_done},
    {NULL, NULL},
};
