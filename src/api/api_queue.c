/* api_queue — the queue as a value: who is in it, when a batch is due, what its bytes are. Called by
 * api_queue_request (entering) and api_queue_flush (batches). Invariants: api_queue_check. */
#include "api_queue.h"

#include <rq/util/endian.h>

enum { KEEP_BYTES = 64 * 1024 }; /* of the batch buffer, between batches */

struct queue_item {
    struct list link;
    uint64_t sequence, entered_ns;
    uint32_t statement_count; /* 0: a marker */
    size_t len, user_len, password_len;
    uint8_t bytes[]; /* payload, user, password */
};

static struct queue_item *item_of(struct list *l)
{
    return LIST_ENTRY(l, struct queue_item, link);
}

/* What an item costs, so that markers and small statements are bounded by bytes too. */
static size_t item_bytes(size_t len)
{
    return sizeof(struct queue_item) + len;
}

static struct slice item_payload(const struct queue_item *item)
{
    return slice_of(item->bytes, item->len);
}

static struct slice item_user(const struct queue_item *item)
{
    return slice_of(item->bytes + item->len, item->user_len);
}

static struct slice item_password(const struct queue_item *item)
{
    return slice_of(item->bytes + item->len + item->user_len, item->password_len);
}

static void item_free(struct queue_item *item)
{
    explicit_bzero(item->bytes + item->len, item->user_len + item->password_len);
    mem_free(item);
}

static void secrets_drop(struct api_queue_batch *b)
{
    if (b->secrets.cap > 0)
        explicit_bzero(b->secrets.data, b->secrets.cap);
    buf_reset(&b->secrets, 0);
    b->user_len = 0;
}

void api_queue_init(struct api_queue *q, const struct api_queue_config *config, uint64_t start)
{
    memset(q, 0, sizeof *q);
    q->config = *config;
    if (q->config.capacity == 0)
        q->config.capacity = 1;
    if (q->config.batch_size == 0)
        q->config.batch_size = 1;
    q->start = start;
    q->sequence = start;
    list_init(&q->items);
    buf_init(&q->batch.payload, LIMIT_ENTRY_BYTES);
    buf_init(&q->batch.secrets, WIRE_USER_MAX + WIRE_PASSWORD_MAX);
}

void api_queue_fini(struct api_queue *q)
{
    for (struct list *l; (l = list_pop_front(&q->items));)
        item_free(item_of(l));
    buf_fini(&q->batch.payload);
    secrets_drop(&q->batch);
    buf_fini(&q->batch.secrets);
}

bool api_queue_has_room(const struct api_queue *q, size_t len)
{
    if (q->count == 0)
        return true; /* however large it is: the bound on one entry is smaller than ours */
    return q->count < q->config.capacity && q->bytes + item_bytes(len) <= LIMIT_QUEUE_BYTES;
}

static void bytes_copy(uint8_t *dst, struct slice s)
{
    if (s.len > 0)
        memcpy(dst, s.data, s.len);
}

static struct queue_item *item_new(const struct api_queue_entry *e)
{
    /* More than can be anybody's is nobody's: as where a single request is passed on. */
    const bool known = e->user.len <= WIRE_USER_MAX && e->password.len <= WIRE_PASSWORD_MAX;
    const size_t user_len = known ? e->user.len : 0;
    const size_t password_len = known ? e->password.len : 0;
    struct queue_item *item = mem_alloc(sizeof *item + e->payload.len + user_len + password_len);
    if (!item)
        return NULL;
    item->statement_count = e->statement_count;
    item->len = e->payload.len;
    item->user_len = user_len;
    item->password_len = password_len;
    bytes_copy(item->bytes, e->payload);
    bytes_copy(item->bytes + item->len, slice_of(e->user.data, user_len));
    bytes_copy(item->bytes + item->len + user_len, slice_of(e->password.data, password_len));
    return item;
}

int api_queue_add(struct api_queue *q, const struct api_queue_entry *entry, uint64_t now_ns,
                  uint64_t *sequence)
{
    const size_t len = entry->payload.len;
    ASSERT(api_queue_has_room(q, len));
    ASSERT((len == 0) == (entry->statement_count == 0));
    if (len + API_QUEUE_KEY_BYTES > LIMIT_ENTRY_BYTES)
        return ERR_TOO_BIG;
    struct queue_item *item = item_new(entry);
    if (!item)
        return ERR_NOMEM;
    item->sequence = ++q->sequence;
    item->entered_ns = now_ns;
    list_push_back(&q->items, &item->link);
    q->count++;
    q->bytes += item_bytes(len);
    *sequence = item->sequence;
    return 0;
}

uint64_t api_queue_due_ns(const struct api_queue *q)
{
    if (q->batch.under_way || q->count == 0)
        return UINT64_MAX;
    /* A queue smaller than a batch is full before the batch is. */
    if (q->flushing || q->count >= q->config.batch_size || q->count >= q->config.capacity ||
        q->bytes >= LIMIT_QUEUE_BATCH_BYTES)
        return 0;
    if (q->config.timeout_ns == 0)
        return UINT64_MAX;
    const struct queue_item *first = item_of(q->items.next);
    return first->entered_ns + q->config.timeout_ns;
}

