/* contract_file.c — files, names, folders, locks. Everything here runs in jobs. */
#include "env_contract.h"
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 512 };

struct path {
    char text[PATH_BYTES];
};

static struct path path_of(struct contract *c, const char *name)
{
    struct path p;
    int len = snprintf(p.text, sizeof(p.text), "%s/%s", c->driver->folder(), name);

    CHECK(len > 0 && (size_t)len < sizeof(p.text));
    return p;
}

static struct env_file *open_file(struct contract *c, const char *name, unsigned flags)
{
    struct env_file *f = NULL;

    CHECK(env_dir_create(c->env, c->driver->folder()) == 0);
    CHECK(env_file_open(c->env, path_of(c, name).text, flags, &f) == 0);
    return f;
}

static void put_file(struct contract *c, const char *name, const char *text)
{
    struct env_file *f = open_file(c, name, ENV_FILE_CREATE);

    CHECK(env_file_truncate(f, 0) == 0);
    CHECK(env_file_write(f, text, strlen(text), 0) == 0);
    CHECK(env_file_sync(f) == 0);
    env_file_close(f);
}

static void check_file(struct contract *c, const char *name, const char *text)
{
    struct env_file *f = open_file(c, name, ENV_FILE_READONLY);
    char bytes[64] = "";
    size_t got = 0;

    CHECK(env_file_read(f, bytes, sizeof(bytes) - 1, 0, &got) == 0);
    CHECK(got == strlen(text));
    CHECK_TEXT(bytes, text);
    env_file_close(f);
}

static void job_write_read(struct contract *c)
{
    struct env_file *f = open_file(c, "a", ENV_FILE_CREATE);
    uint8_t bytes[16];
    size_t got = 99;
    uint64_t size = 99;

    CHECK(env_file_size(f, &size) == 0 && size == 0);
    CHECK(env_file_read(f, bytes, 4, 0, &got) == 0 && got == 0);
    CHECK(env_file_write(f, "hello", 5, 0) == 0);
    CHECK(env_file_write(f, "J", 1, 0) == 0); /* in place */
    CHECK(env_file_read(f, bytes, 5, 0, &got) == 0 && got == 5);
    CHECK(memcmp(bytes, "Jello", 5) == 0);
    CHECK(env_file_read(f, bytes, 16, 3, &got) == 0 && got == 2); /* short at the end */
    CHECK(memcmp(bytes, "lo", 2) == 0);
    CHECK(env_file_read(f, bytes, 16, 5, &got) == 0 && got == 0);
    CHECK(env_file_read(f, bytes, 16, 1000, &got) == 0 && got == 0);
    CHECK(env_file_write(f, "", 0, 0) == 0);
    CHECK(env_file_size(f, &size) == 0 && size == 5);
    CHECK(env_file_sync(f) == 0);
    env_file_close(f);
    check_file(c, "a", "Jello");
    env_file_close(NULL);
}

static void test_file_reads_what_was_written(struct contract *c)
{
    contract_job(c, ENV_LANE_LOG, job_write_read);
}

static void job_gap(struct contract *c)
{
    struct env_file *f = open_file(c, "gap", ENV_FILE_CREATE);
    uint8_t bytes[10003];
    size_t got;
    uint64_t size;

    CHECK(env_file_write(f, "end", 3, 10000) == 0);
    CHECK(env_file_size(f, &size) == 0 && size == 10003);
    CHECK(env_file_read(f, bytes, sizeof(bytes), 0, &got) == 0 && got == 10003);
    for (size_t i = 0; i < 10000; i++)
        CHECK(bytes[i] == 0);
    CHECK(memcmp(bytes + 10000, "end", 3) == 0);
    env_file_close(f);
}

static void test_file_gap_reads_as_zeros(struct contract *c)
{
    contract_job(c, ENV_LANE_APPLY, job_gap);
}

static void job_truncate(struct contract *c)
{
    struct env_file *f = open_file(c, "cut", ENV_FILE_CREATE);
    uint8_t bytes[16];
    size_t got;
    uint64_t size;

    CHECK(env_file_write(f, "0123456789", 10, 0) == 0);
    CHECK(env_file_truncate(f, 4) == 0);
    CHECK(env_file_size(f, &size) == 0 && size == 4);
    CHECK(env_file_read(f, bytes, 16, 0, &got) == 0 && got == 4);
    CHECK(env_file_truncate(f, 8) == 0);
    CHECK(env_file_read(f, bytes, 16, 0, &got) == 0 && got == 8);
    CHECK(memcmp(bytes, "0123\0\0\0\0", 8) == 0);
    env_file_close(f);
}

