/* test_image.c — cuts, damage, transfers, on one disk that does what it should. */
#include "image_fixture.h"

struct field {
    struct sim_disk *disk;
    struct env *env;
    struct image *image;
    struct err_text why;
};

static void field_open(struct field *f)
{
    assert_int_equal(image_open(f->env, DIR, &f->image, &f->why), 0);
}

static void field_reopen(struct field *f)
{
    image_close(f->image);
    field_open(f);
}

static void field_init(struct field *f, uint64_t seed)
{
    struct sim_disk_config c;
    sim_disk_config_default(&c, seed);
    *f = (struct field){.disk = sim_disk_create(&c)};
    f->env = env_sim_create(f->disk, seed);
    field_open(f);
}

static void field_fini(struct field *f)
{
    image_close(f->image);
    env_sim_destroy(f->env);
    sim_disk_destroy(f->disk);
}

static void cut(struct field *f, struct model *m, uint64_t index, uint32_t main, uint32_t keys,
                uint32_t stride)
{
    struct model old = *m;
    model_step(m, index, main, keys, stride);
    assert_int_equal(cut_seal(f->image, &old, m), 0);
    assert_int_equal(cut_apply(f->image, 1000), 0);
}

static void test_a_new_image_is_empty_and_stays_so(void **state)
{
    (void)state;
    struct field f;
    field_init(&f, 1);
    assert_int_equal(image_now(f.image)->index, 0);
    field_reopen(&f);
    assert_int_equal(image_now(f.image)->index, 0);
    field_fini(&f);
}

static void test_cuts_grow_shrink_and_change_the_image(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 700};
    field_init(&f, 2);
    static const struct {
        uint32_t main, keys, stride;
    } steps[] = {{5, 0, 1},   {5, 3, 2}, {300, 3, 5},  {128, 1, 7},
                 {127, 1, 3}, {1, 0, 1}, {400, 260, 9}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        cut(&f, &m, i + 1, steps[i].main, steps[i].keys, steps[i].stride);
        assert_null(model_differs(f.image, &m));
        field_reopen(&f);
        assert_null(model_differs(f.image, &m));
    }
    field_fini(&f);
}

static void test_a_new_page_size_replaces_all_pages(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 1};
    field_init(&f, 3);
    cut(&f, &m, 1, 200, 10, 1);
    struct model next = m;
    model_step(&next, 2, 40, 10, 1);
    next.page_bytes[IMAGE_MAIN] = 4096;
    assert_int_equal(cut_seal(f.image, &m, &next), 0);
    assert_int_equal(cut_apply(f.image, UINT64_MAX), 0);
    field_reopen(&f);
    assert_null(model_differs(f.image, &next));
    field_fini(&f);
}

static void test_a_cut_costs_what_changed(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 100};
    field_init(&f, 4);
    cut(&f, &m, 1, 500, 0, 1);
    struct model next = m;
    model_step(&next, 2, 500, 0, 100); /* 5 pages, of 4 table sectors at most 4 */
    struct sim_disk_stat before, after;
    sim_disk_stat(f.disk, &before);
    assert_int_equal(cut_seal(f.image, &m, &next), 0);
    sim_disk_stat(f.disk, &after);
    uint64_t journal = after.bytes_written - before.bytes_written;
    assert_true(journal > 5 * 512 && journal <= 512 + 100 + 5 * (24 + 512) + 4 * (24 + 512) + 24);
    assert_int_equal(cut_apply(f.image, 1), 0);
    assert_null(model_differs(f.image, &next));
    field_fini(&f);
}

/* Half of the pages, a flush, the others; then into the files piece by piece, with flushes: when the end comes, nothing
 * but tables and records is left to write. */
