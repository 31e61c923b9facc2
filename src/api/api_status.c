/* api_status — GET /status: facts about this node as one JSON document (http-api.md §15.1). Keys are added
 * in ascending order, which is the order they are shown in. Answers from copies: it waits for no lane, so
 * that a node that is stuck still tells. store is in api_status_store.c. */
#include "api_tree.h"

static void status_build(cJSON *root, const struct api *a)
{
    const struct api_facts *f = &a->facts;
    cJSON *build = api_tree_object(root, "build");
    api_tree_text(build, "build_time", f->build_time);
    api_tree_text(build, "commit", f->commit);
    api_tree_text(build, "compiler_command", f->compiler);
    api_tree_text(build, "compiler_toolchain", f->compiler);
    api_tree_text(build, "version", a->version);
}

static void status_cluster(cJSON *root, const struct api *a)
{
    cJSON *cluster = api_tree_object(root, "cluster");
    api_tree_text(cluster, "addr", a->raft_addr);
    api_tree_text(cluster, "api_addr", a->adv_addr);
    api_tree_text(cluster, "https", a->facts.cert_file ? "true" : "false");
    cJSON *extensions = api_tree_object(root, "extensions");
    api_tree_text(extensions, "dir", "");
    cJSON_AddArrayToObject(extensions, "names");
}

/* ---- http ------------------------------------------------------------------------------------------------- */

/* There is one connection to each other member, shared by all that is asked of it. */
static void http_pools(cJSON *cluster, const struct node_status *s)
{
    cJSON *pools = NULL;
    for (uint32_t i = 0; i < s->member_count; i++) {
        if (!s->members[i].connected)
            continue;
        if (!pools)
            pools = api_tree_object(cluster, "conn_pool_stats");
        cJSON *pool = api_tree_object(pools, s->members[i].addr); /* record-like */
        api_tree_u64(pool, "idle", 1);
        api_tree_u64(pool, "open_connections", 1);
        api_tree_u64(pool, "max_open_connections", 1);
    }
}

static void http_queue(cJSON *http, const struct api *a)
{
    struct api_queue_view view;
    cJSON *queue = api_tree_object(api_tree_object(http, "queue"), "_default");
    api_queue_look(a, &view);
    api_tree_u64(queue, "batch_size", view.config.batch_size);
    api_tree_u64(queue, "max_size", view.config.capacity);
    api_tree_u64(queue, "sequence_number", view.finished);
    api_tree_duration(queue, "timeout", (int64_t)view.config.timeout_ns);
}

static void http_tls(cJSON *tls, const struct api_facts *f)
{
    if (!f->cert_file) {
        api_tree_text(tls, "enabled", "false");
        return;
    }
    api_tree_text(tls, "ca_file", f->ca_file);
    api_tree_text(tls, "cert_file", f->cert_file);
    api_tree_text(tls, "client_auth",
                  f->verify_client ? "RequireAndVerifyClientCert" : "NoClientCert");
    api_tree_text(tls, "enabled", "true");
    api_tree_text(tls, "key_file", f->key_file);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(tls, "next_protos"),
                         cJSON_CreateString("http/1.1"));
}

static void status_http(cJSON *root, const struct api *a, const struct node_status *s)
{
    cJSON *http = api_tree_object(root, "http");
    if (a->allow_origin && a->allow_origin[0] != '\0')
        api_tree_text(http, "allow_origin", a->allow_origin);
    api_tree_text(http, "auth", a->guard ? "enabled" : "disabled");
    api_tree_text(http, "bind_addr", a->listener ? env_listener_addr(a->listener) : a->bind_addr);
    cJSON *cluster = api_tree_object(http, "cluster");
    http_pools(cluster, s);
    api_tree_text(cluster, "local_node_addr", a->raft_addr);
    api_tree_text(cluster, "timeout", "30s");
    api_tree_u64(http, "connections", a->conn_count);
    http_queue(http, a);
    http_tls(api_tree_object(http, "tls"), &a->facts);
}

/* ---- the machine ------------------------------------------------------------------------------------------ */

