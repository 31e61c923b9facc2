/* test_wire_msg.c — bodies: round trips, every wrong length, wrong ranges, exact bytes. */
#include "golden.h"
#include "wire_test.h"

static char golden_text[32 * 1024];

static void note(const char *title, const struct buf *b)
{
    golden_dump(golden_text, sizeof(golden_text), title, buf_slice(b).data, buf_len(b));
}

/* ---- raft ---- */

static int raft_get(struct slice s)
{
    struct raft_msg m;
    return wire_raft_get(s, &m, NULL, NULL);
}

struct seen {
    uint32_t count;
    uint64_t index[4];
    struct wire_entry entry[4];
    int answer;
};

static int see(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct seen *s = ctx;
    assert_true(s->count < 4);
    s->index[s->count] = index;
    s->entry[s->count++] = *e;
    return s->answer;
}

static struct raft_msg append_msg(void)
{
    struct raft_msg m = {
        .kind = RAFT_MSG_APPEND_REQ,
        .from = 11,
        .to = 12,
        .term = 13,
        .log_index = 14,
        .log_term = 15,
        .commit = 16,
        .span = {.first = 15, .count = 3},
        .read_round = 17,
    };
    return m;
}

static const struct wire_entry three[] = {
    {.term = 20, .kind = RAFT_ENTRY_NOOP},
    {.term = 21, .kind = RAFT_ENTRY_NORMAL, .payload = {(const uint8_t *)"abc", 3}},
    {.term = 22, .kind = RAFT_ENTRY_CONF, .payload = {(const uint8_t *)"d", 1}},
};

static void test_raft_append_carries_its_entries(void **state)
{
    (void)state;
    struct raft_msg m = append_msg(), g;
    struct seen s = {.count = 0};
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_raft_put(&b, &m, three), 0);
    assert_int_equal(wire_raft_get(buf_slice(&b), &g, see, &s), 0);
    assert_true(g.kind == m.kind && g.from == 11 && g.to == 12 && g.term == 13);
    assert_true(g.log_index == 14 && g.log_term == 15 && g.commit == 16 && g.read_round == 17);
    assert_true(g.span.first == 15 && g.span.count == 3 && !g.granted && !g.transfer && !g.entries);
    assert_int_equal(s.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(s.index[i] == 15 + i);
        assert_true(s.entry[i].term == three[i].term && s.entry[i].kind == three[i].kind);
        assert_true(slice_equal(s.entry[i].payload, three[i].payload));
    }
    check_form(&b, raft_get);
    note("raft append, three entries", &b);
    buf_fini(&b);
}

static void test_raft_answers_keep_flags_and_hints(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 1 << 20);
    for (int kind = RAFT_MSG_PREVOTE_REQ; kind <= RAFT_MSG_SNAPSHOT_RES; kind++)
        for (int flags = 0; flags < 4; flags++) {
            struct raft_msg m = {
                .kind = (enum raft_msg_kind)kind,
                .from = 1,
                .to = 2,
                .granted = flags & 1,
                .transfer = flags & 2,
                .hint_index = UINT64_MAX,
                .hint_term = 8,
            };
            struct raft_msg g;
            buf_reset(&b, 4096);
            assert_int_equal(wire_raft_put(&b, &m, NULL), 0);
            assert_int_equal(wire_raft_get(buf_slice(&b), &g, see, NULL), 0);
            assert_true(g.kind == m.kind && g.granted == m.granted && g.transfer == m.transfer);
            assert_true(g.hint_index == UINT64_MAX && g.hint_term == 8 && g.span.count == 0);
        }
    note("raft snapshot answer, granted and transfer", &b);
    buf_fini(&b);
}