static void test_a_cut_in_pieces_leaves_little_for_its_end(void **state)
{
    (void)state;
    static uint8_t page[512], bytes[IMAGE_STATE_MAX];
    struct field f;
    struct model m = {.state_bytes = 100};
    struct sim_disk_stat before, after;
    bool all = false, done = false;

    field_init(&f, 4);
    cut(&f, &m, 1, 200, 0, 1);
    struct model next = m;
    model_step(&next, 2, 200, 0, 1);
    struct image_moment moment = moment_of(&next, bytes);
    assert_int_equal(image_cut_begin(f.image, &moment), 0);
    for (uint32_t n = 1; n <= 200; n++) {
        page_make(page, 0, n, next.version[0][n - 1], 512);
        assert_int_equal(image_cut_page(f.image, IMAGE_MAIN, n, page), 0);
        if (n % 50 == 0) {
            assert_int_equal(image_cut_flush(f.image), 0);
            assert_true(sim_disk_range_is_durable(f.disk, DIR "/cut", 0, n * (24 + 512)));
        }
    }
    assert_int_equal(image_cut_seal(f.image), 0);
    uint32_t pieces = 0;
    while (!all) {
        assert_int_equal(image_cut_write(f.image, 10 * 512, &all), 0);
        assert_int_equal(image_cut_flush(f.image), 0);
        pieces++;
    }
    assert_true(pieces >= 20);
    assert_true(sim_disk_range_is_durable(f.disk, DIR "/0000000000000001.main", 0, 200 * 512));
    sim_disk_stat(f.disk, &before);
    assert_int_equal(image_cut_apply(f.image, UINT64_MAX, &done), 0);
    sim_disk_stat(f.disk, &after);
    assert_true(done && after.bytes_written - before.bytes_written < 3000);
    assert_null(model_differs(f.image, &next));
    field_fini(&f);
}

static void test_a_dropped_cut_changes_nothing(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 100};
    static uint8_t page[512], bytes[IMAGE_STATE_MAX];
    field_init(&f, 5);
    cut(&f, &m, 1, 20, 0, 1);
    struct model next = m;
    model_step(&next, 2, 20, 0, 2);
    struct image_moment moment = moment_of(&next, bytes);
    assert_int_equal(image_cut_begin(f.image, &moment), 0);
    assert_int_equal(image_cut_page(f.image, IMAGE_MAIN, 3, page), 0);
    image_cut_drop(f.image);
    assert_null(model_differs(f.image, &m));
    field_reopen(&f);
    assert_null(model_differs(f.image, &m));
    cut(&f, &m, 3, 21, 1, 3);
    field_reopen(&f);
    assert_null(model_differs(f.image, &m));
    field_fini(&f);
}

/* ---- damage ---- */

static void flip(struct field *f, const char *path, uint64_t offset)
{
    struct env_file *file;
    uint8_t byte;
    size_t got;
    assert_int_equal(env_file_open(f->env, path, 0, &file), 0);
    assert_int_equal(env_file_read(file, &byte, 1, offset, &got), 0);
    byte ^= 0x10;
    assert_int_equal(env_file_write(file, &byte, 1, offset), 0);
    env_file_close(file);
}

static void test_a_damaged_page_is_named_and_not_given(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 100};
    uint8_t page[512];
    enum image_set set = IMAGE_MAIN;
    uint32_t number = 1;
    field_init(&f, 6);
    cut(&f, &m, 1, 20, 5, 1);
    image_close(f.image);
    flip(&f, DIR "/0000000000000001.main", 7 * 512 + 100);
    field_open(&f);
    assert_int_equal(image_page_read(f.image, IMAGE_MAIN, 8, page, &f.why), ERR_CORRUPT);
    assert_non_null(strstr(f.why.text, "0000000000000001.main: offset 3584: page 8"));
    assert_int_equal(image_page_read(f.image, IMAGE_MAIN, 9, page, &f.why), 0);
    assert_int_equal(image_scrub(f.image, &set, &number, 100, &f.why), ERR_CORRUPT);
    assert_int_equal(number, 9);
    assert_int_equal(image_scrub(f.image, &set, &number, 17, &f.why), 0); /* 12 and 5 pages */
    assert_int_equal(set, IMAGE_KEYS);
    field_fini(&f);
}

