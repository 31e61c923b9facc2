/* node_serve.c — requests that other nodes pass on to us, because we lead (or did). They run as our own
 * clients' do, are never passed on again, and are answered on the connection they came by. */
#include "node_int.h"

struct forward_asker {
    struct node *node;
    peer_conn conn;
    uint32_t stream;
};

static void forward_reply_send(const struct forward_asker *asker, const struct node_answer *a)
{
    struct wire_forward_answer answer = {
        .rc = a->rc,
        .raft_index = a->raft_index,
        .text = a->text ? slice_str(a->text) : slice_of(NULL, 0),
        .body = a->body,
    };
    struct buf *out = peer_out(asker->node->peers, asker->conn);

    if (!out)
        return; /* the asker is gone, or does not read: its connection will end */
    size_t begun = wire_frame_begin(out, WIRE_FORWARD_RES, asker->stream);
    (void)wire_forward_answer_put(out, &answer);
    (void)wire_frame_end(out, begun);
    peer_send_built(asker->node->peers, asker->conn);
}

static void forward_reply(void *ctx, const struct node_answer *a)
{
    struct forward_asker *asker = ctx;
    forward_reply_send(asker, a);
    mem_free(asker);
}

void node_serve(struct node *n, peer_conn c, const struct wire_frame *f)
{
    struct node_request r = {.forwarded = true};
    struct wire_cmd cmd;
    struct forward_asker *asker = mem_alloc(sizeof(*asker));

    int rc = asker ? wire_forward_get(f->body, &r.f) : ERR_NOMEM;
    if (rc == 0)
        rc = wire_cmd_open(r.f.payload, false, &cmd);
    if (asker) {
        asker->node = n;
        asker->conn = c;
        asker->stream = f->stream;
    }
    if (rc == 0)
        rc = node_submit(n, &r, forward_reply, asker, NULL);
    if (rc == 0 || !asker)
        return;
    struct node_answer refused = {.rc = rc, .text = err_text_of(rc)};
    forward_reply(asker, &refused);
}