static void test_raft_visit_ends_at_its_own_failure_and_never_sees_half_a_message(void **state)
{
    (void)state;
    struct raft_msg m = append_msg(), g;
    struct seen s = {.answer = ERR_NOMEM};
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_raft_put(&b, &m, three), 0);
    assert_int_equal(wire_raft_get(buf_slice(&b), &g, see, &s), ERR_NOMEM);
    assert_int_equal(s.count, 1);
    s.count = 0;
    assert_int_equal(wire_raft_get(slice_of(buf_slice(&b).data, buf_len(&b) - 1), &g, see, &s),
                     ERR_PROTOCOL);
    assert_int_equal(s.count, 0);
    buf_fini(&b);
}

static void test_raft_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    struct raft_msg m = append_msg();
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_raft_put(&b, &m, three), 0);
    assert_int_equal(get_changed(&b, 0, 0, raft_get), ERR_PROTOCOL); /* kinds */
    assert_int_equal(get_changed(&b, 0, 10, raft_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 0, RAFT_MSG_VOTE_REQ, raft_get),
                     ERR_PROTOCOL);                                  /* with entries */
    assert_int_equal(get_changed(&b, 1, 4, raft_get), ERR_PROTOCOL); /* unknown flag */
    assert_int_equal(get_changed(&b, 2, 1, raft_get), ERR_PROTOCOL); /* reserved */
    assert_int_equal(get_changed(&b, 5, 0x20, raft_get),
                     ERR_PROTOCOL); /* more entries than a step takes */
    assert_int_equal(get_changed(&b, 8, 0, raft_get), ERR_PROTOCOL);  /* from nobody */
    assert_int_equal(get_changed(&b, 16, 0, raft_get), ERR_PROTOCOL); /* to nobody */
    assert_int_equal(get_changed(&b, 80, 0, raft_get), ERR_PROTOCOL); /* entry of term 0 */
    assert_int_equal(get_changed(&b, 88, 3, raft_get), ERR_PROTOCOL); /* its kind */
    assert_int_equal(get_changed(&b, 88, RAFT_ENTRY_CONF, raft_get),
                     ERR_PROTOCOL);                                   /* without payload */
    assert_int_equal(get_changed(&b, 89, 1, raft_get), ERR_PROTOCOL); /* reserved */
    memset(b.data + b.start + 32, 0xFF, 8);                           /* indexes would wrap */
    assert_int_equal(raft_get(buf_slice(&b)), ERR_PROTOCOL);
    buf_fini(&b);
}

/* ---- configuration ---- */

static int conf_get(struct slice s)
{
    static struct wire_conf c;
    return wire_conf_get(s, &c);
}

static void member_set(struct wire_member *m, const char *name, bool voter)
{
    memset(m, 0, sizeof(*m));
    m->id = wire_member_id(slice_str(name));
    m->store_id = 7;
    m->voter = voter;
    m->replica = !voter;
    (void)snprintf(m->name, sizeof(m->name), "%s", name);
    (void)snprintf(m->addr, sizeof(m->addr), "%s:4002", name);
}

static struct wire_conf conf_made, conf_read;

static void conf_make(void)
{
    struct wire_member *m = conf_made.members;

    memset(&conf_made, 0, sizeof(conf_made));
    conf_made.cluster_id = 99;
    conf_made.count = 2;
    member_set(&m[0], "a", true);
    member_set(&m[1], "b", false);
    if (m[0].id > m[1].id) {
        struct wire_member swap = m[0];
        m[0] = m[1];
        m[1] = swap;
    }
}

static void test_conf_round_trip_is_exact_to_the_padding(void **state)
{
    (void)state;
    struct raft_conf r;
    struct buf b;

    conf_make();
    buf_init(&b, 1 << 20);
    assert_int_equal(wire_conf_put(&b, &conf_made), 0);
    memset(&conf_read, 0xAA, sizeof(conf_read));
    assert_int_equal(wire_conf_get(buf_slice(&b), &conf_read), 0);
    assert_memory_equal(&conf_made, &conf_read, sizeof(conf_made));
    check_form(&b, conf_get);
    wire_conf_to_raft(&conf_read, &r);
    assert_int_equal(r.count, 2);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(r.members[i].id == conf_made.members[i].id &&
                    r.members[i].voter == conf_made.members[i].voter);
    note("conf, two members", &b);
    buf_fini(&b);
}