static void status_mux(cJSON *root, const struct api *a)
{
    cJSON *mux = api_tree_object(root, "mux");
    api_tree_text(mux, "addr", a->raft_addr);
    api_tree_text(mux, "handlers", ""); /* one protocol, told by its greeting */
    api_tree_duration(mux, "timeout", NODE_GREETING_MS * (int64_t)ENV_MS_NS);
    api_tree_text(mux, "tls", a->facts.node_tls ? "enabled" : "disabled");
}

static void status_network(cJSON *root, const struct api *a)
{
    cJSON *interfaces = api_tree_object(api_tree_object(root, "network"), "interfaces");
    for (uint32_t i = 0; i < a->facts.interface_count; i++) {
        const struct api_interface *f = &a->facts.interfaces[i];
        cJSON *out = api_tree_object(interfaces, f->name); /* record-like */
        api_tree_text(out, "flags", f->flags);
        api_tree_text(out, "hardware_address", f->hardware_address);
        if (f->addr_count == 0) {
            cJSON_AddNullToObject(out, "addresses");
            continue;
        }
        cJSON *addresses = cJSON_AddArrayToObject(out, "addresses");
        for (uint32_t k = 0; addresses && k < f->addr_count; k++) {
            cJSON *address = cJSON_CreateObject();
            api_tree_text(address, "address", f->addrs[k]);
            cJSON_AddItemToArray(addresses, address);
        }
    }
}

static void status_machine(cJSON *root, const struct api *a)
{
    const struct api_facts *f = &a->facts;
    cJSON *node = api_tree_object(root, "node");
    api_tree_wall(node, "current_time", env_wall_ns(a->env));
    api_tree_wall(node, "start_time", a->start_wall_ns);
    api_tree_duration(node, "uptime", (int64_t)(env_now_ns(a->env) - a->start_ns));
    cJSON *os = api_tree_object(root, "os");
    api_tree_text(os, "executable", f->executable);
    api_tree_text(os, "hostname", f->hostname);
    api_tree_u64(os, "page_size", f->page_size);
    api_tree_u64(os, "pid", f->pid);
    api_tree_u64(os, "ppid", f->ppid);
    cJSON *runtime = api_tree_object(root, "runtime");
    api_tree_text(runtime, "GOARCH", f->arch);
    api_tree_u64(runtime, "GOMAXPROCS", f->cpu_count);
    api_tree_text(runtime, "GOOS", f->os);
    api_tree_bool(runtime, "kubernetes_hint", f->kubernetes);
    api_tree_u64(runtime, "num_cpu", f->cpu_count);
    api_tree_u64(runtime, "num_goroutine", 0);
    api_tree_text(runtime, "version", f->compiler);
}

/* How other nodes are found: what the daemon says. */
static void status_disco(cJSON *root, const struct api *a)
{
    struct buf text;
    buf_init(&text, 256 * 1024);
    if (a->facts.disco)
        a->facts.disco(a->facts.disco_ctx, &text);
    if (buf_len(&text) > 0 && !text.failed)
        cJSON_AddItemToObject(
            root, "disco",
            cJSON_ParseWithLength((const char *)buf_slice(&text).data, buf_len(&text)));
    buf_fini(&text);
}

static void status_tree(cJSON *root, const struct api *a)
{
    struct node_status s = {.open = false};
    if (a->node)
        node_status_get(a->node, &s);
    status_build(root, a);
    status_cluster(root, a);
    status_disco(root, a);
    status_http(root, a, &s);
    if (a->backup_wall_ns)
        api_tree_wall(root, "last_backup_time", a->backup_wall_ns);
    status_mux(root, a);
    status_network(root, a);
    status_machine(root, a);
    api_status_store(root, a, &s);
}

void api_status(struct api_request *r)
{
    cJSON_Hooks hooks = {.malloc_fn = mem_alloc, .free_fn = mem_free};
    struct buf text;
    cJSON_InitHooks(&hooks);
    cJSON *root = cJSON_CreateObject();
    if (!root) {
        api_reply_text(r, 503, err_text_of(ERR_NOMEM));
        return;
    }
    status_tree(root, r->conn->api);
    buf_init(&text, 4 * 1024 * 1024);
    api_tree_write(&text, root, &r->params);
    api_reply_buf(r, API_TYPE_JSON, &text);
    buf_fini(&text);
    cJSON_Delete(root);
}
