/* main — the command: flags, the real environment, one daemon in it. */
#include "daemon.h"
#include "machine.h"

#include "secrets.h"
#include "timing.h"

#include <rq/db.h>
#include <rq/env_uv.h>
#include <rq/limits.h>

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef RQ_VERSION
#define RQ_VERSION "10"
#endif
#ifndef RQ_COMMIT
#define RQ_COMMIT "unknown"
#endif
#if defined(__clang__)
#define COMPILER "clang" __clang_version_short
#define __clang_version_short "-" RQ_TEXT(__clang_major__) "." RQ_TEXT(__clang_minor__)
#else
#define COMPILER "gcc-" RQ_TEXT(__GNUC__) "." RQ_TEXT(__GNUC_MINOR__)
#endif
#define RQ_TEXT(x) RQ_TEXT_(x)
#define RQ_TEXT_(x) #x
#if defined(__x86_64__)
#define ARCH "amd64"
#elif defined(__aarch64__)
#define ARCH "arm64"
#else
#define ARCH "unknown"
#endif

enum { READ_THREADS_MIN = 2, READ_THREADS_MAX = 8, PATH_BYTES = 4096, INTERFACES_MAX = 64 };

struct program {
    struct env *env;
    struct secrets secrets;
    struct daemon *daemon;
    int status;
};

/* A login gives a process 1,024 files; our own limit on connections should be the one that is met. */
static void files_allow(struct env *e)
{
    enum { WANTED = LIMIT_HTTP_CONNECTIONS + LIMIT_HTTP_REFUSALS + LIMIT_PEER_CONNECTIONS + 1024 };
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= WANTED)
        return;
    files.rlim_cur = files.rlim_max < WANTED ? files.rlim_max : WANTED;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur < WANTED)
        env_log(e, "rqlited", "no more than %llu files may be open: fewer connections than %d",
                (unsigned long long)files.rlim_cur, LIMIT_HTTP_CONNECTIONS);
}

static bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static void usage_line(void *ctx, const char *text)
{
    (void)ctx;
    fprintf(stderr, "%s\n", text);
}

/* Before there is an environment: the same form as env_log. */
static void log_early(const char *text)
{
    char when[32] = "";
    struct tm now;
    const time_t t = time(NULL);
    if (localtime_r(&t, &now))
        strftime(when, sizeof when, "%Y/%m/%d %H:%M:%S", &now);
    fprintf(stderr, "[rqlited] %s %s\n", when, text);
}

static int flags_failed(enum flags_outcome outcome, const struct err_text *why)
{
    switch (outcome) {
    case FLAGS_VERSION:
        fprintf(stderr, "rqlited %s linux %s %s sqlite%s (commit %s, compiler %s)\n", RQ_VERSION,
                ARCH, COMPILER, db_library_version(), RQ_COMMIT, COMPILER);
        return 0;
    case FLAGS_HELP:
        flags_usage(usage_line, NULL);
        return 0;
    case FLAGS_SYNTAX:
        fprintf(stderr, "%s\n", why->text);
        flags_usage(usage_line, NULL);
        return 2;
    case FLAGS_REFUSED:
        fprintf(stderr, "fatal: %s\n", why->text);
        return 1;
    case FLAGS_PLAIN:
        fprintf(stderr, "%s\n", why->text);
        return 1;
    case FLAGS_MISSING:
        log_early(why->text);
        return 1;
    case FLAGS_RUN:
        break;
    }
    return 0;
}

/* The files of -cpu-profile and its sisters: accepted, left empty. */
static void profiles_create(const struct flags *f)
{
    const char *const paths[] = {f->cpu_profile, f->mem_profile, f->trace_profile};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        FILE *file = paths[i][0] != '\0' ? fopen(paths[i], "w") : NULL;
        if (file)
            fclose(file);
    }
}

static void absolute_path(const char *path, char *dst, size_t cap)
{
    char cwd[PATH_BYTES] = "";
    if (path[0] == '/' || !getcwd(cwd, sizeof cwd))
        (void)snprintf(dst, cap, "%s", path);
    else
        (void)snprintf(dst, cap, "%s/%s", cwd, path);
}

static void log_start(struct env *e, const struct flags *f, int argc, char **argv)
{
    char line[2048] = "";
    size_t len = 0;
    (void)f;
    for (int i = 0; i < argc && len < sizeof line; i++)
        len += (size_t)snprintf(line + len, sizeof line - len, "%s%s", i > 0 ? " " : "", argv[i]);
    env_log(e, "rqlited",
            "rqlited starting, version %s, SQLite %s, commit %s, compiler (toolchain) %s, compiler "
            "(command) %s",
            RQ_VERSION, db_library_version(), RQ_COMMIT, COMPILER, COMPILER);
    env_log(e, "rqlited", "launch command: %s", line);
}

static void no_effect_line(void *ctx, const char *name)
{
    env_log(ctx, "rqlited", "-%s has no effect in this version", name);
}

static void finished(void *ctx, int status)
{
    struct program *p = ctx;
    p->status = status;
    env_uv_stop(p->env);
}

static void signaled(void *ctx, int signum)
{
    struct program *p = ctx;
    env_log(p->env, "rqlited", "received signal \"%s\"",
            signum == SIGINT ? "interrupt" : "terminated");
    daemon_stop(p->daemon);
}

static uint32_t read_threads(long cpus)
{
    if (cpus < READ_THREADS_MIN)
        return READ_THREADS_MIN;
    return cpus > READ_THREADS_MAX ? READ_THREADS_MAX : (uint32_t)cpus;
}

struct machine {
    char executable[PATH_BYTES], hostname[256];
    long cpus;
    struct api_interface interfaces[INTERFACES_MAX];
    uint32_t interface_count;
};