static void test_conf_refuses_wrong_order_names_and_counts(void **state)
{
    (void)state;
    struct buf b, twice;

    conf_make();
    buf_init(&b, 1 << 20);
    buf_init(&twice, 1 << 20);
    assert_int_equal(wire_conf_put(&b, &conf_made), 0);
    assert_int_equal(get_changed(&b, 0, 2, conf_get), ERR_PROTOCOL);                  /* version */
    assert_int_equal(get_changed(&b, 1, 1, conf_get), ERR_PROTOCOL);                  /* reserved */
    assert_int_equal(get_changed(&b, 4, RAFT_NODES_MAX + 1, conf_get), ERR_PROTOCOL); /* count */
    assert_int_equal(get_changed(&b, 16, buf_slice(&b).data[16] ^ 1, conf_get),
                     ERR_PROTOCOL);                                   /* id is not the name's */
    assert_int_equal(get_changed(&b, 32, 3, conf_get), ERR_PROTOCOL); /* voter and replica */
    size_t member_len = (buf_len(&b) - 16) / 2; /* both names have one letter */
    (void)buf_append(&twice, buf_slice(&b).data, 16 + member_len);
    (void)buf_append(&twice, buf_slice(&b).data + 16, member_len);
    assert_int_equal(conf_get(buf_slice(&twice)), ERR_PROTOCOL); /* twice the same */
    buf_reset(&twice, 0);
    (void)buf_append(&twice, buf_slice(&b).data, 16);
    (void)buf_append(&twice, buf_slice(&b).data + 16 + member_len, member_len);
    (void)buf_append(&twice, buf_slice(&b).data + 16, member_len);
    assert_int_equal(conf_get(buf_slice(&twice)), ERR_PROTOCOL); /* descending */
    buf_fini(&b);
    buf_fini(&twice);
}

static void test_conf_holds_the_greatest_cluster_with_the_longest_names(void **state)
{
    (void)state;
    struct buf b;

    memset(&conf_made, 0, sizeof(conf_made));
    conf_made.count = RAFT_NODES_MAX;
    for (uint32_t i = 0; i < RAFT_NODES_MAX; i++) {
        struct wire_member m = {.voter = true};
        memset(m.name, 'a' + (int)i, WIRE_NAME_MAX);
        memset(m.addr, 'z', WIRE_ADDR_MAX);
        m.id = wire_member_id(slice_str(m.name));
        uint32_t at = i;
        for (; at > 0 && conf_made.members[at - 1].id > m.id; at--)
            conf_made.members[at] = conf_made.members[at - 1];
        conf_made.members[at] = m;
    }
    buf_init(&b, 1 << 20);
    assert_int_equal(wire_conf_put(&b, &conf_made), 0);
    assert_int_equal(wire_conf_get(buf_slice(&b), &conf_read), 0);
    assert_memory_equal(&conf_made, &conf_read, sizeof(conf_made));
    buf_fini(&b);
}

static void test_member_ids_never_change(void **state)
{
    (void)state;
    char line[128];

    (void)snprintf(line, sizeof(line), "member ids: \"\" %016llx, \"node1\" %016llx\n",
                   (unsigned long long)wire_member_id(slice_str("")),
                   (unsigned long long)wire_member_id(slice_str("node1")));
    golden_check("wire_member_id.txt", line);
}

/* ---- the others ---- */

static int join_get(struct slice s)
{
    struct wire_join j;
    return wire_join_get(s, &j);
}

