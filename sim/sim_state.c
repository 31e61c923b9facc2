/* sim_state.c — the final judgement, after healing: does it serve again (L1), is everything acknowledged
 * there exactly once (C2), is it the same on all nodes (S4), and were the histories possible (C1). */
#include "sim_epoch.h"
#include "sim_run.h"
#include <rq/util/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVE_LIMIT_S = 90, LEDGER_FIRST = 64 };

static bool alive(const struct sim_server *v)
{
    return !v->dead_for_good;
}

/* ---- L1 ------------------------------------------------------------------------------------------------- */

/* A write through this server succeeds within the limit; refusals in between are fine. */
static bool serves(struct sim *s, struct sim_server *v)
{
    static const char body[] = "[\"UPDATE kv SET v=v WHERE k=-1\"]";
    uint64_t until = world_now_ns(s->world) + SERVE_LIMIT_S * ENV_S_NS;

    while (world_now_ns(s->world) < until && !s->result->violated) {
        int status = 0;
        char *answer =
            sim_ask(s, v, "POST", "/db/execute?raft_index&timeout=3s", body, 5 * ENV_S_NS, &status);
        bool ok = answer && status == 200 && !strstr(answer, "\"error\"");
        free(answer);
        if (ok)
            return true;
        (void)sim_go(s, 100 * ENV_MS_NS, NULL);
    }
    return false;
}

/* What its queue took is written: a marker behind it is answered. */
static bool queue_drains(struct sim *s, struct sim_server *v)
{
    uint64_t until = world_now_ns(s->world) + SERVE_LIMIT_S * ENV_S_NS;
    int status = 0;

    while (status != 200 && world_now_ns(s->world) < until && !s->result->violated) {
        free(sim_ask(s, v, "POST", "/db/execute?queue&wait&timeout=30s", "[]", 40 * ENV_S_NS,
                     &status));
        (void)sim_go(s, 100 * ENV_MS_NS, NULL);
    }
    return status == 200;
}

static bool converged(struct sim *s)
{
    uint64_t applied = 0;

    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        struct raft_view view;
        if (!alive(v))
            continue;
        if (!v->node || !v->open)
            return false;
        raft_look(node_raft(v->node), &view);
        if (view.applied_index != view.last_index || (applied && applied != view.applied_index))
            return false;
        applied = view.applied_index;
    }
    return true;
}

static bool all_alike(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++)
        if (alive(&s->servers[i]) && s->servers[i].differs)
            return false;
    return converged(s);
}

static void judge_liveness(struct sim *s)
{
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        if (!alive(v))
            continue;
        sim_evaluated(s, SIM_L1);
        if (!serves(s, v) && !s->result->violated && alive(v))
            sim_violate(s, SIM_L1, "%s answers no write within %d s after everything was healed",
                        v->name, SERVE_LIMIT_S);
        if (!s->result->violated && alive(v) && !queue_drains(s, v) && !s->result->violated)
            sim_violate(s, SIM_L1, "the queue of %s is not through within %d s", v->name,
                        SERVE_LIMIT_S);
    }
    sim_evaluated(s, SIM_L1);
    if (!sim_go(s, SERVE_LIMIT_S * ENV_S_NS, converged))
        sim_violate(s, SIM_L1, "the nodes did not converge within %d s", SERVE_LIMIT_S);
    else if (!sim_go(s, SERVE_LIMIT_S * ENV_S_NS, all_alike))
        sim_violate(s, SIM_S4, "a node that was made different was not healed within %d s",
                    SERVE_LIMIT_S);
}

/* One node hears nobody, or nobody hears it, and it led: the others must do without it. */
void sim_state_maimed(struct sim *s)
{
    struct sim_server *victim = sim_leader(s);
    uint32_t living = 0;

    for (uint32_t i = 0; i < s->plan.node_count; i++)
        living += alive(&s->servers[i]) && !s->servers[i].plan->replica &&
                  !sim_excused(&s->servers[i]); /* it may refuse to start */
    if (!victim || living < 2 || living - 1 <= s->plan.voter_count / 2)
        return;
    bool deaf = s->plan.seed % 2 != 0;
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct host *other = s->servers[i].host;
        if (other != victim->host)
            world_partition_one_way(s->world, deaf ? other : victim->host,
                                    deaf ? victim->host : other);
    }
    for (uint32_t i = 0; i < s->plan.node_count; i++) {
        struct sim_server *v = &s->servers[i];
        if (v == victim || !alive(v))
            continue;
        sim_evaluated(s, SIM_L1);
        if (!serves(s, v) && !s->result->violated && alive(v))
            sim_violate(s, SIM_L1, "%s answers no write within %d s while only %s is half cut off",
                        v->name, SERVE_LIMIT_S, victim->name);
    }
    world_links_heal(s->world);
}

/* ---- S4 --------------------------------------------------------------------------------------------------- */

