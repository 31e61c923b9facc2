/* replay_main.c — runs a fuzz target over files and folders in builds without libFuzzer, and over
 * mutants of each file, the same ones every time.
 *
 *   replay_<name> [--mutants N] PATH…
 *
 * On a crash the sanitizer's report comes first; the line before it names the file and the mutant. */
#include "fuzz_int.h"

#include <dirent.h>
#include <rq/util/mem.h>
#include <rq/util/prng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned long mutants;
static unsigned long runs;

static void run(const char *path, unsigned long mutant, const uint8_t *bytes, size_t len)
{
    uint8_t *exact = mem_must_alloc(len); /* so that a read beyond it is seen */
    if (len)
        memcpy(exact, bytes, len);
    if (getenv("REPLAY_VERBOSE"))
        (void)fprintf(stderr, "%s mutant %lu\n", path, mutant);
    (void)LLVMFuzzerTestOneInput(exact, len);
    mem_free(exact);
    runs++;
}

/* One to four edits: a byte changed, a stretch cut out, doubled, or copied elsewhere. bytes has room
 * for 2 * len + 16. */
static size_t mutate(struct prng *p, uint8_t *bytes, size_t len)
{
    for (uint64_t edits = prng_range(p, 1, 4); edits > 0 && len > 0; edits--) {
        size_t at = (size_t)prng_below(p, len);
        size_t span = (size_t)prng_range(p, 1, len - at > 16 ? 16 : len - at);
        switch (prng_below(p, 5)) {
        case 0:
            bytes[at] = (uint8_t)prng_u64(p);
            break;
        case 1:
            bytes[at] ^= (uint8_t)(1U << prng_below(p, 8));
            break;
        case 2:
            memmove(bytes + at, bytes + at + span, len - at - span);
            len -= span;
            break;
        case 3:
            memmove(bytes + at + span, bytes + at, len - at);
            len += span;
            break;
        default:
            memmove(bytes + prng_below(p, len - span + 1), bytes + at, span);
            break;
        }
    }
    return len;
}

static void replay_bytes(const char *path, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = mem_must_alloc(len + 64 + 16);
    struct prng p;

    run(path, 0, bytes, len);
    prng_init(&p, prng_hash(1, bytes, len));
    for (unsigned long i = 1; i <= mutants; i++) {
        memcpy(copy, bytes, len);
        run(path, i, copy, mutate(&p, copy, len));
    }
    mem_free(copy);
}

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = mem_must_alloc(size);
    size_t len = f ? fread(bytes, 1, size, f) : 0;

    if (!f) {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
        mem_free(bytes);
        return 1;
    }
    (void)fclose(f);
    replay_bytes(path, bytes, len);
    mem_free(bytes);
    return 0;
}

static int replay_path(const char *path);

static int replay_folder(const char *path, DIR *folder)
{
    int failures = 0;
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        char inner[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(inner, sizeof(inner), "%s/%s", path, e->d_name);
        failures += replay_path(inner);
    }
    return failures;
}

static int replay_path(const char *path)
{
    struct stat st;
    DIR *folder = opendir(path);

    if (folder) {
        int failures = replay_folder(path, folder);
        (void)closedir(folder);
        return failures;
    }
    if (stat(path, &st) != 0) {
        (void)fprintf(stderr, "%s: not found\n", path);
        return 1;
    }
    return replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    int failures = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutants") == 0 && i + 1 < argc)
            mutants = strtoul(argv[++i], NULL, 10);
        else
            failures += replay_path(argv[i]);
    }
    (void)printf("%lu inputs\n", runs);
    return failures || runs == 0 ? 1 : 0;
}
