/* sim_run — one seed from start to verdict: the cluster, its clients, its enemies, its judges. Private to
 * the simulator; main.c is the only outside caller of sim_run.
 *
 * Files call downwards only:
 *
 *      sim_run.c                   form ─► faults ─► heal ─► quiet ─► final judgement
 *      sim_scenario.c sim_script_*.c  in place of faults: a script (sim_scenario.h)
 *      sim_state.c   sim_nemesis.c oracles S1, S4, C1–C11, liveness; what to break, within the budget
 *      sim_spoil.c                 one thing to break: an image, damaged or made different while its node is down
 *      sim_duel.c sim_ambush.c     what lies in wait for moments of Raft
 *      sim_wipe.c                  an empty disk under an old name
 *      sim_scene.c                 after the faults: moments of storage, arranged
 *      sim_forced.c                one of them: recovery by raft/peers.json
 *      sim_depart.c                nodes that move, are given up, leave as they stop
 *      sim_member.c                members come and go
 *      sim_client.c                HTTP clients: operations, histories; below it sim_client_int.h
 *      sim_load.c                  a client that loads databases
 *      sim_backup.c                a client that makes backups, and oracle S6
 *      sim_ask.c sim_talk.c        questions of the judge; HTTP over simulated streams
 *      sim_epoch.c                 where loads begin the ledger anew
 *      sim_order.c sim_history.c   was it possible: pure judges
 *      sim_step.c                  time passes, the oracles look on after every event
 *      sim_promise.c               oracles P1–P3: bytes that promise, against a shadow power cut
 *      sim_cluster.c               hosts that run node + api (the shipped object code), boot, restart
 *      sim_raft.c sim_conf.c       oracles R1–R12, P5
 *      sim_shadow.c                what recovery would find
 *      sim_core.c                  violations; the state they share is struct sim
 *
 * What goes up: sim.ended tells the nemesis of an incarnation's end, the others tell duels and ambushes of
 * what they wait for; sim_run.c fills them in. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "env/env_sim.h"
#include "sim_order.h"
#include "sim_plan.h"
#include <rq/api.h>
#include <rq/node.h>

/* ---- the outcome of a seed -------------------------------------------------------------------------- */

struct sim_result {
    bool violated;
    enum sim_oracle oracle; /* the first one */
    char text[400];
    uint64_t virtual_ns, events;
    uint64_t ok, fail, info; /* requests */
    uint64_t reads_ok[SIM_LEVEL_COUNT];
    uint64_t deeds_ok[SIM_DEED_COUNT];
    uint64_t aborted;    /* ABORTED that were, with its error */
    uint64_t in_bursts;  /* questions answered that were asked in one breath with others */
    uint64_t sent_again; /* KEYED that succeeded at a later attempt */
    uint64_t evaluations[SIM_ORACLE_COUNT];
    uint64_t faults[WORLD_FAULT_COUNT];
    uint64_t families[SIM_FAMILY_COUNT]; /* injections of each */
    uint64_t scenes[SIM_SCENE_COUNT];    /* played to their end */
    uint64_t loads_ok, loads_refused, boots_ok;
    uint64_t unordered; /* nobody can say in which order loads happened: not judged */
    uint64_t elections, commits, compactions, installs, conf_changes;
    uint64_t refused_for_space; /* writes, with 503 */
    struct sim_script_result {
        uint64_t met;    /* how often what the scenario is about came about */
        uint64_t writes; /* of its script, acknowledged */
        uint64_t wait_ns, wait_allowed_ns; /* longest time without one */
        uint64_t terms, terms_allowed;     /* changes of term, most in one stretch */
    } script;
    struct world_hash hash;
};

/* Run one seed. trace: NULL or a file that gets a line per event. */
void sim_run(const struct sim_plan *plan, struct sim_result *out);

/* ---- inside ------------------------------------------------------------------------------------------- */

struct sim;