static void machine_look(struct machine *m)
{
    memset(m, 0, sizeof *m);
    const ssize_t len = readlink("/proc/self/exe", m->executable, sizeof m->executable - 1);
    m->executable[len > 0 ? len : 0] = '\0';
    if (gethostname(m->hostname, sizeof m->hostname - 1) != 0)
        m->hostname[0] = '\0';
    m->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    m->interface_count = machine_interfaces(m->interfaces, INTERFACES_MAX);
}

static struct api_facts facts_of(const struct flags *f, const struct machine *m, const char *dir,
                                 const char *db_path, const char *const *argv)
{
    struct timing timing; /* should it be refused, the daemon will say so */
    struct err_text why;
    (void)!timing_of(f, &timing, &why);
    const struct api_facts facts = {
        .dir = dir,
        .commit = RQ_COMMIT,
        .sqlite_version = db_library_version(),
        .compiler = COMPILER,
        .executable = m->executable,
        .hostname = m->hostname,
        .os = "linux",
        .arch = ARCH,
        .db_path = f->on_disk ? db_path : NULL,
        .args = argv,
        .interfaces = m->interfaces,
        .interface_count = m->interface_count,
        .memory = machine_memory,
        .log_level = f->raft_log_level,
        .compress_images = f->compress_snap_transport,
        .remove_shutdown = f->raft_remove_shutdown,
        .reap_timeout_ns = f->raft_reap_node_timeout,
        .reap_read_only_timeout_ns = f->raft_reap_read_only_node_timeout,
        .no_freelist_sync = f->raft_no_freelist_sync,
        .pid = (uint32_t)getpid(),
        .ppid = (uint32_t)getppid(),
        .page_size = (uint32_t)sysconf(_SC_PAGESIZE),
        .cpu_count = m->cpus > 0 ? (uint32_t)m->cpus : 1,
        .kubernetes = getenv("KUBERNETES_SERVICE_HOST") != NULL,
        .foreign_keys = f->fk,
        .on_disk = f->on_disk,
        .node_tls = f->node_cert[0] != '\0',
        .cert_file = f->http_cert[0] != '\0' ? f->http_cert : NULL,
        .key_file = f->http_key,
        .ca_file = f->http_ca_cert,
        .verify_client = f->http_verify_client,
        .db_reader_max = f->db_max_ro_conns,
        .apply_timeout_ns = f->raft_apply_timeout,
        .heartbeat_timeout_ns = timing.heartbeat,
        .election_timeout_ns = timing.election,
        .lease_timeout_ns = timing.lease,
        .commit_timeout_ns = timing.commit,
        .snapshot_interval_ns = timing.snapshot_interval,
        .snapshot_threshold = f->raft_snap,
        .auto_vacuum_ns = f->auto_vacuum_int,
    };
    return facts;
}

static int run(struct flags *f, int argc, char **argv)
{
    struct program p = {.status = 1};
    struct machine machine;
    struct err_text why = {""};
    char dir[PATH_BYTES + FLAGS_DIR_MAX], db_path[PATH_BYTES + FLAGS_DIR_MAX + 16];
    machine_look(&machine);
    /* What is discovered waits for the network in a thread that reads do not need. */
    const uint32_t readers = read_threads(machine.cpus);
    const struct env_uv_config uv = {.read_threads = readers + (f->disco_mode[0] != '\0')};
    if (env_uv_create(&uv, &p.env, &why) != 0) {
        fprintf(stderr, "fatal: %s\n", why.text);
        return 1;
    }
    absolute_path(f->dir, dir, sizeof dir);
    if (f->on_disk_path[0] != '\0')
        (void)snprintf(db_path, sizeof db_path, "%s", f->on_disk_path);
    else
        (void)snprintf(db_path, sizeof db_path, "%s/db.sqlite", dir);
    log_start(p.env, f, argc, argv);
    files_allow(p.env);
    flags_without_effect(f, no_effect_line, p.env);
    profiles_create(f);
    const struct api_facts facts = facts_of(f, &machine, dir, db_path, (const char *const *)argv);
    struct daemon_config config = {
        .flags = f, .version = RQ_VERSION, .facts = &facts, .dir = dir, .reader_jobs = readers};
    int rc = db_library_init(false);
    if (rc == 0)
        rc = secrets_load(p.env, f, &p.secrets, &why);
    config.secrets = p.secrets;
    if (rc == 0)
        rc = daemon_start(p.env, &config, finished, &p, &p.daemon, &why);
    if (rc != 0) {
        env_log(p.env, "rqlited", "%s", why.text[0] != '\0' ? why.text : err_text_of(rc));
    } else {
        env_uv_on_signal(p.env, SIGINT, signaled, &p);
        env_uv_on_signal(p.env, SIGTERM, signaled, &p);
        env_uv_run(p.env);
        daemon_destroy(p.daemon);
    }
    secrets_destroy(&p.secrets);
    env_uv_destroy(p.env);
    return p.status;
}

int main(int argc, char **argv)
{
    struct flags flags;
    struct err_text why = {""};
    const enum flags_outcome outcome =
        flags_parse(argc - 1, (const char *const *)argv + 1, path_exists, &flags, &why);
    if (outcome != FLAGS_RUN)
        return flags_failed(outcome, &why);
    const char *missing = flags_unsupported(&flags);
    if (missing) {
        fprintf(stderr, "fatal: -%s is not supported by this version yet\n", missing);
        return 1;
    }
    /* SQLite's localtime must be the same on every node; before the first thread. */
    if (setenv("TZ", "UTC0", 1) != 0) {
        fprintf(stderr, "fatal: cannot set the time zone: %s\n", strerror(errno));
        return 1;
    }
    tzset();
    banner_print();
    return run(&flags, argc, argv);
}
