/* contract_uv.c — the contract against the real environment. */
#include "env_contract.h"
#include <pthread.h>
#include <rq/env_uv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct env *env;
static pthread_t loop_thread;
static char folder_text[80];
static char scratch[64] = "/tmp/rq_contract_XXXXXX";

static struct env *uv_create(void)
{
    struct env_uv_config config = {.read_threads = 3};
    struct err_text why;
    static unsigned number;

    loop_thread = pthread_self();
    CHECK(env_uv_create(&config, &env, &why) == 0);
    (void)snprintf(folder_text, sizeof(folder_text), "%s/%u", scratch, number++);
    return env;
}

static const char *uv_folder(void)
{
    return folder_text;
}

struct wait {
    struct env_timer timer;
    bool (*met)(void *ctx);
    void *ctx;
    uint64_t end_ns;
    bool held;
};

static void on_wait(struct env_timer *t)
{
    struct wait *w = t->ctx;

    w->held = w->met(w->ctx);
    if (w->held || env_now_ns(env) >= w->end_ns)
        env_uv_stop(env);
    else
        env_timer_arm(t, ENV_MS_NS);
}

static bool uv_run_until(bool (*met)(void *ctx), void *ctx, uint64_t after_ns)
{
    struct wait w = {.met = met, .ctx = ctx, .end_ns = env_now_ns(env) + after_ns};

    env_timer_init(&w.timer, env, on_wait, &w);
    env_timer_arm(&w.timer, 0);
    env_uv_run(env);
    return w.held;
}

struct call {
    struct env_timer timer;
    void (*fn)(void *ctx);
    void *ctx;
};

static void on_call(struct env_timer *t)
{
    struct call *call = t->ctx;

    call->fn(call->ctx);
    env_uv_stop(env);
}

static void uv_call(void (*fn)(void *ctx), void *ctx)
{
    struct call call = {.fn = fn, .ctx = ctx};

    env_timer_init(&call.timer, env, on_call, &call);
    env_timer_arm(&call.timer, 0);
    env_uv_run(env);
}

static const char *uv_listen_addr(void)
{
    return "127.0.0.1:0";
}

static bool uv_on_loop(void)
{
    return pthread_equal(pthread_self(), loop_thread) != 0;
}

static void uv_destroy(void)
{
    env_uv_destroy(env);
}

/* ---- what only the real environment does ---- */

static bool is_true(void *ctx)
{
    return *(volatile bool *)ctx;
}

static void on_signal(void *ctx, int signum)
{
    CHECK(uv_on_loop());
    CHECK(signum == SIGUSR1);
    *(bool *)ctx = true;
}

static void test_signal_is_told_on_the_loop(struct contract *c)
{
    bool told = false;

    env_uv_on_signal(c->env, SIGUSR1, on_signal, &told);
    for (int i = 0; i < 2; i++) {
        told = false;
        CHECK(raise(SIGUSR1) == 0);
        CHECK(!told);
        contract_until(c, is_true, &told);
    }
    CHECK(raise(SIGPIPE) == 0); /* ignored: we are still here */
}

/* Run fn(env) in a child and read what it says on stderr; its exit status. */
static int say(void (*fn)(struct env *e), char *said, size_t room)
{
    int ends[2];
    int status = 0;
    size_t len = 0;
    ssize_t got;

    CHECK(pipe(ends) == 0);
    uv_destroy(); /* a process with threads does not fork well */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)uv_create();
        fn(env);
        uv_destroy();
        _exit(0);
    }
    (void)close(ends[1]);
    while (len + 1 < room && (got = read(ends[0], said + len, room - 1 - len)) > 0)
        len += (size_t)got;
    said[len] = '\0';
    (void)close(ends[0]);
    (void)uv_create();
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* "[component] YYYY/MM/DD HH:MM:SS text\n" */
static void check_line(const char *line, const char *component, const char *text)
{
    static const char shape[] = "dddd/dd/dd dd:dd:dd ";
    size_t len = strlen(component);

    CHECK(strncmp(line, component, len) == 0);
    line += len;
    for (size_t i = 0; shape[i]; i++, line++)
        CHECK(shape[i] == 'd' ? *line >= '0' && *line <= '9' : *line == shape[i]);
    CHECK_TEXT(line, text);
}

static void say_line(struct env *e)
{
    env_log(e, "http", "from %s: %d", "a\nb\x1b[2J", 7);
}

static void say_too_much(struct env *e)
{
    static char text[10000];

    memset(text, 'x', sizeof(text) - 1);
    env_log(e, "http", "%s", text);
}

static void test_log_line_has_its_shape_and_stays_one_line(struct contract *c)
{
    char said[8192];

    (void)c;
    CHECK(say(say_line, said, sizeof(said)) == 0);
    check_line(said, "[http] ", "from a b [2J: 7\n");
    CHECK(say(say_too_much, said, sizeof(said)) == 0);
    CHECK(strlen(said) <= 4096 && said[strlen(said) - 1] == '\n');
}

static void say_last_words(struct env *e)
{
    env_halt(e, "the disk lied");
}

static void test_halt_says_why_and_exits_with_1(struct contract *c)
{
    char said[1024];

    (void)c;
    CHECK(say(say_last_words, said, sizeof(said)) == 1);
    check_line(said, "[rqlited] ", "FATAL: the disk lied\n");
}

static const struct contract_case uv_cases[] = {
    {"signal_is_told_on_the_loop", test_signal_is_told_on_the_loop},
    {"log_line_has_its_shape_and_stays_one_line", test_log_line_has_its_shape_and_stays_one_line},
    {"halt_says_why_and_exits_with_1", test_halt_says_why_and_exits_with_1},
    {NULL, NULL},
};

static const struct contract_driver uv_driver = {
    .name = "uv",
    .create = uv_create,
    .folder = uv_folder,
    .call = uv_call,
    .run_until = uv_run_until,
    .listen_addr = uv_listen_addr,
    .on_loop = uv_on_loop,
    .resolves_localhost = true,
    .destroy = uv_destroy,
    .own_cases = uv_cases,
};

int main(int argc, char **argv)
{
    char command[128];

    CHECK(mkdtemp(scratch) != NULL);
    int status = contract_main(&uv_driver, argc > 1 ? argv[1] : NULL);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
    return system(command) == 0 ? status : 1;
}
