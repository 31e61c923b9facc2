/* node_image_int — what the room keeps for the image: tasks, cuts, transfers, installs, and the looking for damage.
 * Part of node_int.h, which includes it. */
#ifndef RQ_NODE_IMAGE_INT_H
#define RQ_NODE_IMAGE_INT_H

#include <rq/env.h>
#include <rq/image.h>
#include <rq/limits.h>
#include <rq/node.h>
#include <rq/peer.h>
#include <rq/util/list.h>

struct node;
/* ---- the image (node_image.c, node_cut.c, node_fetch.c, node_install.c) ---------------------------------- */

struct node_image_task { /* whoever needs the image: run in a lane, then done on the LOOP */
    struct list link;
    struct node *node;
    enum env_lane lane;
    bool queued; /* until done() is entered */
    void (*run)(struct node_image_task *t);
    void (*done)(struct node_image_task *t);
    int rc; /* ERR_IO never reaches done(): the node stops */
    struct err_text why;
};

struct node_image {
    struct image *image;
    struct list tasks;
    struct node_image_task *running;
    struct env_job job;
    struct buf state;     /* beside the pages: being made */
    struct err_text why;  /* a page that db asked for */
    uint64_t index, term; /* of the image, as the LOOP knows it; 0: none */
};

struct node_pace { /* node_pace.c: work in pieces, with rests */
    struct node_image_task *task;
    uint64_t piece_bytes; /* of the next piece */
    uint64_t rest_ns;     /* before it */
    struct env_timer timer;
    void (*run)(struct node_image_task *t);
    void (*done)(struct node_image_task *t);
};

struct node_cut {
    struct node_image_task task;
    struct node_pace pace;
    bool active, sealed, applied;
    bool writing;                  /* image_cut_begin, but not yet sealed */
    bool cleared;                  /* live: the file may be changed */
    bool brought;                  /* all pages are in the files */
    bool last;                     /* the node stops when it is over */
    uint64_t piece_bytes;          /* of the piece under way; the job's until it is done */
    uint64_t fresh_bytes;          /* of SQLite's WAL that this one brings */
    uint32_t chases;               /* cuts before this one, each begun when the last was over */
    bool idle;                     /* there was nothing that the image does not hold */
    struct db_state left;          /* the lane's: at its end */
    bool full;                     /* all pages, whatever the image has: some of it is damaged */
    struct db_cut *cut;            /* the moment held; NULL: none */
    uint64_t index, term;          /* of the last one begun */
    struct env_timer retry, again; /* there was no space; a reader was in the way */
    uint64_t begun_ns;             /* the moment was held */
    bool emptying;                 /* nothing is applied, so that the WAL can be begun anew */
    bool emptied;                  /* this one tries it, or has */
    uint64_t held_back_ns;         /* by readers, since; 0: it is not */
    bool held_back_told;
    /* POST /snapshot: who waits for one that is begun after the question */
    void (*asked)(void *ctx, int rc, const char *why); /* NULL: nobody */
    void *asked_ctx;
    bool asked_begun;
    uint64_t asked_trailing;
};

struct node_shrink { /* of the WAL's file */
    struct node_image_task task;
    struct node_pace pace;
    bool active, more;
};

struct node_cut_when {
    struct env_timer timer;                 /* the next look */
    uint64_t begun_bytes, begun_load_bytes; /* what waited to be cut when the last one began */
    bool wanted;                            /* the image's configuration is of a former cluster */
};

struct node_upkeep {              /* node_upkeep.c */
    struct env_timer timer;       /* the next look */
    struct env_job job;           /* is there room for a VACUUM? */
    bool in_lane;                 /* the job is under way, */
    bool busy;                    /* or an entry of ours */
    uint64_t not_before_ns;       /* VACUUM: there was no room */
    uint64_t free_bytes, vacuums; /* the job's; vacuums told in the log */
};

