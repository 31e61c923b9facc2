/* api_status_image — /status, store.image: is what this node keeps whole and equal to the others', and what was sent
 * and received. */
#include "api_tree.h"
#include <rq/util/assert.h>

static const char *state_text(const struct node_status *s)
{
    switch (s->repair.state) {
    case NODE_WHOLE:
        return "whole";
    case NODE_DAMAGED:
        return "damaged";
    case NODE_DIVERGED:
        return "differs";
    }
    UNREACHABLE();
}

void api_status_image(cJSON *store, const struct api *a, const struct node_status *s)
{
    struct node_counters c;

    node_counters_get(a->node, &c);
    cJSON *image = api_tree_object(store, "image");
    cJSON *compared = api_tree_object(image, "digests");
    api_tree_u64(compared, "compared", c.digests_compared);
    api_tree_u64(compared, "differed", c.divergences);
    cJSON *repairs = api_tree_object(image, "repair");
    api_tree_u64(repairs, "begun", c.repairs_begun);
    api_tree_u64(repairs, "done", c.repairs);
    cJSON *scrub = api_tree_object(image, "scrub");
    api_tree_u64(scrub, "damaged", c.scrub_damaged);
    api_tree_u64(scrub, "pages", c.scrubbed_pages);
    api_tree_u64(scrub, "passes", c.scrub_passes);
    api_tree_bool(image, "serving", !s->repair.held);
    api_tree_text(image, "state", state_text(s));
    if (s->repair.text && s->repair.text[0])
        api_tree_text(image, "trouble", s->repair.text);
    cJSON *transfers = api_tree_object(image, "transfers");
    api_tree_u64(transfers, "received_bytes", c.fetch_bytes);
    api_tree_u64(transfers, "received_failed", c.fetches_failed);
    api_tree_u64(transfers, "received_resumed", c.fetches_resumed);
    api_tree_bool(transfers, "receiving", s->fetching);
    api_tree_u64(transfers, "sending", s->lending);
    api_tree_u64(transfers, "sent_bytes", c.lend_bytes);
    api_tree_u64(transfers, "sent_failed", c.lends_failed);
    api_tree_u64(transfers, "sent_resumed", c.lends_resumed);
    api_tree_bool(image, "writable", s->repair.undecided == 0);
}
