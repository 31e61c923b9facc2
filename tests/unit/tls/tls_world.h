/* tls_world — an environment in memory for the filter's tests: pairs of streams whose bytes move when the test
 * says so, in pieces of the size it says, through a window as small as it says; files in memory; a lane that
 * runs at once; certificates made on the spot. */
#ifndef TLS_WORLD_H
#define TLS_WORLD_H

#include "tls_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { ENDS_MAX = 32, FILES_MAX = 4, TIMERS_MAX = 64 };

struct end { /* one end of a pair */
    struct env_stream base;
    struct end *other; /* NULL: gone */
    struct buf out;    /* written, not yet received by the other */
    bool used, connecting, refused, reading, behind, finishing, closed, fin, saw_end;
};
struct file {
    const char *path;
    const char *text; /* NULL: cannot be read */
};
struct world {
    struct env env; /* first */
    uint64_t now_ns;
    struct end ends[ENDS_MAX];
    size_t piece; /* bytes per data() */
    size_t window;
    size_t received; /* by all, ever */
    struct env_listener listener;
    void (*accepted)(void *ctx, struct env_stream *s);
    void *accepted_ctx;
    struct env_turn *turns;
    struct env_timer *timers[TIMERS_MAX];
    struct env_job *job;
    uint32_t jobs_run;
    struct file files[FILES_MAX];
    char said[4096]; /* log lines */
};
static struct world world;

static struct end *end_of(const struct env_stream *s)
{
    return (struct end *)(uintptr_t)s;
}

