/* test_index.c — reads that wait for an index, and the question to the leader, on a node of which nothing
 * but these lists is alive; what it would send goes nowhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "node_int.h"
#include <cmocka.h>
#include <env/world.h>
#include <stdlib.h>

enum { WAITS = 6, LEADER = 7, CONN = 3, STREAM = 5 };

static struct {
    struct world *world;
    struct host *host;
    struct node node;
    struct node_wait waits[WAITS];
    uint32_t order[WAITS], count; /* dispatched: which, in order */
} t;

static void on_dispatch(struct node_wait *w)
{
    t.order[t.count++] = (uint32_t)(w - t.waits);
}

static void turn_ran(struct env_turn *turn)
{
    (void)turn;
}

static void timer_fired(struct env_timer *timer)
{
    (void)timer;
}

static void boot(struct env *e, void *ctx)
{
    struct node *n = &t.node;

    (void)ctx;
    memset(n, 0, sizeof(*n));
    n->env = e;
    n->up.dispatch = on_dispatch;
    n->view.role = RAFT_FOLLOWER;
    n->view.leader = LEADER;
    n->view.hard.term = 4;
    env_turn_init(&n->turn, e, turn_ran, n);
    node_index_init(n);
    list_init(&n->confirming);
    node_retry_init(n);
    t.count = 0;
    for (uint32_t i = 0; i < WAITS; i++) {
        memset(&t.waits[i], 0, sizeof(t.waits[i]));
        t.waits[i].node = n;
        t.waits[i].state = WAIT_SUBMITTED;
        t.waits[i].linearizable_timeout_ms = 1000;
        list_init(&t.waits[i].link);
        env_timer_init(&t.waits[i].timer, e, timer_fired, NULL);
    }
}

static int set_up(void **state)
{
    struct world_config config;

    (void)state;
    memset(&t, 0, sizeof(t));
    world_config_default(&config, 1);
    t.world = world_create(&config);
    t.host = world_host_add(t.world, "n", NULL);
    host_start(t.host, boot, NULL);
    (void)world_run(t.world, ENV_MS_NS);
    return t.node.env ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    world_destroy(t.world);
    return 0;
}

/* ---- on the host ---- */

static const uint64_t wanted[4] = {9, 5, 7, 5};

static void await_four(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    t.node.apply.applied = 4;
    for (uint32_t i = 0; i < 4; i++)
        node_index_await(&t.waits[i], wanted[i]);
}

static void apply_to(struct env *e, void *ctx)
{
    (void)e;
    t.node.apply.applied = *(const uint64_t *)ctx;
    node_index_applied(&t.node);
    node_index_check(&t.node);
}

/* The first two have asked, a third came when their question was out. */
static void ask_two_and_one(struct env *e, void *ctx)
{
    struct node_index *x = &t.node.index;

    (void)e;
    (void)ctx;
    node_index_want(&t.waits[0]);
    node_index_want(&t.waits[1]);
    for (struct list *l; (l = list_pop_front(&x->asking));) /* as node_index_turn does */
        list_push_back(&x->asked, l);
    x->question_out = true;
    x->conn = CONN;
    x->stream = STREAM;
    x->leader = LEADER;
    x->term = 4;
    node_index_want(&t.waits[2]);
    node_index_check(&t.node);
}

struct reply {
    peer_conn conn;
    uint32_t stream;
    struct wire_index a;
};

static void answer(struct env *e, void *ctx)
{
    const struct reply *r = ctx;
    struct buf b;

    (void)e;
    buf_init(&b, 1024);
    (void)wire_index_put(&b, &r->a);
    struct wire_frame f = {WIRE_INDEX_RES, r->stream, buf_slice(&b)};
    node_index_answered(&t.node, r->conn, &f);
    buf_fini(&b);
    node_index_check(&t.node);
}

static void follow_another(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    t.node.view.leader = LEADER + 1;
    t.node.view.hard.term = 5;
    node_index_leader_changed(&t.node);
}

static void dispatch(struct env *e, void *ctx)
{
    (void)e;
    node_request_dispatch(ctx);
}

/* The first read's time is over, and nothing was heard. */
static void give_up(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    list_remove(&t.waits[0].link);
    t.node.index.late = true;
    t.node.view.leader = 0; /* nobody to ask anew, as yet */
    node_index_turn(&t.node);
}

/* Who waits to ask, in order, as digits. */
static uint32_t asking(void)
{
    const struct list *head = &t.node.index.asking;
    uint32_t digits = 0;

    for (const struct list *l = head->next; l != head; l = l->next)
        digits = 10 * digits + 1 + (uint32_t)(LIST_ENTRY(l, struct node_wait, link) - t.waits);
    return digits;
}

