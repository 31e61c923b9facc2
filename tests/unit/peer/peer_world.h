/* peer_world — sets of peers on the hosts of a simulated world, with everything that happens to them
 * written down. Code of the room runs on its host (host_call); tests look from outside. */
#ifndef PEER_WORLD_H
#define PEER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <env/world.h>
#include <rq/limits.h>
#include <rq/peer.h>
#include <stdio.h>
#include <string.h>

enum { APP_MAX = 4, S = 1000 };

#define MS(n) ((n)*ENV_MS_NS)
#define SEC(n) ((n)*ENV_S_NS)

/* One host with one set. Reset at every boot, except for what says so. */
struct app {
    struct host *host;
    struct peer_set *set;
    struct peer_self self; /* kept */
    char name[8], addr[16];
    struct peer_config config; /* kept */
    struct peer_member members[APP_MAX];
    uint32_t member_count; /* kept */
    int greet_rc;          /* answer of greeted(); kept */
    bool deaf;             /* boot without listening; kept */

    uint32_t greeted, greeted_dialled, lost, lost_bye, refused, writable, drained, frames, stopped;
    uint32_t pieces; /* still to be sent, one whenever told drained */
    peer_conn last_greeted, last_lost;
    uint64_t refused_ns, lost_ns;
    raft_id writable_id;
    size_t writable_pending;
    uint32_t next_in; /* the frame expected next: bodies are numbered */
    uint32_t out_of_order;
    size_t body_bytes; /* received */
    bool echo;         /* send every request frame back with kind + 1 */
    bool close_on_frame;
    peer_conn dialled; /* by app_dial */
    int dial_rc;
};

struct town {
    struct world *world;
    struct app apps[APP_MAX];
    uint32_t count;
};

/* ---- bodies: a number, then bytes that follow from it ---- */

static inline void body_fill(uint8_t *body, size_t len, uint32_t number)
{
    for (size_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i < 4 ? number >> (8 * i) : number * 31 + i);
}

static inline bool body_right(struct slice body, uint32_t *number)
{
    if (body.len < 4)
        return false;
    *number = (uint32_t)body.data[0] | (uint32_t)body.data[1] << 8 | (uint32_t)body.data[2] << 16 |
              (uint32_t)body.data[3] << 24;
    for (size_t i = 4; i < body.len; i++)
        if (body.data[i] != (uint8_t)(*number * 31 + i))
            return false;
    return true;
}

/* ---- what the set tells ---- */

static inline int app_greeted(void *ctx, peer_conn c, bool dialled, const struct wire_hello *h)
{
    struct app *a = ctx;
    assert_true(h->store_id != 0 && h->name.len > 0);
    if (a->greet_rc)
        return a->greet_rc;
    a->greeted++;
    a->greeted_dialled += dialled;
    a->last_greeted = c;
    return 0;
}

static inline void app_frame(void *ctx, peer_conn c, const struct wire_frame *f)
{
    struct app *a = ctx;
    uint32_t number = 0;

    assert_true(body_right(f->body, &number)); /* damage never gets this far */
    a->frames++;
    a->body_bytes += f->body.len;
    a->out_of_order += number != a->next_in;
    a->next_in = number + 1;
    if (a->close_on_frame)
        peer_conn_close(a->set, c);
    if (a->echo && f->kind == WIRE_FORWARD_REQ)
        (void)!peer_send(a->set, c, WIRE_FORWARD_RES, f->stream, f->body);
}

static inline void app_lost(void *ctx, peer_conn c, bool said_bye)
{
    struct app *a = ctx;
    a->lost++;
    a->lost_bye += said_bye;
    a->last_lost = c;
    a->lost_ns = world_now_ns(host_world(a->host));
}

static inline void app_refused(void *ctx, raft_id member)
{
    struct app *a = ctx;
    assert_true(member != 0);
    a->refused++;
    a->refused_ns = world_now_ns(host_world(a->host));
}

static inline void app_writable(void *ctx, raft_id member)
{
    struct app *a = ctx;
    a->writable++;
    a->writable_id = member;
    a->writable_pending = peer_pending(a->set, peer_conn_of(a->set, member));
    assert_true(a->writable_pending < a->config.output_bytes_max / 2);
}

enum { PIECE_BYTES = 64 * 1024 };

static inline void app_drained(void *ctx, peer_conn c)
{
    struct app *a = ctx;
    uint8_t piece[PIECE_BYTES];

    a->drained++;
    assert_int_equal(peer_pending(a->set, c), 0);
    if (a->pieces == 0)
        return;
    body_fill(piece, sizeof(piece), a->drained - 1);
    assert_int_equal(peer_send(a->set, c, WIRE_FORWARD_PART, 1, slice_of(piece, sizeof(piece))), 0);
    if (--a->pieces > 0)
        peer_drained_want(a->set, c);
}

static const struct peer_events app_events = {app_greeted, app_frame,    app_lost,
                                              app_refused, app_writable, app_drained};

/* ---- a town of hosts ---- */