/* A server: a host, and what runs on it while an incarnation lives. */
struct sim_server {
    struct sim *sim;
    struct host *host;
    uint32_t at;
    const struct sim_node_plan *plan;
    char name[16], raft_addr[32], api_addr[32], api_url[48];
    bool bootstrap;
    const char *heir; /* whom it is to hand over to; NULL: anybody */
    uint32_t moves; /* how often its address has changed */
    bool moving;    /* and no member knows yet */
    uint32_t replaced; /* how often another one took its place, with an empty disk */
    raft_id old_id;    /* of the one before; 0: none */
    bool rejoins; /* asks to be a member until somebody says that it is */
    bool
        dead_for_good; /* damaged beyond what it can repair by itself: stays down, within the budget */
    bool wiped;        /* its disk was taken away; until it votes again */
    bool damaged;      /* bits of its durable log were flipped: recovery may refuse, rightly */
    bool differs;      /* made so by the nemesis, and not healed yet */
    bool halt_expected;     /* its disk was made to fail: a halt is the right answer */
    uint64_t restart_at_ns; /* 0: none planned */
    /* of the living incarnation (in the host's pool; NULL when down) */
    struct node *node;
    struct api *api;
    struct env_timer *join_timer;
    bool open, stopping;
    uint32_t join_at;
    uint64_t led_ns;             /* when it was last seen to lead, in any incarnation */
    uint64_t heard_ns, heard_ms; /* its leader, last: when, and what raft calls it */
};

struct shadow_cache;   /* sim_shadow.c */
struct sim_raft_watch; /* sim_raft.c */
struct sim_promises;   /* sim_promise.c */
struct sim_client;     /* sim_client.c */
struct sim_nemesis;    /* sim_nemesis.c */
struct sim_duel;       /* sim_duel.c */
struct sim_ambush;     /* sim_ambush.c */
struct sim_wipe;       /* sim_wipe.c */
struct sim_scene;      /* sim_scene.c */
struct sim_members;    /* sim_member.c */
struct sim_departs;    /* sim_depart.c */
struct sim_conf_watch; /* sim_conf.c */
struct clients_shared; /* sim_client.c */
struct sim_loader;     /* sim_load.c */
struct sim_saver;      /* sim_backup.c */
struct sim_asker;      /* sim_ask.c */

/* Somebody looks whether a stop ends in time. */
struct stop_watch {
    struct sim_server *server;
    uint64_t incarnation;
};

struct sim {
    struct sim_plan plan;
    struct world *world;
    struct sim_server servers[SIM_NODES_MAX];
    struct stop_watch stop_watches[SIM_NODES_MAX];
    struct sim_client *clients[SIM_CLIENTS_MAX];
    struct sim_client *agents[SIM_AGENTS]; /* ask only when told to */
    struct shadow_cache *shadows;          /* of each server */
    struct sim_raft_watch *watch;
    struct sim_promises *promises;
    struct sim_nemesis *nemesis;
    struct sim_duel *duel;
    struct sim_ambush *ambush;
    struct sim_wipe *wipe;
    struct sim_scene *scene;
    struct sim_members *members;
    struct sim_departs *departs;
    struct sim_conf_watch *confs;
    struct clients_shared *shared;
    struct sim_loader *loader; /* NULL: none */
    struct sim_saver *saver;   /* likewise */
    struct sim_asker *asker;
    struct sim_history *histories[SIM_KEYS_MAX];
    struct sim_result *result;
    void (*ended)(struct sim *s, struct sim_server *v, const char *reason); /* an incarnation */
    void (*campaigned)(struct sim *s, struct sim_server *v, uint64_t term);
    /* The vote leaves just now: on the voter's own stack. */
    void (*voted)(struct sim *s, struct sim_server *voter, uint64_t candidate, uint64_t term);
    void (*acked)(struct sim *s, struct sim_server *v, uint64_t index); /* likewise */
    void (*led)(struct sim *s, struct sim_server *v, uint64_t term);    /* it begins to */
    void (*committed)(struct sim *s, struct sim_server *leader, uint64_t term);
    void (*agent_done)(struct sim *s, const struct sim_deed *d);
    struct sim_server *watched; /* by the script of a scenario */
    bool faults_over;
    bool stop_clients;
};