static void test_join_round_trip(void **state)
{
    (void)state;
    struct wire_join j = {.name = slice_str("n2"),
                          .addr = slice_str("h2:4002"),
                          .store_id = 5,
                          .voter = true,
                          .serial = 9,
                          .user = slice_str("u"),
                          .password = slice_str("secret")},
                     g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_join_put(&b, &j), 0);
    assert_int_equal(wire_join_get(buf_slice(&b), &g), 0);
    assert_true(slice_equal(g.name, j.name) && slice_equal(g.addr, j.addr) && g.store_id == 5 &&
                g.voter && !g.pledge && g.serial == 9);
    assert_true(slice_equal(g.user, j.user) && slice_equal(g.password, j.password));
    check_form(&b, join_get);
    assert_int_equal(get_changed(&b, 8, 2, join_get), 0);
    assert_int_equal(get_changed(&b, 8, 4, join_get), ERR_PROTOCOL); /* no such flag */
    assert_int_equal(get_changed(&b, 0, 0, join_get), ERR_PROTOCOL); /* store id 0 */
    note("join", &b);
    buf_fini(&b);
}

static int answer_get(struct slice s)
{
    struct wire_answer a;
    return wire_answer_get(s, &a);
}

static void test_answer_round_trip(void **state)
{
    (void)state;
    struct wire_answer a = {ERR_NOT_LEADER, 9, slice_str("h3:4002"), slice_str("not leader")}, g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_answer_put(&b, &a), 0);
    assert_int_equal(wire_answer_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == ERR_NOT_LEADER && g.cluster_id == 9);
    assert_true(slice_equal(g.leader_addr, a.leader_addr) && slice_equal(g.text, a.text));
    check_form(&b, answer_get);
    assert_int_equal(get_changed(&b, 0, 29, answer_get), ERR_PROTOCOL); /* no such failure */
    note("answer", &b);
    buf_fini(&b);
}

static void test_answer_cuts_long_words_between_characters(void **state)
{
    (void)state;
    char words[WIRE_TEXT_MAX + 3] = {0};
    struct wire_answer a = {.rc = ERR_SQL, .text = slice_of(words, sizeof(words))}, g;
    struct buf b;

    memset(words, 'x', sizeof(words));
    memcpy(words + WIRE_TEXT_MAX - 2, "\xE2\x82\xAC", 3); /* a euro sign across the border */
    buf_init(&b, 1 << 20);
    assert_int_equal(wire_answer_put(&b, &a), 0);
    assert_int_equal(wire_answer_get(buf_slice(&b), &g), 0);
    assert_int_equal(g.text.len, WIRE_TEXT_MAX - 2);
    buf_fini(&b);
}

static void test_every_failure_has_its_number(void **state)
{
    (void)state;
    static const int all[] = {ERR_OK,
#define ROW(name, status, text) name,
                              ERR_TABLE(ROW)
#undef ROW
    };
    char *at = golden_text + strlen(golden_text);
    size_t count = sizeof(all) / sizeof(all[0]);

    for (size_t i = 0; i < count; i++) {
        int32_t back = 1;
        assert_int_equal(wire_rc_get(wire_rc_put(all[i]), &back), 0);
        assert_int_equal(back, all[i]);
        at += sprintf(at, "rc %s %u\n", err_name_of(all[i]), (unsigned)wire_rc_put(all[i]));
    }
    int32_t rc;
    assert_int_equal(wire_rc_get((uint16_t)count, &rc), ERR_PROTOCOL);
}

static int meta_get(struct slice s)
{
    struct wire_meta m;
    return wire_meta_get(s, &m);
}

static void test_meta_round_trip(void **state)
{
    (void)state;
    struct wire_meta m = {1, 2, 3, false, true, slice_str("http://h:4001"), slice_str("v10")}, g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_meta_put(&b, &m), 0);
    assert_int_equal(wire_meta_get(buf_slice(&b), &g), 0);
    assert_true(g.commit_index == 1 && g.applied_index == 2 && g.term == 3 && !g.leader && g.ready);
    assert_true(slice_equal(g.api_url, m.api_url) && slice_equal(g.version, m.version));
    check_form(&b, meta_get);
    assert_int_equal(get_changed(&b, 24, 4, meta_get), ERR_PROTOCOL);
    note("meta", &b);
    buf_fini(&b);
}

