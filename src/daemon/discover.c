/* discover — see discover.h. Called by cluster.c. */
#include "discover.h"

#include "files.h"

#include <rq/http.h>

#include <stdio.h>
#include <string.h>

enum { REPORT_LOOK_MS = 500, REPORT_S = 10 };

/* -disco-config: a file's content, or the text itself. */
static int config_open(struct env *e, const struct flags *f, struct disco **out,
                       struct err_text *why)
{
    struct buf json;
    struct err_text ignored;
    struct slice host, port = slice_of(NULL, 0);
    unsigned number = 0;
    if (http_host_port_split(slice_str(f->raft_addr), &host, &port) == 0)
        for (size_t i = 0; i < port.len && number <= UINT16_MAX; i++)
            number = number * 10 + (unsigned)(port.data[i] - '0');
    buf_init(&json, FILES_PEM_MAX);
    if (f->disco_config[0] != '\0' && file_read_whole(f->disco_config, &json, &ignored) != 0) {
        buf_reset(&json, 0);
        (void)buf_append_str(&json, f->disco_config);
    }
    const struct disco_config config = {
        .mode = f->disco_mode,
        .key = f->disco_key,
        .json = buf_slice(&json),
        .raft_port = (uint16_t)number,
    };
    const int rc = json.failed ? err_set(why, json.failed, "%s", err_text_of(json.failed))
                               : disco_create(e, &config, out, why);
    buf_fini(&json);
    return rc;
}

static const char *refusal_of(const char *mode)
{
    if (strcmp(mode, "consul-kv") == 0)
        return "failed to start discovery service: create Consul config: ";
    if (strcmp(mode, "etcd-kv") == 0)
        return "failed to start discovery service: create etcd config: ";
    return "error reading DNS configuration: ";
}

int discover_open(struct env *e, const struct flags *f, struct disco **out, struct err_text *why)
{
    struct err_text reason = {""};
    const int rc = config_open(e, f, out, &reason);
    return rc == 0 ? 0 : err_set(why, rc, "%s%s", refusal_of(f->disco_mode), reason.text);
}

/* ---- reports ------------------------------------------------------------------------------------------- */

static void reported(void *ctx, int rc, const char *why)
{
    struct report *r = ctx;
    if (rc != 0)
        env_log(r->env, "disco", "failed to update discovery service with leader details: %s", why);
}

static void report_look(struct env_timer *t)
{
    struct report *r = t->ctx;
    struct node_status status;
    const uint64_t now = env_now_ns(r->env);
    env_timer_arm(t, REPORT_LOOK_MS * ENV_MS_NS);
    node_status_get(r->node, &status);
    if (status.role != RAFT_LEADER) {
        r->told_ns = 0;
        return;
    }
    if (r->told_ns != 0 && now - r->told_ns < REPORT_S * ENV_S_NS)
        return;
    if (disco_write(r->disco, r->self, false, reported, r) == 0)
        r->told_ns = now;
}

void report_start(struct report *r, struct env *e, struct node *n, struct disco *d,
                  const struct disco_record *self)
{
    *r = (struct report){.env = e, .node = n, .disco = d, .self = self};
    env_timer_init(&r->timer, e, report_look, r);
    env_timer_arm(&r->timer, 0);
}

void report_stop(struct report *r)
{
    env_timer_disarm(&r->timer);
}