static void test_file_truncate_cuts_and_grows_with_zeros(struct contract *c)
{
    contract_job(c, ENV_LANE_READ, job_truncate);
}

static void job_punch(struct contract *c)
{
    static uint8_t bytes[3 * 4096];
    static const uint8_t zeros[4096];
    struct env_file *f = open_file(c, "holes", ENV_FILE_CREATE);
    size_t got;
    uint64_t size;

    memset(bytes, 'x', sizeof(bytes));
    CHECK(env_file_write(f, bytes, sizeof(bytes), 0) == 0);
    int rc = env_file_punch(f, 4096, 4096);
    CHECK(rc == 0 || rc == ERR_NOT_SUPPORTED);
    CHECK(env_file_size(f, &size) == 0 && size == sizeof(bytes));
    CHECK(env_file_read(f, bytes, sizeof(bytes), 0, &got) == 0 && got == sizeof(bytes));
    CHECK(bytes[4095] == 'x' && bytes[8192] == 'x');
    CHECK(rc != 0 || memcmp(bytes + 4096, zeros, 4096) == 0);
    CHECK(env_file_punch(f, sizeof(bytes), 0) == 0);
    env_file_close(f);
}

static void test_file_punch_leaves_zeros_and_the_size(struct contract *c)
{
    contract_job(c, ENV_LANE_READ, job_punch);
}

static void job_open(struct contract *c)
{
    struct env_file *f = (struct env_file *)(void *)c; /* must stay untouched */
    struct env_file *before = f;

    CHECK(env_dir_create(c->env, c->driver->folder()) == 0);
    CHECK(env_file_open(c->env, path_of(c, "none").text, 0, &f) == ERR_NOT_FOUND);
    CHECK(env_file_open(c->env, path_of(c, "none").text, ENV_FILE_READONLY, &f) == ERR_NOT_FOUND);
    CHECK(env_file_open(c->env, path_of(c, "no/such/folder").text, ENV_FILE_CREATE, &f) ==
          ERR_NOT_FOUND);
    put_file(c, "there", "x");
    CHECK(env_file_open(c->env, path_of(c, "there").text, ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE,
                        &f) == ERR_EXISTS);
    CHECK(f == before);
    f = open_file(c, "new", ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE);
    env_file_close(f);
    check_file(c, "there", "x");
    check_file(c, "new", "");
}

static void test_file_open_finds_refuses_and_creates(struct contract *c)
{
    contract_job(c, ENV_LANE_LOG, job_open);
}

static void job_names(struct contract *c)
{
    const char *folder = c->driver->folder();

    put_file(c, "one", "1");
    put_file(c, "two", "2");
    CHECK(env_file_rename(c->env, path_of(c, "one").text, path_of(c, "three").text) == 0);
    check_file(c, "three", "1");
    CHECK(env_file_rename(c->env, path_of(c, "three").text, path_of(c, "two").text) == 0);
    check_file(c, "two", "1"); /* replaced */
    CHECK(env_file_rename(c->env, path_of(c, "one").text, path_of(c, "two").text) == ERR_NOT_FOUND);
    CHECK(env_dir_sync(c->env, folder) == 0);
    CHECK(env_file_remove(c->env, path_of(c, "two").text) == 0);
    CHECK(env_file_remove(c->env, path_of(c, "two").text) == ERR_NOT_FOUND);
    CHECK(env_dir_sync(c->env, folder) == 0);
}

static void test_file_rename_replaces_and_remove_removes(struct contract *c)
{
    contract_job(c, ENV_LANE_LOG, job_names);
}

static void job_link(struct contract *c)
{
    struct env_file_facts one, two;

    put_file(c, "one", "1");
    CHECK(env_file_link(c->env, path_of(c, "one").text, path_of(c, "two").text) == 0);
    CHECK(env_file_link(c->env, path_of(c, "one").text, path_of(c, "two").text) == ERR_EXISTS);
    CHECK(env_file_link(c->env, path_of(c, "none").text, path_of(c, "three").text) ==
          ERR_NOT_FOUND);
    CHECK(env_file_look(c->env, path_of(c, "one").text, &one) == 0);
    CHECK(env_file_look(c->env, path_of(c, "two").text, &two) == 0);
    CHECK(one.size == 1 && one.inode == two.inode && one.changed_ns == two.changed_ns);
    CHECK(env_file_remove(c->env, path_of(c, "one").text) == 0);
    check_file(c, "two", "1");
    put_file(c, "one", "longer");
    CHECK(env_file_look(c->env, path_of(c, "one").text, &one) == 0);
    CHECK(one.size == 6 && one.inode != two.inode);
    CHECK(env_file_look(c->env, path_of(c, "none").text, &one) == ERR_NOT_FOUND);
    CHECK(env_file_protect(c->env, path_of(c, "none").text, true) == ERR_NOT_FOUND);
    CHECK(env_file_protect(c->env, path_of(c, "two").text, true) == 0);
    check_file(c, "two", "1");
    CHECK(env_file_protect(c->env, path_of(c, "two").text, false) == 0);
    put_file(c, "two", "2");
    CHECK(env_dir_sync(c->env, c->driver->folder()) == 0);
}

