/* main.c — rqsim: run seeds, print a line for each, exit non-zero on a violation.
 *
 *   rqsim run --seed N [--nodes K] [--profile P] [--trace FILE]
 *   rqsim seeds A..B [--nodes K] [--profile P] [--jobs J] [--twice] [--quiet] [--until-found]
 *   rqsim scenario NAME|all [A..B] [--jobs J] [--twice] [--trace FILE]
 *   rqsim judge FILE…
 *
 * Many seeds run in worker processes, each a chunk of its own; --twice runs every seed in two processes
 * that differ in what must not matter and compares the trace hashes. */
#include "sim_judge.h"
#include "sim_report.h"
#include "sim_scenario.h"
#include <rq/db.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
    uint64_t first, last;
    uint32_t nodes, jobs;
    enum sim_profile profile;
    const struct sim_scenario *scenario; /* in place of the profile's plan */
    const char *trace;
    bool twice, quiet, until_found;
};

static const char usage_text[] =
    "rqsim: whole nodes and their clients in one process, from one seed\n"
    "\n"
    "  rqsim run --seed N [--nodes K] [--profile P] [--trace FILE]\n"
    "      one seed; FILE gets one line per event\n"
    "  rqsim seeds A..B [--nodes K] [--profile P] [--jobs J] [--twice] [--quiet] [--until-found]\n"
    "      seeds A to B; prints sums beside their lower limits\n"
    "      --twice        run each in two processes and compare the trace hashes\n"
    "      --quiet        print only violations and sums\n"
    "      --until-found  stop at the first violation (used when hunting planted bugs)\n"
    "  rqsim scenario NAME|all|list [A..B] [--jobs J] [--twice] [--trace FILE]\n"
    "      what once stopped a cluster, played on purpose; seeds 1..3 if none are named\n"
    "  rqsim judge FILE...\n"
    "      histories of real nodes, as jepsen/run keeps them\n"
    "\n"
    "  profiles: crash_only net_only disk_only swarm (default) membership quiet\n"
    "  exit status: 0 nothing found; 1 a violation, a hash mismatch or too little activity; 2 "
    "usage\n";

static int usage(void)
{
    (void)fputs(usage_text, stderr);
    return 2;
}

static void draw(const struct options *o, uint64_t seed, struct sim_plan *p)
{
    if (o->scenario)
        sim_scenario_draw(p, o->scenario, seed);
    else
        sim_plan_draw(p, seed, o->profile, o->nodes);
}

static void run_seed(const struct options *o, uint64_t seed, FILE *trace, struct sim_plan *p,
                     struct sim_result *r)
{
    draw(o, seed, p);
    p->world.trace = trace;
    sim_run(p, r);
}

static int run_one(const struct options *o)
{
    struct sim_plan p;
    struct sim_result r;
    FILE *trace = NULL;

    if (o->trace && !(trace = fopen(o->trace, "w"))) {
        (void)fprintf(stderr, "rqsim: cannot write %s\n", o->trace);
        return 2;
    }
    run_seed(o, o->first, trace, &p, &r);
    if (trace)
        (void)fclose(trace);
    sim_report_line(stdout, &p, &r);
    return r.violated ? 1 : 0;
}

/* ---- many ------------------------------------------------------------------------------------------- */

struct row { /* from a worker to the parent */
    uint64_t seed;
    struct sim_result result;
};