/* The leader judges a batch by one client's rights: others' requests wait for the next. Markers write nothing. */
static bool same_client(const struct queue_item *a, const struct queue_item *b)
{
    return b->statement_count == 0 || (slice_equal(item_user(a), item_user(b)) &&
                                       slice_equal(item_password(a), item_password(b)));
}

/* The first that writes anything; NULL: markers only. */
static const struct queue_item *batch_author(const struct api_queue *q)
{
    for (struct list *l = q->items.next; l != &q->items; l = l->next)
        if (item_of(l)->statement_count > 0)
            return item_of(l);
    return NULL;
}

/* How many of the first items go together. */
static uint32_t batch_measure(struct api_queue *q)
{
    struct api_queue_batch *b = &q->batch;
    const struct queue_item *author = batch_author(q);
    size_t bytes = 0;
    b->request_count = b->statement_count = 0;
    for (struct list *l = q->items.next; l != &q->items; l = l->next) {
        const struct queue_item *item = item_of(l);
        bytes += item->len;
        if (b->request_count == q->config.batch_size ||
            (b->request_count > 0 &&
             (bytes > LIMIT_QUEUE_BATCH_BYTES || !same_client(author, item) ||
              b->statement_count + item->statement_count > LIMIT_STATEMENTS)))
            break;
        b->request_count++;
        b->statement_count += item->statement_count;
        b->sequence = item->sequence;
    }
    return b->request_count;
}

static int batch_write(struct api_queue *q, uint64_t store_id)
{
    struct api_queue_batch *b = &q->batch;
    uint8_t key[API_QUEUE_KEY_BYTES] = {WIRE_KEY_OF_NODE};
    const uint16_t flags =
        (uint16_t)(WIRE_CMD_QUEUED | (q->config.transaction ? WIRE_CMD_TRANSACTION : 0));
    put_u64(key + 1, store_id);
    put_u64(key + 9, q->start);
    put_u64(key + 17, b->sequence);
    buf_reset(&b->payload, KEEP_BYTES);
    wire_cmd_begin(&b->payload, WIRE_CMD_EXECUTE, flags, slice_of(key, sizeof key));
    const struct list *l = q->items.next;
    for (uint32_t i = 0; i < b->request_count; i++, l = l->next) {
        const struct queue_item *item = LIST_ENTRY(l, const struct queue_item, link);
        if (item->len > 0)
            wire_cmd_join(&b->payload, item_payload(item));
    }
    return wire_cmd_finish(&b->payload);
}

static int batch_secrets(struct api_queue *q)
{
    struct api_queue_batch *b = &q->batch;
    const struct queue_item *author = batch_author(q);
    secrets_drop(b);
    if (!author || b->statement_count == 0)
        return 0;
    b->user_len = author->user_len;
    (void)buf_append_slice(&b->secrets, item_user(author));
    return buf_append_slice(&b->secrets, item_password(author));
}

int api_queue_batch_begin(struct api_queue *q, uint64_t store_id)
{
    ASSERT(!q->batch.under_way && q->count > 0);
    const uint32_t count = batch_measure(q);
    ASSERT(count > 0);
    int rc = batch_write(q, store_id);
    if (rc == 0)
        rc = batch_secrets(q);
    if (rc != 0) { /* not for its contents: each of them was built by the same builder */
        ASSERT(rc == ERR_NOMEM);
        buf_reset(&q->batch.payload, KEEP_BYTES);
        secrets_drop(&q->batch);
        return rc;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct queue_item *item = item_of(list_pop_front(&q->items));
        q->bytes -= item_bytes(item->len);
        item_free(item);
    }
    q->count -= count;
    q->batch.under_way = true;
    return 0;
}

void api_queue_batch_end(struct api_queue *q)
{
    ASSERT(q->batch.under_way && q->batch.sequence > q->finished);
    q->finished = q->batch.sequence;
    q->batch.under_way = false;
    buf_reset(&q->batch.payload, KEEP_BYTES);
    secrets_drop(&q->batch);
}

uint32_t api_queue_pending(const struct api_queue *q)
{
    return q->count + (q->batch.under_way ? q->batch.request_count : 0);
}

void api_queue_check(const struct api_queue *q)
{
    uint64_t before = q->batch.under_way ? q->batch.sequence : q->finished;
    uint32_t count = 0;
    size_t bytes = 0;
    for (struct list *l = q->items.next; l != &q->items; l = l->next) {
        const struct queue_item *item = item_of(l);
        ASSERT(item->sequence > before && item->sequence <= q->sequence);
        before = item->sequence;
        bytes += item_bytes(item->len);
        count++;
    }
    ASSERT(count == q->count);
    ASSERT(bytes == q->bytes);
    ASSERT(count <= q->config.capacity);
    ASSERT(q->batch.under_way || buf_len(&q->batch.payload) == 0);
}