static inline void app_boot(struct env *e, void *ctx)
{
    struct app *a = ctx;
    struct err_text why = {""};

    a->greeted = a->greeted_dialled = a->lost = a->lost_bye = a->refused = a->writable = a->frames =
        a->stopped = 0;
    a->next_in = a->out_of_order = 0;
    a->body_bytes = 0;
    assert_int_equal(peer_set_create(e, &a->config, &a->self, &app_events, a, &a->set), 0);
    if (!a->deaf) {
        assert_int_equal(peer_set_listen(a->set, a->addr, &why), 0);
        assert_string_not_equal(peer_set_bound_addr(a->set), "");
    }
    assert_int_equal(peer_members_set(a->set, a->members, a->member_count), 0);
}

static inline struct app *app_add(struct town *t)
{
    struct app *a = &t->apps[t->count++];

    (void)snprintf(a->name, sizeof(a->name), "n%u", t->count);
    (void)snprintf(a->addr, sizeof(a->addr), "n%u:4002", t->count);
    a->host = world_host_add(t->world, a->name, NULL);
    a->self = (struct peer_self){.cluster_id = 7,
                                 .store_id = 100 + t->count,
                                 .id = t->count,
                                 .name = a->name,
                                 .raft_addr = a->addr,
                                 .api_url = "http://x:4001",
                                 .version = "v10",
                                 .sqlite = "3"};
    a->config = (struct peer_config){.dial_timeout_ms = 2000,
                                     .backoff_min_ms = 20,
                                     .backoff_max_ms = 1000,
                                     .hello_timeout_ms = 3000,
                                     .idle_timeout_ms = 2000,
                                     .output_bytes_max = 1 << 20,
                                     .accepted_max = 16};
    return a;
}

static inline void app_knows(struct app *a, const struct app *b)
{
    a->members[a->member_count++] =
        (struct peer_member){.id = b->self.id, .store_id = b->self.store_id, .addr = b->addr};
}

static inline void app_start(struct app *a)
{
    host_start(a->host, app_boot, a);
}

/* A quiet world: short constant delays, nothing goes wrong unless a test says so. */
static inline void town_make(struct town *t, uint32_t count, uint64_t seed)
{
    struct world_config c;

    memset(t, 0, sizeof(*t));
    world_config_default(&c, seed);
    c.net.loss_ppm = c.net.reset_ppm = c.net.half_open_ppm = c.net.black_hole_ppm = 0;
    c.net.refuse_ppm = c.net.hang_ppm = c.net.flip_ppm = 0;
    t->world = world_create(&c);
    for (uint32_t i = 0; i < count; i++)
        (void)app_add(t);
}

/* Everybody knows everybody, and runs. */
static inline void town_start(struct town *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        for (uint32_t j = 0; j < t->count; j++)
            if (i != j)
                app_knows(&t->apps[i], &t->apps[j]);
    for (uint32_t i = 0; i < t->count; i++)
        app_start(&t->apps[i]);
}

static inline void town_run(struct town *t, uint64_t ns)
{
    enum world_end end = world_run_for(t->world, ns);
    assert_true(end == WORLD_END_TIME || end == WORLD_END_IDLE);
}

/* ---- calls on a host ---- */

struct send_job {
    struct app *app;
    peer_conn conn;
    uint32_t first, count, len_max;
    enum wire_kind kind;
    uint32_t sent;  /* result: how many were taken */
    int rc;         /* and what the next one got */
    size_t pending; /* after it */
};

static inline void send_run(struct env *e, void *ctx)
{
    static uint8_t body[1 << 20];
    struct send_job *j = ctx;

    (void)e;
    for (j->sent = 0; j->sent < j->count; j->sent++) {
        uint32_t number = j->first + j->sent;
        size_t len = 4 + (j->len_max > 4 ? (number * 7919) % (j->len_max - 3) : 0);
        body_fill(body, len, number);
        j->rc = peer_send(j->app->set, j->conn, j->kind, number + 1, slice_of(body, len));
        j->pending = peer_pending(j->app->set, j->conn);
        if (j->rc)
            return;
    }
}

/* Number frames from `first` on towards member id; all of them must be taken. */
static inline void app_send_all(struct app *a, peer_conn c, uint32_t first, uint32_t count,
                                uint32_t len_max)
{
    struct send_job j = {.app = a,
                         .conn = c,
                         .first = first,
                         .count = count,
                         .len_max = len_max,
                         .kind = WIRE_FORWARD_REQ};
    assert_true(host_call(a->host, send_run, &j));
    assert_int_equal(j.rc, 0);
    assert_int_equal(j.sent, count);
}

static inline void stopped_run(void *ctx)
{
    struct app *a = ctx;
    a->stopped++;
    peer_set_destroy(a->set);
    a->set = NULL;
    host_exit(a->host);
}

static inline void stop_run(struct env *e, void *ctx)
{
    struct app *a = ctx;
    (void)e;
    peer_set_stop(a->set, stopped_run, a);
    assert_int_equal(a->stopped, 0); /* never inside of the call */
}

static inline void app_stop(struct app *a)
{
    assert_true(host_call(a->host, stop_run, a));
}

static inline void members_run(struct env *e, void *ctx)
{
    struct app *a = ctx;
    (void)e;
    assert_int_equal(peer_members_set(a->set, a->members, a->member_count), 0);
}

static inline void app_members_again(struct app *a)
{
    assert_true(host_call(a->host, members_run, a));
}

#endif
