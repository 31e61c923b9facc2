/* auth — who may do what: the credentials file and the decisions taken from it (http-api.md §16). Pure:
 * no clock, chance or files; any thread, but one thread at a time per struct auth.
 *
 *   question ─► auth_decide ─► YES, NO
 *                    └──────► HASH: bcrypt must look, which takes 50–250 ms ─► auth_hash_run, on a thread
 *                                    that may block ─► auth_hash_keep ─► next time YES or NO at once
 *
 * Passwords that begin with $2a$, $2b$ or $2y$ are bcrypt hashes, all others plain text. How long a
 * refusal takes does not tell whether the user exists: where the file holds a hash, every wrong
 * password costs one bcrypt. */
#ifndef RQ_AUTH_H
#define RQ_AUTH_H

#include <rq/util/err.h>
#include <rq/util/slice.h>

/* X(name, "name in the file"); the two names of replicas' joins are synonyms. */
#define AUTH_PERM_TABLE(X)                                                                         \
    X(ALL, "all")                                                                                  \
    X(EXECUTE, "execute")                                                                          \
    X(QUERY, "query")                                                                              \
    X(BACKUP, "backup")                                                                            \
    X(LOAD, "load")                                                                                \
    X(SNAPSHOT, "snapshot")                                                                        \
    X(REMOVE, "remove")                                                                            \
    X(STATUS, "status")                                                                            \
    X(READY, "ready")                                                                              \
    X(LEADER_OPS, "leader-ops")                                                                    \
    X(UI, "ui")                                                                                    \
    X(JOIN, "join")                                                                                \
    X(JOIN_READ_ONLY, "join-read-only")                                                            \
    X(JOIN_READ_REPLICA, "join-read-replica")

enum auth_perm_bit {
#define AUTH_PERM_BIT_(name, text) AUTH_PERM_BIT_##name,
    AUTH_PERM_TABLE(AUTH_PERM_BIT_)
#undef AUTH_PERM_BIT_
};
enum auth_perm {
#define AUTH_PERM_(name, text) AUTH_##name = 1 << AUTH_PERM_BIT_##name,
    AUTH_PERM_TABLE(AUTH_PERM_)
#undef AUTH_PERM_
};

enum {
    AUTH_USER_MAX = 255,     /* bytes; a longer name or password in a request is nobody's */
    AUTH_PASSWORD_MAX = 511, /* bcrypt itself looks at the first 72 */
    AUTH_USERS_MAX = 4096,
    AUTH_FILE_MAX = 1024 * 1024,
    AUTH_COST_MAX = 15, /* of a bcrypt hash: beyond, one look takes seconds */
    AUTH_KEY_BYTES = 16,
    AUTH_HASH_TEXT = 60, /* length of a bcrypt hash */
};

struct auth;

/* Read a credentials file. json: lent. key: chance, kept; what is remembered of passwords is keyed with
 * it. 0 and *out given (auth_destroy frees); ERR_INVALID, ERR_TOO_BIG or ERR_NOMEM, with words. */
int auth_create(struct slice json, const uint8_t key[AUTH_KEY_BYTES], struct auth **out,
                struct err_text *why) MUST_USE;
void auth_destroy(struct auth *a); /* may be NULL */

/* The password that a credentials file gives a user, for who speaks on its behalf; a hash stays one. json: as
 * for auth_create. dst: NUL-terminated. 0, ERR_NOT_FOUND. */
int auth_password_find(struct slice json, const char *user,
                       char dst[AUTH_PASSWORD_MAX + 1]) MUST_USE;

struct auth_question {
    struct slice user, password; /* lent; user of len 0: no credentials were given */
    uint32_t perms;              /* of enum auth_perm: all of them are needed */
};

/* One password for bcrypt to look at. Copied out of struct auth, so that a thread may have it alone. */
struct auth_hash {
    uint8_t id[AUTH_KEY_BYTES]; /* equal for equal user and password */
    char hash[AUTH_HASH_TEXT + 1];
    char password[AUTH_PASSWORD_MAX + 1];
    bool decoy;   /* whatever bcrypt says, it does not match: there only to take as long */
    bool matched; /* filled by auth_hash_run */
};

enum auth_verdict {
    AUTH_VERDICT_NO,
    AUTH_VERDICT_YES,
    AUTH_VERDICT_HASH, /* *hash is filled; after auth_hash_run: matched and auth_grants */
};
enum auth_verdict auth_decide(struct auth *a, const struct auth_question *q, struct auth_hash *hash);
/* Would the user, were the password right, have all of perms? Everybody's ("*") count. */
bool auth_grants(const struct auth *a, struct slice user, uint32_t perms);

/* Ask bcrypt. Blocks for as long as it was made to take; touches nothing but h. 0, or ERR_NOMEM. */
int auth_hash_run(struct auth_hash *h) MUST_USE;
/* Remember the outcome, right or wrong, within a bound. */
void auth_hash_keep(struct auth *a, const struct auth_hash *h);

/* ---- HTTP Basic (RFC 7617) ---------------------------------------------------------------------- */

struct auth_basic { /* no NUL inside; len 0 of user: none */
    struct slice user, password;
    char text[AUTH_USER_MAX + AUTH_PASSWORD_MAX + 4];
};
/* value: of the Authorization header. Another scheme, broken base64, no colon, a NUL, or more than can be
 * anybody's: no credentials. out: its slices point into itself. */
void auth_basic_parse(struct slice value, struct auth_basic *out);

#endif