static int index_get(struct slice s)
{
    struct wire_index a;
    return wire_index_get(s, &a);
}

static void test_index_round_trip(void **state)
{
    (void)state;
    struct wire_index a = {0, 7, 41}, refused = {ERR_NOT_LEADER, 0, 0}, g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_index_put(&b, &a), 0);
    assert_int_equal(wire_index_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == 0 && g.term == 7 && g.index == 41);
    refuse_other_lengths(buf_slice(&b), index_get);
    assert_int_equal(get_changed(&b, 2, 0, index_get), ERR_PROTOCOL);  /* success without a term */
    assert_int_equal(get_changed(&b, 10, 0, index_get), ERR_PROTOCOL); /* or without an index */
    assert_int_equal(get_changed(&b, 0, 10, index_get), ERR_PROTOCOL); /* a refusal with them */
    note("index", &b);
    buf_reset(&b, 1 << 20);
    assert_int_equal(wire_index_put(&b, &refused), 0);
    assert_int_equal(wire_index_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == ERR_NOT_LEADER && g.term == 0 && g.index == 0);
    note("no index", &b);
    buf_fini(&b);
}

static int forward_get(struct slice s)
{
    struct wire_forward f;
    return wire_forward_get(s, &f);
}

static void test_forward_round_trip(void **state)
{
    (void)state;
    struct wire_forward f = {.kind = WIRE_REQUEST,
                             .level = WIRE_LEVEL_STRONG,
                             .encode_options = 0x8001,
                             .timeout_ms = 10,
                             .linearizable_timeout_ms = 20,
                             .db_timeout_ns = 30,
                             .wait_index = INT64_MAX,
                             .in_parts = true,
                             .payload = slice_str("payload"),
                             .user = slice_str("bob"),
                             .password = slice_str("secret"),
                             .further = true},
                        g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_forward_put(&b, &f), 0);
    assert_int_equal(wire_forward_get(buf_slice(&b), &g), 0);
    assert_true(g.kind == f.kind && g.level == f.level && g.encode_options == 0x8001);
    assert_true(g.timeout_ms == 10 && g.linearizable_timeout_ms == 20 && g.db_timeout_ns == 30);
    assert_true(g.wait_index == INT64_MAX);
    assert_true(slice_equal(g.payload, f.payload) && g.in_parts);
    assert_true(g.further && slice_equal(g.user, f.user) && slice_equal(g.password, f.password));
    check_form(&b, forward_get);
    assert_int_equal(get_changed(&b, 0, 0, forward_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 0, WIRE_BACKUP + 1, forward_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 1, WIRE_LEVEL_AUTO + 1, forward_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 2, 4, forward_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 3, 1, forward_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 39, 0x80, forward_get),
                     ERR_PROTOCOL); /* an index of 64 bits */
    note("forward", &b);
    buf_fini(&b);
}

static int order_get(struct slice s)
{
    struct wire_order o;
    return wire_order_get(s, &o);
}

static void test_order_round_trip(void **state)
{
    (void)state;
    struct wire_order o = {slice_str("n3"), slice_str("bob"), slice_str("secret")}, g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_order_put(&b, &o), 0);
    assert_int_equal(wire_order_get(buf_slice(&b), &g), 0);
    assert_true(slice_equal(g.name, o.name) && slice_equal(g.user, o.user));
    assert_true(slice_equal(g.password, o.password));
    check_form(&b, order_get);
    note("order", &b);
    buf_fini(&b);
}

static int forward_answer_get(struct slice s)
{
    struct wire_forward_answer a;
    return wire_forward_answer_get(s, &a);
}