/* sim_core.c */
/* First violation wins; the run stops at the end of the event. */
void sim_violate(struct sim *s, enum sim_oracle o, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline void sim_evaluated(struct sim *s, enum sim_oracle o)
{
    s->result->evaluations[o]++;
}

/* sim_step.c */
/* After every event: oracles that look at state. False: violated, stop. */
bool sim_after_event(struct sim *s);
/* Run for `ns` virtual time with the oracles looking on; or until met(s) holds (NULL: never). */
bool sim_go(struct sim *s, uint64_t ns, bool (*met)(struct sim *s));

/* sim_cluster.c */
void sim_cluster_create(struct sim *s);
void sim_server_start(struct sim_server *v);
void sim_server_stop(struct sim_server *v);     /* as SIGTERM does it */
void sim_server_transfer(struct sim_server *v); /* hand over, if it leads */
void sim_server_move(struct sim_server *v);     /* it is down: it will come back under another address */
void sim_server_rejoin(struct sim_server *v);   /* ask the others to add it, now or when it is up */
struct sim_server *sim_server_of(struct sim *s, const struct host *h); /* NULL: a client's host */
struct sim_server *
sim_leader(struct sim *s); /* the one with the highest term that believes so; NULL */

/* sim_client.c */
void sim_clients_create(struct sim *s);
void sim_clients_destroy(struct sim *s);
struct sim_deeds {
    struct sim_deed *at;
    size_t count, cap;
};
struct sim_deeds *sim_clients_deeds(struct sim *s);
bool sim_deed_happens(enum sim_deed_kind kind); /* does any client ever do it */
uint64_t sim_clients_number(struct sim *s);     /* for a write of one's own */
size_t sim_clients_remember(struct sim *s, const struct sim_deed *d); /* its place */
struct sim_errand {
    enum sim_deed_kind kind; /* WRITE or READ */
    enum sim_level level;
    uint32_t key;
    struct sim_server *server;
};
/* An idle agent asks at once; its deed counts like any client's. false: all are busy. */
bool sim_agent_send(struct sim *s, const struct sim_errand *errand);

/* sim_load.c */
void sim_loader_create(struct sim *s);
void sim_loader_destroy(struct sim *s);
/* sim_backup.c */
void sim_saver_create(struct sim *s);
void sim_saver_destroy(struct sim *s);
struct sim_epochs;
/* In the end, with the whole ledger. */
void sim_saver_judge(struct sim *s, const struct sim_order *o, const struct sim_epochs *epochs);

/* sim_ask.c */
void sim_asker_create(struct sim *s);
void sim_asker_destroy(struct sim *s);
/* One request outside of any history, for the final judgement: answered with status and body, or not.
 * body: NUL-terminated, malloc'ed, the caller's; NULL if nothing came in time. */
char *sim_ask(struct sim *s, struct sim_server *v, const char *method, const char *target,
              const char *body, uint64_t timeout_ns, int *status);

/* sim_nemesis.c */
void sim_nemesis_create(struct sim *s);
void sim_nemesis_begin(struct sim *s);
void sim_nemesis_heal(
    struct sim *s); /* stop, mend what can be mended, restart who is not dead for good */
void sim_nemesis_destroy(struct sim *s);
void sim_nemesis_ended(struct sim *s, struct sim_server *v, const char *reason); /* as sim.ended */

/* sim_spoil.c */
bool sim_spoil(struct sim *s, struct sim_server *v, struct prng *r); /* v is up; false: not now */

/* sim_duel.c */
void sim_duel_create(struct sim *s);
void sim_duel_destroy(struct sim *s);
void sim_duel_begin(struct sim *s, struct prng *rng); /* the leader dies; unless a duel is on */
void sim_duel_campaigned(struct sim *s, struct sim_server *v,
                         uint64_t term); /* as sim.campaigned */
void sim_duel_voted(struct sim *s, struct sim_server *voter, uint64_t candidate, uint64_t term);

/* sim_member.c */
void sim_members_create(struct sim *s);
void sim_members_destroy(struct sim *s);
void sim_member_change(struct sim *s);
void sim_member_remove(struct sim *s, struct sim_server *by, struct sim_server *who);
void sim_members_heal(struct sim *s); /* all are members again, or L1 */

/* Everybody is a member as planned, and nobody is about to go: one may lose its disk. */
bool sim_members_settled(struct sim *s);

/* sim_depart.c */
void sim_departs_create(struct sim *s);
void sim_departs_destroy(struct sim *s);
void sim_depart(struct sim *s, enum sim_family f); /* counted when it came to that */
void sim_departs_heal(struct sim *s);

/* sim_ambush.c */
void sim_ambush_create(struct sim *s);
void sim_ambush_destroy(struct sim *s);
void sim_ambush_begin(struct sim *s, enum sim_family f); /* nothing, while another is on */
void sim_ambush_campaigned(struct sim *s, struct sim_server *v, uint64_t term);
void sim_ambush_led(struct sim *s, struct sim_server *v, uint64_t term);
void sim_ambush_committed(struct sim *s, struct sim_server *leader, uint64_t term);
void sim_ambush_acked(struct sim *s, struct sim_server *v, uint64_t index);
void sim_ambush_agent_done(struct sim *s, const struct sim_deed *d);
/* sim_wipe.c */
void sim_wipe_create(struct sim *s);
void sim_wipe_destroy(struct sim *s);
bool sim_wipe_begin(struct sim *s);   /* false: not now */
bool sim_wipe_replace(struct sim *s); /* another one in its place, under another name; likewise */
void sim_wipe_server(struct sim *s, struct sim_server *v);
bool sim_wipe_pending(struct sim *s); /* somebody is not back yet */
/* Not its promises count, within the fault budget: the others hold what it held. */
static inline bool sim_excused(const struct sim_server *v)
{
    return v->damaged || v->wiped;
}

/* sim_scene.c */
void sim_scene_create(struct sim *s);
void sim_scene_destroy(struct sim *s);
void sim_scene_busy(struct sim *s);  /* while clients work */
void sim_scene_quiet(struct sim *s); /* when they have stopped */
/* sim_forced.c */
void sim_forced_play(struct sim *s); /* one of the scenes */
/* The member with this number; the one whose place it took, too, until it is a member itself. */
static inline bool sim_server_is(const struct sim_server *v, raft_id id)
{
    return id == wire_member_id(slice_str(v->name)) || (v->wiped && v->old_id && id == v->old_id);
}

/* sim_shadow.c */
void sim_shadows_create(struct sim *s);
void sim_shadows_destroy(struct sim *s);
/* What recovery would find on this server's disk if the power went now and all that is pending were lost. */
struct sim_shadow {
    int rc; /* of image_open and rlog_open */
    struct raft_hard hard;
    uint64_t image_index;             /* 0: none */
    uint64_t first_index, last_index; /* of the log */
    uint64_t terms_cap;
    uint64_t *terms; /* by index, malloc'ed: sim_shadow_fini */
};
/* Would recovery have this entry, in the log or in the image? */
bool sim_shadow_has(const struct sim_shadow *x, uint64_t index, uint64_t term);
/* Lent until the server's disk changes. */
const struct sim_shadow *sim_shadow_take(struct sim *s, struct sim_server *v);
void sim_shadow_forget(struct sim *s, struct sim_server *v); /* its disk changed by other hands */
/* For a promise: what the disk was at that instant (after so many operations), recovered later. */
struct sim_disk *sim_shadow_clone(struct sim *s, struct sim_server *v);
const struct sim_shadow *sim_shadow_last(const struct sim *s, const struct sim_server *v);
bool sim_shadow_known(const struct sim *s, const struct sim_server *v, uint64_t disk_ops);
const struct sim_shadow *sim_shadow_learn(struct sim *s, struct sim_server *v,
                                          struct sim_disk *clone,
                                          uint64_t disk_ops); /* takes clone */

/* sim_raft.c */
void sim_raft_watch_create(struct sim *s);
void sim_raft_watch_destroy(struct sim *s);
void sim_raft_look(struct sim *s);                            /* after every event */
void sim_raft_restarted(struct sim *s, struct sim_server *v); /* a new incarnation begins */
void sim_raft_forgot(struct sim *s, struct sim_server *v);    /* its disk is empty */
void sim_raft_forced(struct sim *s); /* all are down, and another cluster begins */
void sim_raft_applied(struct sim *s, struct sim_server *v, uint64_t index, uint64_t digest);
void sim_raft_entry_seen(struct sim *s, uint64_t index, uint64_t term, uint32_t crc);
void sim_raft_acked(struct sim *s, struct sim_server *v, uint64_t index, uint64_t term);
void sim_raft_vote_seen(struct sim *s, uint32_t voter, uint64_t term, uint64_t candidate);
uint64_t sim_raft_committed_term(const struct sim *s, uint64_t index); /* 0: not committed */

/* sim_conf.c */
void sim_confs_create(struct sim *s);
void sim_confs_destroy(struct sim *s);
void sim_conf_look(struct sim *s, struct sim_server *v, const struct raft *r,
                   const struct raft_view *view);
void sim_conf_restarted(struct sim *s, struct sim_server *v);
void sim_conf_forced(struct sim *s);
/* By the newest configuration that is committed. */
uint32_t sim_conf_voters(const struct sim *s);
bool sim_conf_votes(const struct sim *s, const struct sim_server *v);
bool sim_conf_has(const struct sim *s, const struct sim_server *v);

/* sim_promise.c */
void sim_promises_create(struct sim *s);
void sim_promises_destroy(struct sim *s);
void sim_promises_check(struct sim *s); /* those made during the last event */

/* sim_state.c */
void sim_state_maimed(struct sim *s);
void sim_state_final(struct sim *s);

#endif