/* ---- a live file that somebody else wrote ---- */

#define LIVE "n1/db.sqlite"
enum { LIVE_BYTES = 20 * 512 };

static int open_at(struct field *f, bool live)
{
    const struct image_place place = {.main_path = LIVE, .live = live};
    return image_open_placed(f->env, DIR, &place, &f->image, &f->why);
}

static void whole_file(struct field *f, const char *path, uint8_t bytes[LIVE_BYTES], bool put)
{
    struct env_file *file;
    size_t got = LIVE_BYTES;
    assert_int_equal(env_file_open(f->env, path, 0, &file), 0);
    if (put)
        assert_int_equal(env_file_write(file, bytes, LIVE_BYTES, 0), 0);
    else
        assert_int_equal(env_file_read(file, bytes, LIVE_BYTES, 0, &got), 0);
    assert_int_equal(got, LIVE_BYTES);
    env_file_close(file);
}

/* Died in the midst of a cut: what the file was then must be good enough after a refusal, too. */
static void test_a_refused_start_can_be_repeated_on_the_file_as_it_was(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 100}, old;
    uint8_t before[LIVE_BYTES];
    bool all;
    field_init(&f, 16);
    image_close(f.image);
    assert_int_equal(open_at(&f, false), 0);
    cut(&f, &m, 1, 20, 5, 1);
    old = m;
    model_step(&m, 2, 20, 5, 4); /* pages 1, 5, 9, … */
    assert_int_equal(cut_seal(f.image, &old, &m), 0);
    assert_int_equal(image_cut_write(f.image, 600, &all), 0);
    assert_false(all);
    image_close(f.image);
    whole_file(&f, DIR "/0000000000000001.main", before, false);
    flip(&f, DIR "/0000000000000001.main", 2 * 512 + 100);
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(open_at(&f, true), ERR_CORRUPT);
        assert_non_null(strstr(f.why.text, LIVE ": offset 1024: page 3 is damaged"));
        image_close(f.image);
    }
    whole_file(&f, LIVE, before, true);
    assert_int_equal(open_at(&f, true), 0);
    image_close(f.image);
    assert_int_equal(open_at(&f, false), 0);
    assert_null(model_differs(f.image, &m));
    field_fini(&f);
}

static void transfer(struct field *a, struct field *b, struct model *m, uint64_t seed,
                     bool disturb);

static void test_with_a_damaged_table_only_another_image_helps(void **state)
{
    (void)state;
    static uint8_t page[IMAGE_PAGE_MAX];
    struct field f, other;
    struct model m = {.state_bytes = 100}, n = {.state_bytes = 50};
    struct image_send *s;
    field_init(&f, 7);
    field_init(&other, 8);
    cut(&f, &m, 1, 200, 5, 1);
    cut(&other, &n, 1, 20, 5, 1);
    for (int missing = 0; missing < 2; missing++) {
        image_close(f.image);
        if (missing)
            assert_int_equal(env_file_remove(f.env, DIR "/0000000000000002.keys"), 0);
        else
            flip(&f, DIR "/0000000000000001.main.sums", 512 + 3);
        assert_int_equal(image_open(f.env, DIR, &f.image, &f.why), ERR_CORRUPT);
        if (!missing)
            assert_non_null(strstr(f.why.text, "0000000000000001.main.sums: offset 512"));
        assert_int_equal(image_now(f.image)->index, 1);
        assert_int_equal(image_page_read(f.image, IMAGE_MAIN, 1, page, &f.why), ERR_CORRUPT);
        assert_int_equal(image_send_begin(f.image, &s), ERR_CORRUPT);
        transfer(&other, &f, &n, 1, false);
        assert_null(model_differs(f.image, &n));
        field_reopen(&f);
        assert_null(model_differs(f.image, &n));
    }
    field_fini(&f);
    field_fini(&other);
}