static void test_forward_answer_round_trip(void **state)
{
    (void)state;
    struct wire_forward_answer a = {.rc = ERR_SQL,
                                    .raft_index = 41,
                                    .phases = {1, 2, 3, 4, 5, UINT64_MAX},
                                    .text = slice_str("near \"x\": syntax error"),
                                    .body = slice_str("[]")},
                               g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_forward_answer_put(&b, &a), 0);
    assert_int_equal(wire_forward_answer_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == ERR_SQL && g.raft_index == 41);
    assert_memory_equal(&g.phases, &a.phases, sizeof(g.phases));
    assert_true(slice_equal(g.text, a.text) && slice_equal(g.body, a.body) && !g.more);
    check_form(&b, forward_answer_get);
    assert_int_equal(get_changed(&b, 2, 1, forward_answer_get),
                     ERR_PROTOCOL); /* a failure has no more */
    assert_int_equal(get_changed(&b, 2, 2, forward_answer_get), ERR_PROTOCOL);
    note("forward answer", &b);
    buf_reset(&b, 0);
    a = (struct wire_forward_answer){.more = true, .body = slice_str("R[1")};
    assert_int_equal(wire_forward_answer_put(&b, &a), 0);
    assert_int_equal(wire_forward_answer_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == 0 && g.more && slice_equal(g.body, a.body) && g.text.len == 0);
    note("forward answer, more", &b);
    buf_fini(&b);
}

static int forward_pull_get(struct slice s)
{
    struct wire_forward_pull p;
    return wire_forward_pull_get(s, &p);
}

static void test_forward_pull_round_trip(void **state)
{
    (void)state;
    for (int stop = 0; stop < 2; stop++) {
        const struct wire_forward_pull p = {.stop = stop};
        struct wire_forward_pull g = {.stop = !stop};
        struct buf b;

        buf_init(&b, 64);
        assert_int_equal(wire_forward_pull_put(&b, &p), 0);
        assert_int_equal(wire_forward_pull_get(buf_slice(&b), &g), 0);
        assert_true(g.stop == p.stop);
        check_form(&b, forward_pull_get);
        assert_int_equal(get_changed(&b, 0, 2, forward_pull_get), ERR_PROTOCOL);
        note(stop ? "forward pull, stop" : "forward pull", &b);
        buf_fini(&b);
    }
}

static int image_req_get(struct slice s)
{
    struct wire_image_req q;
    return wire_image_req_get(s, &q);
}

static int image_res_get(struct slice s)
{
    struct wire_image_res a;
    return wire_image_res_get(s, &a);
}

static void test_image_request_and_chunk_round_trip(void **state)
{
    (void)state;
    struct wire_image_req q = {7, 1000, 3, 4, true}, p;
    struct wire_image_res a = {.transfer = 7,
                               .seq = 3,
                               .packed = true,
                               .chunk = slice_str("chunk")},
                          g;
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_int_equal(wire_image_req_put(&b, &q), 0);
    assert_int_equal(wire_image_req_get(buf_slice(&b), &p), 0);
    assert_true(p.transfer == 7 && p.index == 1000 && p.next == 3 && p.window == 4 && p.zstd);
    check_form(&b, image_req_get);
    assert_int_equal(get_changed(&b, 0, 0, image_req_get), ERR_PROTOCOL); /* goes on with none */
    assert_int_equal(get_changed(&b, 20, 0, image_req_get), ERR_PROTOCOL);
    assert_int_equal(get_changed(&b, 21, 2, image_req_get), ERR_PROTOCOL);
    note("image request", &b);
    buf_reset(&b, 1 << 20);
    assert_int_equal(wire_image_res_put(&b, &a), 0);
    assert_int_equal(wire_image_res_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == 0 && g.transfer == 7 && g.seq == 3 && g.packed &&
                slice_equal(g.chunk, a.chunk));
    check_form(&b, image_res_get);
    assert_int_equal(get_changed(&b, 0, 1, image_res_get),
                     ERR_PROTOCOL); /* a failure with a chunk */
    assert_int_equal(get_changed(&b, 2, 0, image_res_get),
                     ERR_PROTOCOL); /* a chunk of no transfer */
    note("image chunk", &b);
    buf_reset(&b, 1 << 20);
    a = (struct wire_image_res){.rc = ERR_BUSY, .text = slice_str("later")};
    assert_int_equal(wire_image_res_put(&b, &a), 0);
    assert_int_equal(wire_image_res_get(buf_slice(&b), &g), 0);
    assert_true(g.rc == ERR_BUSY && slice_equal(g.text, a.text));
    note("no image", &b);
    buf_fini(&b);
}

