/* crash_syncs.h — names every sync that an environment is asked for, and can swallow those of one name: the
 * caller is told that the data is durable, and it is not. Used through crash_search.h. */
#ifndef CRASH_SYNCS_H
#define CRASH_SYNCS_H

#include <rq/env.h>
#include <stdint.h>

enum { CRASH_SITES_MAX = 48 };

/* A site is a sync with a meaning of its own ("the record, in a cut"), numbered by the test; 0: none of interest.
 * Paths are what the room passed; name is their last part, followed through renames. */
struct crash_syncs {
    int (*site_of_file)(struct env_file *f, const char *name);
    int (*site_of_dir)(const char *path);
    void (*renamed)(const char *from_name, const char *to_name); /* may be NULL */
    void (*removed)(const char *name);                           /* may be NULL */
    int swallow;                                                 /* 0: nothing */
    uint64_t met[CRASH_SITES_MAX];
};

/* From now on e asks s first. One at a time; s outlives e. */
void crash_syncs_attach(struct crash_syncs *s, struct env *e);

#endif
