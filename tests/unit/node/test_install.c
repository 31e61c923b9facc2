/* test_install.c — a received image that cannot take the old one's place now: it is dropped, and another may
 * come; on a node of which only its image is alive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "node_int.h"
#include <cmocka.h>
#include <env/world.h>

static struct {
    struct world *world;
    struct host *host;
    struct node node;
    struct env_job job;
    struct image_receive *receive;
    struct buf chunk;
    uint8_t page[IMAGE_PAGE_MIN];
} t;

static void lane_idle(struct node *n)
{
    node_install_progress(n);
}

static void job_done(struct env_job *j)
{
    (void)j;
}

static void open_run(struct env_job *j)
{
    struct err_text why;

    (void)j;
    assert_int_equal(image_open(t.node.env, "n1/image", &t.node.image.image, &why), 0);
}

static void boot(struct env *e, void *ctx)
{
    struct node *n = &t.node;

    (void)ctx;
    n->env = e;
    n->phase = NODE_OPEN;
    n->view.hard.term = 1;
    n->up.lane_idle = lane_idle;
    list_init(&n->read_queue);
    list_init(&n->parked);
    node_image_init(n);
    node_cut_init(n);
    node_install_init(n);
    t.job.run = open_run;
    t.job.done = job_done;
    env_job_submit(e, ENV_LANE_READ, &t.job);
}

static void run_ms(uint64_t ms)
{
    (void)world_run_for(t.world, ms * ENV_MS_NS);
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
    run_ms(1000);
    return t.node.image.image ? 0 : -1;
}

static void close_run(struct env_job *j)
{
    (void)j;
    image_receive_end(t.node.install.receive);
    image_close(t.node.image.image);
}

static void fini_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    env_timer_disarm(&t.node.cut.retry);
    node_install_stop(&t.node);
    node_image_fini(&t.node);
}

static void call_run(void (*run)(struct env_job *j));

static int tear_down(void **state)
{
    (void)state;
    call_run(close_run);
    assert_true(host_call(t.host, fini_now, NULL));
    world_destroy(t.world);
    return 0;
}

static void submit_now(struct env *e, void *ctx)
{
    (void)ctx;
    env_job_submit(e, ENV_LANE_READ, &t.job);
}

static void call_run(void (*run)(struct env_job *j))
{
    t.job.run = run;
    assert_true(host_call(t.host, submit_now, NULL));
    run_ms(1000);
}

/* An image of our own making is received by ourselves: one page, index 10. */
static void receive_run(struct env_job *j)
{
    struct image_moment m = {.index = 10, .term = 1, .set = {{IMAGE_PAGE_MIN, 1}}};
    struct image *from;
    struct image_send *s;
    struct err_text why;
    bool done = false, last = false;

    (void)j;
    assert_int_equal(image_open(t.node.env, "n1/other", &from, &why), 0);
    if (image_now(from)->index == 0) {
        assert_int_equal(image_cut_begin(from, &m), 0);
        assert_int_equal(image_cut_page(from, IMAGE_MAIN, 1, t.page), 0);
        assert_int_equal(image_cut_seal(from), 0);
        assert_int_equal(image_cut_apply(from, UINT64_MAX, &done), 0);
    }
    assert_int_equal(image_send_begin(from, &s), 0);
    assert_int_equal(image_receive_begin(t.node.image.image, &t.receive),
                     0); /* ASSERTs: only one */
    buf_init(&t.chunk, 1 << 20);
    while (!last) {
        assert_int_equal(image_send_next(s, 1 << 16, &t.chunk, &last, &why), 0);
        assert_int_equal(image_receive_chunk(t.receive, buf_slice(&t.chunk), &done, &why), 0);
    }
    assert_int_equal(image_receive_settle(t.receive), 0);
    buf_fini(&t.chunk);
    image_send_end(s);
    image_close(from);
}

static void install_now(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    node_install_start(&t.node, t.receive);
}

static void cut_waits(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    t.node.cut.active = true; /* sealed, and there is no space to go on */
    env_timer_arm(&t.node.cut.retry, 3600 * ENV_S_NS);
}

static void test_a_cut_that_waits_for_space_gets_the_received_image_dropped(void **state)
{
    (void)state;
    assert_true(host_call(t.host, cut_waits, NULL));
    for (int i = 0; i < 2; i++) { /* and another may be received */
        call_run(receive_run);
        assert_true(host_call(t.host, install_now, NULL));
        run_ms(1000);
        assert_false(t.node.install.active);
        assert_null(t.node.install.receive);
    }
    assert_int_equal(image_now(t.node.image.image)->index, 0);
}

static void test_an_image_that_came_too_late_is_dropped(void **state)
{
    (void)state;
    t.node.apply.applied = t.node.apply.target = 10;
    for (int i = 0; i < 2; i++) {
        call_run(receive_run);
        assert_true(host_call(t.host, install_now, NULL));
        run_ms(1000);
        assert_false(t.node.install.active);
    }
    assert_int_equal(t.node.apply.applied, 10);
}

static void test_while_a_read_is_at_work_nothing_is_switched(void **state)
{
    (void)state;
    t.node.readers_busy = 1;
    call_run(receive_run);
    assert_true(host_call(t.host, install_now, NULL));
    run_ms(60000);
    assert_true(t.node.install.active);
    assert_false(t.node.install.begun);
    t.node.readers_busy = 0;
}

static void look_again(struct env *e, void *ctx)
{
    (void)e;
    (void)ctx;
    t.node.readers_busy = 0;
    t.node.install.index = 10;
    node_install_progress(&t.node);
}

/* A lender that follows a later leader than we know: installed, the log on disk would begin above our own term. */
static void test_an_image_of_a_later_term_than_ours_is_dropped(void **state)
{
    (void)state;
    t.node.view.hard.term = 0; /* the image's is 1 */
    t.node.readers_busy = 1;
    call_run(receive_run);
    assert_true(host_call(t.host, install_now, NULL));
    assert_true(t.node.install.active);
    assert_true(host_call(t.host, look_again, NULL));
    run_ms(1000);
    assert_false(t.node.install.active);
    assert_null(t.node.install.receive);
    assert_int_equal(image_now(t.node.image.image)->index, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_a_cut_that_waits_for_space_gets_the_received_image_dropped),
        CASE(test_an_image_that_came_too_late_is_dropped),
        CASE(test_an_image_of_a_later_term_than_ours_is_dropped),
        CASE(test_while_a_read_is_at_work_nothing_is_switched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