enum { NODE_IMAGE_WINDOW = 4 }; /* chunks of a transfer that may be under way */
enum { NODE_CHUNK_BYTES = 512 * 1024, NODE_CHUNK_MAX = 1024 * 1024 };
struct node_fetch { /* the one image on its way here */
    struct node_image_task task;
    struct node_pace pace;
    uint64_t piece_bytes; /* taken of the piece under way */
    bool active;          /* until nothing is left of it */
    bool over;            /* it failed; waits for the lane */
    bool complete;
    raft_id from;
    uint64_t index;    /* wanted, or a later one */
    uint64_t transfer; /* the lender's number; 0: not known yet */
    peer_conn conn;    /* of its own; 0: lost, dialled at the next poll */
    bool greeted;
    uint32_t stream;
    uint32_t next, arrived; /* chunks: first one not taken, first one not here */
    struct node_fetch_chunk {
        struct buf bytes;
        bool packed;
    } ring[NODE_IMAGE_WINDOW]; /* next … arrived */
    struct image_receive *receive;
    struct buf raw; /* unpacked */
    uint64_t heard_ns;
    struct env_timer timer;
};

struct node_install {
    struct node_image_task task;
    struct env_timer patience; /* how long reads at work may go on */
    bool active;               /* nothing is applied, read or cut */
    bool begun;
    bool frozen; /* the log is being forgotten: no entries are taken */
    struct image_receive *receive;
    uint64_t index, term, conf_index;
    struct wire_conf conf;
    struct db_state state;
    struct db_facts facts;
};

/* ---- damage and divergence (node_repair.c, node_scrub.c, node_digest.c) ---------------------------------- */

enum node_repair_why { REPAIR_NONE, REPAIR_DAMAGED, REPAIR_DIVERGED };
struct node_repair {
    enum node_repair_why why;
    bool held;            /* the database must not be used: nothing is applied, read or cut */
    struct err_text text; /* what is wrong; also with NONE: damage that cannot be repaired */
    int64_t since_ns;     /* wall clock */
    uint32_t tries;
    raft_id lenders[RAFT_NODES_MAX]; /* who may have what is right */
    uint32_t lender_count;           /* 0: anybody */
    struct env_timer timer;
};

struct node_scrub {
    struct node_image_task task;
    struct env_timer timer;
    enum image_set set; /* the next page to look at; the lane's while the task is queued */
    uint32_t number;
    uint32_t count;                  /* of this turn */
    uint64_t at;                     /* pages done of this pass */
    uint64_t pages, passes, damaged; /* since the start */
};

enum { NODE_MARKS = 32, NODE_DIGEST_STEP = 1024 };
struct node_mark { /* what nodes came to at an index; 0: free */
    uint64_t index, own;
    bool own_known;
    uint32_t other_count;
    struct {
        raft_id id;
        uint64_t digest;
    } others[RAFT_NODES_MAX];
};
struct node_digest {
    struct node_mark marks[NODE_MARKS];
    uint64_t marked;      /* the newest of our own */
    uint64_t seen;        /* applied, when the timer last looked */
    uint64_t undecided;   /* nobody can tell who is right since this index; 0: all agree */
    struct err_text text; /* … in words */
    struct env_timer timer;
};

/* ---- calls ---- */

/* node_image.c */
void node_image_init(struct node *n);
void node_image_fini(struct node *n);
void node_image_submit(struct node *n, struct node_image_task *t, enum env_lane lane,
                       void (*run)(struct node_image_task *t),
                       void (*done)(struct node_image_task *t));
int node_image_state_put(struct buf *out, uint64_t conf_index, const struct wire_conf *conf,
                         struct slice db_state);
int node_image_state_get(struct slice state, uint64_t *conf_index, struct wire_conf *conf,
                         struct slice *db_state);             /* 0, ERR_CORRUPT */
