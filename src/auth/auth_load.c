/* auth_load — the credentials file: a JSON array of {username, password, perms} (http-api.md §16.1).
 *
 * Stricter than it could be, because a file that is not understood as its author meant it opens doors:
 * a member given twice, a name that is missing, a hash that is none, text behind the array are all
 * refused. An entry inherits nothing: without "password" it is empty, without "perms" there are none.
 * Names of permissions that mean nothing are passed over, as other versions may know more. */
#include "auth_int.h"

#include <cjson/cJSON.h>

#define REFUSE(why, ...) return err_set(why, ERR_INVALID, __VA_ARGS__)

/* cJSON's strings end at a NUL, so that "ro\u0000ot" would become somebody else. */
static bool holds_nul(struct slice json)
{
    for (size_t i = 0; i < json.len; i++) {
        if (json.data[i] == 0)
            return true;
        if (json.data[i] != '\\')
            continue;
        if (json.len - i >= 6 && memcmp(json.data + i, "\\u0000", 6) == 0)
            return true;
        i++; /* what is escaped may be a backslash */
    }
    return false;
}

static uint32_t perm_of(const char *name)
{
    static const char *const names[] = {
#define AUTH_PERM_NAME_(perm, text) text,
        AUTH_PERM_TABLE(AUTH_PERM_NAME_)
#undef AUTH_PERM_NAME_
    };
    for (uint32_t bit = 0; bit < sizeof names / sizeof names[0]; bit++)
        if (strcmp(names[bit], name) == 0)
            return UINT32_C(1) << bit;
    return 0;
}

static int perms_parse(const cJSON *perms, uint32_t *out, int number, struct err_text *why)
{
    const cJSON *perm = NULL;
    *out = 0;
    if (!perms || cJSON_IsNull(perms))
        return 0;
    if (!cJSON_IsArray(perms))
        REFUSE(why, "entry %d: perms is not an array", number);
    cJSON_ArrayForEach(perm, perms)
    {
        if (!cJSON_IsString(perm))
            REFUSE(why, "entry %d: a permission is not a string", number);
        *out |= perm_of(perm->valuestring);
    }
    if (*out & (AUTH_JOIN_READ_ONLY | AUTH_JOIN_READ_REPLICA))
        *out |= AUTH_JOIN_READ_ONLY | AUTH_JOIN_READ_REPLICA;
    return 0;
}

struct entry {
    const cJSON *username, *password, *perms;
};

static bool text_equal_any_case(const char *text, const char *lower)
{
    for (; *text != '\0' && *lower != '\0'; text++, lower++)
        if ((*text >= 'A' && *text <= 'Z' ? *text + ('a' - 'A') : *text) != *lower)
            return false;
    return *text == *lower;
}

static int entry_parse(const cJSON *item, struct entry *out, int number, struct err_text *why)
{
    const struct {
        const char *name;
        const cJSON **at;
    } members[] = {
        {"username", &out->username}, {"password", &out->password}, {"perms", &out->perms}};
    memset(out, 0, sizeof *out);
    if (!cJSON_IsObject(item))
        REFUSE(why, "entry %d is not an object", number);
    for (const cJSON *member = item->child; member; member = member->next) {
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
            if (!text_equal_any_case(member->string, members[i].name))
                continue;
            if (*members[i].at)
                REFUSE(why, "entry %d: %s is given twice", number, members[i].name);
            *members[i].at = member;
        }
    }
    if (!cJSON_IsString(out->username) || out->username->valuestring[0] == '\0')
        REFUSE(why, "entry %d has no username", number);
    if (out->password && !cJSON_IsNull(out->password) && !cJSON_IsString(out->password))
        REFUSE(why, "entry %d: password is not a string", number);
    return 0;
}

static int user_reserve(struct auth *a)
{
    if (a->user_count < a->user_cap)
        return 0;
    const uint32_t cap = a->user_cap ? a->user_cap * 2 : 16;
    struct auth_user *users = mem_realloc(a->users, cap * sizeof *users);
    if (!users)
        return ERR_NOMEM;
    a->users = users;
    a->user_cap = cap;
    return 0;
}

/* The place of that name: where it was (the last entry of a name wins), or a new one. */
static struct auth_user *user_place(struct auth *a, const struct auth_digest *name)
{
    for (uint32_t i = 0; i < a->user_count; i++)
        if (auth_digest_equal(&a->users[i].name, name))
            return &a->users[i];
    return user_reserve(a) == 0 ? &a->users[a->user_count++] : NULL;
}

