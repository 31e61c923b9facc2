/* api_tree — building and showing documents of facts (api_tree.c). Private to src/api. */
#ifndef RQ_API_TREE_H
#define RQ_API_TREE_H

#include "api_int.h"

#include <cjson/cJSON.h>

/* Members are shown in the order in which they are added; map-like objects want ascending keys (§15.1).
 * parent may be NULL. */
cJSON *api_tree_object(cJSON *parent, const char *key);
void api_tree_text(cJSON *parent, const char *key, const char *value); /* NULL: "unknown" */
void api_tree_bool(cJSON *parent, const char *key, bool value);
void api_tree_u64(cJSON *parent, const char *key, uint64_t value);
void api_tree_i64(cJSON *parent, const char *key, int64_t value);
void api_tree_duration(cJSON *parent, const char *key, int64_t ns);  /* Go's text */
void api_tree_wall(cJSON *parent, const char *key, int64_t wall_ns); /* RFC 3339; 0: the year 1 */
void api_tree_hex(cJSON *parent, const char *key, uint64_t value);
void api_tree_bytes(cJSON *parent, const char *key, uint64_t bytes); /* "4.1 kB": decimal units */

/* The document, or the part that `key` names: compact, sorted, numbers through doubles (§15.1). */
void api_tree_write(struct buf *text, const cJSON *root, const struct api_params *p);

/* store.image (api_status_image.c). */
void api_status_image(cJSON *store, const struct api *a, const struct node_status *s);
/* store: everything below that key (api_status_store.c). */
void api_status_store(cJSON *root, const struct api *a, const struct node_status *s);

#endif