static void test_file_link_gives_a_second_name(struct contract *c)
{
    contract_job(c, ENV_LANE_LOG, job_link);
}

struct listing {
    unsigned a, b, others;
};

static void on_entry(void *ctx, const char *name)
{
    struct listing *l = ctx;

    l->a += strcmp(name, "a") == 0;
    l->b += strcmp(name, "b") == 0;
    l->others += strcmp(name, "a") != 0 && strcmp(name, "b") != 0;
}

static void job_list(struct contract *c)
{
    struct listing l = {0, 0, 0};

    put_file(c, "list", "");
    CHECK(env_file_remove(c->env, path_of(c, "list").text) == 0);
    CHECK(env_dir_create(c->env, path_of(c, "list/deep/er").text) == 0);
    CHECK(env_dir_create(c->env, path_of(c, "list/deep/er").text) == 0); /* it was there */
    put_file(c, "list/a", "");
    put_file(c, "list/b", "");
    put_file(c, "list/deep/c", "");
    CHECK(env_dir_list(c->env, path_of(c, "list").text, on_entry, &l) == 0);
    CHECK(l.a == 1 && l.b == 1 && l.others == 0); /* plain files of this folder only */
    CHECK(env_dir_list(c->env, path_of(c, "nowhere").text, on_entry, &l) == ERR_NOT_FOUND);
    CHECK(env_dir_sync(c->env, path_of(c, "nowhere").text) == ERR_NOT_FOUND);
}

static void test_folder_lists_its_plain_files(struct contract *c)
{
    contract_job(c, ENV_LANE_READ, job_list);
}

static void job_lock(struct contract *c)
{
    struct env_lock *first = NULL;
    struct env_lock *second = NULL;

    CHECK(env_dir_create(c->env, c->driver->folder()) == 0);
    CHECK(env_lock_take(c->env, path_of(c, "lock").text, &first) == 0);
    CHECK(env_lock_take(c->env, path_of(c, "lock").text, &second) == ERR_BUSY);
    env_lock_release(first);
    CHECK(env_lock_take(c->env, path_of(c, "lock").text, &second) == 0);
    env_lock_release(second);
    env_lock_release(NULL);
}

static void test_lock_excludes_until_released(struct contract *c)
{
    contract_job(c, ENV_LANE_LOG, job_lock);
}

static void job_disk_free(struct contract *c)
{
    uint64_t bytes = 0;

    CHECK(env_dir_create(c->env, c->driver->folder()) == 0);
    CHECK(env_disk_free(c->env, c->driver->folder(), &bytes) == 0);
    CHECK(bytes > 0);
}

static void test_disk_tells_its_room(struct contract *c)
{
    contract_job(c, ENV_LANE_READ, job_disk_free);
}

const struct contract_case contract_file_cases[] = {
    {"file_reads_what_was_written", test_file_reads_what_was_written},
    {"file_gap_reads_as_zeros", test_file_gap_reads_as_zeros},
    {"file_punch_leaves_zeros_and_the_size", test_file_punch_leaves_zeros_and_the_size},
    {"file_truncate_cuts_and_grows_with_zeros", test_file_truncate_cuts_and_grows_with_zeros},
    {"file_open_finds_refuses_and_creates", test_file_open_finds_refuses_and_creates},
    {"file_rename_replaces_and_remove_removes", test_file_rename_replaces_and_remove_removes},
    {"file_link_gives_a_second_name", test_file_link_gives_a_second_name},
    {"folder_lists_its_plain_files", test_folder_lists_its_plain_files},
    {"lock_excludes_until_released", test_lock_excludes_until_released},
    {"disk_tells_its_room", test_disk_tells_its_room},
    {NULL, NULL},
};