static uint64_t w_now(struct env *e)
{
    (void)e;
    return world.now_ns;
}
static void w_timer_disarm(struct env_timer *t)
{
    for (int i = 0; i < TIMERS_MAX; i++)
        if (world.timers[i] == t)
            world.timers[i] = NULL;
    t->heap_at = 0;
}
static void w_timer_arm(struct env_timer *t, uint64_t after_ns)
{
    w_timer_disarm(t);
    t->due_ns = world.now_ns + after_ns;
    t->heap_at = 1;
    for (int i = 0; i < TIMERS_MAX; i++) {
        if (!world.timers[i]) {
            world.timers[i] = t;
            return;
        }
    }
    fail_msg("too many timers");
}
static void w_turn_schedule(struct env_turn *t)
{
    t->scheduled = true;
    t->next = world.turns;
    world.turns = t;
}
static void w_turn_cancel(struct env_turn *t)
{
    t->scheduled = false;
    for (struct env_turn **at = &world.turns; *at; at = &(*at)->next) {
        if (*at == t) {
            *at = t->next;
            return;
        }
    }
}
static void w_job_submit(struct env *e, enum env_lane lane, struct env_job *j)
{
    (void)e;
    assert_int_equal(lane, ENV_LANE_READ);
    assert_null(world.job);
    world.job = j;
}
static int w_file_open(struct env *e, const char *path, unsigned flags, struct env_file **out)
{
    assert_int_equal(flags, ENV_FILE_READONLY);
    for (int i = 0; i < FILES_MAX; i++) {
        if (world.files[i].path && strcmp(world.files[i].path, path) == 0 && world.files[i].text) {
            struct env_file *f = calloc(1, sizeof *f + sizeof(int));
            f->env = e;
            memcpy(f + 1, &i, sizeof i);
            *out = f;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}
static const char *file_text(struct env_file *f)
{
    int i;
    memcpy(&i, f + 1, sizeof i);
    return world.files[i].text;
}
static void w_file_close(struct env_file *f)
{
    free(f);
}
static int w_file_size(struct env_file *f, uint64_t *out)
{
    *out = strlen(file_text(f));
    return 0;
}
static int w_file_read(struct env_file *f, void *dst, size_t len, uint64_t offset, size_t *got)
{
    assert_int_equal(offset, 0);
    memcpy(dst, file_text(f), len);
    *got = len;
    return 0;
}
static struct end *end_new(void)
{
    for (int i = 0; i < ENDS_MAX; i++) {
        struct end *d = &world.ends[i];
        if (d->used)
            continue;
        memset(d, 0, sizeof *d);
        d->used = true;
        d->base.env = &world.env;
        buf_init(&d->out, 256 * 1024 * 1024);
        d->out.data = malloc(64 * 1024); /* not from mem: memory that fails is to fail in the room */
        d->out.cap = 64 * 1024;
        return d;
    }
    fail_msg("too many streams");
    return NULL;
}
static int w_connect(struct env *e, const char *addr, const struct env_stream_events *events, void *ctx,
                     struct env_stream **out)
{
    struct end *mine = end_new();
    (void)e;
    mine->base.events = events;
    mine->base.ctx = ctx;
    mine->connecting = true;
    mine->refused = strncmp(addr, "nobody", 6) == 0;
    *out = &mine->base;
    return 0;
}
static void w_read_start(struct env_stream *s)
{
    end_of(s)->reading = true;
}
static void w_read_stop(struct env_stream *s)
{
    end_of(s)->reading = false;
}
static size_t w_pending(const struct env_stream *s)
{
    const size_t len = buf_len(&end_of(s)->out);
    return len > world.window ? len - world.window : 0;
}
static int w_write(struct env_stream *s, const struct slice *parts, size_t count, size_t pending_max)
{
    struct end *d = end_of(s);
    size_t total = 0;
    assert_false(d->finishing || d->closed);
    for (size_t i = 0; i < count; i++)
        total += parts[i].len;
    if (w_pending(s) + total > pending_max + world.window)
        return ERR_FULL;
    if (!d->other)
        return ERR_RESET;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(buf_append_slice(&d->out, parts[i]), 0);
    d->behind = d->behind || w_pending(s) > 0;
    return 0;
}
static const char *w_peer(const struct env_stream *s)
{
    (void)s;
    return "192.0.2.1:7";
}
static void w_finish(struct env_stream *s)
{
    struct end *d = end_of(s);
    assert_false(d->finishing || d->closed);
    d->finishing = true;
}
static void w_close(struct env_stream *s)
{
    struct end *d = end_of(s);
    assert_false(d->closed);
    d->closed = true;
}
static int w_listen(struct env *e, const char *addr, void (*accepted)(void *, struct env_stream *), void *ctx,
                    struct env_listener **out, struct err_text *why)
{
    if (strcmp(addr, "taken") == 0)
        return err_set(why, ERR_ADDRESS, "taken");
    world.listener.env = e;
    world.accepted = accepted;
    world.accepted_ctx = ctx;
    *out = &world.listener;
    return 0;
}
static const char *w_listener_addr(const struct env_listener *l)
{
    (void)l;
    return "127.0.0.1:4001";
}
static void w_listener_close(struct env_listener *l)
{
    (void)l;
    world.accepted = NULL;
}
static void PRINTF_LIKE(3, 0)
w_log(struct env *e, const char *component, const char *fmt, va_list args)
{
    const size_t len = strlen(world.said);
    (void)e;
    (void)component;
    (void)vsnprintf(world.said + len, sizeof world.said - len, fmt, args);
}
static const struct env_ops world_ops = {
    .now_ns = w_now,
    .timer_arm = w_timer_arm,
    .timer_disarm = w_timer_disarm,
    .turn_schedule = w_turn_schedule,
    .turn_cancel = w_turn_cancel,
    .job_submit = w_job_submit,
    .file_open = w_file_open,
    .file_close = w_file_close,
    .file_size = w_file_size,
    .file_read = w_file_read,
    .stream_connect = w_connect,
    .stream_read_start = w_read_start,
    .stream_read_stop = w_read_stop,
    .stream_write = w_write,
    .stream_pending = w_pending,
    .stream_peer = w_peer,
    .stream_finish = w_finish,
    .stream_close = w_close,
    .listen = w_listen,
    .listener_addr = w_listener_addr,
    .listener_close = w_listener_close,
    .log = w_log,
};

/* ---- moving the world ------------------------------------------------------------------------------------- */

static bool end_connect(struct end *d)
{
    d->connecting = false;
    if (d->refused || !world.accepted) {
        d->base.events->opened(d->base.ctx, ERR_REFUSED);
        return true;
    }
    struct end *theirs = end_new();
    theirs->other = d;
    d->other = theirs;
    world.accepted(world.accepted_ctx, &theirs->base);
    assert_non_null(theirs->base.events);
    d->base.events->opened(d->base.ctx, 0);
    return true;
}

static void end_gone(struct end *d)
{
    const struct env_stream_events *events = d->base.events;
    void *ctx = d->base.ctx;
    if (d->other)
        d->other->other = NULL;
    buf_fini(&d->out);
    d->used = false;
    events->closed(ctx);
}

static bool end_receive(struct end *d)
{
    struct end *from = d->other;
    const bool takes = from && (d->reading || d->finishing) && !d->closed && buf_len(&from->out) > 0;
    if (!takes)
        return false;
    const struct slice waits = buf_slice(&from->out);
    const size_t len = waits.len < world.piece ? waits.len : world.piece;
    uint8_t *copy = malloc(len);
    memcpy(copy, waits.data, len);
    buf_consume(&from->out, len);
    world.received += len;
    if (!d->finishing)
        d->base.events->data(d->base.ctx, slice_of(copy, len));
    free(copy);
    if (d->other == from && from->behind && w_pending(&from->base) == 0 && !from->finishing && !from->closed) {
        from->behind = false;
        from->base.events->drained(from->base.ctx);
    }
    return true;
}

static bool end_end(struct end *d)
{
    const bool over = !d->other || d->fin;
    if (!over || d->saw_end || d->closed || d->finishing || d->connecting || !(d->reading || (!d->other && !d->fin)))
        return false;
    d->saw_end = true;
    d->base.events->ended(d->base.ctx, d->fin ? ERR_EOF : ERR_RESET);
    return true;
}

static bool end_step(struct end *d)
{
    if (!d->used)
        return false;
    if (d->closed || (d->finishing && (!d->other || buf_len(&d->out) == 0))) {
        if (d->finishing && !d->closed && d->other)
            d->other->fin = true;
        end_gone(d);
        return true;
    }
    if (d->connecting)
        return end_connect(d);
    return end_receive(d) || end_end(d);
}

static void world_run(void)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < ENDS_MAX; i++)
            moved = end_step(&world.ends[i]) || moved;
        for (struct env_turn *t; (t = world.turns) != NULL; moved = true) {
            world.turns = t->next;
            t->scheduled = false;
            t->run(t);
        }
        if (world.job) {
            struct env_job *j = world.job;
            world.job = NULL;
            world.jobs_run++;
            j->run(j);
            j->submitted = false;
            j->done(j);
            moved = true;
        }
    }
}