/* ---- claims ---- */

static void test_waits_wake_in_the_order_of_their_index_and_not_before(void **state)
{
    (void)state;
    const uint64_t steps[] = {4, 5, 8, 20};
    const uint32_t woken[] = {0, 2, 3, 4};

    assert_true(host_call(t.host, await_four, NULL));
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uint64_t to = steps[i];
        assert_true(host_call(t.host, apply_to, &to));
        assert_int_equal(t.count, woken[i]);
    }
    assert_true(t.order[0] == 1 && t.order[1] == 3 && t.order[2] == 2 && t.order[3] == 0);
}

static void test_an_answer_serves_only_those_who_had_asked_when_the_question_left(void **state)
{
    (void)state;
    struct reply r = {CONN, STREAM, {0, 4, 11}};

    assert_true(host_call(t.host, ask_two_and_one, NULL));
    assert_true(host_call(t.host, answer, &r));
    assert_int_equal(t.count, 2);
    assert_true(t.order[0] == 0 && t.order[1] == 1);
    assert_true(t.waits[0].read_index == 11 && t.waits[0].read_term == 4);
    assert_int_equal(t.waits[2].read_index, 0);
    assert_int_equal(asking(), 3);
}

static void test_an_answer_of_a_term_that_is_over_is_asked_for_again(void **state)
{
    (void)state;
    struct reply r = {CONN, STREAM, {0, 3, 11}};

    assert_true(host_call(t.host, ask_two_and_one, NULL));
    assert_true(host_call(t.host, answer, &r));
    assert_int_equal(t.count, 0);
    assert_int_equal(asking(), 123);
}

static void test_answers_to_other_questions_are_ignored(void **state)
{
    (void)state;
    struct reply other_conn = {CONN + 1, STREAM, {0, 4, 11}};
    struct reply other_stream = {CONN, STREAM + 1, {0, 4, 11}};

    assert_true(host_call(t.host, ask_two_and_one, NULL));
    assert_true(host_call(t.host, answer, &other_conn));
    assert_true(host_call(t.host, answer, &other_stream));
    assert_int_equal(t.count, 0);
    assert_int_equal(asking(), 3);
}

static void test_another_leader_takes_the_question_back(void **state)
{
    (void)state;
    struct reply late = {CONN, STREAM, {0, 4, 11}};

    assert_true(host_call(t.host, ask_two_and_one, NULL));
    assert_true(host_call(t.host, follow_another, NULL));
    assert_int_equal(asking(), 123);
    assert_true(host_call(t.host, answer, &late));
    assert_int_equal(t.count, 0);
}

static void test_a_question_nobody_answers_is_taken_back_when_a_read_gives_up(void **state)
{
    (void)state;
    assert_true(host_call(t.host, ask_two_and_one, NULL));
    assert_true(host_call(t.host, give_up, NULL));
    assert_int_equal(asking(), 23);
}

static void test_a_higher_term_seen_while_waiting_asks_again(void **state)
{
    (void)state;
    struct node_wait *w = &t.waits[4];
    struct buf b;

    buf_init(&b, 1024);
    wire_cmd_begin(&b, WIRE_CMD_QUERY, 0, slice_of(NULL, 0));
    wire_cmd_statement(&b, slice_str("SELECT 1"));
    assert_int_equal(wire_cmd_finish(&b), 0);
    w->payload = node_entry_new(buf_len(&b));
    memcpy(w->payload->payload, buf_slice(&b).data, buf_len(&b));
    w->kind = WIRE_QUERY;
    w->level = WIRE_LEVEL_LINEARIZABLE;
    w->read_index = 5;
    w->read_term = 3;
    t.node.apply.applied = 5;
    assert_true(host_call(t.host, dispatch, w));
    assert_int_equal(w->state, WAIT_ASK);
    assert_int_equal(asking(), 5);
    node_entry_unref(w->payload);
    buf_fini(&b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_waits_wake_in_the_order_of_their_index_and_not_before),
        T(test_an_answer_serves_only_those_who_had_asked_when_the_question_left),
        T(test_an_answer_of_a_term_that_is_over_is_asked_for_again),
        T(test_answers_to_other_questions_are_ignored),
        T(test_another_leader_takes_the_question_back),
        T(test_a_question_nobody_answers_is_taken_back_when_a_read_gives_up),
        T(test_a_higher_term_seen_while_waiting_asks_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