static int digest_get(struct slice s)
{
    struct wire_digest d;
    return wire_digest_get(s, &d);
}

static void test_digest_round_trip(void **state)
{
    (void)state;
    struct wire_digest d = {1024, 0x1122334455667788, true}, g;
    struct buf b;

    buf_init(&b, 64);
    assert_int_equal(wire_digest_put(&b, &d), 0);
    assert_int_equal(wire_digest_get(buf_slice(&b), &g), 0);
    assert_true(g.index == 1024 && g.digest == d.digest && g.rows);
    check_form(&b, digest_get);
    assert_int_equal(get_changed(&b, 1, 0, digest_get), ERR_PROTOCOL); /* index 0 */
    assert_int_equal(get_changed(&b, 16, 2, digest_get), ERR_PROTOCOL);
    note("digest", &b);
    buf_fini(&b);
}

static void test_encoders_report_a_full_buffer(void **state)
{
    (void)state;
    struct raft_msg m = append_msg();
    struct wire_meta meta = {.api_url = slice_str("u"), .version = slice_str("v")};

    for (size_t max = 0; max < 137; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_int_equal(wire_raft_put(&b, &m, three), max < 132 ? ERR_TOO_BIG : 0);
        buf_fini(&b);
        buf_init(&b, max);
        assert_int_equal(wire_meta_put(&b, &meta), max < 31 ? ERR_TOO_BIG : 0);
        buf_fini(&b);
    }
}

static void test_bodies_are_as_written_down(void **state)
{
    (void)state;
    golden_check("wire_msg.txt", golden_text); /* what the tests above noted, in their order */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_append_carries_its_entries),
        cmocka_unit_test(test_raft_answers_keep_flags_and_hints),
        cmocka_unit_test(test_raft_visit_ends_at_its_own_failure_and_never_sees_half_a_message),
        cmocka_unit_test(test_raft_refuses_what_makes_no_sense),
        cmocka_unit_test(test_conf_round_trip_is_exact_to_the_padding),
        cmocka_unit_test(test_conf_refuses_wrong_order_names_and_counts),
        cmocka_unit_test(test_conf_holds_the_greatest_cluster_with_the_longest_names),
        cmocka_unit_test(test_member_ids_never_change),
        cmocka_unit_test(test_join_round_trip),
        cmocka_unit_test(test_answer_round_trip),
        cmocka_unit_test(test_answer_cuts_long_words_between_characters),
        cmocka_unit_test(test_every_failure_has_its_number),
        cmocka_unit_test(test_meta_round_trip),
        cmocka_unit_test(test_order_round_trip),
        cmocka_unit_test(test_index_round_trip),
        cmocka_unit_test(test_forward_round_trip),
        cmocka_unit_test(test_forward_answer_round_trip),
        cmocka_unit_test(test_forward_pull_round_trip),
        cmocka_unit_test(test_image_request_and_chunk_round_trip),
        cmocka_unit_test(test_digest_round_trip),
        cmocka_unit_test(test_encoders_report_a_full_buffer),
        cmocka_unit_test(test_bodies_are_as_written_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