static void test_one_bad_record_is_mended_two_are_not(void **state)
{
    (void)state;
    for (int which = 1; which <= 3; which++) {
        struct field f;
        struct model m = {.state_bytes = 600};
        field_init(&f, 8);
        cut(&f, &m, 1, 4, 0, 1);
        cut(&f, &m, 2, 4, 0, 2);
        image_close(f.image);
        f.image = NULL;
        if (which & 1)
            flip(&f, DIR "/record.a", 45);
        if (which & 2)
            flip(&f, DIR "/record.b", 600);
        if (which == 3) {
            assert_int_equal(image_open(f.env, DIR, &f.image, &f.why), ERR_CORRUPT);
        } else {
            field_open(&f);
            assert_null(model_differs(f.image, &m));
            image_close(f.image);
            flip(&f, which == 1 ? DIR "/record.b" : DIR "/record.a",
                 45); /* the mended one must do */
            field_open(&f);
            assert_null(model_differs(f.image, &m));
        }
        field_fini(&f);
    }
}

static void test_a_full_disk_before_the_seal_changes_nothing(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 600};
    field_init(&f, 9);
    cut(&f, &m, 1, 100, 0, 1);
    struct model next = m;
    model_step(&next, 2, 500, 0, 1);
    sim_disk_config(f.disk)->quota_bytes = 200 * 1024;
    int rc = cut_seal(f.image, &m, &next);
    assert_int_equal(rc, ERR_NOSPC);
    image_cut_drop(f.image);
    assert_null(model_differs(f.image, &m));
    field_reopen(&f);
    assert_null(model_differs(f.image, &m));
    sim_disk_config(f.disk)->quota_bytes = 0;
    assert_int_equal(cut_seal(f.image, &m, &next), 0);
    sim_disk_config(f.disk)->quota_bytes = 1; /* full again while it is applied */
    assert_int_equal(cut_apply(f.image, 4000), ERR_NOSPC);
    sim_disk_config(f.disk)->quota_bytes = 0;
    assert_int_equal(cut_apply(f.image, 4000), 0);
    assert_null(model_differs(f.image, &next));
    field_fini(&f);
}

static void test_a_failed_sync_is_final(void **state)
{
    (void)state;
    struct field f;
    struct model m = {.state_bytes = 600};
    field_init(&f, 10);
    cut(&f, &m, 1, 10, 0, 1);
    struct model next = m;
    model_step(&next, 2, 10, 0, 1);
    sim_disk_config(f.disk)->faults.sync_eio_ppm = 1000000;
    assert_int_equal(cut_seal(f.image, &m, &next), ERR_IO);
    sim_disk_config(f.disk)->faults.sync_eio_ppm = 0;
    static uint8_t bytes[IMAGE_STATE_MAX];
    struct image_moment moment = moment_of(&next, bytes);
    bool done;
    assert_int_equal(image_cut_begin(f.image, &moment), ERR_IO);
    assert_int_equal(image_cut_seal(f.image), ERR_IO);
    assert_int_equal(image_cut_apply(f.image, 1, &done), ERR_IO);
    field_fini(&f);
}

/* ---- transfers ---- */