/* A reset drawn while faults were on may still hit the first connections: ask again. */
static char *dump(struct sim *s, struct sim_server *v, const char *query)
{
    char target[256];

    (void)snprintf(target, sizeof(target), "/db/query?level=none&q=%s", query);
    for (int tries = 0; tries < 5 && !s->result->violated; tries++) {
        int status = 0;
        char *answer = sim_ask(s, v, "GET", target, "", 20 * ENV_S_NS, &status);
        if (answer && status == 200 && !strstr(answer, "\"error\""))
            return answer;
        free(answer);
    }
    return NULL;
}

static char *judge_equal(struct sim *s, const char *query)
{
    char *first = NULL;
    const char *first_name = "";

    for (uint32_t i = 0; i < s->plan.node_count && !s->result->violated; i++) {
        struct sim_server *v = &s->servers[i];
        if (!alive(v))
            continue;
        char *answer = dump(s, v, query);
        sim_evaluated(s, SIM_S4);
        if (!answer)
            sim_violate(s, SIM_L1, "%s does not answer a local read at rest", v->name);
        else if (first && strcmp(first, answer) != 0)
            sim_violate(s, SIM_S4, "%s and %s differ in: %s", first_name, v->name, query);
        if (first) {
            free(answer);
        } else {
            first = answer;
            first_name = v->name;
        }
    }
    return first;
}

/* ---- C2–C7, C9, C10 ------------------------------------------------------------------------------------------- */

/* The pairs in {"values":[[1,5],[2,7],…]}; malloc'ed. */
static struct sim_epoch_row *ledger_read(const char *answer, size_t *count)
{
    struct sim_epoch_row *rows = malloc((strlen(answer) / 6 + 1) * sizeof(*rows)); /* "[1,5]," */
    const char *at = strstr(answer, "\"values\":[");

    *count = 0;
    for (at = at ? at + 10 : NULL; at && *at == '['; at++) {
        char *comma;
        rows[*count].row = strtoull(at + 1, &comma, 10);
        rows[(*count)++].op = strtoull(comma + 1, NULL, 10);
        at = strchr(at, ']');
        if (at && at[1] == ',')
            at++;
    }
    return rows;
}

static void order_judge(struct sim *s, struct sim_order *o, const struct sim_epochs *epochs)
{
    enum sim_oracle oracle;
    struct err_text why = {""};

    if (!sim_order_check(o, &oracle, &why))
        sim_violate(s, oracle, "%s", why.text);
    if (!s->result->violated)
        sim_saver_judge(s, o, epochs);
}

static void judge_order(struct sim *s, const char *answer)
{
    struct sim_deeds *all = sim_clients_deeds(s);
    struct sim_order o = {
        .deeds = all->at, .count = all->count, .evaluations = s->result->evaluations};
    struct sim_epochs epochs;
    struct err_text why = {""};
    size_t rows;

    for (size_t i = 0; i < all->count; i++) {
        struct sim_deed *d = &all->at[i];
        const struct sim_server *v = &s->servers[d->server];
        d->survived = host_up(v->host) && host_incarnation(v->host) == d->incarnation;
    }
    struct sim_epoch_row *last = ledger_read(answer, &rows);
    bool laid = sim_epochs_lay(all->at, all->count, last, rows, &epochs, &why);
    o.ledger = epochs.ledger;
    o.rows = epochs.rows;
    o.forgets = epochs.count > 1;
    if (!laid)
        sim_violate(s, SIM_C2, "%s", why.text);
    else if (!epochs.unordered)
        order_judge(s, &o, &epochs);
    s->result->unordered += laid && epochs.unordered;
    sim_epochs_fini(&epochs);
    free(last);
}

static void judge_histories(struct sim *s)
{
    for (uint32_t k = 0; k < s->plan.key_count && !s->result->violated; k++) {
        struct err_text why = {""};
        enum sim_verdict verdict = sim_history_check(s->histories[k], 20 * 1000 * 1000, &why);
        s->result->evaluations[SIM_C1] += sim_history_count(s->histories[k]);
        if (verdict != SIM_LINEARIZABLE_YES)
            sim_violate(s, SIM_C1, "key %u: %s%s", k,
                        verdict == SIM_LINEARIZABLE_UNKNOWN ? "undecided within the limit: " : "",
                        why.text);
    }
}

void sim_state_final(struct sim *s)
{
    judge_liveness(s);
    if (s->result->violated)
        return;
    free(judge_equal(s, "SELECT+*+FROM+ledger+ORDER+BY+n"));
    free(judge_equal(s, "SELECT+*+FROM+kv+ORDER+BY+k"));
    free(judge_equal(s, "SELECT+*+FROM+sqlite_master"));
    char *ledger =
        s->result->violated ? NULL : judge_equal(s, "SELECT+n,op+FROM+ledger+ORDER+BY+n");
    if (ledger)
        judge_order(s, ledger);
    free(ledger);
    judge_histories(s);
}
