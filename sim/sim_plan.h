/* sim_plan — what one seed means: topology, knobs, faults and workload, drawn from the "config" stream.
 * The same for every build; printed as the first line of a trace. */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include "env/world.h"
#include <stdbool.h>
#include <stdint.h>

enum sim_profile {
    SIM_CRASH_ONLY, /* process crashes and power cuts; every promise is checked by a shadow power cut */
    SIM_NET_ONLY,   /* partitions, loss, resets, pauses */
    SIM_DISK_ONLY,  /* failing reads, writes, syncs; full disks; rot within the budget; restarts */
    SIM_SWARM,      /* each family on with its own chance */
    SIM_MEMBERSHIP, /* members come and go, under crashes and partitions */
    SIM_QUIET,      /* no faults */
    SIM_PROFILE_COUNT
};
const char *sim_profile_name(enum sim_profile p);
bool sim_profile_parse(const char *text, enum sim_profile *out);

enum { SIM_NODES_MAX = 7, SIM_CLIENTS_MAX = 8, SIM_AGENTS = 4, SIM_KEYS_MAX = 8 };

/* Families of faults; each on or off per seed. */
enum sim_family {
    SIM_FAMILY_CRASH,
    SIM_FAMILY_POWER,
    SIM_FAMILY_CRASH_CALL, /* at the k-th env call from now */
    SIM_FAMILY_PAUSE,
    SIM_FAMILY_PARTITION,
    SIM_FAMILY_RESET,
    SIM_FAMILY_LOSS,
    SIM_FAMILY_BLACK_HOLE,
    SIM_FAMILY_SYNC_EIO,
    SIM_FAMILY_WRITE_EIO,
    SIM_FAMILY_NOSPC,
    SIM_FAMILY_STALL,
    SIM_FAMILY_ROT,
    SIM_FAMILY_WALL_JUMP,
    SIM_FAMILY_STOP,     /* SIGTERM, and back again */
    SIM_FAMILY_TRANSFER, /* leadership handed over on request */
    SIM_FAMILY_MEMBER,   /* removed, and back again; counted when removed */
    /* Those that lie in wait for a moment of Raft; counted when it came. */
    SIM_FAMILY_DUEL, /* two candidates of one term, and who voted for one restarts between them */
    SIM_FAMILY_OVERTAKE, /* a longer log of an older term, and few left to vote */
    SIM_FAMILY_DEPOSE,   /* a leader is cut off while another takes over, and is asked */
    SIM_FAMILY_HEIR,     /* a leader that knows of no commit of the one before it is asked */
    SIM_FAMILY_WIPE,     /* an empty disk under an old name */
    /* Of profile membership. */
    SIM_FAMILY_REPLACE, /* an empty disk under a new name, at an old address */
    SIM_FAMILY_MOVE,    /* an old disk at a new address; counted when it is a member there */
    SIM_FAMILY_REAP,    /* down until it is given up; counted if it was */
    SIM_FAMILY_LEAVE,   /* leaves the cluster as it stops; counted if it could */
    SIM_FAMILY_COUNT
};
const char *sim_family_name(enum sim_family f);

/* What is played after the faults (sim_scene.c). */
enum sim_scene_kind {
    SIM_SCENE_NONE,
    SIM_SCENE_LATE,    /* an image arrives that is older than what is there by then */
    SIM_SCENE_TRICKLE, /* each connection that brings an image breaks after two pieces */
    SIM_SCENE_FULL,    /* the leader's disk is full */
    SIM_SCENE_FORCED,  /* all lose power; some are brought back by raft/peers.json */
    SIM_SCENE_COUNT
};
const char *sim_scene_name(enum sim_scene_kind k);
struct sim_scenario;

struct sim_node_plan {
    bool on_disk;
    bool replica; /* never votes */
    uint32_t batch_max, statement_cache, cache_pages, segment_bytes;
    uint32_t append_count_max, window_msgs;
    uint32_t reader_count, part_bytes, load_piece_bytes;
    uint64_t entry_cache_bytes;
    uint64_t snapshot_entries, snapshot_trailing, snapshot_wal_bytes, snapshot_interval_ms;
    uint64_t vacuum_interval_ms, optimize_interval_ms;
    uint64_t reap_voter_ms, reap_replica_ms;
    bool leaves;          /* the cluster, when it is told to stop */
    bool remove_shutdown; /* once removed, its Raft part shuts down */
    int64_t wall_offset_ns;
    int32_t drift_ppm;
    uint32_t cpu_percent;
};

struct sim_plan {
    uint64_t seed;
    enum sim_profile profile;
    uint32_t node_count, client_count, key_count;
    uint32_t voter_count; /* of the nodes, when all are members */
    uint64_t heartbeat_timeout_ms;
    uint64_t fault_ns;       /* how long faults go on */
    uint64_t fault_every_ns; /* mean time between injections */
    uint64_t think_ns;       /* mean pause of a client between operations */
    uint64_t client_timeout_ns;
    uint32_t answer_ms;  /* what requests say how long the node may take */
    uint32_t shadow_ppm; /* of promises checked by a shadow power cut */
    bool hunt_leaders;   /* cut off whoever leads, soon after it began to */
    bool loads;          /* one more client loads databases */
    enum sim_scene_kind scene;
    bool maimed; /* after the faults one node stays half cut off; the others must serve */
    bool family[SIM_FAMILY_COUNT];
    enum sim_disk_profile disk_profile;
    uint64_t sync_ns; /* what a sync takes, about; 0: as the disk has it */
    enum sim_disk_sync_eio sync_eio_mode;
    const struct sim_scenario *scenario; /* played in place of the nemesis; NULL: none */
    struct sim_node_plan nodes[SIM_NODES_MAX];
    struct world_config world;
};

/* node_count 0: drawn. */
void sim_plan_draw(struct sim_plan *p, uint64_t seed, enum sim_profile profile,
                   uint32_t node_count);

#endif