/* Send everything from a to b, which then installs it. Between chunks, sometimes: a cut of a. */
static void transfer(struct field *a, struct field *b, struct model *m, uint64_t seed, bool disturb)
{
    struct image_send *s;
    struct image_receive *r;
    struct prng p;
    struct buf chunk;
    bool last = false, complete = false;
    uint64_t index = m->index;

    prng_init(&p, seed);
    buf_init(&chunk, 1 << 20);
    assert_int_equal(image_send_begin(a->image, &s), 0);
    assert_int_equal(image_receive_begin(b->image, &r), 0);
    while (!complete) {
        assert_int_equal(
            image_send_next(s, (size_t)prng_range(&p, 1, 6000), &chunk, &last, &a->why), 0);
        if (disturb && !last && prng_below(&p, 4) == 0 && index < m->index + 6) {
            assert_int_equal(image_receive_chunk(r, buf_slice(&chunk), &complete, &b->why), 0);
            struct model old = *m;
            model_step(m, m->index + 1, (uint32_t)prng_range(&p, 1, 500),
                       (uint32_t)prng_range(&p, 0, 20), (uint32_t)prng_range(&p, 1, 50));
            assert_int_equal(cut_seal(a->image, &old, m), 0);
            bool done = false;
            while (!done) { /* nothing is sent in the middle of it */
                assert_int_equal(image_cut_apply(a->image, 2000, &done), 0);
                if (!done)
                    assert_int_equal(image_send_next(s, 1, &chunk, &last, &a->why), 0);
                assert_true(done || (buf_len(&chunk) == 0 && !last));
            }
            if (m->index > index + 5)
                disturb = false;
            continue;
        }
        assert_int_equal(image_receive_chunk(r, buf_slice(&chunk), &complete, &b->why), 0);
        assert_int_equal(complete, last);
    }
    assert_int_equal(image_receive_moment(r)->index, m->index);
    assert_int_equal(image_receive_settle(r), 0);
    assert_int_equal(image_receive_install(r), 0);
    image_send_end(s);
    buf_fini(&chunk);
}

static void test_a_transfer_gives_the_same_image(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct field a, b;
        struct model m = {.state_bytes = 333}, other = {.state_bytes = 1};
        field_init(&a, seed);
        field_init(&b, seed + 1000);
        cut(&a, &m, 10, (uint32_t)(1 + seed * 7 % 400), (uint32_t)(seed % 5), 1);
        if (seed % 2)
            cut(&b, &other, 3, 77, 2, 1);
        transfer(&a, &b, &m, seed, seed % 3 != 0);
        assert_null(model_differs(b.image, &m));
        field_reopen(&b);
        assert_null(model_differs(b.image, &m));
        cut(&b, &m, m.index + 1, 50, 50, 3); /* and it goes on */
        field_reopen(&b);
        assert_null(model_differs(b.image, &m));
        field_fini(&a);
        field_fini(&b);
    }
}

static void test_an_abandoned_receipt_leaves_no_files(void **state)
{
    (void)state;
    struct field a, b;
    struct model m = {.state_bytes = 1};
    struct image_send *s;
    struct image_receive *r;
    struct buf chunk;
    bool last, complete;
    uint64_t size;
    field_init(&a, 1);
    field_init(&b, 2);
    cut(&a, &m, 10, 100, 0, 1);
    assert_int_equal(image_send_begin(b.image, &s), ERR_NOT_FOUND);
    assert_int_equal(image_send_begin(a.image, &s), 0);
    assert_int_equal(image_receive_begin(b.image, &r), 0);
    buf_init(&chunk, 1 << 20);
    assert_int_equal(image_send_next(s, 5000, &chunk, &last, &a.why), 0);
    assert_int_equal(image_receive_chunk(r, buf_slice(&chunk), &complete, &b.why), 0);
    image_receive_end(r);
    image_send_end(s);
    assert_int_equal(sim_disk_cache_size(b.disk, DIR "/0000000000000002.main", &size),
                     ERR_NOT_FOUND);
    assert_int_equal(image_now(b.image)->index, 0);
    buf_fini(&chunk);
    field_fini(&a);
    field_fini(&b);
}

static void test_who_takes_pages_more_slowly_than_they_change_is_told(void **state)
{
    (void)state;
    struct field a;
    struct model m = {.state_bytes = 1};
    struct image_send *s;
    struct buf chunk;
    bool last;
    int rc = 0;
    uint64_t index = 10;
    field_init(&a, 1);
    cut(&a, &m, index, 100, 0, 1);
    buf_init(&chunk, 1 << 20);
    assert_int_equal(image_send_begin(a.image, &s), 0);
    for (int round = 0; round < 100 && rc == 0; round++) {
        rc = image_send_next(s, 80 * 512, &chunk, &last, &a.why);
        assert_false(last);
        cut(&a, &m, ++index, 100, 0, 1); /* all of them */
    }
    assert_int_equal(rc, ERR_TIMEOUT);
    assert_true(index > 50);
    assert_non_null(strstr(a.why.text, "100 of 100 are left"));
    image_send_end(s);
    buf_fini(&chunk);
    field_fini(&a);
}