static void world_pass(uint64_t ms)
{
    world.now_ns += ms * ENV_MS_NS;
    for (int i = 0; i < TIMERS_MAX; i++) {
        struct env_timer *t = world.timers[i];
        if (!t || t->due_ns > world.now_ns)
            continue;
        w_timer_disarm(t);
        t->fire(t);
        i = -1;
    }
    world_run();
}

static void world_reset(void)
{
    memset(&world, 0, sizeof world);
    world.env.ops = &world_ops;
    world.now_ns = 5 * ENV_S_NS;
    world.piece = 16 * 1024;
    world.window = 64 * 1024;
}

static uint32_t world_streams(void)
{
    uint32_t count = 0;
    for (int i = 0; i < ENDS_MAX; i++)
        count += world.ends[i].used;
    return count;
}

/* ---- certificates -------------------------------------------------------------------------------------------- */

struct cert {
    X509 *x509;
    EVP_PKEY *key;
    char *pem, *key_pem;
};

static char *bio_text(BIO *bio)
{
    char *bytes = NULL;
    const long len = BIO_get_mem_data(bio, &bytes);
    char *text = mem_must_alloc((size_t)len + 1);
    memcpy(text, bytes, (size_t)len);
    text[len] = '\0';
    BIO_free(bio);
    return text;
}

/* issuer NULL: self-signed, a CA. name: common name, and DNS name. */
static struct cert cert_make(const char *name, const struct cert *issuer)
{
    static long serial = 1;
    struct cert c = {.x509 = X509_new(), .key = EVP_EC_gen("P-256")};
    char san[300];
    assert_true(c.x509 && c.key);
    X509_set_version(c.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), 3600);
    X509_set_pubkey(c.x509, c.key);
    X509_NAME *subject = X509_get_subject_name(c.x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c.x509, X509_get_subject_name(issuer ? issuer->x509 : c.x509));
    (void)snprintf(san, sizeof san, "DNS:%s", name);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    X509_EXTENSION *ca =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(c.x509, names, -1);
    X509_add_ext(c.x509, ca, -1);
    X509_EXTENSION_free(names);
    X509_EXTENSION_free(ca);
    assert_true(X509_sign(c.x509, issuer ? issuer->key : c.key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, c.x509);
    c.pem = bio_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, c.key, NULL, NULL, 0, NULL, NULL);
    c.key_pem = bio_text(bio);
    return c;
}

static void cert_free(struct cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    mem_free(c->pem);
    mem_free(c->key_pem);
}

#endif