int node_image_db_open(struct node *n, struct err_text *why); /* run() of APPLY */
void node_image_db_close(struct node *n); /* the same; harmless when it is closed */
void node_replace_path(const struct node *n, char *out, size_t cap); /* where VACUUM makes a file */
/* node_upkeep.c */
void node_upkeep_init(struct node *n);
void node_upkeep_start(struct node *n);
void node_upkeep_stop(struct node *n);
void node_upkeep_applied(struct node *n);
/* node_pace.c */
void node_pace_init(struct node_pace *p, struct node *n, struct node_image_task *task);
uint64_t node_pace_bytes(const struct node_pace *p);        /* of the next piece. Any lane */
void node_pace_took(struct node_pace *p, uint64_t took_ns); /* … and it has. Any lane */
/* The next piece, in the READ lane; after a rest, unless hurry. */
void node_pace_submit(struct node_pace *p, bool hurry, void (*run)(struct node_image_task *t),
                      void (*done)(struct node_image_task *t));
void node_pace_stop(struct node_pace *p);

/* node_cut_when.c */
void node_cut_when_init(struct node *n);
void node_cut_look(struct node *n); /* a lane's job is done: entries may have been applied */
/* The last one, on the way down. true: done() will run; false: there is nothing to cut. */
bool node_cut_last(struct node *n, void (*done)(void *ctx, int rc, const char *why), void *ctx);
void node_cut_when_stop(struct node *n);
/* node_cut.c */
void node_cut_init(struct node *n);
void node_shrink_look(struct node *n); /* entries may have been applied */
void node_cut_begin(struct node *n);   /* none is under way */
void node_cut_resume(struct node *n); /* the one that was asked for, once it can be */
void node_cut_want(struct node *n);    /* somebody needs an image of what is applied */
void node_cut_heal(
    struct node *n); /* write all pages, unless a cut is under way; then up.repaired */
void node_cut_cancel(struct node *n); /* on the way down */
/* node_install.c */
void node_install_init(struct node *n);
void node_install_stop(struct node *n); /* timers; on the way down */
void node_install_start(struct node *n, struct image_receive *receive); /* takes it */
void node_install_progress(struct node *n);
void node_install_logged(struct node *n);
/* node_fetch.c */
void node_fetch_init(struct node *n);
void node_fetch_fini(struct node *n);
void node_fetch_want(struct node *n, raft_id from, uint64_t index); /* raft's leader offers it */
/* Fetch an image that holds the entry at index, unless one is on its way: then ask again later. */
void node_fetch_pull(struct node *n, raft_id from, uint64_t index);
void node_fetch_greeted(struct node *n, peer_conn c);
void node_fetch_answered(struct node *n, peer_conn c, const struct wire_frame *f);
void node_fetch_lost(struct node *n, peer_conn c);
void node_fetch_stop(struct node *n);
void node_fetch_close(struct node *n);
/* node_repair.c */
void node_repair_init(struct node *n);
void node_repair_start(struct node *n); /* damage that was found while opening */
void node_repair_damaged(struct node *n, const char *text);
bool node_repair_broken(struct node *n, const char *text);
void node_repair_diverged(struct node *n, const char *text, const raft_id *lenders, uint32_t count);
bool node_repair_possible(const struct node *n); /* is there another voter? */
void node_repair_over(struct node *n);
void node_repair_stop(struct node *n);
/* node_scrub.c */
void node_scrub_start(struct node *n);
void node_scrub_stop(struct node *n);
/* node_digest.c */
void node_digest_init(struct node *n);
void node_digest_told(struct node *n, peer_conn c, raft_id from, const struct wire_frame *f);
void node_digest_applied(struct node *n); /* a batch is done, none is running */
void node_digest_greeted(struct node *n, peer_conn c);
void node_digest_members(struct node *n); /* the configuration changed */
void node_digest_forget(struct node *n);
void node_digest_stop(struct node *n);
/* node_lend.c */
void node_lend_asked(struct node *n, peer_conn c, const struct wire_frame *f);
void node_lend_drained(struct node *n, peer_conn c);
void node_lend_lost(struct node *n, peer_conn c);
void node_lend_stop(struct node *n);
void node_lend_close(struct node *n);
void node_lend_fini(struct node *n);
/* node_replace.c */
void node_replace_init(struct node *n);
void node_replace_begin(struct node *n); /* the entries that wait begin with one that needs it */
void node_replace_progress(struct node *n);
void node_replace_stop(struct node *n);
void node_replace_sweep(struct node *n); /* run(): what a crash left */

#endif