static void test_packed_chunks_unpack_to_what_they_were(void **state)
{
    (void)state;
    static uint8_t zeros[100000], noise[1000];
    struct buf packed, back;
    struct prng p;
    prng_init(&p, 1);
    prng_fill(&p, noise, sizeof(noise));
    buf_init(&packed, 1 << 20);
    buf_init(&back, 100000);
    assert_int_equal(image_pack(slice_of(noise, sizeof(noise)), &packed), ERR_TOO_BIG);
    memcpy(zeros + 500, noise, sizeof(noise));
    buf_reset(&packed, 0);
    assert_int_equal(image_pack(slice_of(zeros, sizeof(zeros)), &packed), 0);
    assert_true(buf_len(&packed) < 1500);
    assert_int_equal(image_unpack(buf_slice(&packed), &back), 0);
    assert_true(slice_equal(buf_slice(&back), slice_of(zeros, sizeof(zeros))));
    for (size_t len = 0; len < buf_len(&packed); len += 7) /* cut off */
        assert_int_equal(image_unpack(slice_of(buf_slice(&packed).data, len), &back), ERR_PROTOCOL);
    buf_fini(&back);
    buf_init(&back, 99999); /* it would not fit */
    assert_int_equal(image_unpack(buf_slice(&packed), &back), ERR_PROTOCOL);
    buf_fini(&packed);
    buf_fini(&back);
}

static void test_a_full_disk_at_the_end_of_a_receipt_changes_nothing(void **state)
{
    (void)state;
    struct field a, b;
    struct model m = {.state_bytes = 1}, other = {.state_bytes = 1};
    struct image_send *s;
    struct image_receive *r;
    struct buf chunk;
    bool last = false, complete;
    field_init(&a, 1);
    field_init(&b, 2);
    cut(&a, &m, 10, 100, 0, 1);
    cut(&b, &other, 3, 5, 0, 1);
    assert_int_equal(image_send_begin(a.image, &s), 0);
    assert_int_equal(image_receive_begin(b.image, &r), 0);
    buf_init(&chunk, 1 << 20);
    while (!last) {
        assert_int_equal(image_send_next(s, 5000, &chunk, &last, &a.why), 0);
        assert_int_equal(image_receive_chunk(r, buf_slice(&chunk), &complete, &b.why), 0);
    }
    sim_disk_config(b.disk)->quota_bytes = 1;
    assert_int_equal(image_receive_settle(r), ERR_NOSPC);
    image_receive_end(r);
    assert_null(model_differs(b.image, &other));
    sim_disk_config(b.disk)->quota_bytes = 0;
    assert_int_equal(image_receive_begin(b.image, &r), 0);
    image_receive_end(r);
    image_send_end(s);
    buf_fini(&chunk);
    field_fini(&a);
    field_fini(&b);
}