static int user_add(struct auth *a, const struct entry *e, int number, struct err_text *why)
{
    const struct slice name = slice_str(e->username->valuestring);
    const bool given = e->password && cJSON_IsString(e->password);
    const struct slice password = slice_str(given ? e->password->valuestring : "");
    uint32_t perms = 0;
    const int rc = perms_parse(e->perms, &perms, number, why);
    if (rc != 0)
        return rc;
    if (slice_equal_str(name, "*")) {
        a->everybody = perms;
        return 0;
    }
    if (name.len > AUTH_USER_MAX || password.len > AUTH_PASSWORD_MAX)
        REFUSE(why, "entry %d: username or password is too long", number);
    const bool hashed = auth_is_hash(password);
    const char *fault = hashed ? auth_hash_fault(password) : NULL;
    if (fault)
        REFUSE(why, "entry %d: password %s", number, fault);
    const struct auth_digest digest = auth_digest_of(a->key, name);
    struct auth_user *u = user_place(a, &digest);
    if (!u)
        return err_set(why, ERR_NOMEM, "out of memory");
    memset(u, 0, sizeof *u);
    u->name = digest;
    u->perms = perms;
    u->hashed = hashed;
    if (hashed)
        memcpy(u->hash, password.data, AUTH_HASH_TEXT);
    else
        u->password = auth_digest_of(a->key, password);
    return 0;
}

/* Whoever is nobody takes as long as the slowest of those who are somebody. */
static void decoy_choose(struct auth *a)
{
    for (uint32_t i = 0; i < a->user_count; i++) {
        const struct auth_user *u = &a->users[i];
        if (u->hashed && (a->decoy[0] == '\0' || memcmp(u->hash + 4, a->decoy + 4, 2) > 0))
            memcpy(a->decoy, u->hash, sizeof a->decoy);
    }
}

static int load_array(struct auth *a, const cJSON *root, struct err_text *why)
{
    const cJSON *item = NULL;
    int number = 0;
    if (!cJSON_IsArray(root))
        REFUSE(why, "not a JSON array");
    cJSON_ArrayForEach(item, root)
    {
        struct entry e;
        if (++number > AUTH_USERS_MAX)
            return err_set(why, ERR_TOO_BIG, "more than %d entries", AUTH_USERS_MAX);
        int rc = entry_parse(item, &e, number, why);
        if (rc == 0)
            rc = user_add(a, &e, number, why);
        if (rc != 0)
            return rc;
    }
    decoy_choose(a);
    return 0;
}

static bool only_blanks(struct slice json, const char *from)
{
    for (const char *end = (const char *)json.data + json.len; from < end; from++)
        if (*from != ' ' && *from != '\t' && *from != '\r' && *from != '\n')
            return false;
    return true;
}

int auth_load(struct auth *a, struct slice json, struct err_text *why)
{
    const char *end = NULL;
    if (json.len > AUTH_FILE_MAX)
        return err_set(why, ERR_TOO_BIG, "larger than %d bytes", AUTH_FILE_MAX);
    if (holds_nul(json))
        REFUSE(why, "a NUL character is in it");
    cJSON *root =
        json.len > 0 ? cJSON_ParseWithLengthOpts((const char *)json.data, json.len, &end, 0) : NULL;
    if (!root || !only_blanks(json, end)) {
        cJSON_Delete(root);
        REFUSE(why, "not valid JSON");
    }
    const int rc = load_array(a, root, why);
    cJSON_Delete(root);
    return rc;
}

int auth_password_find(struct slice json, const char *user, char dst[AUTH_PASSWORD_MAX + 1])
{
    cJSON *all = cJSON_ParseWithLength((const char *)json.data, json.len);
    const cJSON *item = NULL;
    struct err_text why;
    struct entry e;
    int rc = ERR_NOT_FOUND;
    cJSON_ArrayForEach(item, all)
    {
        if (entry_parse(item, &e, 0, &why) != 0 || strcmp(e.username->valuestring, user) != 0)
            continue;
        const struct slice password =
            slice_str(cJSON_IsString(e.password) ? e.password->valuestring : "");
        if (password.len > AUTH_PASSWORD_MAX)
            continue;
        memset(dst, 0, AUTH_PASSWORD_MAX + 1);
        if (password.len > 0)
            memcpy(dst, password.data, password.len);
        rc = 0; /* the last entry of a name counts */
    }
    cJSON_Delete(all);
    return rc;
}