static bool write_all(int fd, const void *src, size_t len)
{
    const char *at = src;
    while (len) {
        ssize_t n = write(fd, at, len);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *dst, size_t len)
{
    char *at = dst;
    while (len) {
        ssize_t n = read(fd, at, len);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* Every jobs-th seed, from `offset` on. salt: what differs between the two runs of a seed. */
static void worker(const struct options *o, uint64_t offset, unsigned salt, int fd)
{
    char *junk = malloc(1000 + salt * 77777U); /* other addresses */

    (void)setenv("RQSIM_SALT", salt ? "a longer environment than before" : "", 1);
    for (uint64_t seed = o->first + offset; seed <= o->last; seed += o->jobs) {
        struct sim_plan p;
        struct row row = {.seed = seed};
        run_seed(o, seed, NULL, &p, &row.result);
        if (!write_all(fd, &row, sizeof(row)))
            break;
    }
    free(junk);
    (void)close(fd);
    _exit(0);
}

struct job {
    pid_t pid;
    int fd;
    uint64_t next_seed;
};

/* The read end is not for the workers that follow: one that still held it would keep an earlier worker
 * writing for ever into a pipe nobody reads. */
static bool job_start(const struct options *o, struct job *jobs, uint32_t count, struct job *j,
                      uint64_t offset, unsigned salt)
{
    int fds[2];

    (void)fflush(stdout);
    if (pipe(fds) != 0)
        return false;
    j->pid = fork();
    if (j->pid == 0) {
        (void)close(fds[0]);
        for (uint32_t i = 0; i < count; i++)
            if (jobs[i].pid)
                (void)close(jobs[i].fd);
        worker(o, offset, salt, fds[1]);
    }
    (void)close(fds[1]);
    j->fd = fds[0];
    j->next_seed = o->first + offset;
    return j->pid > 0;
}

/* All pipes first: whoever still writes learns that nobody listens. */
static void jobs_end(struct job *jobs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (jobs[i].pid)
            (void)close(jobs[i].fd);
    for (uint32_t i = 0; i < count; i++)
        if (jobs[i].pid)
            (void)waitpid(jobs[i].pid, NULL, 0);
}

static bool take_seed(const struct options *o, uint64_t seed, struct job *a, struct job *b,
                      struct sim_sums *sums)
{
    struct row first, second;
    struct sim_plan p;

    if (!read_all(a->fd, &first, sizeof(first)) || first.seed != seed) {
        (void)printf(
            "seed=%llu CRASHED: the simulator's process died (an assertion, or a sanitizer)\n",
            (unsigned long long)seed);
        sums->violations++;
        return false;
    }
    draw(o, seed, &p);
    sim_sums_add(sums, &p, &first.result);
    if (!o->quiet || first.result.violated)
        sim_report_line(stdout, &p, &first.result);
    if (!o->twice)
        return true;
    if (!read_all(b->fd, &second, sizeof(second)) ||
        memcmp(&first.result.hash, &second.result.hash, sizeof(first.result.hash)) != 0) {
        (void)printf("seed=%llu MISMATCH: two runs of this seed differ\n",
                     (unsigned long long)seed);
        sums->mismatches++;
    }
    return true;
}

/* 0: nothing found. */
static int run_many(const struct options *o)
{
    uint32_t count = 2 * o->jobs;
    struct job *jobs = calloc(count, sizeof(*jobs)), *second = jobs + o->jobs;
    struct sim_sums sums = {0};
    struct timespec t0, t1;

    (void)clock_gettime(CLOCK_MONOTONIC, &t0);
    for (uint32_t i = 0; i < o->jobs; i++)
        if (!job_start(o, jobs, count, &jobs[i], i, 0) ||
            (o->twice && !job_start(o, jobs, count, &second[i], i, 1)))
            return 2;
    for (uint64_t seed = o->first; seed <= o->last; seed++) {
        uint32_t i = (uint32_t)((seed - o->first) % o->jobs);
        bool alive = take_seed(o, seed, &jobs[i], &second[i], &sums);
        if (!alive || (o->until_found && sums.violations))
            break;
    }
    jobs_end(jobs, count);
    free(jobs);
    (void)clock_gettime(CLOCK_MONOTONIC, &t1);
    double real = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
    if (o->scenario)
        return sim_scenario_print(stdout, o->scenario, &sums) || o->until_found ? 0 : 1;
    bool enough = sim_sums_print(stdout, &sums, o->profile) || o->until_found;
    (void)printf("  real seconds %.1f; virtual per real %.0f : 1; events per second %.0f\n", real,
                 (double)sums.total.virtual_ns / 1e9 / real, (double)sums.total.events / real);
    return sums.violations || sums.mismatches || !enough ? 1 : 0;
}

/* ---- scenarios ---------------------------------------------------------------------------------------- */

static int run_scenarios(struct options *o, const char *name)
{
    const struct sim_scenario *sc;
    bool all = strcmp(name, "all") == 0, listed = strcmp(name, "list") == 0, any = false;
    int rc = 0;

    for (size_t i = 0; (sc = sim_scenario_at(i)); i++) {
        if (!all && !listed && strcmp(sc->name, name) != 0)
            continue;
        any = true;
        o->scenario = sc;
        if (listed)
            (void)printf("%-30s %s\n", sc->name, sc->text);
        else if (o->trace)
            rc |= run_one(o);
        else
            rc |= run_many(o);
    }
    return any ? rc : usage();
}

/* ---- histories of others ------------------------------------------------------------------------------ */

static bool judge_file(const char *path)
{
    static const char *const verdicts[] = {"good", "BAD", "INVALID"};
    struct sim_judge_counts c;
    struct err_text why = {""};
    FILE *f = fopen(path, "r");

    if (!f) {
        (void)printf("%s: cannot be read\n", path);
        return false;
    }
    enum sim_judgement verdict = sim_judge(f, &c, &why);
    (void)fclose(f);
    (void)printf("%s: %s: %zu operations, %zu ok, %zu failed, %zu unknown, %zu keys%s%s\n", path,
                 verdicts[verdict], c.operations, c.ok, c.failed, c.unknown, c.keys,
                 why.text[0] ? ": " : "", why.text);
    return verdict == SIM_JUDGE_GOOD;
}

static int judge_files(char **paths, int count)
{
    bool good = count > 0;

    for (int i = 0; i < count; i++)
        good &= judge_file(paths[i]);
    return good ? 0 : 1;
}

/* ---- arguments ---------------------------------------------------------------------------------------- */

static bool parse_range(const char *text, struct options *o)
{
    char *end;
    o->first = strtoull(text, &end, 10);
    if (strncmp(end, "..", 2) != 0)
        return false;
    o->last = strtoull(end + 2, &end, 10);
    return *end == '\0' && o->first <= o->last;
}

static bool parse_option(struct options *o, const char *name, const char *value, int *at)
{
    if (strcmp(name, "--twice") == 0)
        return o->twice = true;
    if (strcmp(name, "--quiet") == 0)
        return o->quiet = true;
    if (strcmp(name, "--until-found") == 0)
        return o->until_found = true;
    if (!value)
        return false;
    ++*at;
    if (strcmp(name, "--seed") == 0)
        o->first = o->last = strtoull(value, NULL, 10);
    else if (strcmp(name, "--nodes") == 0)
        o->nodes = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(name, "--jobs") == 0)
        o->jobs = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(name, "--trace") == 0)
        o->trace = value;
    else if (strcmp(name, "--profile") == 0)
        return sim_profile_parse(value, &o->profile);
    else
        return false;
    return o->nodes <= SIM_NODES_MAX && o->jobs >= 1 && o->jobs <= 64;
}

static int main_scenario(int argc, char **argv)
{
    struct options o = {.first = 1, .last = 3, .jobs = 1, .quiet = true, .profile = SIM_QUIET};
    int i = 3;

    if (i < argc && argv[i][0] != '-' && !parse_range(argv[i++], &o))
        return usage();
    for (; i < argc; i++)
        if (!parse_option(&o, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &i))
            return usage();
    return run_scenarios(&o, argv[2]);
}

int main(int argc, char **argv)
{
    struct options o = {.jobs = 1, .profile = SIM_SWARM};
    bool many = argc > 2 && strcmp(argv[1], "seeds") == 0;

    if (argc > 2 && strcmp(argv[1], "judge") == 0)
        return judge_files(argv + 2, argc - 2);
    (void)setenv("TZ", "UTC", 1); /* before SQLite looks */
    if (db_library_init(true))
        return 2;
    if (argc > 2 && strcmp(argv[1], "scenario") == 0)
        return main_scenario(argc, argv);
    if (argc < 2 || (!many && strcmp(argv[1], "run") != 0))
        return usage();
    if (many && !parse_range(argv[2], &o))
        return usage();
    for (int i = many ? 3 : 2; i < argc; i++)
        if (!parse_option(&o, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &i))
            return usage();
    return many ? run_many(&o) : run_one(&o);
}