/* Every byte of every chunk, damaged: refused, or without effect on what is installed. */
static void test_a_damaged_chunk_is_refused(void **state)
{
    (void)state;
    struct field a, b;
    struct model m = {.state_bytes = 40};
    struct image_send *s;
    struct buf chunk;
    bool last = false, complete;
    unsigned refused = 0, tried = 0;
    field_init(&a, 1);
    field_init(&b, 2);
    cut(&a, &m, 10, 3, 1, 1);
    buf_init(&chunk, 1 << 20);
    assert_int_equal(image_send_begin(a.image, &s), 0);
    struct slice chunks[4] = {{NULL, 0}};
    size_t count = 0;
    while (!last) {
        assert_int_equal(image_send_next(s, 1200, &chunk, &last, &a.why), 0);
        uint8_t *copy = mem_must_alloc(buf_len(&chunk));
        memcpy(copy, buf_slice(&chunk).data, buf_len(&chunk));
        chunks[count++] = slice_of(copy, buf_len(&chunk));
    }
    for (size_t c = 0; c < count; c++) {
        for (size_t at = 0; at < chunks[c].len; at += 3) {
            struct image_receive *r;
            int rc = 0;
            assert_int_equal(image_receive_begin(b.image, &r), 0);
            ((uint8_t *)(uintptr_t)chunks[c].data)[at] ^= 0x41;
            for (size_t i = 0; rc == 0 && i < count; i++)
                rc = image_receive_chunk(r, chunks[i], &complete, &b.why);
            ((uint8_t *)(uintptr_t)chunks[c].data)[at] ^= 0x41;
            refused += rc == ERR_PROTOCOL;
            tried++;
            image_receive_end(r);
        }
    }
    assert_int_equal(refused, tried);
    assert_true(tried > 500);
    for (size_t c = 0; c < count; c++)
        mem_free((void *)(uintptr_t)chunks[c].data);
    image_send_end(s);
    buf_fini(&chunk);
    field_fini(&a);
    field_fini(&b);
}

static void test_a_transfer_that_misses_a_page_is_not_complete(void **state)
{
    (void)state;
    struct field a, b;
    struct model m = {.state_bytes = 40};
    struct image_send *s;
    struct image_receive *r;
    struct buf chunk;
    bool last = false, complete;
    int rc = 0;
    field_init(&a, 1);
    field_init(&b, 2);
    cut(&a, &m, 10, 30, 1, 1);
    buf_init(&chunk, 1 << 20);
    assert_int_equal(image_send_begin(a.image, &s), 0);
    assert_int_equal(image_receive_begin(b.image, &r), 0);
    for (unsigned i = 0; rc == 0 && !last; i++) {
        assert_int_equal(image_send_next(s, 1, &chunk, &last, &a.why), 0);
        if (i != 7)
            rc = image_receive_chunk(r, buf_slice(&chunk), &complete, &b.why);
    }
    assert_int_equal(rc, ERR_PROTOCOL);
    assert_non_null(strstr(b.why.text, "page 8 did not come"));
    image_receive_end(r);
    image_send_end(s);
    buf_fini(&chunk);
    field_fini(&a);
    field_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_image_is_empty_and_stays_so),
        cmocka_unit_test(test_cuts_grow_shrink_and_change_the_image),
        cmocka_unit_test(test_a_new_page_size_replaces_all_pages),
        cmocka_unit_test(test_a_cut_costs_what_changed),
        cmocka_unit_test(test_a_cut_in_pieces_leaves_little_for_its_end),
        cmocka_unit_test(test_a_dropped_cut_changes_nothing),
        cmocka_unit_test(test_a_damaged_page_is_named_and_not_given),
        cmocka_unit_test(test_a_refused_start_can_be_repeated_on_the_file_as_it_was),
        cmocka_unit_test(test_with_a_damaged_table_only_another_image_helps),
        cmocka_unit_test(test_one_bad_record_is_mended_two_are_not),
        cmocka_unit_test(test_a_full_disk_before_the_seal_changes_nothing),
        cmocka_unit_test(test_a_failed_sync_is_final),
        cmocka_unit_test(test_a_transfer_gives_the_same_image),
        cmocka_unit_test(test_an_abandoned_receipt_leaves_no_files),
        cmocka_unit_test(test_who_takes_pages_more_slowly_than_they_change_is_told),
        cmocka_unit_test(test_packed_chunks_unpack_to_what_they_were),
        cmocka_unit_test(test_a_full_disk_at_the_end_of_a_receipt_changes_nothing),
        cmocka_unit_test(test_a_damaged_chunk_is_refused),
        cmocka_unit_test(test_a_transfer_that_misses_a_page_is_not_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
